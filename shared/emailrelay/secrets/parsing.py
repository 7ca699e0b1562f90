"""The text of a secrets file: lines of ``client|server  form  id  secret  [selector]``.

Errors show only the number of a line: if the columns are mixed up, any column may hold the
password.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from emailrelay.secrets import key as keys
from emailrelay.secrets import md5_state
from emailrelay.secrets.accounts import ClientAccount, ClientSecrets, Form, ServerSecrets
from emailrelay.secrets.key import Key, Md5Key, PlainKey
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.trusted import TrustedClients

_ESCAPE = re.compile(rb"\+([0-9A-Fa-f]{2})")
_SCRYPT = "scrypt"
_NONE = "none"
_OLD_CRAM = "cram-md5"
"""In old files its secret is a hash, in the oldest files a password."""
_SERVER_FORMS = "plain, plain:b, md5, scrypt or none"
_CLIENT_FORMS = (
    "plain, plain:b, md5 or oauth (for servers without a login: client plain:b = = SELECTOR)"
)
_OLD_WORDS = {"login": Form.PLAIN, "xoauth2": Form.OAUTH, "apop": Form.MD5}


@dataclass(slots=True)
class ParsedSecrets:
    """The content of a file, and its problems; each problem begins with its line number."""

    accounts: list[ClientAccount] = field(default_factory=list[ClientAccount])
    users: dict[str, tuple[Key, ...]] = field(default_factory=dict[str, tuple[Key, ...]])
    trusted: list[TrustedClients] = field(default_factory=list[TrustedClients])
    roles: dict[str, str] = field(default_factory=dict[str, str])
    """The fifth word of a user's first line that has one: the role in the console."""
    problems: list[str] = field(default_factory=list[str])

    @property
    def client(self) -> ClientSecrets:
        """Return the part for the forwarder."""
        return ClientSecrets(tuple(self.accounts))

    @property
    def server(self) -> ServerSecrets:
        """Return the part for the receiver."""
        return ServerSecrets(dict(self.users), tuple(self.trusted))


def parse(octets: bytes) -> ParsedSecrets:
    """Parse a complete file; see ``ParsedSecrets.problems``."""
    parsed = ParsedSecrets()
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(octets.split(b"\n"), 1):
        try:
            text = line.decode().strip()
            if text and not text.startswith("#"):
                _once(seen, _take(text.split(), parsed), number)
        except UnicodeDecodeError:
            parsed.problems.append(f"{number}: not UTF-8; write octets beyond ASCII as +HH")
        except ValueError as error:
            parsed.problems.append(f"{number}: {error}")
    return parsed


def _once(seen: dict[tuple[str, ...], int], what: tuple[str, ...], number: int) -> None:
    first = seen.setdefault(what, number)
    if first != number:
        raise ValueError(f"repeats line {first}: remove one of them")


def _take(words: list[str], parsed: ParsedSecrets) -> tuple[str, ...]:
    """Add one line; return its key, which no second line may have."""
    if not 4 <= len(words) <= 5:
        raise ValueError(
            "needs four or five words: client or server, the form, the id, the secret, "
            "and perhaps a selector (write a blank as +20)"
        )
    match words[0].lower():
        case "client":
            account = _client(words)
            parsed.accounts.append(account)
            return ("client", account.form, account.selector)
        case "server" if words[1].lower() == _NONE:
            parsed.trusted.append(_trusted(words))
            return ("server", _NONE, words[2])
        case "server":
            user, key = _user(words)
            parsed.users[user] = (*parsed.users.get(user, ()), key)
            if len(words) == 5:
                parsed.roles.setdefault(user, words[4].lower())
            return ("server", type(key).__name__, user)
        case _:
            raise ValueError("the first word must be client or server")


def _client(words: list[str]) -> ClientAccount:
    word, coded = _form(words[1], _CLIENT_FORMS)
    if word == _SCRYPT:
        raise ValueError("a client account needs a secret for the server: plain, md5 or oauth")
    form = _old_cram(words[3]) if word == _OLD_CRAM else Form(word)
    secret = words[3] if form is Form.MD5 else _decode(words[3], coded=coded)
    if form is Form.MD5:
        md5_state.from_text(secret)
    return ClientAccount(
        selector=_decode(words[4], coded=False) if len(words) == 5 else "",
        form=form,
        id=_decode(words[2], coded=coded),
        secret=Secret(secret),
    )


def _user(words: list[str]) -> tuple[str, Key]:
    # The fifth word has no meaning for users of the receiver; old files have one.
    word, coded = _form(words[1], _SERVER_FORMS)
    user = _decode(words[2], coded=coded)
    if not user:
        raise ValueError("the id is empty")
    if word == _OLD_CRAM:
        word = _old_cram(words[3])
    match word:
        case Form.MD5:
            return user, Md5Key(md5_state.from_text(words[3]))
        case Form.PLAIN:
            secret = _decode(words[3], coded=coded)
            if not secret:
                raise ValueError("the secret is empty")
            return user, PlainKey(Secret(secret))
        case "scrypt":
            return user, keys.read_scrypt(words[3])
        case _:
            raise ValueError(
                "the form of a server line must be plain, plain:b, md5, scrypt or none"
            )


def _trusted(words: list[str]) -> TrustedClients:
    try:
        return TrustedClients.parse(words[2], _decode(words[3], coded=False))
    except ValueError:
        raise ValueError("none needs a network, such as 192.168.0.0/24, and a keyword") from None


def _form(word: str, forms: str) -> tuple[str, bool]:
    """Return the form, and whether id and secret are base64; ``forms`` is for the error."""
    form, colon, coding = word.lower().partition(":")
    form = _OLD_WORDS.get(form, form)
    if form not in {*Form, _SCRYPT, _OLD_CRAM} or (colon and (form, coding) != ("plain", "b")):
        raise ValueError(f"the second word must be {forms}")
    return form, bool(colon)


def _old_cram(secret: str) -> Form:
    try:
        md5_state.from_text(secret)
    except ValueError:
        return Form.PLAIN
    return Form.MD5


def _decode(word: str, *, coded: bool) -> str:
    """Decode base64 or xtext (RFC 3461 section 4); a single ``=`` is allowed in xtext."""
    if coded:
        try:
            # "=" is the usual notation of an empty text.
            octets = b"" if word == "=" else base64.b64decode(word, validate=True)
        except binascii.Error:
            raise ValueError("the id or the secret is not base64") from None
    else:
        written = word.encode()
        if b"+" in _ESCAPE.sub(b"", written):
            raise ValueError("a + in the id or the secret is not xtext: write it as +2B")
        octets = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), written)
    text = octets.decode()
    if "\0" in text:
        raise ValueError("an id or a secret cannot contain NUL")
    return text
