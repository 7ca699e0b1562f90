"""The file ``deploy/emailrelay.toml``: every key of the settings file, commented out."""

import textwrap

from docs.generate.settings import Group, Key, Setting, TableOfFile, all_groups, all_tables

_WIDTH = 98
_BEGIN = """\
# Settings of E-MailRelay, made by `python -m docs.generate`. Copy this file to
# /etc/emailrelay/emailrelay.toml, where all commands read it. Then remove the "# " in front of each
# setting that you change. Each line shows the default, or an example if there is no default.
# After a change: emailrelay-config check. docs/settings.md and docs/reference.md have the details.
"""


def page() -> str:
    """Return the file."""
    sections = [_section(group) for group in all_groups()]
    return "".join([_BEGIN, *sections, *(_table(table) for table in all_tables())])


def _section(group: Group) -> str:
    return f"\n#### {group.title}\n" + "".join(_entry(setting) for setting in group.settings)


def _table(table: TableOfFile) -> str:
    keys = "".join(_entry(key) for key in table.keys)
    said = textwrap.fill(table.text, _WIDTH, initial_indent="#### ", subsequent_indent="#### ")
    return f"\n{said}\n# {table.heading}\n{keys}"


def _entry(setting: Setting | Key) -> str:
    unit = {"SECONDS": "; seconds", "BYTES": "; bytes"}.get(setting.word, "")
    text = setting.text.rstrip(".") + unit + "."
    said = textwrap.fill(text, _WIDTH, initial_indent="## ", subsequent_indent="## ")
    return f"\n{said}\n# {setting.name} = {setting.sample}\n"
