"""Input of hostile clients: dialogues made from a seed, mutated, and cut into pieces."""

import base64
from collections.abc import Callable, Sequence
from random import Random

_ADDRESSES: Sequence[bytes] = (
    b"<>",
    b"<a@b>",
    b"<a@b.test>",
    b'<"a b"@c.test>',
    b'<"a\\"b"@c.test>',
    b"<@r,@s:a@c.test>",
    b"<postmaster>",
    b"<a@[127.0.0.1]>",
    b"<a@[IPv6:::1]>",
    "<ü@ü.test>".encode(),
    b"<a\x00b@c>",
    b"<\xff@c>",
    b"<-oQ/tmp@c>",
    b"<" + b"x" * 300 + b"@c>",
    b"<a@b",
    b"a@b",
    b"<a@b> <c@d>",
    b"<<a@b>>",
    b'<"@b>',
    b"<a@b>\x0b",
)
_PARAMETERS: Sequence[bytes] = (
    b"",
    b" SIZE=10",
    b" SIZE=99999999999999999999",
    b" SIZE=-1",
    " SIZE=²".encode(),
    b" BODY=8BITMIME",
    b" BODY=BINARYMIME",
    b" SMTPUTF8",
    b" AUTH=<>",
    b" AUTH=a+3Db",
    b" RET=HDRS ENVID=x+20y",
    b" NOTIFY=NEVER",
    b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b",
    b" X=Y",
    b" =",
    b"\tSIZE=1",
)
_CONTENT: Sequence[bytes] = (
    b"Subject: s\r\n\r\n",
    b"text\r\n",
    b"\r\n",
    b"\r\n.\r\n",
    b"\r\n..\r\n",
    b".",
    b".\r\n",
    b"..\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xc2\x85.\r\n",
    b"Received: x\r\n" * 101,
    b"x" * 1200 + b"\r\n",
    b"x" * 70_000,
    b"\r\n" * 3000,
    b"MAIL FROM:<smuggled@b>\r\nRCPT TO:<r@c>\r\nDATA\r\n",
)
_RESPONSES: Sequence[bytes] = (
    base64.b64encode(b"\0alice\0open sesame"),
    base64.b64encode(b"alice"),
    base64.b64encode(b"\0alice\0\0"),
    base64.b64encode(b"alice 0123456789abcdef"),
    b"=",
    b"*",
    b"!",
    b"A" * 12_288,
    b"",
)
_ENDS: Sequence[bytes] = (b"\r\n",) * 12 + (b"\n", b"\r", b"\r\r\n", b"\0\r\n", b" \t\r\n")


def make(random: Random) -> bytes:
    """Make the octets of one client."""
    octets = b"".join(_line(random) for _ in range(random.randint(1, 12)))
    if random.random() < 0.7:
        # Far enough for content, more often than chance would have it.
        login = b"AUTH PLAIN " + _RESPONSES[0] + b"\r\n" if random.random() < 0.3 else b""
        octets = b"EHLO c\r\n" + login + b"MAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\n" + octets
    for _ in range(random.choice((0, 0, 0, 1, 2, 5))):
        octets = random.choice(_MUTATIONS)(random, octets)
    return octets


def cut(random: Random, octets: bytes) -> list[bytes]:
    """Cut octets into pieces: at random, or where it hurts."""
    edges = [at for at, octet in enumerate(octets) if octet in b"\r\n."]
    if edges and random.random() < 0.5:
        chosen = random.sample(edges, min(len(edges), 20))
        places = {place + random.choice((0, 1)) for place in chosen}
    else:
        places = {random.randrange(len(octets) + 1) for _ in range(random.randint(1, 20))}
    ends = [*sorted(places), len(octets)]
    return [octets[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end]


def _line(random: Random) -> bytes:
    return random.choice(_LINES)(random)


def _end(random: Random) -> bytes:
    return random.choice(_ENDS)


def _simple(random: Random) -> bytes:
    words = b"EHLO c,HELO c,RSET,NOOP,NOOP x,HELP,VRFY a@b,EXPN l,EHLO,QUIT,quit,rset x,,FOO, NOOP"
    return random.choice(words.split(b",")) + _end(random)


def _mail(random: Random) -> bytes:
    parameters = b"".join(random.choice(_PARAMETERS) for _ in range(random.randint(0, 2)))
    return b"MAIL FROM:" + random.choice(_ADDRESSES) + parameters + _end(random)


def _recipient(random: Random) -> bytes:
    return b"RCPT TO:" + random.choice(_ADDRESSES) + random.choice(_PARAMETERS) + _end(random)


def _content(random: Random) -> bytes:
    return b"".join(random.choice(_CONTENT) for _ in range(random.randint(0, 6)))


def _data(random: Random) -> bytes:
    end = random.choice((b"\r\n.\r\n", b"\r\n.\r\n", b".\r\n", b""))
    return b"DATA" + _end(random) + _content(random) + end


def _chunk(random: Random) -> bytes:
    content = _content(random)
    size = len(content) + random.choice((0,) * 6 + (-1, 1, 10**19))
    last = random.choice((b"", b" LAST", b" last", b" LAST LAST", b" x"))
    return b"BDAT %d" % size + last + _end(random) + content


def _login(random: Random) -> bytes:
    mechanism = random.choice((b"PLAIN", b"plain", b"LOGIN", b"CRAM-MD5", b"XOAUTH2", b"NONE", b""))
    initial = random.choice((b"", b" " + random.choice(_RESPONSES)))
    responses = [random.choice(_RESPONSES) + b"\r\n" for _ in range(random.randint(0, 2))]
    return b"AUTH " + mechanism + initial + _end(random) + b"".join(responses)


def _odd(random: Random) -> bytes:
    return random.choice(
        (
            b"STARTTLS\r\n",
            b"STARTTLS\r\n\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"NOOP " + b"x" * random.choice((505, 506, 2000, 60_000)) + b"\r\n",
            random.randbytes(random.randint(1, 200)),
            b"\xff\xf4\xff\xfd\x06\r\n",
            b"\r\n" * random.randint(1, 30),
        )
    )


_LINES: Sequence[Callable[[Random], bytes]] = (
    _simple, _simple, _mail, _mail, _recipient, _recipient, _data, _data, _chunk, _login, _odd,
)  # fmt: skip


def _delete(random: Random, octets: bytes) -> bytes:
    begin = random.randrange(len(octets) + 1)
    return octets[:begin] + octets[begin + random.randint(1, 8) :]


def _insert(random: Random, octets: bytes) -> bytes:
    at = random.randrange(len(octets) + 1)
    new = random.choice((random.randbytes(random.randint(1, 8)), random.choice(_CONTENT)))
    return octets[:at] + new + octets[at:]


def _repeat(random: Random, octets: bytes) -> bytes:
    begin = random.randrange(len(octets) + 1)
    end = min(len(octets), begin + random.randint(1, 300))
    return octets[:end] + octets[begin:end] * random.randint(1, 4) + octets[end:]


def _flip(random: Random, octets: bytes) -> bytes:
    flipped = bytearray(octets)
    for _ in range(random.randint(1, 4)):
        if flipped:
            flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _truncate(random: Random, octets: bytes) -> bytes:
    return octets[: random.randrange(len(octets) + 1)]


_MUTATIONS: Sequence[Callable[[Random, bytes], bytes]] = (
    _delete, _insert, _insert, _repeat, _flip, _flip, _truncate,
)  # fmt: skip
