"""The options of the legacy command, as a table."""

from types import MappingProxyType

from emailrelay.classic.option import Option, OptionGroup, OptionKind, OptionUse, of_setting
from emailrelay.terminal.common_options import HELP, VERSION

_Row = tuple[str] | tuple[str, str, str, str]
"""The name, letter and ``*`` for a common option. An option that is not a setting of the services
also has the word for its value, its default and its description."""


def _rows(
    group: OptionGroup, *rows: _Row, use: OptionUse = OptionUse.SERVICES
) -> tuple[Option, ...]:
    return tuple(_option(group, row, use) for row in rows)


def _option(group: OptionGroup, row: _Row, use: OptionUse) -> Option:
    name, *marks = row[0].split()
    common = "*" in marks
    letter = "".join(marks).removesuffix("*")
    if len(row) == 1:
        return of_setting(name, letter, group=group, use=use, common=common)
    _, word, default, text = row
    return Option(
        name=name,
        letter=letter,
        kind=_kind(word),
        group=group,
        use=OptionUse.NONE if use is OptionUse.NONE else OptionUse.COMMAND,
        word=word,
        default=default,
        common=common,
        own_text=text,
    )


def _kind(word: str) -> OptionKind:
    if not word:
        return OptionKind.FLAG
    if word.startswith("["):
        return OptionKind.OPTIONAL
    return OptionKind.LIST if word == "LIST" else OptionKind.VALUE


_BASIC = _rows(
    OptionGroup.BASIC,
    ("as-server d *", "", "", "Receive mail and keep it in the spool, in the background."),
    ("as-client q *", "HOST:PORT", "", "Try every message once, show the log, and exit."),
    ("as-proxy y *", "HOST:PORT", "", "Forward each message before the client gets its answer."),
    ("spool-dir s *",),
    ("help h *", "", "", f"{HELP.text} With --verbose, show all options."),
    ("version V *", "", "", VERSION.text),
)

_CLIENT = _rows(
    OptionGroup.CLIENT,
    ("forward-to o *",),
    ("forward f *", "", "", "Try every message once, at the start."),
    ("poll O *",),
    ("forward-on-disconnect 1", "", "", "Forward mail when it arrives, without --poll."),
    ("immediate m", "", "", "Give the client the next server's answer."),
    ("client-filter Y",),
    ("client-interface 6",),
    ("connection-timeout U",),
    ("response-timeout T",),
    ("prompt-timeout w",),
    ("forward-to-all",),
    ("forward-to-some",),
    ("no-retry",),
    ("client-smtp-config c",),
)

_LISTENING = _rows(  # The command itself listens, and the receiver gets the sockets.
    OptionGroup.SERVER, ("port p *",), ("interface I *",), use=OptionUse.COMMAND
)

_SERVER = _rows(
    OptionGroup.SERVER,
    ("remote-clients r *",),
    ("domain D",),
    ("filter z *",),
    ("filter-timeout W",),
    ("address-verifier",),
    ("verify-recipients",),
    ("anonymous A",),
    ("size M",),
    ("idle-timeout",),
    ("server-smtp-config Z",),
)

_AUTH = _rows(
    OptionGroup.AUTH,
    ("client-auth C",),
    ("client-auth-servers",),
    ("server-auth S",),
    ("client-auth-config",),
    ("server-auth-config",),
)

_TLS = _rows(
    OptionGroup.TLS,
    ("client-tls j",),
    ("client-tls-connection b",),
    ("client-tls-required",),
    ("client-tls-certificate",),
    ("client-tls-verify",),
    ("client-tls-verify-name",),
    ("client-tls-server-name",),
    ("server-tls K",),
    ("server-tls-connection",),
    ("server-tls-required",),
    ("server-tls-certificate",),
    ("server-tls-verify",),
    ("tls-config 9",),
)

_PROCESS = _rows(
    OptionGroup.PROCESS,
    ("dont-serve x", "", "", "Receive no mail; only forward."),
    ("no-daemon t *", "", "", "Stay in the foreground."),
    ("check-config", "", "", "Check the options and the files that they name, and exit."),
    ("no-smtp X", "", "", "Receive no mail, but serve --admin."),
    ("pid-file i *", "FILE", "", "Write the process id to this file while the program runs."),
    ("user u *", "NAME", "daemon", "Run as this user when started by root."),
    ("runtime-dir",),
)

_LOGGING = _rows(
    OptionGroup.LOGGING,
    ("log l *", "", "", "Log all events, not only warnings and errors."),
    ("verbose v *",),
    ("debug g",),
    ("log-file N *", "FILE", "", "Log to this file, not to standard error; %d means the date."),
    ("log-time L", "", "", "Begin each line with the time."),
    ("log-mail-addresses",),
    ("log-address", "", "", "Begin lines about a client with its address."),
    ("log-format", "LIST", "", "Begin lines with these: time, address."),
    ("no-syslog n", "", "", "Do not log to syslog."),
    ("syslog k", "[FACILITY]", "mail", "Log to syslog, even with --no-syslog."),
    ("close-stderr e", "", "", "Close standard error after a successful start."),
)

_ADMIN = _rows(
    OptionGroup.ADMIN,
    ("admin a", "PORT", "", "Answer administrators' commands on this port of 127.0.0.1."),
    ("admin-terminate Q", "", "", "Allow administrators to end the server."),
)

_LATER = _rows(
    OptionGroup.LATER,
    ("pop B", "", "", "Serve mail with POP3."),
    ("pop-port E", "PORT", "", "The port of the POP3 server."),
    ("pop-auth F", "FILE", "", "The secrets of POP3 clients."),
    ("pop-no-delete G", "", "", "Ignore deletions by POP3 clients."),
    ("pop-by-name J", "", "", "Use a spool directory for each POP3 client."),
    ("dnsbl", "LIST", "", "Ask DNS lists of unwanted clients."),
    ("delivery-dir", "DIR", "", "Deliver to mailboxes on this machine."),
    use=OptionUse.NONE,
)

OPTIONS: tuple[Option, ...] = (
    *_BASIC, *_CLIENT, *_LISTENING, *_SERVER, *_AUTH, *_TLS, *_PROCESS, *_LOGGING, *_ADMIN, *_LATER,
)  # fmt: skip
"""Every option, in the order of the help."""

BY_NAME = MappingProxyType({option.name: option for option in OPTIONS})
BY_LETTER = MappingProxyType({option.letter: option for option in OPTIONS if option.letter})
