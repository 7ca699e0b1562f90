"""The text of a TOML file: lines, mistakes and quotes, which the standard library lacks."""

import json
import re

_KEY = r"\s*(\[+[^]]*]*|[A-Za-z0-9_.\"'-]+(?=\s*=)|[A-Za-z0-9_-]+)"
_QUOTES = ('"""', "'''")


def quoted(text: str) -> str:
    """Return a text in quotes (TOML 1.0, basic strings)."""
    # Without ensure_ascii=False, JSON has surrogate pairs, which TOML forbids. TOML also forbids a
    # bare DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def line_of(text: str, name: str, *inside: str | int) -> int | None:
    """Return the number of the line that sets a key at the top of a TOML text, from 1.

    ``inside`` are the steps into a value: the number of a ``[[name]]`` table, from 0, and a key in
    it. The line of the table is the answer if the key is not found. None: the text has another
    form, such as an inline table.
    """
    lines = _lines(text)
    headings = [index for index, line in enumerate(lines) if line.lstrip().startswith("[")]
    if not inside or not isinstance(inside[0], int):
        end = headings[0] if headings else len(lines)
        tables = (_heading(lines, heading, 0) for heading in (f"[{name}]", f"[[{name}]]"))
        return _assignment(lines, 0, end, name) or next(filter(None, tables), None)
    heading = _heading(lines, f"[[{name}]]", inside[0])
    if heading is None:
        return _assignment(lines, 0, headings[0] if headings else len(lines), name)
    end = next((index for index in headings if index >= heading), len(lines))
    keys = [step for step in inside[1:] if isinstance(step, str)]
    if not keys:
        return heading
    if len(keys) > 1:
        sub = _heading(lines[heading:], f"[{name}.{keys[0]}]", 0)
        if sub is not None:
            begin = heading + sub
            end = next((index for index in headings if index >= begin), len(lines))
            return _assignment(lines, begin, end, keys[1]) or begin
    return _assignment(lines, heading, end, keys[0]) or heading


def problem(text: str, path: str, said: str) -> str:
    """Return the problem of a text that is not TOML, with the line and its key or table.

    ``said`` is the message of the parser, with the place at its end.
    """
    reason, _, place = said.partition(" (at ")
    found = re.match(r"line (\d+), column \d+", place)
    lines = text.splitlines()
    # An early end of the text belongs to the last line.
    number = min(int(found[1]) if found else len(lines), len(lines))
    for line in reversed(lines[:number]):
        named = re.match(_KEY, line)
        if named:
            about = named[1].strip()
            return f"{path}, line {number}, {about}: is not TOML: {reason.lower()}{_hint(line)}"
    return f"{path}, line {number}: is not TOML: {reason.lower()}"


def _hint(line: str) -> str:
    """Return the usual correction of a line that is not TOML."""
    _, equals, value = line.partition("=")
    word = value.partition("#")[0].strip()
    if line.lstrip().startswith("["):
        return ""
    if not equals:
        return '; a setting is written as name = "text", name = 25 or name = true'
    if word.lower() in {"yes", "no", "on", "off", "true", "false"}:
        return "; write true or false"
    return "; a text stands in quotes" if word and word[0] not in "\"'[{0123456789+-" else ""


def _lines(text: str) -> list[str]:
    """Return the lines, without those inside long strings."""
    found, open_quote = list[str](), ""
    for line in text.splitlines():
        found.append("" if open_quote else line)
        for quote in _QUOTES:
            if line.count(quote) % 2 and open_quote in {"", quote}:
                open_quote = "" if open_quote else quote
    return found


def _assignment(lines: list[str], begin: int, end: int, name: str) -> int | None:
    written = re.compile(rf"\s*[\"']?{re.escape(name)}[\"']?\s*[=.]")
    matches = (index for index in range(begin, end) if written.match(lines[index]))
    return next((index + 1 for index in matches), None)


def _heading(lines: list[str], heading: str, number: int) -> int | None:
    compact = (index for index, line in enumerate(lines) if _bare(line) == heading)
    found = list(compact)
    return found[number] + 1 if number < len(found) else None


def _bare(line: str) -> str:
    return re.sub(r"[\s\"']", "", line.partition("#")[0])
