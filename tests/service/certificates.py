"""Certificates for tests, good and bad, and the TLS contexts of a server that shows them."""

import datetime as dt
import ssl
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

YEAR = dt.timedelta(days=365)


@dataclass(slots=True)
class Authority:
    """An authority with its certificate in ``path``."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def path(self) -> str:
        path = self.folder / "authority.pem"
        self.ca.cert_pem.write_to_path(path)
        return str(path)

    def context(
        self,
        *names: str,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> ssl.SSLContext:
        """Give the context of a server with a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self.ca.issue_cert(
            *(names or ("127.0.0.1",)), not_before=not_before, not_after=not_after
        )
        certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] -- also takes pyOpenSSL's
        return context


def of_subject_only(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """Return a server with a self-signed certificate that names the host in its subject only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - YEAR)
        .not_valid_after(now + YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "own.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, str(path)


def old_only(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a server with a broken version of TLS only, as far as the library allows it."""
    context = authority.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version
    return context
