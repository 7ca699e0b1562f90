"""The options of the historical command, as data."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import TypeAlias


class OptionKind(Enum):
    """What may follow an option's name."""

    FLAG = auto()
    """Nothing, or ``=yes`` and ``=no``."""
    VALUE = auto()
    """One value; said twice, both must be the same."""
    LIST = auto()
    """Values in a comma list; repeatable."""
    OPTIONAL = auto()
    """``=VALUE`` or nothing."""


class Group(StrEnum):
    """The parts of the help, in its order."""

    BASIC = "Basic"
    CLIENT = "Forwarding"
    SERVER = "Taking mail in"
    AUTH = "Authentication"
    TLS = "Encryption"
    PROCESS = "Process"
    LOGGING = "Log"
    ADMIN = "Administration"
    LATER = "Later"


class OptionUse(Enum):
    """Who obeys an option."""

    COMMAND = auto()
    """The command itself."""
    SERVICES = auto()
    """Each service that has a setting of this name."""
    NOBODY = auto()
    """Nobody yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table. ``text`` and ``default`` are what the help says."""

    name: str
    letter: str = ""
    kind: OptionKind = OptionKind.FLAG
    group: Group
    use: OptionUse = OptionUse.COMMAND
    word: str = ""
    """What stands for the value in the help."""
    text: str
    default: str = ""
    common: bool = False
    """Whether the short help shows it."""

    @property
    def setting(self) -> str:
        """Name the services' setting: ``forward-to`` is ``forward_to``."""
        return self.name.replace("-", "_")


_Row: TypeAlias = tuple[str, str, str, str, str]
"""Name and letter; the word for the value; the default; marks: ``*`` common, ``s`` for the services; text."""

_LISTS = ("LIST", "SPEC,...", "PEM,...", "-NAME,...")


def _rows(group: Group, *rows: _Row, services: bool = False) -> tuple[Option, ...]:
    return tuple(_option(group, row, services=services) for row in rows)


def _option(group: Group, row: _Row, *, services: bool) -> Option:
    names, word, default, marks, text = row
    name, _, letter = names.partition(" ")
    return Option(
        name=name,
        letter=letter,
        kind=_kind(word),
        group=group,
        use=OptionUse.SERVICES if services or "s" in marks else OptionUse.COMMAND,
        word=word,
        text=text,
        default=default,
        common="*" in marks,
    )


def _kind(word: str) -> OptionKind:
    if not word:
        return OptionKind.FLAG
    if word.startswith("["):
        return OptionKind.OPTIONAL
    return OptionKind.LIST if word in _LISTS else OptionKind.VALUE


_BASIC = _rows(
    Group.BASIC,
    ("as-server d", "", "", "*", "Take mail in and keep it in the spool, in the background."),
    (
        "as-client q",
        "HOST:PORT",
        "",
        "*",
        "Try every message of the spool once, show the log, and end.",
    ),
    (
        "as-proxy y",
        "HOST:PORT",
        "",
        "*",
        "Pass each message on to that server before answering the client.",
    ),
    (
        "spool-dir s",
        "DIR",
        "/var/spool/emailrelay if it is there, else /usr/local/var/spool/emailrelay",
        "*s",
        "Where mail is kept; made if it is missing.",
    ),
    ("help h", "", "", "*", "Show this; with --verbose, every option."),
    ("version V", "", "", "*", "Show the version; with --verbose, what this machine can do."),
)

_CLIENT = _rows(
    Group.CLIENT,
    ("forward-to o", "HOST:PORT", "", "*s", "The next server, or the path of its unix socket."),
    ("forward f", "", "", "*", "Try every message once, at the start."),
    (
        "poll O",
        "SECONDS",
        "",
        "*s",
        "Forward as mail comes in, and look through the spool at least this often.",
    ),
    (
        "forward-on-disconnect 1",
        "",
        "",
        "",
        "Forward mail as soon as it has come in, without a --poll.",
    ),
    ("immediate m", "", "", "", "Answer the client with what the next server answers."),
    (
        "client-filter Y",
        "SPEC,...",
        "",
        "s",
        "Programs that see a copy of each message, and may change it, before it is sent.",
    ),
    ("client-interface 6", "IP", "", "s", "The local address to connect from."),
    ("connection-timeout U", "SECONDS", "40", "s", "How long a connection may take to be made."),
    (
        "response-timeout T",
        "SECONDS",
        "600 for the final dot, 300 otherwise",
        "s",
        "How long to wait for each reply.",
    ),
    (
        "prompt-timeout w",
        "SECONDS",
        "20, and up to 300 for a server that is slow",
        "s",
        "How long to wait for the server's greeting.",
    ),
    (
        "forward-to-all",
        "",
        "",
        "s",
        "With --immediate: pass on to all recipients or to none (as without being said).",
    ),
    (
        "forward-to-some",
        "",
        "",
        "s",
        "With --immediate: say yes if any recipient is accepted; senders hear of the others.",
    ),
    ("no-retry", "", "", "s", "A message that was refused fails at once, whatever the refusal."),
    ("client-smtp-config c", "-NAME,...", "", "s", "SMTP extensions not to use, as in -c=-dsn."),
)

_SERVER = _rows(
    Group.SERVER,
    ("port p", "PORT", "25", "*", "The port to listen on; 0 for a free one, which the log tells."),
    (
        "interface I",
        "LIST",
        "all addresses",
        "*",
        "What to listen on: IP addresses, fd#N (inherited), paths of unix sockets.",
    ),
    ("remote-clients r", "", "", "*s", "Serve clients on other machines too."),
    ("domain D", "FQDN", "the machine's name", "s", "Our name in greetings and Received lines."),
    (
        "filter z",
        "SPEC,...",
        "",
        "*s",
        "Programs that every message must pass before it is kept, in this order.",
    ),
    ("filter-timeout W", "SECONDS", "60", "s", "How long a filter may take."),
    ("address-verifier", "SPEC", "", "s", "A program that says which recipients there are."),
    (
        "anonymous A",
        "[LIST]",
        "",
        "s",
        "What to keep to ourselves: vrfy, server, content, client; alone, all of them.",
    ),
    ("size M", "BYTES", "104857600", "s", "The largest message taken; 0 for no limit."),
    ("idle-timeout", "SECONDS", "60", "s", "A client that is silent for so long is sent away."),
    ("server-smtp-config Z", "-NAME,...", "", "s", "SMTP extensions not to offer, as in -Z=-dsn."),
)

_AUTH = _rows(
    Group.AUTH,
    ("client-auth C", "FILE", "", "", "Secrets for the next server."),
    ("client-auth-servers", "LIST", "", "", "Further servers at which they may be used."),
    ("server-auth S", "FILE", "", "", "Secrets of the clients that must say who they are."),
    ("client-auth-config", "m:LIST;...", "", "", "Which mechanisms the client side uses."),
    ("server-auth-config", "m:LIST;...", "", "", "Which mechanisms the server side offers."),
    services=True,
)

_TLS = _rows(
    Group.TLS,
    ("client-tls j", "", "", "", "Encrypt (STARTTLS) where the next server offers it."),
    ("client-tls-connection b", "", "", "", "Encrypt from the first octet (port 465)."),
    ("client-tls-required", "", "", "", "Send nothing unencrypted."),
    ("client-tls-certificate", "PEM,...", "", "", "Our certificate; given twice, key and chain."),
    ("client-tls-verify", "CA", "", "", "The authorities that must vouch for the server."),
    ("client-tls-verify-name", "NAME", "", "", "The name its certificate must have."),
    ("client-tls-server-name", "NAME", "", "", "The name to ask for (SNI)."),
    ("server-tls K", "", "", "", "Offer encryption (STARTTLS) to clients."),
    ("server-tls-connection", "", "", "", "Encrypt from the first octet."),
    ("server-tls-required", "", "", "", "Take no mail unencrypted."),
    ("server-tls-certificate", "PEM,...", "", "", "Our certificate; given twice, key and chain."),
    ("server-tls-verify", "CA", "", "", "The authorities that must vouch for clients."),
    ("tls-config 9", "LIST", "", "", "Details of the encryption."),
    services=True,
)

_PROCESS = _rows(
    Group.PROCESS,
    ("dont-serve x", "", "", "", "Take no mail in: forward only."),
    ("no-daemon t", "", "", "*", "Stay in the foreground."),
    ("check-config", "", "", "", "Check the options and the files that they name, and end."),
    ("no-smtp X", "", "", "", "Take no mail in, but serve --admin."),
    ("pid-file i", "FILE", "", "*", "Holds the number of the process while it runs."),
    ("user u", "NAME", "daemon", "*", "Who to run as when started by root."),
)

_LOGGING = _rows(
    Group.LOGGING,
    ("log l", "", "", "*", "Log what happens, not only what goes wrong."),
    ("verbose v", "", "", "*s", "Log the dialogues, and where in our own code an error came from."),
    ("debug g", "", "", "s", "The same, and what filter programs write to their standard error."),
    (
        "log-file N",
        "FILE",
        "",
        "*",
        "Log to this file instead of standard error; %d stands for the date.",
    ),
    ("log-time L", "", "", "", "Put the time in front of each line."),
    ("log-address", "", "", "", "Put the client's address in front of what it is about."),
    ("log-format", "LIST", "", "", "What to put in front: time, address."),
    ("no-syslog n", "", "", "", "Leave syslog alone."),
    ("syslog k", "[FACILITY]", "mail", "", "Log to syslog, --no-syslog notwithstanding."),
    ("close-stderr e", "", "", "", "Leave standard error once the start has succeeded."),
)

_ADMIN = _rows(
    Group.ADMIN,
    ("admin a", "PORT", "", "", "Answer administrators' commands on this port of 127.0.0.1."),
    ("admin-terminate Q", "", "", "", "One of these commands may end the server."),
)

_LATER = tuple(
    Option(name=name, letter=letter, kind=kind, group=Group.LATER, use=OptionUse.NOBODY, text=text)
    for name, letter, kind, text in (
        ("pop", "B", OptionKind.FLAG, "Serve mail with POP3."),
        ("pop-port", "E", OptionKind.VALUE, "The port of the POP3 server."),
        ("pop-auth", "F", OptionKind.VALUE, "Secrets of POP3 clients."),
        ("pop-no-delete", "G", OptionKind.FLAG, "POP3 clients delete nothing."),
        ("pop-by-name", "J", OptionKind.FLAG, "A spool directory for each POP3 client."),
        ("dnsbl", "", OptionKind.LIST, "Ask lists of unwanted clients."),
        ("delivery-dir", "", OptionKind.VALUE, "Deliver to mailboxes on this machine."),
    )
)

OPTIONS: tuple[Option, ...] = (
    *_BASIC, *_CLIENT, *_SERVER, *_AUTH, *_TLS, *_PROCESS, *_LOGGING, *_ADMIN, *_LATER,
)  # fmt: skip
"""Every option there is, in the order of the help."""

BY_NAME = MappingProxyType({option.name: option for option in OPTIONS})
BY_LETTER = MappingProxyType({option.letter: option for option in OPTIONS if option.letter})
