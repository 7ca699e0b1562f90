"""Clients' commands for the log, without anything that may be a secret.

A client that was refused at AUTH, or did not wait for the reply, sends its password as if it were a
command. So the log shows nothing of a line that does not begin with a known command word.
"""

from emailrelay.secrets.auth_config import Mechanism

LONGEST = 1000
"""Octets of a command that are logged."""
UNKNOWN, MASK = "(unknown)", "***"

_SMTP = frozenset(
    (
        *("HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "STARTTLS", "RSET", "NOOP"),
        *("HELP", "VRFY", "EXPN", "ETRN", "TURN", "QUIT"),
    )
)
_OTHERS = frozenset(
    (
        *("GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "USER", "PASS", "LOGIN", "XCLIENT"),
        *("XFORWARD", "SEND", "SAML", "SOML", "SSH-2.0", "RTSP", "SIP"),
    )
)
"""Of other protocols, and of extensions that are not offered here: only the word is logged."""
_MECHANISMS = frozenset({*map(str, Mechanism), "EXTERNAL", "NTLM", "GSSAPI", "SCRAM-SHA-256"})


def command_word(line: bytes) -> str:
    """Return the first word of a command if it is known, else ``UNKNOWN``."""
    first = line[:LONGEST].decode("ascii", "replace").split(maxsplit=1)[:1]
    known = "".join(first).upper()
    return known if known in _SMTP | _OTHERS | {"AUTH"} else UNKNOWN


def redacted(line: bytes) -> str:
    """Return a command without anything that may be a secret."""
    text = line[:LONGEST].decode("utf-8", "replace")
    known = command_word(line)
    if known in _SMTP:
        return text
    if known != "AUTH":
        return f"{known} {MASK}" if known in _OTHERS else MASK
    words = text.split(maxsplit=2)
    named = [each for each in words[1:2] if each.upper() in _MECHANISMS]
    hidden = [MASK] if len(words) > 1 + len(named) else []
    return " ".join([words[0], *named, *hidden])
