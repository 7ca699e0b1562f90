"""A milter's changes of the header; no I/O."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from emailrelay.filters.milter.header_fields import MilterField
from emailrelay.filters.milter.packets import AddHeader, ChangeHeader, HeaderChange, InsertHeader

_LINE_END = re.compile(rb"\r+\n?|\n")
"""A bare CR, too: it would be a line end when the message is sent, and begin a field."""
_UNFOLDED = re.compile(rb"\r\n(?![ \t])")
_BLOCK = 512
_HIDDEN = b""
"""In place of the name of a field that a milter does not see."""


def changed(
    fields: Sequence[MilterField], changes: Sequence[HeaderChange], *, leading_space: bool
) -> tuple[MilterField, ...]:
    """Apply changes in their order, with the result that they have in Postfix.

    Indexes count all fields that there are at the time, our own Received line, too. The numbers of
    a name's fields leave it out, as the milter does not know it.
    """
    result = _Fields(fields)
    for change in changes:
        match change:
            case AddHeader(name, value):
                result.append(_field(name, value, leading_space=leading_space))
            case InsertHeader(index, name, value):
                result.insert(index, _field(name, value, leading_space=leading_space))
            case ChangeHeader(number, name, value):
                new = _field(name, value, leading_space=leading_space) if value else None
                result.change(name, max(number, 1), new)
            case _:
                assert_never(change)
    return result.all()


class _Block:
    """Some fields that follow each other."""

    def __init__(self, fields: Sequence[MilterField]) -> None:
        self.fields = list(fields)
        self.names = [_HIDDEN if each.hidden else each.name.lower() for each in fields]
        self.counts = Counter(self.names)
        """The number of fields of each name."""

    def replace(self, begin: int, end: int, new: Sequence[MilterField]) -> None:
        names = [each.name.lower() for each in new]
        self.counts.subtract(self.names[begin:end])
        self.counts.update(names)
        self.fields[begin:end], self.names[begin:end] = new, names

    def place(self, name: bytes, number: int) -> int:
        """Return the place of a name's field, by its number from 1."""
        at = -1
        for _ in range(number):
            at = self.names.index(name, at + 1)
        return at


class _Fields:
    """The fields in blocks: a change reads and moves those of one block, not all.

    A mail can have a million fields, and a milter ask for thousands of changes.
    """

    def __init__(self, fields: Sequence[MilterField]) -> None:
        starts = range(0, max(len(fields), 1), _BLOCK)
        self._blocks = [_Block(fields[at : at + _BLOCK]) for at in starts]

    def all(self) -> tuple[MilterField, ...]:
        return tuple(each for block in self._blocks for each in block.fields)

    def append(self, field: MilterField) -> None:
        self._put(len(self._blocks) - 1, len(self._blocks[-1].fields), field)

    def insert(self, index: int, field: MilterField) -> None:
        for n, block in enumerate(self._blocks):
            if index <= len(block.fields):
                self._put(n, index, field)
                return
            index -= len(block.fields)
        self.append(field)

    def change(self, name: bytes, number: int, new: MilterField | None) -> None:
        """Replace the field ``number`` of a name, or remove it; one that is not there is added."""
        name = name.lower()
        for block in self._blocks:
            if number <= block.counts[name]:
                at = block.place(name, number)
                block.replace(at, at + 1, [] if new is None else [new])
                return
            number -= block.counts[name]
        if new is not None:
            self.append(new)

    def _put(self, n: int, at: int, field: MilterField) -> None:
        block = self._blocks[n]
        block.replace(at, at, [field])
        if len(block.fields) > 2 * _BLOCK:
            halves = block.fields[:_BLOCK], block.fields[_BLOCK:]
            self._blocks[n : n + 1] = [_Block(half) for half in halves]


def _field(name: bytes, value: bytes, *, leading_space: bool) -> MilterField:
    """Write a field; a line of the value that would begin a field of its own is folded."""
    text = _UNFOLDED.sub(b"\r\n\t", _LINE_END.sub(b"\r\n", value))
    return MilterField(name, name + (b":" if leading_space else b": ") + text + b"\r\n")
