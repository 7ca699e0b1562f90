"""The edits of ``header:`` as plain rules: fields added, set, removed and renamed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from emailrelay.filters.shipped.header_block import name_of

_NAME = re.compile(r"[!-9;-~]{1,76}")
_LINE = 76
"""Characters of a line of an encoded field (RFC 2047 section 2)."""
_LONGEST = 900
"""Octets of a value: with its name it fits into a line (RFC 5322 section 2.1.1)."""


class HeaderAction(StrEnum):
    """The ways to edit a header."""

    REMOVE = "remove"
    RENAME = "rename"
    SET = "set"
    ADD = "add"


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One edit: of the fields ``name``; ``value`` is the text, or the new name."""

    action: HeaderAction
    name: str
    value: str = ""


def check_name(name: str) -> str:
    """Return the name of a field; raise ValueError if it is none (RFC 5322 section 2.2)."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!a}: must be the name of a header field, such as X-Note")
    return name


def check_value(value: str) -> str:
    """Return the text of a field; raise ValueError if it cannot stand in a header."""
    if not value.strip() or not value.isprintable() or len(value.encode()) > _LONGEST:
        words = f"must be a text of at most {_LONGEST} octets without control characters"
        raise ValueError(f"{value[:80]!a}: {words}")
    return value


def parse_edit(text: str) -> HeaderEdit:
    """Read ``add=NAME: TEXT``, ``set=NAME: TEXT``, ``remove=NAME`` or ``rename=NAME:NEW``.

    Raises:
        ValueError: it is none of them.

    """
    word, _, rest = text.partition("=")
    if word not in list(HeaderAction):
        raise ValueError(f"{word!a}: there is no such edit; it can be {', '.join(HeaderAction)}")
    action = HeaderAction(word)
    name, colon, value = (part.strip() for part in rest.partition(":"))
    if action is HeaderAction.REMOVE and not colon:
        return HeaderEdit(action, check_name(name))
    if action is HeaderAction.REMOVE or not colon:
        forms = "add=NAME: TEXT, set=NAME: TEXT, remove=NAME or rename=NAME:NEW"
        raise ValueError(f"{text!a}: must be one of {forms}")
    check = check_name if action is HeaderAction.RENAME else check_value
    return HeaderEdit(action, check_name(name), check(value))


def edited_header(fields: Iterable[bytes], edits: Sequence[HeaderEdit]) -> list[bytes]:
    """Return the fields of a header after edits in their order. Others stay octet for octet."""
    found = list(fields)
    for edit in edits:
        found = _edited(found, edit)
    return found


def _edited(fields: list[bytes], edit: HeaderEdit) -> list[bytes]:
    name = edit.name.lower().encode()
    match edit.action:
        case HeaderAction.REMOVE:
            return [field for field in fields if name_of(field) != name]
        case HeaderAction.RENAME:
            new = edit.value.encode()
            return [
                new + b":" + field.partition(b":")[2] if name_of(field) == name else field
                for field in fields
            ]
        case HeaderAction.ADD:
            return [*fields, _field(edit)]
        case HeaderAction.SET:
            places = [place for place, field in enumerate(fields) if name_of(field) == name]
            if not places:
                return [*fields, _field(edit)]
            first = places[0]
            rest = [field for field in fields[first + 1 :] if name_of(field) != name]
            return [*fields[:first], _field(edit), *rest]


def _field(edit: HeaderEdit) -> bytes:
    if edit.value.isascii():
        return f"{edit.name}: {edit.value}\r\n".encode()
    from email.header import Header  # noqa: PLC0415 -- few texts need it, and all services start

    text = Header(edit.value, "utf-8", maxlinelen=_LINE, header_name=edit.name)
    folded = text.encode(linesep="\r\n")
    return f"{edit.name}: {folded}\r\n".encode()
