"""Codecs for charsets that mail names."""

import pytest

from emailrelay.charsets import codec_of


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("UTF-8", "utf-8"), ("latin1", "iso8859-1"), ("us-ascii", "ascii"), ("GB2312", "gb2312")],
)
def test_charset_of_mail_has_its_codec(charset: str, codec: str) -> None:
    assert codec_of(charset) == codec


@pytest.mark.parametrize(
    "charset",
    [
        *("", "none", "x" * 1000, "\0", "ütf", "../utf_8", "aliases"),
        *("punycode", "PUNYCODE", "idna", "unicode-escape", "raw_unicode_escape", "undefined"),
        *("rot13", "base64", "zip", "hex"),
    ],
)
def test_other_codecs_of_python_are_no_charsets(charset: str) -> None:
    assert codec_of(charset) is None
