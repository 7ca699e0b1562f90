"""Sends a message through the receiver on this host, for users without write access to the spool.

A message goes to all its recipients or to none: the content is sent only after the receiver has
taken every recipient. A receiver that limits the recipients of a transaction gets several
transactions; every recipient is offered before the first transaction is finished.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from smtplib import SMTP, SMTPException, SMTPResponseException, SMTPServerDisconnected

from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address
from emailrelay.errors import RelayError, reason_of

_TIMEOUT = 300.0
"""Seconds; RFC 5321 section 4.5.3.2 gives a server this time for most commands."""
_TIMEOUT_AT_END = 900.0
"""Seconds. RFC 5321 section 4.5.3.2.6 requires ten minutes after the content. The receiver may
forward the message before it answers; a client that gives up earlier causes a duplicate."""
_TIMEOUT_AT_QUIT = 5.0
_LIMIT_CODES = (452, 552)
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
_LIMIT_STATUSES = (None, "4.5.3", "5.5.3")


class NotTaken(RelayError):
    """No recipient gets the message."""

    def __init__(self, reason: str, *, temporary: bool = True) -> None:
        super().__init__(reason)
        self.temporary = temporary


class ReceiverNotReached(NotTaken):
    """There is no server at the port."""


class TakenInPart(RelayError):
    """The first transactions succeeded, a later one failed: retry only ``missed``."""

    temporary = False

    def __init__(self, reason: str, taken: Sequence[Address], missed: Sequence[Address]) -> None:
        super().__init__(reason)
        self.taken = taken
        self.missed = missed


def send(
    port: int,
    sender: Address,
    recipients: Sequence[Address],
    content: bytes,
    dsn: DsnRequest,
) -> None:
    """Send a message to all recipients; ``dsn`` tells their original addresses.

    Raises:
        NotTaken: the receiver refused, or there is none (``ReceiverNotReached``); no recipient gets
            the message.
        TakenInPart: the recipients needed several transactions, and not all succeeded.

    """
    taken: list[Address] = []
    try:
        with _session(port) as server:
            parameters = _parameters(server, sender, recipients, content)
            transactions = _Transactions(server, parameters, dsn)
            for batch in transactions.agreed(recipients):
                transactions.finish(content)
                taken += batch
    except NotTaken as error:
        if not taken:
            raise
        done = set(taken)
        missed = [address for address in recipients if address not in done]
        raise TakenInPart(str(error), taken, missed) from error


@contextmanager
def _session(port: int) -> Generator[SMTP]:
    """Hold a session; its errors become ``NotTaken``."""
    try:
        server = _connected(port)
        try:
            server.ehlo_or_helo_if_needed()
            yield server
        finally:
            _quit(server)
            server.close()
    except SMTPResponseException as error:
        raise _refusal(error.smtp_code, _text(error.smtp_error)) from error
    except (OSError, SMTPException) as error:
        raise NotTaken(f"localhost port {port}: {reason_of(error)}") from error


def _connected(port: int) -> SMTP:
    try:
        return SMTP("localhost", port, timeout=_TIMEOUT)
    except SMTPResponseException:
        raise
    except OSError as error:
        where = f"localhost port {port}"
        raise ReceiverNotReached(f"{where}: {reason_of(error)}") from error


def _quit(server: SMTP) -> None:
    """End the session. The result is known already, so the reply does not matter."""
    with suppress(OSError, SMTPException):
        if server.sock is not None:
            server.sock.settimeout(_TIMEOUT_AT_QUIT)
        server.docmd("QUIT")


class _Transactions:
    """The mail transactions of a session."""

    def __init__(self, server: SMTP, parameters: str, dsn: DsnRequest) -> None:
        self._server = server
        self._mail = f"MAIL FROM:{parameters}"
        self._dsn = dsn if server.has_extn("DSN") else NO_REQUEST

    def agreed(self, recipients: Sequence[Address]) -> Iterator[Sequence[Address]]:
        """Yield the recipients of each transaction, which then waits for the content.

        Raises:
            NotTaken: the receiver refuses a recipient or the transaction.

        """
        *others, last = self._batches(recipients)
        yield last  # it is open already
        for batch in others:
            count, refused = self._open(batch)
            if refused:
                raise _all_or_none(refused)
            if count < len(batch):
                raise NotTaken("the receiver accepts fewer recipients than before")
            yield batch

    def _batches(self, recipients: Sequence[Address]) -> list[Sequence[Address]]:
        """Offer all recipients; the transaction of the last batch stays open."""
        batches: list[Sequence[Address]] = []
        refused: dict[Address, tuple[int, str]] = {}
        rest = recipients
        while rest:
            if batches:
                self._command("RSET")
            count, bad = self._open(rest)
            refused |= bad
            batches.append(rest[:count])
            rest = rest[count:]
        if refused:
            raise _all_or_none(refused)
        return batches

    def _open(self, recipients: Sequence[Address]) -> tuple[int, dict[Address, tuple[int, str]]]:
        """Begin a transaction; return the number of offered recipients, and the refused ones."""
        self._command(self._mail)
        refused: dict[Address, tuple[int, str]] = {}
        for count, address in enumerate(recipients):
            original = self._dsn.of(address).original
            asked = f" ORCPT={original}" if original else ""
            code, text = self._ask(f"RCPT TO:<{address}>{asked}")
            if 200 <= code <= 299:
                continue
            if count > len(refused) and _is_full(code, text):
                return count, refused
            refused[address] = code, text
        return len(recipients), refused

    def finish(self, content: bytes) -> None:
        """Send the content to the recipients of the open transaction.

        Raises:
            NotTaken: the receiver refuses it, or its answer is unknown.

        """
        if self._server.sock is not None:
            self._server.sock.settimeout(_TIMEOUT_AT_END)
        try:
            code, said = self._server.data(content)
        except SMTPServerDisconnected as error:
            raise NotTaken(
                f"no answer to the content ({error}), so the message may have been accepted"
            ) from error
        if not 200 <= code <= 299:
            raise _refusal(code, _text(said))

    def _command(self, line: str) -> None:
        code, text = self._ask(line)
        if not 200 <= code <= 299:
            raise _refusal(code, text)

    def _ask(self, line: str) -> tuple[int, str]:
        code, said = self._server.docmd(line)
        if code == 421:  # RFC 5321 section 3.8: the server closes the connection
            raise _refusal(code, _text(said))
        return code, _text(said)


def _parameters(
    server: SMTP, sender: Address, recipients: Sequence[Address], content: bytes
) -> str:
    """Return the text after ``MAIL FROM:``, and set the session's character set."""
    words = [f"<{sender}>"]
    if not content.isascii() and server.has_extn("8BITMIME"):
        words.append("BODY=8BITMIME")
    beyond = next((a for a in (sender, *recipients) if not a.isascii()), None)
    if beyond is not None:
        if not server.has_extn("SMTPUTF8"):
            raise NotTaken(
                f"{beyond}: the receiver accepts only ASCII addresses (no SMTPUTF8)",
                temporary=False,
            )
        server.command_encoding = "utf-8"
        words.append("SMTPUTF8")
    return " ".join(words)


def _is_full(code: int, text: str) -> bool:
    """Tell whether RCPT's reply means that a transaction is full (RFC 5321 4.5.3.1.10)."""
    status = _STATUS.match(text)
    return code in _LIMIT_CODES and (status and status[0]) in _LIMIT_STATUSES


def _all_or_none(refused: dict[Address, tuple[int, str]]) -> NotTaken:
    words = "; ".join(f"{address}: {code} {text}" for address, (code, text) in refused.items())
    temporary = all(code < 500 for code, _ in refused.values())
    return NotTaken(f"{words} (no recipient gets the message)", temporary=temporary)


def _refusal(code: int, text: str) -> NotTaken:
    return NotTaken(f"{code} {text}", temporary=code < 500)


def _text(said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return " ".join(text.split("\n"))  # the lines of one reply
