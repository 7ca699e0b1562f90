"""The client's part in each mechanism of AUTH: answers to challenges, without any I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from emailrelay.errors import RelayError
from emailrelay.secrets import ClientAccount, Mechanism, Secret


class OutOfTurn(RelayError):
    """The server asks for more than the mechanism has."""


@dataclass(frozen=True, slots=True)
class ClientExchange:
    """One run of a mechanism."""

    mechanism: Mechanism
    initial: bytes | None
    """The initial response; None: the server begins."""
    answer: Callable[[int, bytes], bytes]
    """Answers the challenge of a number (the first is 0); raises ``OutOfTurn``."""
    secret: Secret
    """The secret: replies must not show it."""


def by_password(mechanism: Mechanism, account: ClientAccount) -> ClientExchange:
    """Sign in with a password: PLAIN (RFC 4616), CRAM-MD5 (RFC 2195) or LOGIN (without RFC)."""
    match mechanism:
        case Mechanism.PLAIN:
            text = f"\0{account.id}\0{account.secret.reveal()}".encode()
            return ClientExchange(mechanism, text, _nothing_more, account.secret)
        case Mechanism.LOGIN:
            # By number, not by the text of the prompt, which may be in any language.
            lines = (account.id.encode(), account.secret.reveal().encode())
            return ClientExchange(
                mechanism, None, lambda number, _: _line(lines, number), account.secret
            )
        case Mechanism.CRAM_MD5:
            return ClientExchange(
                mechanism,
                None,
                lambda number, challenge: _line(
                    (f"{account.id} {account.cram_md5(challenge)}".encode(),), number
                ),
                account.secret,
            )
        case Mechanism.XOAUTH2 | Mechanism.OAUTHBEARER:
            raise ValueError(mechanism)


def by_token(mechanism: Mechanism, user: str, token: Secret) -> ClientExchange:
    """Sign in with a bearer token: OAUTHBEARER (RFC 7628), or XOAUTH2, its predecessor.

    If the refusal comes as a challenge, the client sends the answer that ends the exchange (RFC
    7628 section 3.2.3).
    """
    bearer = f"auth=Bearer {token.reveal()}\x01\x01"
    if mechanism is Mechanism.OAUTHBEARER:
        name = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801, saslname
        return ClientExchange(
            mechanism,
            f"n,a={name},\x01{bearer}".encode(),
            lambda number, _: _line((b"\x01",), number),
            token,
        )
    return ClientExchange(
        mechanism,
        f"user={user}\x01{bearer}".encode(),
        lambda number, _: _line((b"",), number),
        token,
    )


def _nothing_more(_number: int, _challenge: bytes) -> bytes:
    raise OutOfTurn


def _line(lines: tuple[bytes, ...], number: int) -> bytes:
    if number >= len(lines):
        raise OutOfTurn
    return lines[number]
