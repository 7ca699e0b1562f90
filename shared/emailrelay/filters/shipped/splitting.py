"""``split:`` on a message: the recipients of each domain get a message of their own.

The new messages lie beside the work copy under names that no store takes in. The end of the chain
gives them their names, if it lets the message pass: a message that is rejected or held back is
still whole, and nothing of it goes out twice.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from emailrelay import envelope_format
from emailrelay.address_pattern import split
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.result import opened, read_envelope
from emailrelay.filters.shipped.domain_name import ascii_domain
from emailrelay.filters.shipped.envelope_edit import write_envelope
from emailrelay.filters.shipped.header_block import ContentRefused
from emailrelay.reply import Reply

_MOST = 1000
_TOO_MANY = Reply(552, "5.5.3 too many domains in one message")
_CONTENT, _ENVELOPE = ".split-content", ".split-envelope"


def by_domain(envelope: Envelope) -> list[Envelope]:
    """Return an envelope for each domain, in the order of the recipients; local ones are first."""
    groups = dict[str, list[Address]]()
    for address in envelope.to_remote:
        groups.setdefault(ascii_domain(split(address)[1]), []).append(address)
    found = [
        envelope._replace(to_local=(), to_remote=tuple(addresses), forward_to=_domain(addresses[0]))
        for addresses in groups.values()
    ]
    if not found:
        return [envelope]
    return [found[0]._replace(to_local=envelope.to_local), *found[1:]]


def _domain(address: Address) -> str:
    """Return the domain of an address as routes compare it."""
    return split(address)[1].lower().removesuffix(".")


def divide(copy: FilterCopy) -> None:
    """Leave the first domain in a copy, and put a message for each other one beside it.

    Raises:
        ContentRefused: there are too many domains.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    before = read_envelope(copy.envelope)
    first, *others = by_domain(before)
    if len(others) >= _MOST:
        raise ContentRefused(_TOO_MANY, f"the recipients have more than {_MOST} domains")
    folder = copy.content.parent
    if others:
        # One copy for all: later filters change the content of the first only.
        master = folder / f"0{_CONTENT}"
        with opened(copy.content, "content") as file, master.open("xb") as new:
            shutil.copyfileobj(file, new)
        for number, envelope in enumerate(others, 1):
            _put(master, folder / f"{number}{_CONTENT}")
            (folder / f"{number}{_ENVELOPE}").write_bytes(envelope_format.write(envelope))
        master.unlink()
    if first != before:
        write_envelope(copy, first)


def name_parts(copy: FilterCopy, *, keep: bool) -> None:
    """Give the new messages their names, or remove them; raise OSError if that fails."""
    folder = copy.content.parent
    for envelope in sorted(folder.glob(f"*{_ENVELOPE}")):
        number = envelope.name.removesuffix(_ENVELOPE)
        content = envelope.with_name(f"{number}{_CONTENT}")
        if keep:
            content.replace(folder / f"emailrelay.split-{number}.content")
            # They pass all filters, as mail from a client does.
            envelope.replace(folder / f"emailrelay.split-{number}.envelope.filter")
        else:
            envelope.unlink()
            content.unlink(missing_ok=True)


def _put(master: Path, place: Path) -> None:
    with suppress(OSError):
        os.link(master, place)
        return
    shutil.copyfile(master, place)
