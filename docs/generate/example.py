"""The file ``deploy/emailrelay.toml``: every key of the settings file, commented out."""

import textwrap

from docs.generate.settings import Group, Setting, all_groups

_WIDTH = 98
_BEGIN = """\
# Settings of the E-MailRelay services. Made by `python -m docs.generate`; copy it, then remove the
# "# " in front of what you set. What is shown is the default, or an example where there is none.
# Name the copy with --config FILE or EMAILRELAY_CONFIG. docs/reference.md has the details.
"""


def page() -> str:
    """Return the file."""
    return "".join([_BEGIN, *(_section(group) for group in all_groups())])


def _section(group: Group) -> str:
    return f"\n#### {group.title}\n" + "".join(_entry(setting) for setting in group.settings)


def _entry(setting: Setting) -> str:
    unit = {"SECONDS": "; seconds", "BYTES": "; bytes"}.get(setting.word, "")
    text = setting.text.rstrip(".") + unit + "."
    said = textwrap.fill(text, _WIDTH, initial_indent="## ", subsequent_indent="## ")
    return f"\n{said}\n# {setting.name} = {setting.sample}\n"
