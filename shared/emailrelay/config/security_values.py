"""The kinds of values of options about certificates, secrets and login mechanisms."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from emailrelay.config.values import Metavar, absolute, comma_list, not_empty
from emailrelay.secrets import AuthConfig

DEFAULT_AUTHORITIES = "<default>"
"""Means the authorities that the system trusts."""
NO_VERIFICATION = "<none>"
"""Means no verification of servers at all, not even before a password is sent."""


def _key_and_chain(paths: list[Path]) -> list[Path]:
    if len(paths) > 2:
        raise ValueError("must be one file, or two: key and chain")
    return paths


def _authorities(kind: str, *words: str) -> AfterValidator:
    def validate(value: str) -> str:
        if not value:
            raise ValueError(f"must name a {kind}, or be {' or '.join(words)}")
        return value if value in words else str(absolute(Path(value)))

    return AfterValidator(validate)


def _auth_config(text: str) -> str:
    AuthConfig.parse(text)
    return text


FilePath: TypeAlias = Annotated[Path, not_empty("file"), AfterValidator(absolute), Metavar("FILE")]
Certificate: TypeAlias = Annotated[
    list[Annotated[Path, AfterValidator(absolute)]],
    BeforeValidator(comma_list),
    AfterValidator(_key_and_chain),
    Metavar("PEM,..."),
]
ClientAuthorities: TypeAlias = Annotated[
    str, _authorities("file", DEFAULT_AUTHORITIES), Metavar("CA")
]
ServerAuthorities: TypeAlias = Annotated[
    str, _authorities("file or directory", DEFAULT_AUTHORITIES, NO_VERIFICATION), Metavar("CA")
]
Mechanisms: TypeAlias = Annotated[str, AfterValidator(_auth_config), Metavar("MECHANISMS")]
