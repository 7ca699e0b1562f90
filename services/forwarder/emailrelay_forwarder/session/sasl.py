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
    answers: tuple[bytes | Callable[[bytes], bytes], ...]
    """The answers to the challenges, or how to make them of these."""
    secret: Secret
    """The secret: replies must not show it."""

    def answer(self, number: int, challenge: bytes) -> bytes:
        """Answer the challenge of a number (the first is 0).

        By number, not by the text of the prompt, which may be in any language.

        Raises:
            OutOfTurn: the mechanism has no such challenge.

        """
        if number >= len(self.answers):
            raise OutOfTurn
        answer = self.answers[number]
        return answer if isinstance(answer, bytes) else answer(challenge)


def by_password(mechanism: Mechanism, account: ClientAccount) -> ClientExchange:
    """Sign in with a password: PLAIN (RFC 4616), CRAM-MD5 (RFC 2195) or LOGIN (without RFC)."""
    name, password = account.id, account.secret
    match mechanism:
        case Mechanism.PLAIN:
            text = f"\0{name}\0{password.reveal()}".encode()
            return ClientExchange(mechanism, text, (), password)
        case Mechanism.LOGIN:
            lines = (name.encode(), password.reveal().encode())
            return ClientExchange(mechanism, None, lines, password)
        case Mechanism.CRAM_MD5:

            def respond(challenge: bytes) -> bytes:
                return f"{name} {account.cram_md5(challenge)}".encode()

            return ClientExchange(mechanism, None, (respond,), password)
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
        return ClientExchange(mechanism, f"n,a={name},\x01{bearer}".encode(), (b"\x01",), token)
    return ClientExchange(mechanism, f"user={user}\x01{bearer}".encode(), (b"",), token)
