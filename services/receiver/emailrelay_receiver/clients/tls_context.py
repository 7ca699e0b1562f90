"""The TLS of this server: its certificate, the authorities for clients' certificates, versions."""

import ssl
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from emailrelay.config import DEFAULT_AUTHORITIES
from emailrelay.errors import ConfigError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"
"""Of TLS 1.2: forward secrecy and authenticated encryption only, so no CBC (Lucky 13)."""


def server_context(
    certificate: Sequence[Path], authorities: str | None, words: Collection[str] = ()
) -> ssl.SSLContext:
    """Make a context of one PEM file, or of key and chain. ``authorities`` are for clients.

    ``words`` are the versions of TLS as ``tls_config`` has them.

    Raises:
        ConfigError: a file cannot be used, or the key can be read by others.

    """
    key, chain = certificate[0], certificate[-1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    context.minimum_version = v13 if "tlsv1.3" in words else v12
    context.maximum_version = v12 if "-tlsv1.2" in words else v13
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    _guard(key)
    try:
        # An empty password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(chain, key, password="")
    except (OSError, ValueError) as error:
        text = f"{key}: no usable key and certificate chain in PEM: {_reason(error)}"
        raise ConfigError([text]) from error
    if authorities is not None:
        _load_authorities(context, authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _guard(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ConfigError([f"{key}: cannot be read: {error.strerror}"]) from error
    if mode & stat.S_IRWXO:
        raise ConfigError([f"{key}: holds a private key and others can reach it: chmod o= {key}"])


def _load_authorities(context: ssl.SSLContext, authorities: str) -> None:
    if authorities == DEFAULT_AUTHORITIES:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        text = f"{authorities}: no usable certificates of authorities in PEM: {_reason(error)}"
        raise ConfigError([text]) from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
