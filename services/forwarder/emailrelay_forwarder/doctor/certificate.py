"""Describes an encrypted connection and its certificate."""

import ssl

from emailrelay_forwarder.session.certificate_names import names_of


def details_of(encryption: ssl.SSLObject | None) -> dict[str, object]:
    """Return protocol and cipher, and the names and the end of a verified certificate."""
    if encryption is None:
        return {}
    cipher = encryption.cipher()
    certificate = encryption.getpeercert() or {}
    found: dict[str, object] = {
        "protocol": encryption.version(),
        "cipher": cipher[0] if cipher else None,
        "verified": bool(certificate),
    }
    if certificate:
        found |= {
            "names": names_of(certificate),
            "issuer": _common_name(certificate.get("issuer", ())),
            "not_after": certificate.get("notAfter"),
        }
    return found


def summary(encryption: ssl.SSLObject | None) -> str:
    """Return the same as one line of text."""
    found = details_of(encryption)
    text = f"{found.get('protocol')}, {found.get('cipher')}"
    if not found.get("verified"):
        return f"{text}, certificate not verified"
    names = encryption and names_of(encryption.getpeercert() or {})
    return f"{text}, verified: {', '.join(names or [])}, until {found.get('not_after')}"


def days_left(encryption: ssl.SSLObject | None, *, now: float) -> int | None:
    """Return the number of whole days until a verified certificate expires."""
    certificate = (encryption.getpeercert() if encryption else None) or {}
    end = certificate.get("notAfter")
    return int((ssl.cert_time_to_seconds(end) - now) // 86400) if isinstance(end, str) else None


def _common_name(parts: object) -> str:
    """Return the common name or the organization from a name of ``getpeercert``."""
    found: dict[str, str] = {}
    if isinstance(parts, tuple):
        for part in parts:  # pyright: ignore[reportUnknownVariableType] -- tuples of pairs of texts
            found.update(part)  # pyright: ignore[reportUnknownArgumentType] -- as above
    return found.get("commonName") or found.get("organizationName", "")
