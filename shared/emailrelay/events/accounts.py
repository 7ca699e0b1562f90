"""The events of secrets and accounts."""

from typing import ClassVar

from emailrelay.events.event import Event, Level


class SecretsTrouble(Event):
    """A changed secrets file cannot be used; the previous accounts stay in force.

    In the console, nobody can sign in until it can be used again.
    """

    level: ClassVar[Level] = Level.ERROR
    reason: str


class SignInRefused(Event):
    """The smarthost refuses our account, or the account is not for that smarthost.

    The mail waits until the operator corrects the account or the settings.
    """

    level: ClassVar[Level] = Level.ERROR
    peer: str
    reason: str


class SignInTrouble(Event):
    """An account got no new token; the current one ends at ``token_until`` (seconds since 1970)."""

    level: ClassVar[Level] = Level.WARNING
    account: str
    reason: str
    advice: str
    token_until: float | None


class SignInBack(Event):
    """An account has a new token after `sign_in_trouble`."""

    account: str
