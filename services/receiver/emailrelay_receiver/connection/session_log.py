"""The log's view of one session: refusals, trouble, and each line of the dialogue if asked for."""

import traceback

from emailrelay.events.event import Report
from emailrelay.events.receiving import Rejected, SessionTrouble, Vanished
from emailrelay.events.service import Traceback
from emailrelay.events.sessions import Dialogue, Direction, TlsHandshake
from emailrelay.mail_fields import UNKNOWN_MAIL, MailFields
from emailrelay.reply import Reply
from emailrelay_receiver.dialogue.redaction import redacted

_SECRET = "***"  # noqa: S105 - the mask


class SessionLog:
    """Reports events with the client's address and port."""

    __slots__ = ("_report", "client", "port", "shows_lines")

    def __init__(self, report: Report, *, shows_lines: bool) -> None:
        self.client = ""
        self.port = 0
        self.shows_lines = shows_lines
        """Each line of the dialogue is logged."""
        self._report = report

    def refused(self, command: str, reply: Reply, about: MailFields = UNKNOWN_MAIL) -> None:
        """Report a refusal, and what is known of the message."""
        self._report(
            Rejected(command=command, reply=str(reply), client=self.client, port=self.port, **about)
        )

    def trouble(self, reason: str) -> None:
        """Report why the session ended early."""
        self._report(SessionTrouble(client=self.client, port=self.port, reason=reason))

    def vanished(self) -> None:
        """Report a client that said nothing."""
        self._report(Vanished(client=self.client))

    def handshake(self, *, well: bool) -> None:
        """Report the end of a TLS handshake."""
        result = "success" if well else "failure"
        self._report(TlsHandshake(side="server", result=result, peer=self.client))

    def own_error(self, error: Exception) -> None:
        """Report an error in our own code."""
        reason = f"error of ours: {type(error).__name__}: {error}"
        self._report(SessionTrouble(client=self.client, port=self.port, reason=reason))
        self._report(Traceback(text="".join(traceback.format_exception(error))))

    def received(self, line: bytes, *, secret: bool) -> None:
        """Log a line from the client; call it only if ``shows_lines``."""
        self._show(Direction.RECEIVED, _SECRET if secret else redacted(line))

    def sent(self, line: str) -> None:
        """Log a line to the client, likewise. A challenge is no secret, but useless to a reader."""
        self._show(Direction.SENT, f"334 {_SECRET}" if line.startswith("334 ") else line)

    def _show(self, direction: Direction, line: str) -> None:
        self._report(Dialogue(direction=direction, line=line, peer=self.client, port=self.port))
