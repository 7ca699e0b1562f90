"""The form of a domain in the DNS: lower case, A-labels, no final dot (RFC 5891, RFC 5895)."""

import unicodedata

_LONGEST_LABEL = 63
_WIDE = ("<wide>", "<narrow>")


def ascii_domain(domain: str) -> str:
    """Return the form of a domain in the DNS.

    A name that cannot be in the DNS gives a text that is no name of a host, such as one with labels
    that are too long.
    """
    # The DNS knows which names exist, so nothing is checked. Python's codec ``idna`` is that of the
    # older standard, which maps straße.de to strasse.de, a different domain.
    mapped = unicodedata.normalize("NFC", "".join(map(_mapped, domain)))
    labels = mapped.replace("\u3002", ".").removesuffix(".").split(".")
    return ".".join(map(_a_label, labels))


def _mapped(character: str) -> str:
    """Return a character of a domain as it is compared (RFC 5895 section 2)."""
    if unicodedata.decomposition(character).startswith(_WIDE):
        character = unicodedata.normalize("NFKC", character)
    return character.lower()


def _a_label(label: str) -> str:
    # Punycode takes the square of the time.
    if label.isascii() or len(label) > _LONGEST_LABEL:
        return label
    return f"xn--{label.encode('punycode').decode()}"
