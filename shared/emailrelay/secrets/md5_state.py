"""HMAC-MD5 from two intermediate MD5 states, which a secrets file stores instead of a password.

A hash of the form ``md5`` is the state of MD5 after the block of the inner key and after the block
of the outer key (RFC 2104 section 4). It serves CRAM-MD5 (RFC 2195) like the password, which cannot
be computed from it. The standard library cannot read or set such a state, so this module implements
MD5's rounds (RFC 1321 section 3.4). A challenge is one block, so their speed does not matter.
"""

import base64
import binascii
import hashlib
import math
import re
import struct

_BLOCK = 64
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_TURNS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_SINES = tuple(int(abs(math.sin(step + 1)) * 2**32) for step in range(64))
_WORD = 0xFFFFFFFF
_DOTTED = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,10}){7}")

_State = tuple[int, int, int, int]


def masked(password: str) -> bytes:
    """Return the two states of a password, 32 octets: first the inner, then the outer one."""
    key = password.encode()
    if len(key) > _BLOCK:
        key = hashlib.md5(key, usedforsecurity=False).digest()
    key = key.ljust(_BLOCK, b"\0")
    return b"".join(_pack(_block(_START, bytes(o ^ pad for o in key))) for pad in (0x36, 0x5C))


def hmac_md5(states: bytes, text: bytes) -> str:
    """Return the HMAC-MD5 of ``text`` in hexadecimal, with the key of ``states``."""
    inner = _finish(states[:16], text)
    return _finish(states[16:], inner).hex()


def to_text(states: bytes) -> str:
    """Write the states for a secrets file, in base64."""
    return base64.b64encode(states).decode()


def to_dotted(states: bytes) -> str:
    """Write the states in the notation of old versions: eight numbers with dots."""
    return ".".join(str(number) for number in struct.unpack("<8I", states))


def from_text(text: str) -> bytes:
    """Parse states: base64 of 32 octets, or the eight numbers with dots of old files.

    Raises:
        ValueError: the text is neither. The error does not contain the text.

    """
    if _DOTTED.fullmatch(text):
        numbers = [int(number) for number in text.split(".")]
        if max(numbers) <= _WORD:
            return struct.pack("<8I", *numbers)
    try:
        states = base64.b64decode(text, validate=True)
    except binascii.Error:
        states = b""
    if len(states) != 32:
        raise ValueError("not an md5 hash")
    return states


def _finish(state: bytes, text: bytes) -> bytes:
    """Continue from a state after one block to the end of ``text``."""
    filled = text + b"\x80" + b"\0" * (-(len(text) + 9) % _BLOCK)
    filled += struct.pack("<Q", (_BLOCK + len(text)) * 8)
    words: _State = struct.unpack("<4I", state)
    for start in range(0, len(filled), _BLOCK):
        words = _block(words, filled[start : start + _BLOCK])
    return _pack(words)


def _pack(state: _State) -> bytes:
    return struct.pack("<4I", *state)


def _block(state: _State, block: bytes) -> _State:
    """Compute the 64 steps of one block (RFC 1321 section 3.4)."""
    words = struct.unpack("<16I", block)
    a, b, c, d = state
    for step in range(64):
        match step // 16:
            case 0:
                mixed, word = (b & c) | (~b & d), step
            case 1:
                mixed, word = (d & b) | (~d & c), 5 * step + 1
            case 2:
                mixed, word = b ^ c ^ d, 3 * step + 5
            case _:
                mixed, word = c ^ (b | (~d & _WORD)), 7 * step
        total = (a + mixed + _SINES[step] + words[word % 16]) & _WORD
        turn = _TURNS[step // 16][step % 4]
        turned = (total << turn | total >> (32 - turn)) & _WORD
        a, b, c, d = d, (b + turned) & _WORD, b, c
    return (
        (state[0] + a) & _WORD,
        (state[1] + b) & _WORD,
        (state[2] + c) & _WORD,
        (state[3] + d) & _WORD,
    )
