"""Messages as other programs write them into a spool directory, and the names there."""

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ENVELOPE,
)

from emailrelay import envelope_format
from emailrelay.queue_id import QueueId

OLD_FORMAT = (
    b"X-MailRelay-Format: #2821.3\n"
    b"X-MailRelay-Content: 8bit\n"
    b"X-MailRelay-From: a@x.test\n"
    b"X-MailRelay-ToCount: 1\n"
    b"X-MailRelay-To-Remote: b@y.test\n"
    b"X-MailRelay-Authentication: \n"
    b"X-MailRelay-Client: 127.0.0.1\n"
    b"X-MailRelay-End: 1\n"
)


NOW_FORMAT = envelope_format.write(ENVELOPE)


def foreign(
    spool: SpoolOpener,
    name: str = "1.2.3",
    suffix: str = "",
    envelope: bytes = OLD_FORMAT,
    content: bytes | None = b"Subject: x\r\n\r\n",
) -> QueueId:
    """Put a message in as another program does: content first, then the envelope, in place."""
    if content is not None:
        (spool.directory / f"emailrelay.{name}.content").write_bytes(content)
    (spool.directory / f"emailrelay.{name}.envelope{suffix}").write_bytes(envelope)
    return QueueId(name)


def names(spool: SpoolOpener) -> set[str]:
    """Return the visible names; our other files have names that begin with a dot."""
    return {path.name for path in spool.directory.iterdir() if not path.name.startswith(".")}
