"""The parameters of MAIL and RCPT that the server supports and the message needs."""

import re
from collections.abc import Mapping

from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address, Body, Envelope

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2}){1,500}")
"""RFC 3461 section 4. Other text is left out: a server could take it for another parameter."""
_ORIGINAL = re.compile(r"[A-Za-z0-9-]{1,40};" + _XTEXT.pattern)
_NO_IDENTITY = "<>"


def of_mail(envelope: Envelope, size: int, dsn: DsnRequest, extensions: Mapping[str, str]) -> bytes:
    """Return the parameters of MAIL, each after a blank.

    BODY=8BITMIME declares that there may be octets beyond ASCII (RFC 6152), so it goes with all
    content that was not declared 7bit. A server without the extension gets such content unchanged:
    servers have accepted it for decades, and a conversion would break signatures.
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
    if "dsn" in extensions and dsn is not NO_REQUEST:
        chosen += f" RET={dsn.give_back}" if dsn.give_back else ""
        chosen += f" ENVID={dsn.envelope_id}" if _XTEXT.fullmatch(dsn.envelope_id) else ""
    return chosen.encode()


def of_rcpt(recipient: Address, dsn: DsnRequest, extensions: Mapping[str, str]) -> bytes:
    """Return the parameters of RCPT (RFC 3461 section 4), each after a blank."""
    if "dsn" not in extensions or dsn is NO_REQUEST:
        return b""
    asked = dsn.of(recipient)
    chosen = f" NOTIFY={','.join(asked.notify)}" if asked.notify else ""
    chosen += f" ORCPT={asked.original}" if _ORIGINAL.fullmatch(asked.original) else ""
    return chosen.encode()


def submitter(envelope: Envelope) -> str:
    """Return the submitter for AUTH= of MAIL (RFC 4954 section 5), or nothing.

    The identity that a filter set takes precedence over the client's. The identity given by a
    client that did not authenticate is passed on as "not known".
    """
    given = envelope.mail_from_auth_out or envelope.mail_from_auth_in
    if not given:
        return ""
    trusted = bool(envelope.mail_from_auth_out or envelope.authentication)
    return given if trusted and _XTEXT.fullmatch(given) else _NO_IDENTITY
