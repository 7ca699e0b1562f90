"""The page ``docs/reference.md``: every setting of every service."""

from collections.abc import Iterator

from docs.generate.settings import Group, Key, Setting, TableOfFile, all_groups, all_tables

from emailrelay.config import SERVICES

_BEGIN = """\
# Settings

<!-- Made by `python -m docs.generate` from shared/emailrelay/config/; edit that. -->

Nearly each setting has three names: an option of the command line (`--spool-dir DIR`), a variable of the environment
(`EMAILRELAY_SPOOL_DIR`) and a key in the settings file (`spool_dir`). The command line goes before the environment,
the environment before the file, the file before the default.

The **settings file** is TOML, named by `--config FILE` (`-c`) or `EMAILRELAY_CONFIG`. One file serves all services:
each reads the keys that it has and leaves the others to their owners. [`deploy/emailrelay.toml`](../deploy/emailrelay.toml)
has every key, commented out.

What can stand there several times has tables in the file, such as `[[route]]`, and no flag; they come at the end of
this page and at the end of the file.

**Flags** such as `--remote-clients` may stand alone, or with a value: `--remote-clients=no`. In the environment they
are `yes` or `no`, in the file `true` or `false`. **Lists** are repeated or separated by commas on the command line,
separated by commas in the environment, and written as `["a", "b"]` in the file.

A setting that is misspelt, out of range or impossible stops the start. Every problem is told at once, with its place, and the
exit status is 78; `--check-config` does only that, and shows what is set. It also reads the secrets and certificates that
the settings name, and looks for their filter programs. `--help` and `--version` are as usual.

**SIGHUP** makes a running service read everything again. New clients and the messages that follow go by the new settings; what is under
way ends as it began. If anything is wrong, everything stays as it was and the log has every problem (`reload_refused`). Otherwise
it has what changed (`reloaded`), and what differs but is marked below as read at the start only.
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
    yield setting.text
    yield ""
    default = f"`{setting.default}`" if setting.default and " " not in setting.default else ""
    yield f"* default: {default or setting.default or 'none'}"
    yield f"* environment: `{setting.variable}`"
    yield f"* file: `{setting.name} = {setting.sample}`"
    yield f"* of: {_owners(setting)}"
    if setting.at_start:
        yield "* read at the start only"


def _owners(setting: Setting | TableOfFile) -> str:
    if len(setting.services) == len(SERVICES):
        return "all services"
    return ", ".join(f"`{service}`" for service in setting.services)


def _table(table: TableOfFile) -> str:
    """Give a table of the file a section; its keys have neither option nor variable."""
    keys = "".join(_key(key, table.heading) for key in table.keys)
    return f"\n## `{table.heading}`\n\n{table.text} Of: {_owners(table)}.\n{keys}"


def _key(key: Key, heading: str) -> str:
    default = f"* default: `{key.default}`\n" if key.default else ""
    return f"\n### `{key.name}` in `{heading}`\n\n{key.text}\n\n{default}* as in `{key.name} = {key.sample}`\n"
