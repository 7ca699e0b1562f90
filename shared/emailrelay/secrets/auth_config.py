"""The permitted authentication mechanisms: ``m:plain,login;x:cram-md5;a:plain;d:login``."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Mechanism(StrEnum):
    """A SASL mechanism, spelled as in an AUTH command."""

    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    CRAM_MD5 = "CRAM-MD5"
    XOAUTH2 = "XOAUTH2"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """The value of ``--server-auth-config`` or ``--client-auth-config``."""

    named: tuple[Mechanism, ...] | None = None
    """``m:``: only these, in this order."""
    never: tuple[Mechanism, ...] = ()
    """``x:``: never these."""
    encrypted: tuple[Mechanism, ...] | None = None
    """``a:``: only these, in this order, under TLS."""
    not_encrypted: tuple[Mechanism, ...] = ()
    """``d:``: not these under TLS."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the setting; an empty text means no restriction.

        Raises:
            ValueError: the text says what is wrong.

        """
        found: dict[str, tuple[Mechanism, ...]] = {}
        for item in filter(None, (part.strip() for part in text.split(";"))):
            letter, colon, words = item.partition(":")
            if letter not in {"m", "x", "a", "d"} or not colon or letter in found:
                raise ValueError(
                    "needs items as in m:plain,login;x:cram-md5 (m, x, a, d, each once)"
                )
            found[letter] = tuple(_mechanism(word) for word in words.split(",") if word.strip())
        return cls(
            named=found.get("m"),
            never=found.get("x", ()),
            encrypted=found.get("a"),
            not_encrypted=found.get("d", ()),
        )

    def choose(self, possible: Iterable[Mechanism], *, encrypted: bool) -> tuple[Mechanism, ...]:
        """Return the permitted ones of ``possible``, the preferred first."""
        order = self.encrypted if encrypted and self.encrypted is not None else self.named
        barred = {*self.never, *(self.not_encrypted if encrypted else ())}
        offered = tuple(possible)
        chosen = offered if order is None else tuple(m for m in order if m in offered)
        return tuple(mechanism for mechanism in chosen if mechanism not in barred)


def _mechanism(word: str) -> Mechanism:
    try:
        return Mechanism(word.strip().upper())
    except ValueError:
        known = ", ".join(mechanism.lower() for mechanism in Mechanism)
        raise ValueError(f"{word.strip()}: is not one of {known}") from None
