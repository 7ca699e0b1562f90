"""The kinds of values of options, each with its unit and its check."""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from emailrelay import host_port
from emailrelay.filters.spec import split_list
from emailrelay.host_port import HostPort

SERVER_EXTENSIONS = ("pipelining", "8bitmime", "smtputf8", "dsn", "chunking")
CLIENT_EXTENSIONS = ("pipelining", "8bitmime", "smtputf8", "dsn", "size")
_ANONYMITIES = ("vrfy", "server", "content", "client")


@dataclass(frozen=True, slots=True)
class Metavar:
    """The word for a value of this kind in help and reference: its unit or shape."""

    word: str


@dataclass(frozen=True, slots=True)
class Alone:
    """The option may stand without a value, and then means ``value``."""

    value: str


@dataclass(frozen=True, slots=True)
class AtStart:
    """The option takes effect at the start only: a reload does not change it."""


def comma_list(value: object) -> object:
    """Split a text at its commas; return a list (of the file) unchanged, with its commas.

    Commas between double quotes do not count.
    """
    if isinstance(value, str):
        return [part for part in split_list(value) if part]
    return value


_MAIL_SERVICES = {"smtp": 25, "submission": 587, "submissions": 465}
"""For machines without /etc/services, such as small containers (RFC 6409 3.1, RFC 8314 7.3)."""


def destination(text: str) -> str:
    """Return ``HOST:NUMBER``, ``[IPV6]:NUMBER`` or ``/PATH``; raise ValueError with advice.

    It looks up a service name (``mail.isp.net:smtp``), so that a misspelt one prevents startup.
    """
    address = host_port.parse(text)
    if isinstance(address, HostPort) and not address.port.isdigit():
        address = replace(address, port=_port_of(address.port))
    return str(address)


def _port_of(service: str) -> str:
    try:
        return str(socket.getservbyname(service, "tcp"))
    except OSError as error:
        if service in _MAIL_SERVICES:
            return str(_MAIL_SERVICES[service])
        raise ValueError(
            f"there is no service named {service!r}; write the port's number"
        ) from error


def _anonymities(words: list[str]) -> list[str]:
    wrong = [word for word in words if word not in _ANONYMITIES]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not one of {', '.join(_ANONYMITIES)}")
    return words


def left_out(words: Sequence[str]) -> frozenset[str]:
    """Return the SMTP extensions, in lower case, that a list of ``-NAME`` excludes."""
    return frozenset(word[1:] for word in words if word.startswith("-"))


def _extensions(known: Sequence[str]) -> Callable[[list[str]], list[str]]:
    def read(words: list[str]) -> list[str]:
        words = [word.lower().removeprefix("+") for word in words]
        wrong = [word for word in words if word.removeprefix("-") not in known]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not one of {', '.join(known)}, or -NAME")
        return words

    return read


def _domain(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}|\[[A-Za-z0-9.:]+\]", text):
        raise ValueError("must be a domain name, or an address in brackets as in [192.0.2.1]")
    return text


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ValueError("must be an IP address") from error


def _networks(texts: list[str]) -> list[str]:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError as error:
            words = "must be IP addresses or networks, as in 192.168.0.0/24 or fd00::/8"
            raise ValueError(f"{text}: {words}") from error
    return texts


def not_empty(kind: str) -> BeforeValidator:
    """Return the validator that refuses an empty text as the path of a ``kind`` of file."""

    def validate(value: object) -> object:
        # Path("") is the current directory, but an empty variable is a mistake.
        if value == "":
            raise ValueError(f"must name a {kind}")
        return value

    return BeforeValidator(validate)


def absolute(path: Path) -> Path:
    """Return the absolute path."""
    # Workers and filter programs must not depend on the directory of the start.
    return path.absolute()


Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False), Metavar("SECONDS")]
PositiveCount: TypeAlias = Annotated[int, Field(ge=1), Metavar("N")]
Count: TypeAlias = Annotated[int, Field(ge=0), Metavar("N")]
Bytes: TypeAlias = Annotated[int, Field(ge=0), Metavar("BYTES")]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535), Metavar("PORT")]
DirectoryPath: TypeAlias = Annotated[
    Path, not_empty("directory"), AfterValidator(absolute), Metavar("DIR")
]
Destination: TypeAlias = Annotated[str, AfterValidator(destination), Metavar("HOST:PORT")]
Destinations: TypeAlias = Annotated[
    list[Destination], BeforeValidator(comma_list), Metavar("HOST:PORT,...")
]
Domain: TypeAlias = Annotated[str, AfterValidator(_domain), Metavar("FQDN")]
IpAddress: TypeAlias = Annotated[str, AfterValidator(_ip), Metavar("IP")]
ServiceNames: TypeAlias = Annotated[
    list[Literal["receiver", "filterd", "forwarder"]],
    BeforeValidator(comma_list),
    Metavar("LIST"),
]
Addresses: TypeAlias = Annotated[list[str], BeforeValidator(comma_list), Metavar("LIST")]
Networks: TypeAlias = Annotated[
    list[str], BeforeValidator(comma_list), AfterValidator(_networks), Metavar("LIST")
]
Filters: TypeAlias = Annotated[list[str], BeforeValidator(comma_list), Metavar("SPEC,...")]
Anonymities: TypeAlias = Annotated[
    list[str],
    BeforeValidator(comma_list),
    AfterValidator(_anonymities),
    Metavar("LIST"),
    Alone(",".join(_ANONYMITIES)),
]
ServerExtensions: TypeAlias = Annotated[
    list[str],
    BeforeValidator(comma_list),
    AfterValidator(_extensions(SERVER_EXTENSIONS)),
    Metavar("-NAME,..."),
]
ClientExtensions: TypeAlias = Annotated[
    list[str],
    BeforeValidator(comma_list),
    AfterValidator(_extensions(CLIENT_EXTENSIONS)),
    Metavar("-NAME,..."),
]
Flag: TypeAlias = Annotated[bool, Metavar("yes|no"), Alone("yes")]
