"""The page ``docs/reference.md``: every setting of every service."""

import textwrap
from collections.abc import Iterator

from docs.generate.settings import Group, Key, Setting, TableOfFile, all_groups, all_tables

from emailrelay.config import SERVICES

_BEGIN = """\
# Settings

<!-- Made by `python -m docs.generate` from shared/emailrelay/config/; edit that. -->

Almost every setting has three names: an option of the command line (`--spool-dir DIR`), a variable
of the environment (`EMAILRELAY_SPOOL_DIR`) and a key in the settings file (`spool_dir`). The
command line overrides the environment, the environment overrides the file, and the file overrides
the default.

The **settings file** is `/etc/emailrelay/emailrelay.toml`. One file serves all services and
commands: each service reads its own keys and ignores those of the others.
[`deploy/emailrelay.toml`](../deploy/emailrelay.toml) has every key, commented out.
[settings.md](settings.md) tells how to make, check and show the settings, and the order of the
sources.

Routes and accounts, for example, are tables in the file, such as `[[route]]`, and can occur several
times. They have no options. They are at the end of this page and at the end of the file.

**Flags** such as `--remote-clients` need no value, but can have one: `--remote-clients=no`. In the
environment they are `yes` or `no`, in the file `true` or `false`. **Lists** are repeated or
separated by commas on the command line, separated by commas in the environment, and written as
`["a", "b"]` in the file.

A setting that is misspelt, out of range or impossible prevents startup: the exit status is 78.
Standard error shows all problems at once, each with its place. `--check-config` makes this check
without a start, and tries all that a start needs ([settings.md](settings.md#check)). `--help` shows
all options, and `--version` the version.

**SIGHUP** makes a running service read all settings again. The new settings apply to new clients
and to later messages; work in progress ends under the old ones. If anything is wrong, nothing
changes, and the log lists every problem (`reload_refused`). Otherwise the log names the changed
settings (`reloaded`), and those changed settings that are read at the start only, as marked below.
"""


def page() -> str:
    """Return the page."""
    sections = [_section(group) for group in all_groups()]
    return "".join([_BEGIN, *sections, *(_table(table) for table in all_tables())])


def _section(group: Group) -> str:
    return f"\n## {group.title}\n" + "".join(_entry(setting) for setting in group.settings)


def _entry(setting: Setting) -> str:
    return f"\n### `{setting.flag} {setting.word}`\n\n" + "\n".join(_lines(setting)) + "\n"


def _lines(setting: Setting) -> Iterator[str]:
    yield _wrapped(setting.text)
    yield ""
    default = f"`{setting.default}`" if setting.default and " " not in setting.default else ""
    yield f"* default: {default or setting.default or 'none'}"
    yield f"* environment: `{setting.variable}`"
    yield f"* file: `{setting.name} = {setting.sample}`"
    yield f"* used by: {_owners(setting)}"
    if setting.at_start:
        yield "* read at the start only"


def _owners(setting: Setting | TableOfFile) -> str:
    if len(setting.services) == len(SERVICES):
        return "all services"
    return ", ".join(f"`{service}`" for service in setting.services)


def _table(table: TableOfFile) -> str:
    """Return the section of a table of the file; its keys have neither option nor variable."""
    keys = "".join(_key(key, table.heading) for key in table.keys)
    text = f"{table.text} Used by: {_owners(table)}."
    return f"\n## `{table.heading}`\n\n{_wrapped(text)}\n{keys}"


def _key(key: Key, heading: str) -> str:
    default = f"* default: `{key.default}`\n" if key.default else ""
    title = f"### `{key.name}` in `{heading}`"
    example = f"* example: `{key.name} = {key.sample}`"
    return f"\n{title}\n\n{_wrapped(key.text)}\n\n{default}{example}\n"


def _wrapped(text: str) -> str:
    """Break prose into lines of at most 100 characters."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
