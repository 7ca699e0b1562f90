"""The two parts of a secrets file: users of the receiver, and accounts of the forwarder."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from emailrelay.errors import RelayError
from emailrelay.secrets import key as keys
from emailrelay.secrets import md5_state
from emailrelay.secrets.key import Key, Md5Key, PlainKey, ScryptKey
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.trusted import TrustedClients


class Form(StrEnum):
    """The kind of secret of a client account."""

    PLAIN = "plain"
    """The password; serves PLAIN, LOGIN and CRAM-MD5."""
    MD5 = "md5"
    """Intermediate HMAC-MD5 states; serves CRAM-MD5."""
    OAUTH = "oauth"
    """A bearer token; serves XOAUTH2 and OAUTHBEARER."""


class NoSuchAccount(RelayError):
    """The secrets file has no client account with the selector of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAccount:
    """Our user name and secret at a server."""

    selector: str
    """The name by which a message selects the account; "" is the default."""
    form: Form
    id: str
    secret: Secret
    """The meaning depends on ``form``; for MD5 it is the text of the file."""

    def cram_md5(self, challenge: bytes) -> str:
        """Return the answer to a CRAM-MD5 challenge (RFC 2195), in hexadecimal; not for OAUTH."""
        if self.form is Form.MD5:
            return keys.cram_md5(Md5Key(md5_state.from_text(self.secret.reveal())), challenge)
        return keys.cram_md5(PlainKey(self.secret), challenge)


class ClientSecrets:
    """The client accounts of a file."""

    def __init__(self, accounts: tuple[ClientAccount, ...]) -> None:
        self._accounts = accounts

    def account(self, selector: str = "") -> ClientAccount | None:
        """Return the account with this selector; None: do not sign in (``client plain:b = = X``).

        If there are several forms, the first line of the file is used.

        Raises:
            NoSuchAccount: there is no such account.

        """
        for account in self._accounts:
            if account.selector == selector:
                return account if account.id or account.secret else None
        named = f"the selector {selector!r}" if selector else "an empty selector"
        raise NoSuchAccount(f"the secrets file has no client account with {named}")

    @property
    def selectors(self) -> tuple[str, ...]:
        """Return each selector once, in the order of the file."""
        return tuple(dict.fromkeys(account.selector for account in self._accounts))


class ServerSecrets:
    """The users of the receiver and their keys. All comparisons take a constant time."""

    def __init__(
        self, users: Mapping[str, tuple[Key, ...]], trusted: tuple[TrustedClients, ...]
    ) -> None:
        self._users = users
        self._trusted = trusted
        hashes = (key for own in users.values() for key in own if isinstance(key, ScryptKey))
        self._costliest = max(hashes, key=keys.cost, default=None)

    @property
    def has_users(self) -> bool:
        """Tell whether there are users."""
        return bool(self._users)

    @property
    def admits_no_client(self) -> bool:
        """Tell whether no client can send mail: no user, and no trusted network."""
        return not self._users and not self._trusted

    @property
    def has_hashes(self) -> bool:
        """Tell whether a user has a scrypt hash, which takes long to check."""
        return self._costliest is not None

    @property
    def knows_challenges(self) -> bool:
        """Tell whether a user can use CRAM-MD5, which needs a key other than a scrypt hash."""
        return any(not isinstance(key, ScryptKey) for k in self._users.values() for key in k)

    def fits_cheaply(self, user: str, password: str) -> bool:
        """Tell whether a key other than a scrypt hash matches the password; this is fast.

        Known and unknown users take the same time.
        """
        states = md5_state.masked(password)
        found = [keys.fits_at_once(key, password, states) for key in self._keys(user)]
        return any(found)

    def fits_hash(self, user: str, password: str) -> bool:
        """Tell whether a scrypt hash of the user matches the password. Call it in a thread.

        It may take half a second. An unknown user and a user without a hash take as long as the
        most costly hash of the file, so that the time reveals no names. A file without hashes takes
        no time.
        """
        hashes = [key for key in self._keys(user) if isinstance(key, ScryptKey)]
        dummy = () if self._costliest is None else (self._costliest,)
        found = [keys.fits_hash(key, password) for key in hashes or dummy]
        return bool(hashes) and any(found)

    def verify_password(self, user: str, password: str) -> bool:
        """Tell whether the password is right. It may take half a second: call it in a thread."""
        return self.fits_cheaply(user, password) or self.fits_hash(user, password)

    def verify_challenge(self, user: str, challenge: bytes, digest: str) -> bool:
        """Tell whether ``digest`` (hexadecimal) is the user's answer to a CRAM-MD5 challenge."""
        # A dummy check gives all users the same time as users with an md5 key.
        known = [key for key in self._keys(user) if not isinstance(key, ScryptKey)]
        if not any(isinstance(key, Md5Key) for key in known):
            keys.answers_challenge(_DUMMY_MD5, challenge, digest)
        found = [keys.answers_challenge(key, challenge, digest) for key in known]
        return any(found)

    def _keys(self, user: str) -> tuple[Key, ...]:
        return self._users.get(user, ())

    def trusted(self, client: str) -> str | None:
        """Return the keyword of the network that contains a client's IP address, or None."""
        return next((t.keyword for t in self._trusted if t.covers(client)), None)


_DUMMY_MD5 = Md5Key(b"\0" * 32)
