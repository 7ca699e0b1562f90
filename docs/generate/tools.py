"""The manual pages of the commands for operators and programs, from their own help."""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, cast
from unittest import mock

import typer
from docs.generate.man import Entry, ManPage, Section

from emailrelay.configure import cli as configure
from emailrelay.notify import cli as notify
from emailrelay.oauth import cli as auth
from emailrelay.queue import cli as queue
from emailrelay.queue.parser import VERBS
from emailrelay.queue.state import State
from emailrelay.secrets import passwd
from emailrelay.setup import cli as setup
from emailrelay.store.postgres import cli as store
from emailrelay.submit import cli as submit
from emailrelay_filterd.trial import cli as filter_test
from emailrelay_forwarder.doctor import cli as doctor

_OPTION = re.compile(r"  (?P<term>-\S.*?)(?:  +(?P<text>\S.*))?")
_MORE = re.compile(r" {8,}(?P<text>\S.*)")
_TWICE = re.compile(r"(-\w) (\S+), (--\S+) \2")
_VERY_WIDE = "1000"
"""Columns, wide enough that nothing is wrapped: a wrapped word could not be restored."""


class _Parameter(Protocol):
    opts: list[str]
    metavar: str | None
    is_flag: bool
    hidden: bool
    help: str | None
    envvar: str | None
    param_type_name: str


class _Command(Protocol):
    help: str | None
    params: list[_Parameter]


class _Group(Protocol):
    commands: Mapping[str, _Command]


def notify_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-notify``."""
    return ManPage(
        name="emailrelay-notify",
        summary="tells senders about mail that could not be delivered",
        synopsis=("[options] [SPOOL-DIR]",),
        sections=(Section("Options", (), tuple(_entries(_help_of(notify.main)))),),
        see_also=see_also,
    )


def doctor_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-doctor``."""
    text = _help_of(doctor.main)
    about, _, rest = text.partition("positional arguments:")
    return ManPage(
        name="emailrelay-doctor",
        summary="finds out why a server does not accept mail",
        synopsis=("[options] [HOST:PORT | ROUTE]",),
        sections=(
            Section("Description", (" ".join(about.partition("ROUTE]")[2].split()),)),
            Section("Options", (), tuple(_entries(rest))),
            Section("Exit status", (" ".join(text.partition("Exit status: ")[2].split()),)),
        ),
        see_also=see_also,
    )


def setup_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-setup``."""
    text = _help_of(setup.main)
    about, _, rest = text.partition("options:\n")
    return ManPage(
        name="emailrelay-setup",
        summary="makes a machine ready for the services, and undoes it",
        synopsis=("[options]",),
        sections=(
            Section("Description", (" ".join(about.partition("[options]")[2].split()),)),
            Section("Options", (), tuple(_entries(rest.partition("Exit status: ")[0]))),
            Section("Exit status", (" ".join(text.partition("Exit status: ")[2].split()),)),
        ),
        see_also=see_also,
    )


def filter_test_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-filter-test``."""
    text = _help_of(filter_test.main)
    return ManPage(
        name="emailrelay-filter-test",
        summary="tries filters on a message",
        synopsis=("[options] SPEC...",),
        sections=(
            Section(
                "Description",
                (
                    "Runs filters on a copy of a message, as the relay does, and prints the verdict, the reply for the client and the changes.",
                    "Stores nothing and sends nothing.",
                ),
            ),
            Section("Options", (), tuple(_entries(text.partition("Exit status: ")[0]))),
            Section("Exit status", (" ".join(text.partition("Exit status: ")[2].split()),)),
        ),
        see_also=see_also,
    )


def submit_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-submit``."""
    text = _help_of(submit.main)
    return ManPage(
        name="emailrelay-submit",
        summary="puts a message into the spool",
        synopsis=("[options] [RECIPIENT]... < MESSAGE",),
        sections=(
            Section("Options", (), tuple(_entries(text))),
            Section(
                "Other names",
                (
                    "Under the name sendmail it does the same; under the name mailq it shows the queue.",
                ),
            ),
            Section("Exit status", (" ".join(text.partition("Exit status: ")[2].split()),)),
        ),
        see_also=see_also,
    )


def passwd_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-passwd``."""
    text = _help_of(passwd.main)
    return ManPage(
        name="emailrelay-passwd",
        summary="makes an entry for the secrets file",
        synopsis=("[options] [NAME] < PASSWORD",),
        sections=(
            Section(
                "Description",
                (
                    "Reads the password from the terminal, or from the first line of standard input.",
                    "With a NAME it prints the complete line, otherwise only the secret. By default the secret is a scrypt hash, for PLAIN and LOGIN.",
                ),
            ),
            Section("Options", (), tuple(_entries(text))),
            Section("Exit status", (" ".join(text.partition("Exit status: ")[2].split()),)),
        ),
        see_also=see_also,
    )


def queue_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-queue``."""
    states = ", ".join(state.value for state in State)
    return ManPage(
        name="emailrelay-queue",
        summary="shows the queue, and holds, retries or deletes its messages",
        synopsis=("COMMAND [options] [ID]...",),
        sections=(
            Section(
                "Description",
                (
                    "Choose messages by id, by --from, --to, --state and --older (a message must match all of them), or by --all.",
                    f"The states are {states}.",
                ),
            ),
            *(_queue_section(name) for name in VERBS),
        ),
        see_also=see_also,
    )


def _queue_section(name: str) -> Section:
    text = _help_of(lambda words: queue.main([name, *words]))
    about = VERBS[name].summary
    return Section(name, (about,), tuple(_entries(text.partition(about)[2])))


def store_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-store``."""
    group = cast("_Group", typer.main.get_command(store.app))
    return ManPage(
        name="emailrelay-store",
        summary="makes the tables of a database store, brings them up to date, examines it",
        synopsis=("init|migrate|check [-c FILE] [--store URL]",),
        sections=tuple(_section(name, command) for name, command in group.commands.items()),
        see_also=see_also,
    )


def auth_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-auth``."""
    group = cast("_Group", typer.main.get_command(auth.app))
    return ManPage(
        name="emailrelay-auth",
        summary="signs in to accounts that use OAuth2, and shows their status",
        synopsis=("login|refresh [options] ACCOUNT", "status [options]"),
        sections=tuple(_section(name, command) for name, command in group.commands.items()),
        see_also=see_also,
    )


def config_page(see_also: Sequence[str]) -> ManPage:
    """Return the page of ``emailrelay-config``."""
    group = cast("_Group", typer.main.get_command(configure.app))
    return ManPage(
        name="emailrelay-config",
        summary="makes, checks and shows the settings of a host",
        synopsis=("init [options]", "check [options] [SERVICE]...", "show [options]"),
        sections=(
            *(_section(name, command) for name, command in group.commands.items()),
            Section(
                "Exit status",
                (),
                (
                    Entry("0", "Done; check: there is no problem."),
                    Entry("1", "check: there are problems; init: the doctor found some."),
                    Entry("64", "An option is wrong or missing."),
                    Entry("78", "The settings have problems, or a file cannot be written."),
                ),
            ),
        ),
        see_also=see_also,
    )


def _section(name: str, command: _Command) -> Section:
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    about = (command.help or "").strip()
    return Section(name, (about,), tuple(_entry(parameter) for parameter in options))


def _entry(parameter: _Parameter) -> Entry:
    opts = sorted(parameter.opts, key=len)
    word = parameter.metavar or opts[-1].removeprefix("--").upper()
    term = ", ".join(opts) + ("" if parameter.is_flag else f" {word}")
    variable = f" Also {parameter.envvar}." if parameter.envvar else ""
    return Entry(term, (parameter.help or "") + variable)


def _help_of(main: Callable[[Sequence[str]], int]) -> str:
    told = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": _VERY_WIDE}),
        contextlib.redirect_stdout(told),
        contextlib.suppress(SystemExit),
    ):
        main(["--help"])
    return told.getvalue()


def _entries(text: str) -> Iterator[Entry]:
    """Read the options of a help text: each on its own line, with its meaning after two blanks."""
    term, said = "", list[str]()
    for line in text.splitlines():
        if option := _OPTION.fullmatch(line):
            if term:
                yield Entry(term, " ".join(said))
            # Python 3.13 writes "-s, --long X" where 3.11 writes "-s X, --long X".
            term = _TWICE.sub(r"\1, \3 \2", option["term"])
            said = [option["text"]] if option["text"] else []
        elif term and (more := _MORE.fullmatch(line)):
            said.append(more["text"])
    if term:
        yield Entry(term, " ".join(said))
