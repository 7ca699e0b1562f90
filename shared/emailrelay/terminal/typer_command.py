"""Commands made with Typer: the options that all have, their help, and exit codes for errors."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer
from typer.core import TyperCommand, TyperGroup

from emailrelay.terminal import common_options
from emailrelay.terminal.command_line import ARGUMENTS, OPTIONS, print_version
from emailrelay.terminal.common_options import GENERAL, HELP, VERSION
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage, help_width, render
from emailrelay.terminal.run_command import CommandLineError, run_command


def option_of(entry: HelpEntry) -> Any:
    """Return the declaration of an option that several commands have."""
    return typer.Option(*entry.names, metavar=entry.word or None, help=entry.text)


SpoolDir = Annotated[Path | None, option_of(common_options.SPOOL_DIR)]
StoreUrl = Annotated[str | None, option_of(common_options.STORE)]
Config = Annotated[str | None, option_of(common_options.CONFIG)]
Json = Annotated[bool, option_of(common_options.JSON)]
_STORE_TITLE = "Store and settings"
_OF_STORE = frozenset({"--config", "--spool-dir", "--store"})


class _Parameter(Protocol):
    opts: list[str]
    secondary_opts: list[str]
    metavar: str | None
    is_flag: bool
    hidden: bool
    help: str | None
    name: str
    nargs: int
    required: bool
    param_type_name: str


class _Command(Protocol):
    """The parts of a command that Typer makes for its help."""

    help: str | None
    epilog: str | None
    params: list[_Parameter]


class _OneCommand(TyperCommand):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See ``Command.format_help``."""
        formatter.write(render(_page(ctx.command_path, cast("_Command", self)), help_width()))


class _Commands(TyperGroup):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See ``Command.format_help``."""
        formatter.write(render(_group_page(ctx.info_name, self), help_width()))


def new_app(
    program: str,
    summary: str,
    *,
    statuses: tuple[tuple[int, str], ...],
    examples: tuple[str, ...],
) -> typer.Typer:
    """Return an application without commands, with the options ``--version`` and ``--help``.

    ``statuses`` and ``examples`` are those of its ``HelpPage``.
    """
    app = typer.Typer(
        name=program,
        cls=_Commands,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # it would take [[account]] in a help text for markup
    )

    def show_version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
        if asked:
            print_version(program)
            raise typer.Exit

    def common(
        *,
        version: Annotated[
            bool,
            typer.Option(*VERSION.names, callback=show_version, is_eager=True, help=VERSION.text),
        ] = False,
    ) -> None:
        pass

    context = {"help_option_names": list(HELP.names), "obj": statuses}
    app.callback(help=summary, epilog="\n".join(examples), context_settings=context)(common)
    return app


def add_command(
    app: typer.Typer,
    function: Callable[..., int],
    *examples: str,
    name: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> None:
    """Add a command to an application, with examples for its help."""
    settings = {"help_option_names": list(HELP.names), **(context or {})}
    command = app.command(
        name, cls=_OneCommand, epilog="\n".join(examples), context_settings=settings
    )
    command(function)


def help_page(app: typer.Typer) -> HelpPage:
    """Return the help of an application."""
    group = typer.main.get_command(app)
    return _group_page(app.info.name or "", cast("TyperGroup", group))


def _group_page(program: str, group: TyperGroup) -> HelpPage:
    page = _page(program, cast("_Command", group))
    verbs = tuple(
        _page(f"{program} {name}", cast("_Command", command))
        for name, command in group.commands.items()
    )
    return page._replace(
        forms=("COMMAND [options]",),
        verbs=verbs,
        statuses=group.context_settings["obj"],
    )


def _page(program: str, command: _Command) -> HelpPage:
    titles: dict[str, list[HelpEntry]] = {ARGUMENTS: [], OPTIONS: [], _STORE_TITLE: []}
    arguments = ""
    general = [HELP]
    for parameter in command.params:
        entry = _entry(parameter)
        if parameter.param_type_name == "argument":
            titles[ARGUMENTS].append(entry)
            word = entry.names[0] + ("..." if parameter.nargs == -1 else "")
            arguments += f" {word}" if parameter.required else f" [{word}]"
        elif entry.names == VERSION.names:
            general.append(entry)
        elif not parameter.hidden:
            title = _STORE_TITLE if entry.names[-1] in _OF_STORE else OPTIONS
            titles[title].append(entry)
    titles[GENERAL] = general
    return HelpPage(
        program,
        forms=(f"[options]{arguments}",),
        about=tuple(" ".join(part.split()) for part in (command.help or "").split("\n\n")),
        groups=tuple(HelpGroup(title, tuple(found)) for title, found in titles.items() if found),
        examples=tuple((command.epilog or "").splitlines()),
    )


def _entry(parameter: _Parameter) -> HelpEntry:
    names = (*sorted(parameter.opts, key=len), *parameter.secondary_opts)
    word = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        return HelpEntry((word,), parameter.help or "")
    return HelpEntry(names, parameter.help or "", "" if parameter.is_flag else word)


def run(
    app: typer.Typer,
    argv: Sequence[str] | None,
    *,
    program: str,
    aborted: str,
    failed: int = os.EX_TEMPFAIL,
) -> int:
    """Run the command line; return the exit status (sysexits.h).

    ``aborted`` is printed after a "no" to a question, ``failed`` is the status of a ``RelayError``
    that has no other.
    """
    words = sys.argv[1:] if argv is None else list(argv)

    def act() -> int:
        if not words:
            raise CommandLineError("name a command; --help lists them")
        try:
            return app(words, prog_name=program, standalone_mode=False) or os.EX_OK
        except typer.TyperException as error:
            raise CommandLineError(error.format_message()) from error
        except typer.Abort:
            return print_errors(program, aborted, status=1)

    return run_command(act, program=program, failed=failed)
