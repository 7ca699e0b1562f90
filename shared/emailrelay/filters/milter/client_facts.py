"""The facts about the client and the message that a milter gets, from the envelope; no I/O."""

import ipaddress
import struct
from dataclasses import dataclass

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.filters.milter import packets
from emailrelay.filters.milter.negotiation import MilterTerms, bare
from emailrelay.filters.milter.packets import Command
from emailrelay.queue_id import QueueId

_PORT = struct.Struct("!H")
_HERE = "127.0.0.1"
_HIDDEN = "0.0.0.0"  # noqa: S104 -- an address in a packet, nothing listens
"""For a client whose address is kept secret: it must not pass for one of this host."""


@dataclass(frozen=True, slots=True)
class MailFacts:
    """The message, and the name of this host."""

    message: QueueId
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
        return packets.texts(Command.MAIL, *(word.encode() for word in words))

    def rcpt(self, address: Address) -> bytes:
        """Return the packet with a recipient."""
        return packets.texts(Command.RCPT, f"<{address}>".encode())

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
                    "i": str(self.message),
                    "{auth_type}": (arrival.mechanism or "LOGIN") if user else "",
                    "{auth_authen}": user,
                    "{mail_addr}": envelope.sender,
                }
            case Command.RCPT:
                return {"{rcpt_addr}": recipient or ""}
            case Command.DATA | Command.END_OF_HEADER | Command.END_OF_BODY:
                return {"i": str(self.message)}
            case _:
                return {}


def _octets(text: str) -> bytes:
    return text.encode(errors="replace")


_NO_FACTS = ArrivalFacts()
_STAGES = (Command.CONNECT, Command.HELO, Command.MAIL)
_BODY = {
    Body.SEVEN_BIT: "7BIT",
    Body.EIGHT_BIT: "8BITMIME",
    Body.BINARY: "BINARYMIME",
}
