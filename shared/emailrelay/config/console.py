"""The settings of the console: its addresses, its users, and what a viewer can read."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from emailrelay.config.declared import Declared
from emailrelay.config.security_values import FilePath
from emailrelay.config.values import (
    Addresses,
    AtStart,
    DirectoryPath,
    Flag,
    Metavar,
    Networks,
    Port,
)


def _url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host = rest.removesuffix("/")
    if scheme not in {"http", "https"} or not host or set(host) & set("/?#@ "):
        raise ValueError("must be the address alone, as in https://mail.example.com")
    return f"{scheme}://{host.lower()}"


ConsoleUrl: TypeAlias = Annotated[str, AfterValidator(_url), Metavar("URL")]
HeaderFieldName: TypeAlias = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$"), Metavar("NAME")
]


class ConsoleOptions(Declared):
    """Console."""

    console_interface: Annotated[Addresses, AtStart()] = ["127.0.0.1"]
    """The addresses on which emailrelay-console answers: IP addresses, fd#N (an inherited socket)
    or paths of unix sockets. It speaks HTTP without TLS, so put a proxy with TLS in front of it for
    browsers on other hosts."""

    console_port: Annotated[Port, AtStart()] = 9926
    """The TCP port of emailrelay-console."""

    console_auth: Annotated[FilePath | None, AtStart()] = Field(
        default=None, examples=["/etc/emailrelay/console.auth"]
    )
    """The secrets file with the users of the console, made by emailrelay-passwd --role. Without it,
    the console does not start. It reads the file again when it changes."""

    console_url: Annotated[ConsoleUrl | None, AtStart()] = Field(
        default=None, examples=["https://mail.example.com"]
    )
    """The address of the console in browsers. Set it if a proxy stands in front: with https, the
    cookie of a session goes over TLS only. Requests for other host names are then refused."""

    console_viewers_read: Annotated[Flag, AtStart()] = False
    """Let viewers read the texts of messages. By default, only operators read them. A viewer sees
    envelopes, subjects and replies, and changes nothing."""

    console_user_header: Annotated[HeaderFieldName | None, AtStart()] = Field(
        default=None, examples=["X-Remote-User"]
    )
    """The header field in which a proxy names the user that it has signed in. The user needs a line
    in console_auth for the role. Only proxies of console_proxies on other hosts are believed, and
    a proxy on this host that connects to a unix socket in console_interface."""

    console_proxies: Annotated[Networks, AtStart()] = Field(default=[], examples=[["127.0.0.1"]])
    """The proxies that may name the user and the client's address (X-Forwarded-For). Connections
    through a unix socket in console_interface are trusted in the same way."""

    console_received: Annotated[DirectoryPath | None, AtStart()] = Field(
        default=None, examples=["var/received"]
    )
    """A directory of messages that the console shows on a page of its own, for demonstrations: what
    a smarthost of yours got. Each file N.eml is a message."""
