"""Reading of files of which a part is known already."""

import errno
import os
from pathlib import Path

import pytest

from emailrelay.store.spool.disk import file_octets


def test_file_that_has_grown_out_of_bounds_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_octets, "LARGEST_ENVELOPE", 100_000)
    path = tmp_path / "envelope"
    path.write_bytes(b"X" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.truncate(path, 50_000)
        assert len(file_octets.read_known(descriptor, 10)) == 50_000
        os.truncate(path, 10**12)  # sparse: it needs no room on the disk
        with pytest.raises(OSError, match="envelope of more than 100000 octets") as raised:
            file_octets.read_known(descriptor, 10)
        assert raised.value.errno == errno.EOVERFLOW
    finally:
        os.close(descriptor)
