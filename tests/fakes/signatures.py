"""Keys of example.org, odd messages, and other people's verifiers of their DKIM signatures."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import dkim  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

VERIFIER = Path(__file__).parent / "verify_dkim.pl"
HEAD = b"From: Me <me@example.org>\r\nTo: you@y.test\r\nSubject: hello\r\n"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
RECORDS = {
    b"rsa._domainkey.example.org.": b"v=DKIM1; k=rsa; p="
    + base64.b64encode(
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    b"ed._domainkey.example.org.": b"v=DKIM1; k=ed25519; p="
    + base64.b64encode(ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
}
ODD = {
    "ordinary": HEAD + b"\r\nbody\r\n",
    "no final line end": HEAD + b"\r\nbody",
    "no body": HEAD + b"\r\n",
    "no empty line": HEAD,
    "no empty line, body": HEAD + b"this is no field\r\n\r\nbody\r\n",
    "empty lines only": HEAD + b"\r\n\r\n\r\n\r\n",
    "empty lines at the end": HEAD + b"\r\nbody \t\r\n\r\n \r\n\r\n",
    "blanks": HEAD + b"\r\n  two  \t blanks \r\n\tand tabs\t\r\n",
    "long line": HEAD + b"\r\n" + b"x" * 200_000 + b" y\r\n",
    "8 bit": HEAD + "\r\nGrüße\r\n".encode() + b"\xff\xfe\r\n",
    "8 bit in the header": HEAD + "X-A: ü\r\nSubject: Grüße\r\n\r\nbody\r\n".encode(),
    "folded": b"From:\r\n  Me\r\n\t<me@example.org>\r\nSubject: a\r\n  b\r\n \tc \r\n\r\nbody\r\n",
    "blank before colon": b"FROM : me@example.org\r\nsubject\t: a  b\r\n\r\nbody\r\n",
    "same field twice": HEAD + b"To: a@b\r\nTo: c@d\r\nReceived: x\r\n\r\nbody\r\n",
    "empty field": HEAD + b"Cc:\r\nMessage-ID: \r\n\r\nbody\r\n",
    "bare LF": HEAD.replace(b"\r\n", b"\n") + b"\nbody\n\n.\n",
    "bare CR": HEAD + b"\r\nbo\rdy\r\r\n",
    "NUL": HEAD + b"\r\nbo\0dy\0\r\n\0",
    "dots": HEAD + b"\r\n.\r\n..\r\n.x\r\n",
    "colons in values": HEAD + b"References: <a:b@c>; d=e\r\n\r\nDKIM-Signature: no\r\n",
    "large": HEAD + b"\r\n" + b"0123456789 abcdef\r\n" * 60_000,
}


def write_key(path: Path, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)


def dkimpy_says(content: bytes) -> list[bool]:
    """Verify each signature with dkimpy."""
    found = content.count(b"DKIM-Signature:", 0, content.lower().find(b"\nfrom"))
    verify = cast("Any", dkim)

    def record(name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001 - the library's signature
        return RECORDS[name]

    good = list[bool]()
    for each in range(found):
        try:
            good.append(verify.DKIM(content).verify(idx=each, dnsfunc=record))
        except dkim.DKIMException:
            good.append(False)
    return good


def perl_says(content: bytes) -> list[str]:
    """Verify each signature with Mail::DKIM, which knows RSA only."""
    perl = shutil.which("perl")
    if not perl or subprocess.run([perl, "-MMail::DKIM", "-e", "1"], check=False).returncode:
        pytest.skip("Mail::DKIM is not here (libmail-dkim-perl)")
    records = [word for each in RECORDS.items() for word in each]
    ended = subprocess.run(
        [perl, str(VERIFIER), *records], input=content, capture_output=True, check=True
    )
    return ended.stdout.decode().splitlines()
