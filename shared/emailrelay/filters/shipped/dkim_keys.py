"""Private keys for DKIM, read from files; the only module that uses the package cryptography.

The package is an extra and is imported late: most relays sign nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from emailrelay.errors import RelayError
from emailrelay.secrets.secret_text import SecretUnusable, read_octets

_LONGEST = 64 * 1024
_FEWEST_BITS = 1024
"""RFC 8301 section 3.2: verifiers ignore shorter RSA keys."""


class DkimKeyUnusable(RelayError):
    """A key file cannot be used; the text says why."""


class DkimSigner(NamedTuple):
    """A key, ready to sign."""

    algorithm: str
    """The value of ``a=``: rsa-sha256 or ed25519-sha256."""
    sign: Callable[[bytes], bytes]
    """Takes a SHA-256 hash; returns the signature."""


def signer(path: Path) -> DkimSigner:
    """Return the key of a file; a file that has not changed is not read again.

    Raises:
        DkimKeyUnusable: it cannot be read, other users can read it, or it holds no fit key.

    """
    try:
        status = path.stat()
    except OSError as error:
        raise DkimKeyUnusable(f"{path}: cannot be read: {error.strerror}") from error
    return _read(path, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@lru_cache(maxsize=64)
def _read(path: Path, *_version: int) -> DkimSigner:
    try:
        text = read_octets(path, _LONGEST)
    except SecretUnusable as error:
        raise DkimKeyUnusable(str(error)) from error
    return _parsed(path, text)


def _parsed(path: Path, text: bytes) -> DkimSigner:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 -- an extra
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ed25519,
            padding,
            rsa,
            utils,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )
    except ImportError as error:
        words = "DKIM needs the package cryptography: pip install 'emailrelay[dkim]'"
        raise DkimKeyUnusable(words) from error
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DkimKeyUnusable(f"{path}: must be a private key in PEM, without password") from error
    match key:
        case rsa.RSAPrivateKey() if key.key_size >= _FEWEST_BITS:
            prehashed, rsa_key = utils.Prehashed(hashes.SHA256()), key

            def sign(digest: bytes) -> bytes:
                return rsa_key.sign(digest, padding.PKCS1v15(), prehashed)

            return DkimSigner("rsa-sha256", sign)
        case rsa.RSAPrivateKey():
            raise DkimKeyUnusable(f"{path}: the RSA key must have {_FEWEST_BITS} bits or more")
        case ed25519.Ed25519PrivateKey():
            ed_key = key
            # RFC 8463 section 3: the hash is what is signed.
            return DkimSigner("ed25519-sha256", ed_key.sign)
        case _:
            raise DkimKeyUnusable(f"{path}: must be an RSA or Ed25519 key")
