"""The two halves of a secrets file: who may come in, and whom we say we are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from emailrelay.errors import RelayError
from emailrelay.secrets import key as keys
from emailrelay.secrets import md5_state
from emailrelay.secrets.key import Key, Md5Key, PlainKey, ScryptKey
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.trusted import Trusted


class Form(StrEnum):
    """What the secret of a client account is."""

    PLAIN = "plain"
    """The password; serves PLAIN, LOGIN and CRAM-MD5."""
    MD5 = "md5"
    """Half-finished HMAC-MD5 sums; serves CRAM-MD5."""
    OAUTH = "oauth"
    """A bearer token; serves XOAUTH2 and OAUTHBEARER."""


class NoSuchAccount(RelayError):
    """The secrets file has no client account with the selector that a message asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAccount:
    """Whom we say we are to a server, and the proof."""

    selector: str
    """Which account a message may ask for; "" is the one for all others."""
    form: Form
    id: str
    secret: Secret
    """By ``form``; of MD5 the text as it stands in the file."""

    def cram_md5(self, challenge: bytes) -> str:
        """Give the answer to a CRAM-MD5 challenge (RFC 2195), in hexadecimal; not for OAUTH."""
        if self.form is Form.MD5:
            return keys.cram_md5(Md5Key(md5_state.from_text(self.secret.reveal())), challenge)
        return keys.cram_md5(PlainKey(self.secret), challenge)


class ClientSecrets:
    """The client accounts of a file."""

    def __init__(self, accounts: tuple[ClientAccount, ...]) -> None:
        self._accounts = accounts

    def account(self, selector: str = "") -> ClientAccount | None:
        """Give the account with this selector; None: sign in nowhere (``client plain:b = = X``).

        Of several forms the first line of the file is given.

        Raises:
            NoSuchAccount: there is none.

        """
        for account in self._accounts:
            if account.selector == selector:
                return account if account.id or account.secret else None
        named = f"the selector {selector!r}" if selector else "an empty selector"
        raise NoSuchAccount(f"the secrets file has no client account with {named}")

    @property
    def selectors(self) -> tuple[str, ...]:
        """Give every selector, each once, in the order of the file."""
        return tuple(dict.fromkeys(account.selector for account in self._accounts))


class ServerSecrets:
    """Who may come in, and how they prove it. All comparisons take a constant time."""

    def __init__(self, users: Mapping[str, tuple[Key, ...]], trusted: tuple[Trusted, ...]) -> None:
        self._users = users
        self._trusted = trusted
        hashes = (key for own in users.values() for key in own if isinstance(key, ScryptKey))
        self._dearest = max(hashes, key=keys.cost, default=None)

    @property
    def has_users(self) -> bool:
        """Tell whether anybody can sign in at all."""
        return bool(self._users)

    @property
    def has_hashes(self) -> bool:
        """Tell whether anybody has a scrypt hash, which takes long to check."""
        return self._dearest is not None

    @property
    def knows_challenges(self) -> bool:
        """Tell whether anybody can use CRAM-MD5, which a scrypt hash does not allow."""
        return any(not isinstance(key, ScryptKey) for k in self._users.values() for key in k)

    def fits_cheaply(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password by a key that takes no hash: at once, for any user.

        The work is the same whether the user is known or not.
        """
        states = md5_state.masked(password)
        found = [keys.fits_at_once(key, password, states) for key in self._keys(user)]
        return any(found)

    def fits_hash(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password by a scrypt hash. Call it in a thread.

        May take half a second. An unknown user and one without a hash take as long as the most costly
        hash of the file, so that time tells no names. Of a file without hashes the answer comes at once.
        """
        hashes = [key for key in self._keys(user) if isinstance(key, ScryptKey)]
        dummy = () if self._dearest is None else (self._dearest,)
        found = [keys.fits_password(key, password) for key in hashes or dummy]
        return bool(hashes) and any(found)

    def verify_password(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password. May take half a second: call it in a thread."""
        return self.fits_cheaply(user, password) or self.fits_hash(user, password)

    def verify_challenge(self, user: str, challenge: bytes, digest: str) -> bool:
        """Tell whether ``digest`` (hexadecimal) is the user's answer to a CRAM-MD5 challenge."""
        # With a dummy for everybody, all take as long as whoever has an md5 key.
        known = [key for key in self._keys(user) if not isinstance(key, ScryptKey)]
        if not any(isinstance(key, Md5Key) for key in known):
            keys.answers_challenge(_NOBODY_MD5, challenge, digest)
        found = [keys.answers_challenge(key, challenge, digest) for key in known]
        return any(found)

    def _keys(self, user: str) -> tuple[Key, ...]:
        return self._users.get(user, ())

    def trusted(self, client: str) -> str | None:
        """Give the keyword of the network in which a client's IP address lies, or None."""
        return next((t.keyword for t in self._trusted if t.covers(client)), None)


_NOBODY_MD5 = Md5Key(b"\0" * 32)
