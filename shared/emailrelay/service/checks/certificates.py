"""Checks a certificate by a handshake with itself: its dates, and whether it suits its purpose."""

import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from emailrelay.config.findings import SettingFinding, warning

_SOON = 14 * 86400.0
"""Seconds before the end from which there is a warning: two weeks to renew it."""
_DAY = 86400.0
_EXPIRED, _NOT_YET, _PURPOSE = 10, 9, 26
"""X509_V_ERR_CERT_HAS_EXPIRED and others of OpenSSL's x509_vfy.h."""
_ROUNDS = 10


def check(
    setting: str, files: Sequence[Path], now: float, *, is_client: bool = False
) -> Iterator[SettingFinding]:
    """Yield what is wrong with the certificate in PEM files: key and chain, or both in one.

    The files can be loaded. ``is_client``: it is shown to servers.
    """
    key, chain = files[0], files[-1]
    try:
        until = _shake_hands(key, chain, is_client=is_client)
    except ssl.SSLCertVerificationError as error:
        yield SettingFinding(setting, f"{chain}: {_words(error)}")
    except (OSError, ValueError) as error:
        yield warning(setting, f"{chain}: its dates cannot be checked: {error}")
    else:
        if until - now < _SOON:
            day = time.strftime("%Y-%m-%d", time.gmtime(until))
            left = max(0, int((until - now) / _DAY))
            text = f"{chain}: the certificate expires on {day}, in {left} days; renew it"
            yield warning(setting, text)


def _words(error: ssl.SSLCertVerificationError) -> str:
    match error.verify_code:
        case code if code == _EXPIRED:
            return "the certificate has expired; renew it"
        case code if code == _NOT_YET:
            return "the certificate is not valid yet; wait, or correct the clock of this machine"
        case code if code == _PURPOSE:
            return "the certificate is not for this purpose; request one for TLS servers or clients"
        case _:
            return f"the certificate is not valid: {error.verify_message}"


def _shake_hands(key: Path, chain: Path, *, is_client: bool) -> float:
    """Return the end of the certificate's validity, in seconds since 1970.

    The peer trusts the certificate itself, so that no authority is needed. Only the standard
    library's handshake tells the dates of a certificate.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server.load_cert_chain(chain, key, password="")
    judge = server if is_client else client
    if is_client:
        client.load_cert_chain(chain, key, password="")
    judge.verify_mode = ssl.CERT_REQUIRED
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    judge.load_verify_locations(chain)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    _finish(ends)
    shown = ends[1 if is_client else 0].getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _finish(ends: Sequence[ssl.SSLObject]) -> None:
    for _ in range(_ROUNDS):
        waiting = 0
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting += 1
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")
