"""The parameters of MAIL and RCPT that a server understands and a message calls for."""

import re
from collections.abc import Mapping

from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Address, Body, Envelope

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2}){1,500}")
"""RFC 3461 section 4. What is not so is left out: it could be taken for another parameter."""
_ORIGINAL = re.compile(r"[A-Za-z0-9-]{1,40};" + _XTEXT.pattern)
_NO_IDENTITY = "<>"


def of_mail(envelope: Envelope, size: int, dsn: DsnRequest, extensions: Mapping[str, str]) -> bytes:
    """Return the parameters of MAIL, each with a blank in front.

    BODY=8BITMIME says that there may be octets beyond ASCII (RFC 6152), so it goes with content that
    nobody declared to be 7bit. To a server without the extension such content is sent as it is:
    servers have been taking it for decades, and a conversion would break signatures.
    """
    chosen = ""
    if "size" in extensions:
        chosen += f" SIZE={size}"
    if "8bitmime" in extensions and envelope.body is not Body.SEVEN_BIT:
        chosen += " BODY=8BITMIME"
    if envelope.utf8 and "smtputf8" in extensions:
        chosen += " SMTPUTF8"
    if "auth" in extensions and (identity := submitter(envelope)):
        chosen += f" AUTH={identity}"
    if "dsn" in extensions:
        chosen += f" RET={dsn.give_back}" if dsn.give_back else ""
        chosen += f" ENVID={dsn.envelope_id}" if _XTEXT.fullmatch(dsn.envelope_id) else ""
    return chosen.encode()


def of_rcpt(recipient: Address, dsn: DsnRequest, extensions: Mapping[str, str]) -> bytes:
    """Return the parameters of RCPT (RFC 3461 section 4), each with a blank in front."""
    if "dsn" not in extensions:
        return b""
    asked = dsn.of(recipient)
    chosen = f" NOTIFY={','.join(asked.notify)}" if asked.notify else ""
    chosen += f" ORCPT={asked.original}" if _ORIGINAL.fullmatch(asked.original) else ""
    return chosen.encode()


def submitter(envelope: Envelope) -> str:
    """Return who submitted the message, as AUTH= of MAIL says it (RFC 4954 section 5), or nothing.

    A filter's word goes before the client's. That of a client who did not prove who it is counts as
    "not known", but is passed on as that.
    """
    given = envelope.mail_from_auth_out or envelope.mail_from_auth_in
    if not given:
        return ""
    trusted = bool(envelope.mail_from_auth_out or envelope.authentication)
    return given if trusted and _XTEXT.fullmatch(given) else _NO_IDENTITY
