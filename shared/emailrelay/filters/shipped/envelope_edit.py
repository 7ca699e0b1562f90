"""Puts a changed envelope in the place of the one in a work copy."""

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage
from emailrelay.filters.copy import FilterCopy
from emailrelay.filters.editing import replaced
from emailrelay.filters.result import octets_of_envelope


def write_envelope(copy: FilterCopy, envelope: Envelope) -> None:
    """Replace the envelope; the lines behind its end mark stay.

    Raises:
        DamagedMessage: an earlier filter has damaged the file, or the new envelope cannot be
            written.
        OSError: the system's fault.

    """
    tail = envelope_format.parse(octets_of_envelope(copy.envelope)).tail
    try:
        octets = envelope_format.write(envelope)
    except ValueError as error:
        raise DamagedMessage(f"envelope: {error}") from error
    with replaced(copy.envelope) as write:
        write(octets + tail)
