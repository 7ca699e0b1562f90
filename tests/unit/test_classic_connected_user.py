"""The user of a connection, by the kernel's table (proc(5))."""

import sys

import pytest

from emailrelay.classic.connected_user import owner

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the table is of such a machine")

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"
    "   uid  timeout inode"
)
OURS = (
    "   0: 0100007F:0A1E 0100007F:D5C2 01 00000000:00000000 00:00000000 00000000"
    "     1        0 71 1"
)
THEIRS = (
    "   1: 0100007F:D5C2 0100007F:0A1E 01 00000000:00000000 00:00000000 00000000"
    "  1000        0 72 1"
)
CLOSED = (
    "   1: 0100007F:D5C2 0100007F:0A1E 05 00000000:00000000 03:00001770 00000000     0        0 0 3"
)
MAPPED = (
    "   1: 0000000000000000FFFF00000100007F:D5C2 0000000000000000FFFF00000100007F:0A1E 01 "
    "00000000:00000000 00:00000000 00000000  1001        0 73 1"
)
LISTENING = ("127.0.0.1", 0x0A1E)
CLIENT = ("127.0.0.1", 0xD5C2)


@pytest.mark.parametrize(
    ("lines", "user"),
    [
        ([HEAD, OURS, THEIRS], 1000),
        ([HEAD, OURS], None),
        ([HEAD, OURS, CLOSED], None),
        ([HEAD, OURS, HEAD, MAPPED], 1001),
        (["", "nonsense"], None),
    ],
)
def test_the_other_ends_user_is_found_and_never_guessed(lines: list[str], user: int | None) -> None:
    assert owner(lines, local=CLIENT, remote=LISTENING) == user
