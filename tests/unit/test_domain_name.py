"""The form of domains in the DNS."""

import pytest

from emailrelay.filters.shipped.domain_name import ascii_domain


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("Example.ORG.", "example.org"),
        ("", ""),
        ("[127.0.0.1]", "[127.0.0.1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BU\u0308CHER.example", "xn--bcher-kva.example"),
        ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),  # not strasse.de
        ("ΣΑΣ.gr", "xn--mxa9ab.gr"),
        ("日本。\uff2a\uff30", "xn--wgv71a.jp"),
        ("مثال.إختبار", "xn--mgbh0fb.xn--kgbechtv"),
        ("क्षत्रिय.भारत", "xn--11b4a7ad7a0c8ec.xn--h2brj9c"),
    ],
)
def test_domain_has_the_form_of_the_dns(domain: str, name: str) -> None:
    assert ascii_domain(domain) == name


def test_label_that_is_too_long_stays() -> None:
    assert ascii_domain("ü" * 64 + ".test") == "ü" * 64 + ".test"
