"""The kinds of values of options about certificates, secrets and login mechanisms."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from emailrelay.config.values import Metavar, comma_list
from emailrelay.secrets import AuthConfig

DEFAULT_AUTHORITIES = "<default>"
"""Means the authorities that the system trusts."""
NO_VERIFICATION = "<none>"
"""Means no verification of servers at all, not even before a password is sent."""


def _absolute(path: Path) -> Path:
    return path.absolute()


def _given(value: object) -> object:
    if value == "":
        raise ValueError("must name a file")
    return value


def _key_and_chain(paths: list[Path]) -> list[Path]:
    if len(paths) > 2:
        raise ValueError("must be one file, or two: key and chain")
    return paths


def _client_authorities(value: str) -> str:
    if not value:
        raise ValueError(f"must name a file, or be {DEFAULT_AUTHORITIES}")
    return value if value == DEFAULT_AUTHORITIES else str(Path(value).absolute())


def _server_authorities(value: str) -> str:
    words = (DEFAULT_AUTHORITIES, NO_VERIFICATION)
    if not value:
        raise ValueError(f"must name a file or directory, or be {' or '.join(words)}")
    return value if value in words else str(Path(value).absolute())


def _auth_config(text: str) -> str:
    AuthConfig.parse(text)
    return text


FilePath: TypeAlias = Annotated[
    Path, BeforeValidator(_given), AfterValidator(_absolute), Metavar("FILE")
]
Certificate: TypeAlias = Annotated[
    list[Annotated[Path, AfterValidator(_absolute)]],
    BeforeValidator(comma_list),
    AfterValidator(_key_and_chain),
    Metavar("PEM,..."),
]
ClientAuthorities: TypeAlias = Annotated[str, AfterValidator(_client_authorities), Metavar("CA")]
ServerAuthorities: TypeAlias = Annotated[str, AfterValidator(_server_authorities), Metavar("CA")]
Mechanisms: TypeAlias = Annotated[str, AfterValidator(_auth_config), Metavar("MECHANISMS")]
