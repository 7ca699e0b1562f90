"""The facts about the client and the message that a milter gets, from the envelope; no I/O."""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from emailrelay.address_pattern import split
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.filters.copy import FilteredMail
from emailrelay.filters.milter import packets
from emailrelay.filters.milter.negotiation import MilterTerms, bare
from emailrelay.filters.milter.packets import Command

_PORT = struct.Struct("!H")
_HERE = "127.0.0.1"
_HIDDEN = "0.0.0.0"  # noqa: S104 -- an address in a packet, nothing listens
"""For a client whose address is kept secret: it must not pass for one of this host."""


class SessionFacts(NamedTuple):
    """The packets and macros about a client, which its messages share."""

    connect: bytes
    helo: bytes
    macros: Mapping[Command, dict[bytes, bytes]]
    all: bytes
    """All these facts, to compare them."""


@dataclass(slots=True)
class MailFacts:
    """The message, and the name of this host."""

    about: FilteredMail
    envelope: Envelope
    size: int
    """Octets of content."""
    host: str
    session: SessionFacts = field(init=False)
    _mail: dict[bytes, bytes] = field(init=False)
    """The macros of MAIL."""
    _shared: dict[bytes, bytes] = field(init=False)
    """The macros of all stages before the recipients."""

    def __post_init__(self) -> None:
        self.session = _session(self.envelope.client, self.envelope.arrival, self.host)
        connect, helo = self.session.macros.values()
        self._mail = self._mail_macros()
        self._shared = {**connect, **helo, **self._mail}

    def mail(self) -> bytes:
        """Return the packet with the sender and the parameters of MAIL that are known."""
        words = [f"<{self.envelope.sender}>", f"SIZE={self.size}"]
        if self.envelope.body is not Body.UNKNOWN:
            words.append(f"BODY={_BODY[self.envelope.body]}")
        if self.envelope.utf8:
            words.append("SMTPUTF8")
        dsn, author = self.about.dsn, self.envelope.mail_from_auth_in
        words += [f"RET={dsn.give_back}"] if dsn.give_back else []
        words += [f"ENVID={dsn.envelope_id}"] if dsn.envelope_id else []
        words += [f"AUTH={author}"] if author else []
        return packets.texts(Command.MAIL, *map(_octets, words))

    def rcpt(self, address: Address) -> bytes:
        """Return the packet with a recipient and the parameters of RCPT."""
        asked = self.about.dsn.of(address)
        words = [f"<{address}>"]
        words += [f"NOTIFY={','.join(asked.notify)}"] if asked.notify else []
        words += [f"ORCPT={asked.original}"] if asked.original else []
        return packets.texts(Command.RCPT, *map(_octets, words))

    def macros(self, command: Command, recipient: Address | None, terms: MilterTerms) -> bytes:
        """Return the packet with the macros for a command: all that are known, or those wanted."""
        if command in _WITHOUT_MACROS:
            return b""
        values = self._macros(command, recipient)
        wanted = terms.wanted.get(command)
        if wanted is not None:
            values = {**self._shared, **values}
            values = {name: values[name] for name in _chosen(tuple(values), wanted)}
        return packets.macros(command, {name: value for name, value in values.items() if value})

    def _macros(self, command: Command, recipient: Address | None) -> dict[bytes, bytes]:
        match command:
            case Command.CONNECT | Command.HELO:
                return self.session.macros[command]
            case Command.MAIL:
                return self._mail
            case Command.RCPT if recipient is not None:
                local = recipient in self.envelope.to_local
                return {
                    b"{rcpt_addr}": _octets(recipient),
                    b"{rcpt_host}": _octets(split(recipient)[1]),
                    b"{rcpt_mailer}": b"local" if local else b"smtp",
                }
            case Command.DATA | Command.END_OF_HEADER | Command.END_OF_BODY:
                return {b"i": _octets(self.about.id)}
            case _:
                return {}

    def _mail_macros(self) -> dict[bytes, bytes]:
        envelope, user = self.envelope, self.envelope.authentication
        mechanism = (envelope.arrival or _NO_FACTS).mechanism or "LOGIN"
        return {
            b"i": _octets(self.about.id),
            b"{auth_type}": _octets(mechanism) if user else b"",
            b"{auth_authen}": _octets(user),
            b"{auth_author}": _octets(envelope.mail_from_auth_in),
            b"{mail_addr}": _octets(envelope.sender),
            b"{mail_host}": _octets(split(envelope.sender)[1]),
            b"{mail_mailer}": b"smtp",
        }


@lru_cache(maxsize=256)
def _session(client: str, arrival: ArrivalFacts | None, host: str) -> SessionFacts:
    """Return the facts about a client.

    Mail without any fact about a client comes from a program on this host.
    """
    unknown = _HERE if arrival is None else _HIDDEN
    name, family, address = _named(client.partition("%")[0] or unknown)
    facts = arrival or _NO_FACTS
    port = b"" if family == b"U" else _PORT.pack(0)
    data = name.encode() + b"\0" + family + port + address.encode() + b"\0"
    shown = address.removeprefix("IPv6:")
    host_and_address = f"{name} [{shown}]" if not name.startswith("[") else name
    macros = {
        Command.CONNECT: {
            b"j": _octets(host),
            b"{daemon_name}": b"emailrelay",
            b"v": b"E-MailRelay",
            b"_": _octets(host_and_address),
            b"{client_addr}": _octets(shown),
            b"{client_name}": _octets(name),
        },
        Command.HELO: {b"{tls_version}": _octets(facts.tls), b"{cipher}": _octets(facts.cipher)},
    }
    connect = packets.packet(Command.CONNECT, data)
    helo = packets.texts(Command.HELO, _octets(facts.helo or host))
    return SessionFacts(connect, helo, macros, connect + helo + repr(macros).encode())


@lru_cache(maxsize=256)
def _chosen(names: tuple[bytes, ...], wanted: frozenset[bytes]) -> tuple[bytes, ...]:
    return tuple(name for name in names if bare(name) in wanted)


def _named(text: str) -> tuple[str, bytes, str]:
    if text.startswith("/"):
        return "localhost", b"L", text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "localhost", b"U", ""
    name = "localhost" if address.is_loopback else f"[{text}]"
    if address.version == 4:
        return name, b"4", text
    return name, b"6", f"IPv6:{text}"


def _octets(text: str) -> bytes:
    return text.encode(errors="replace")


_WITHOUT_MACROS = frozenset({Command.HEADER, Command.BODY})
"""Many packets of these follow each other, and no macros belong to them."""
_NO_FACTS = ArrivalFacts()
_BODY = {
    Body.SEVEN_BIT: "7BIT",
    Body.EIGHT_BIT: "8BITMIME",
    Body.BINARY: "BINARYMIME",
}
