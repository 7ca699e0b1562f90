"""The facts about the client and the message that a milter gets, from the envelope; no I/O."""

import ipaddress
import struct
from dataclasses import dataclass
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class MailFacts:
    """The message, and the name of this host."""

    about: FilteredMail
    envelope: Envelope
    size: int
    """Octets of content."""
    host: str

    def connect(self) -> bytes:
        """Return the packet about the connection.

        Mail without any fact about a client comes from a program on this host.
        """
        name, family, address = self._client()
        port = b"" if family == b"U" else _PORT.pack(0)
        data = name.encode() + b"\0" + family + port + address.encode() + b"\0"
        return packets.packet(Command.CONNECT, data)

    def helo(self) -> bytes:
        """Return the packet with the client's own name."""
        return packets.texts(Command.HELO, _octets(self._arrival.helo or self.host))

    def session(self) -> bytes:
        """Return all facts that the messages of one client share."""
        stages = (Command.CONNECT, Command.HELO)
        return b"".join((self.connect(), self.helo(), *(self._known(each) for each in stages)))

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
        values = self._macros(command, recipient)
        if command in terms.wanted:
            everything = {
                name: value
                for stage in (*_STAGES, command)
                for name, value in self._macros(stage, recipient).items()
            }
            values = {
                n: v for n, v in everything.items() if bare(n.encode()) in terms.wanted[command]
            }
        return packets.macros(
            command, {_octets(name): _octets(value) for name, value in values.items() if value}
        )

    @property
    def _arrival(self) -> ArrivalFacts:
        return self.envelope.arrival or _NO_FACTS

    def _known(self, command: Command) -> bytes:
        return repr(self._macros(command, None)).encode(errors="replace")

    def _client(self) -> tuple[str, bytes, str]:
        """Return the client's name, the family of its address, and the address."""
        text = self.envelope.client.partition("%")[0]
        if not text:
            text = _HERE if self.envelope.arrival is None else _HIDDEN
        return _named(text)

    def _macros(self, command: Command, recipient: Address | None) -> dict[str, str]:
        envelope, arrival = self.envelope, self._arrival
        match command:
            case Command.CONNECT:
                name, _, address = self._client()
                shown = address.removeprefix("IPv6:")
                return {
                    "j": self.host,
                    "{daemon_name}": "emailrelay",
                    "v": "E-MailRelay",
                    "_": f"{name} [{shown}]" if not name.startswith("[") else name,
                    "{client_addr}": shown,
                    "{client_name}": name,
                }
            case Command.HELO:
                return {"{tls_version}": arrival.tls, "{cipher}": arrival.cipher}
            case Command.MAIL:
                user = envelope.authentication
                return {
                    "i": str(self.about.id),
                    "{auth_type}": (arrival.mechanism or "LOGIN") if user else "",
                    "{auth_authen}": user,
                    "{auth_author}": envelope.mail_from_auth_in,
                    "{mail_addr}": envelope.sender,
                    "{mail_host}": split(envelope.sender)[1],
                    "{mail_mailer}": "smtp",
                }
            case Command.RCPT if recipient is not None:
                return {
                    "{rcpt_addr}": recipient,
                    "{rcpt_host}": split(recipient)[1],
                    "{rcpt_mailer}": "local" if recipient in envelope.to_local else "smtp",
                }
            case Command.DATA | Command.END_OF_HEADER | Command.END_OF_BODY:
                return {"i": str(self.about.id)}
            case _:
                return {}


@lru_cache(maxsize=256)
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


_NO_FACTS = ArrivalFacts()
_STAGES = (Command.CONNECT, Command.HELO, Command.MAIL)
_BODY = {
    Body.SEVEN_BIT: "7BIT",
    Body.EIGHT_BIT: "8BITMIME",
    Body.BINARY: "BINARYMIME",
}
