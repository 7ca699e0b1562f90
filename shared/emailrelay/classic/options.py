"""The options of the historical command, as a table."""

from collections.abc import Iterator
from types import MappingProxyType

from emailrelay.classic.option import (
    Option,
    OptionGroup,
    OptionKind,
    OptionUse,
    described_by_setting,
)


def _own(group: OptionGroup, *rows: tuple[str, str, str, str]) -> Iterator[Option]:
    """Yield options with their own texts.

    A row has the name, letter and ``*`` for a common option; the word for the value; the default; the
    description.
    """
    for names, word, default, text in rows:
        name, letter, common = _names(names)
        yield Option(
            name=name,
            letter=letter,
            kind=_kind(word),
            group=group,
            word=word,
            default=default,
            common=common,
            own_text=text,
        )


def _settings(
    group: OptionGroup, *rows: str, use: OptionUse = OptionUse.SERVICES
) -> Iterator[Option]:
    """Yield options that are described by settings: the name, letter and ``*`` of each."""
    for row in rows:
        name, letter, common = _names(row)
        yield described_by_setting(name, letter, group=group, use=use, common=common)


def _names(row: str) -> tuple[str, str, bool]:
    name, *rest = row.split()
    letters = [word for word in rest if word != "*"]
    return name, "".join(letters), "*" in rest


def _kind(word: str) -> OptionKind:
    if not word:
        return OptionKind.FLAG
    if word.startswith("["):
        return OptionKind.OPTIONAL
    return OptionKind.LIST if word == "LIST" else OptionKind.VALUE


def _basic() -> Iterator[Option]:
    group = OptionGroup.BASIC
    yield from _own(
        group,
        ("as-server d *", "", "", "Receive mail and keep it in the spool, in the background."),
        ("as-client q *", "HOST:PORT", "", "Try every message once, show the log, and exit."),
        (
            "as-proxy y *",
            "HOST:PORT",
            "",
            "Forward each message to this server before the client gets its answer.",
        ),
    )
    yield from _settings(group, "spool-dir s *")
    yield from _own(
        group,
        ("help h *", "", "", "Show this help; with --verbose, all options."),
        ("version V *", "", "", "Show the version; with --verbose, the capabilities too."),
    )


def _client() -> Iterator[Option]:
    group = OptionGroup.CLIENT
    yield from _settings(group, "forward-to o *")
    yield from _own(group, ("forward f *", "", "", "Try every message once, at the start."))
    yield from _settings(group, "poll O *")
    yield from _own(
        group,
        ("forward-on-disconnect 1", "", "", "Forward mail when it arrives, without --poll."),
        ("immediate m", "", "", "Give the client the next server's answer."),
    )
    yield from _settings(
        group,
        "client-filter Y",
        "client-interface 6",
        "connection-timeout U",
        "response-timeout T",
        "prompt-timeout w",
        "forward-to-all",
        "forward-to-some",
        "no-retry",
        "client-smtp-config c",
    )


def _server() -> Iterator[Option]:
    group = OptionGroup.SERVER
    # The command itself listens, and the receiver gets the sockets.
    yield from _settings(group, "port p *", "interface I *", use=OptionUse.COMMAND)
    yield from _settings(
        group,
        "remote-clients r *",
        "domain D",
        "filter z *",
        "filter-timeout W",
        "address-verifier",
        "anonymous A",
        "size M",
        "idle-timeout",
        "server-smtp-config Z",
    )


def _auth_and_tls() -> Iterator[Option]:
    yield from _settings(
        OptionGroup.AUTH,
        "client-auth C",
        "client-auth-servers",
        "server-auth S",
        "client-auth-config",
        "server-auth-config",
    )
    yield from _settings(
        OptionGroup.TLS,
        "client-tls j",
        "client-tls-connection b",
        "client-tls-required",
        "client-tls-certificate",
        "client-tls-verify",
        "client-tls-verify-name",
        "client-tls-server-name",
        "server-tls K",
        "server-tls-connection",
        "server-tls-required",
        "server-tls-certificate",
        "server-tls-verify",
        "tls-config 9",
    )


def _process() -> Iterator[Option]:
    return _own(
        OptionGroup.PROCESS,
        ("dont-serve x", "", "", "Receive no mail; only forward."),
        ("no-daemon t *", "", "", "Stay in the foreground."),
        ("check-config", "", "", "Check the options and the files that they name, and exit."),
        ("no-smtp X", "", "", "Receive no mail, but serve --admin."),
        ("pid-file i *", "FILE", "", "Write the process id to this file while the program runs."),
        ("user u *", "NAME", "daemon", "Run as this user when started by root."),
    )


def _logging() -> Iterator[Option]:
    group = OptionGroup.LOGGING
    yield from _own(group, ("log l *", "", "", "Log all events, not only warnings and errors."))
    yield from _settings(group, "verbose v *", "debug g")
    yield from _own(
        group,
        (
            "log-file N *",
            "FILE",
            "",
            "Log to this file instead of standard error; %d stands for the date.",
        ),
        ("log-time L", "", "", "Begin each line with the time."),
        ("log-address", "", "", "Begin lines about a client with its address."),
        ("log-format", "LIST", "", "Begin lines with these: time, address."),
        ("no-syslog n", "", "", "Do not log to syslog."),
        ("syslog k", "[FACILITY]", "mail", "Log to syslog, even with --no-syslog."),
        ("close-stderr e", "", "", "Close standard error after a successful start."),
    )


def _admin() -> Iterator[Option]:
    return _own(
        OptionGroup.ADMIN,
        ("admin a", "PORT", "", "Answer administrators' commands on this port of 127.0.0.1."),
        ("admin-terminate Q", "", "", "Allow administrators to end the server."),
    )


def _later() -> Iterator[Option]:
    for name, letter, kind, text in (
        ("pop", "B", OptionKind.FLAG, "Serve mail with POP3."),
        ("pop-port", "E", OptionKind.VALUE, "The port of the POP3 server."),
        ("pop-auth", "F", OptionKind.VALUE, "The secrets of POP3 clients."),
        ("pop-no-delete", "G", OptionKind.FLAG, "Ignore deletions by POP3 clients."),
        ("pop-by-name", "J", OptionKind.FLAG, "Use a spool directory for each POP3 client."),
        ("dnsbl", "", OptionKind.LIST, "Ask DNS lists of unwanted clients."),
        ("delivery-dir", "", OptionKind.VALUE, "Deliver to mailboxes on this machine."),
    ):
        yield Option(
            name=name,
            letter=letter,
            kind=kind,
            group=OptionGroup.LATER,
            use=OptionUse.NONE,
            own_text=text,
        )


OPTIONS: tuple[Option, ...] = (
    *_basic(), *_client(), *_server(), *_auth_and_tls(), *_process(), *_logging(), *_admin(), *_later(),
)  # fmt: skip
"""Every option, in the order of the help."""

BY_NAME = MappingProxyType({option.name: option for option in OPTIONS})
BY_LETTER = MappingProxyType({option.letter: option for option in OPTIONS if option.letter})
