"""TLS contexts for a policy, and texts for failed handshakes."""

import ssl
from functools import lru_cache
from pathlib import Path

from emailrelay.errors import ConfigError
from emailrelay_forwarder.session.policy import Tls, Version
from emailrelay_forwarder.session.session_error import in_words

_VERSIONS = {
    Version.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    Version.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


def context_for(tls: Tls, *, compare: bool) -> ssl.SSLContext:
    """Return the context for a settled ``Tls``; a new one only if one of its files has changed.

    Args:
        tls: the settings, without open choices.
        compare: whether OpenSSL is to compare the certificate with the name sent to the server.

    Raises:
        ConfigError: a file cannot be read, or has the wrong contents.

    """
    files = [*tls.certificate, *([tls.authorities] if tls.authorities else [])]
    try:
        stamps = tuple(Path(file).stat().st_mtime_ns for file in files)
    except OSError as error:
        raise ConfigError([f"{error.filename}: {error.strerror}"]) from error
    return _made(tls, stamps, compare=compare)


@lru_cache(maxsize=64)
def _made(tls: Tls, _stamps: tuple[int, ...], *, compare: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[tls.least]
    context.maximum_version = _VERSIONS[tls.most]
    # A name in the subject alone is not a name (RFC 9525 section 6.3).
    context.hostname_checks_common_name = False
    if tls.certificate:
        _load_certificate(context, *tls.certificate)
    context.check_hostname = bool(tls.verify) and compare
    if tls.verify:
        _load_authorities(context, tls.authorities)
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, key: str, chain: str | None = None) -> None:
    try:
        # An empty password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(chain or key, key, password="")
    except OSError as error:
        text = f"{key}: no usable key and certificate chain in PEM: {in_words(error)}"
        raise ConfigError([text]) from error


def _load_authorities(context: ssl.SSLContext, place: str | None) -> None:
    if place is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        if Path(place).is_dir():
            context.load_verify_locations(capath=place)
        else:
            context.load_verify_locations(cafile=place)
    except OSError as error:
        raise ConfigError([f"{place}: no certificates in PEM: {in_words(error)}"]) from error


def reason(error: Exception) -> str:
    """Return the reason of a failed handshake, with the problem of the certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate cannot be trusted: {error.verify_message.rstrip('.')}"
    return f"TLS failed: {in_words(error)}"
