"""``disclaimer:``: footers in real messages, read back with the email package."""

import base64
import re
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.service.filtering import DEADLINE, PAGE, Desk, trouble

from emailrelay.config import FilterdSettings, read
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.mime_scan import SealedMessage, readable_parts
from emailrelay.filters.spec import parse_chain, unstartable

SMTP = policy.SMTP
FOOTER = "-- \nExample <Ltd> & Co"
UMLAUT = "Grüße, 株式会社"


class FooterDesk(Desk):
    """A desk with a footer in a file."""

    async def read(self, content: bytes, footer: str = FOOTER) -> EmailMessage:
        """Return a message with the footer."""
        return message_from_bytes(await self.add(content, footer), policy=policy.default)

    async def add(self, content: bytes, footer: str = FOOTER) -> bytes:
        file = self.folder / "footer"
        if not file.exists() or file.read_text() != footer:
            file.write_text(footer)
        return await self.edit(content, f"disclaimer:{file}")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[FooterDesk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        yield FooterDesk(tmp_path, programs)


def mail(text: str, *, cte: str | None = None, charset: str = "utf-8") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "x"
    message.set_content(text, charset=charset, cte=cte)
    return message


def text_of(message: MIMEPart) -> str:
    text = message.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


async def test_plain_message_gets_the_footer_and_stays_otherwise(desk: FooterDesk) -> None:
    content = b"Subject: x\r\n\r\nhello\r\n"
    assert await desk.add(content) == content + b"-- \r\nExample <Ltd> & Co\r\n"
    assert await desk.add(content[:-2]) == content + b"-- \r\nExample <Ltd> & Co"


@pytest.mark.parametrize("footer", [FOOTER, UMLAUT])
@pytest.mark.parametrize(
    ("cte", "charset", "text"),
    [
        ("7bit", "us-ascii", "hello\n"),
        ("8bit", "utf-8", "hällo\n"),
        ("quoted-printable", "utf-8", "hällo = \n" + "long " * 40 + "\n"),
        ("quoted-printable", "iso-8859-1", "hällo\n"),
        ("8bit", "iso-8859-1", "hällo\n"),
        ("base64", "utf-8", "hällo\n"),
        ("base64", "iso-8859-1", "hällo\n"),
        ("base64", "shift_jis", "株式\n"),
        ("7bit", "iso-2022-jp", "株式\n"),
    ],
)
async def test_footer_is_readable_in_every_encoding(
    desk: FooterDesk, cte: str, charset: str, text: str, footer: str
) -> None:
    content = bytes(mail(text, cte=cte, charset=charset))
    assert text_of(await desk.read(content, footer)) == text + footer + "\n"


async def test_text_in_utf_16_becomes_utf_8(desk: FooterDesk) -> None:
    text = base64.encodebytes("hällo\r\n".encode("utf-16"))
    head = b"Content-Type: text/plain; charset=UTF-16\r\nContent-Transfer-Encoding: base64\r\n"
    message = await desk.read(head + b"\r\n" + text, UMLAUT)
    assert text_of(message) == f"hällo\n{UMLAUT}\n"
    assert message.get_content_charset() == "utf-8"


async def test_message_without_mime_fields_becomes_mime_for_other_characters(
    desk: FooterDesk,
) -> None:
    message = await desk.read(b"Subject: x\r\n\r\nhello\r\n", UMLAUT)
    assert text_of(message) == f"hello\n{UMLAUT}\n"
    assert message["MIME-Version"] == "1.0"
    assert message["Subject"] == "x"


@pytest.mark.parametrize("footer", [FOOTER, UMLAUT])
@pytest.mark.parametrize("cte", ["7bit", "quoted-printable", "base64"])
async def test_all_alternatives_get_it_and_attachments_do_not(
    desk: FooterDesk, footer: str, cte: str
) -> None:
    message = mail("hello\n", cte=cte)
    html = "<html><body><p>hello</p></body></html>\n"
    message.add_alternative(html, subtype="html", cte=cte)
    message.add_attachment("attached\n", filename="a.txt")
    found = await desk.read(bytes(message), footer)
    plain, shown = found.get_body(("plain",)), found.get_body(("html",))
    assert plain is not None
    assert shown is not None
    assert text_of(plain).rstrip() == f"hello\n{footer}"
    assert re.search(r"<p>hello</p><p>.*</p>\s*</body></html>", text_of(shown), re.DOTALL)
    words = "Example &lt;Ltd&gt; &amp; Co" if footer == FOOTER else "Gr&#252;&#223;e, &#26666;"
    assert words in text_of(shown)
    (attached,) = found.iter_attachments()
    assert text_of(attached) == "attached\n"


async def test_pictures_within_html_do_not_hide_it(desk: FooterDesk) -> None:
    message = mail("hello\n")
    message.add_alternative("<p>hello", subtype="html")
    (_, html) = message.iter_parts()
    assert isinstance(html, EmailMessage)
    html.add_related(b"png", "image", "png", cid="<a>")
    found = (await desk.read(bytes(message))).get_body(("html",))
    assert found is not None
    assert "<p>hello" in text_of(found)
    assert "Ltd" in text_of(found)


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/signed; boundary="b"; protocol="application/pgp-signature"',
        'multipart/encrypted; boundary="b"',
        "application/pkcs7-mime; smime-type=enveloped-data",
        "application/x-pkcs7-mime",
    ],
)
async def test_signed_and_encrypted_mail_stays(desk: FooterDesk, kind: str) -> None:
    part = f"Content-Type: {kind}\r\n\r\n--b\r\n\r\nhello\r\n--b--\r\n"
    outer = f'Content-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\n{part}--o--\r\n'
    for content in (part.encode(), outer.encode()):
        assert await desk.add(content) == content


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nhello\r\n",
        b"DKIM-Signature: v=1\r\n\r\nhello\r\n",
        b"Content-Type: image/png\r\n\r\nhello\r\n",
        b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nhello\r\n",
        b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nhello\r\n",
        b"Content-Type: text/plain; charset=utf-16\r\n\r\nhello\r\n",
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nhello\xff\r\n",
        b"Content-Type: text/plain; charset=none\r\n\r\nhello\r\n",
        b"Content-Type: text/plain; charset=rot13\r\n\r\nhello\r\n",
        b"Content-Type: text/plain; charset=punycode\r\n\r\nhello-",
        b"Content-Transfer-Encoding: x-uuencode\r\n\r\nhello\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\na\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\nLS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0tCg==\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\nepilogue\r\n",
    ],
)
async def test_message_whose_text_must_not_or_cannot_be_changed_stays(
    desk: FooterDesk, content: bytes
) -> None:
    assert await desk.add(content, UMLAUT) == content


async def test_hostile_structures_are_bounded(desk: FooterDesk) -> None:
    many = b"--b\r\nContent-Type: image/png\r\n\r\n" * 10_000
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert await desk.add(head + many) == head + many
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000)
    )
    assert await desk.add(deep) == deep
    large = b"Subject: x\r\n\r\n" + b"x" * 20_000_000
    assert (await desk.add(large)).startswith(large)
    field = b"Content-Type: text/plain; " + b'a="\\' * 200_000 + b"\r\n\r\nx\r\n"
    assert (await desk.add(field)).startswith(field)


PIECES = [
    b"--b\r\n",
    b"--b--\r\n",
    b"--c\r\n",
    b"--c--\r\n",
    b"Content-Type: multipart/alternative; boundary=c\r\n",
    b"Content-Type: text/html\r\n",
    b"\r\n",
    b"text\r\n",
    b"x",
    b"\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_places_of_parts_are_in_order_and_inside(pieces: list[bytes]) -> None:
    import io  # noqa: PLC0415

    content = b"".join(pieces)
    fields = [b"Content-Type: multipart/mixed; boundary=b\r\n"]
    try:
        parts = readable_parts(fields, io.BytesIO(content), 0)
    except SealedMessage:
        return
    at = 0
    for part in parts:
        assert at <= part.header <= part.body <= part.end <= len(content)
        assert b"--b" not in content[part.body : part.end].split(b"\r\n")
        at = part.end


async def test_only_mail_of_chosen_senders_gets_it(desk: FooterDesk, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n([^`]*?\[\[disclaimer\]\][^`]*?)```", PAGE)
    (tmp_path / "footer.txt").write_text(FOOTER)
    (tmp_path / "footer.html").write_text("<i>footer</i>")
    file = tmp_path / "relay.toml"
    for domain, added in (("x.test", True), ("z.test", False)):
        file.write_text(
            text.replace("/etc/emailrelay", str(tmp_path)).replace('"example.com"', f'"{domain}"')
        )
        settings = read(FilterdSettings, [f"--config={file}"], {})
        desk.tables = settings.filter_tables
        message = mail("hello\n")
        message.add_alternative("<body>x</body>", subtype="html")
        content = await desk.edit(bytes(message), *settings.filter)
        assert (b"<body>x<i>footer</i>\r\n</body>" in content) == added
        assert (b"Ltd" in content) == added


async def test_unusable_text_is_named_at_the_start_and_holds_mail_back(desk: FooterDesk) -> None:
    spec = f"disclaimer:{desk.folder / 'no'}"
    assert "cannot be read" in unstartable(parse_chain([spec]))[spec]
    assert "cannot be read" in trouble(await desk.ask(spec))
    (desk.folder / "no").write_bytes(b"\xff")
    assert "is not UTF-8" in trouble(await desk.ask(spec))
    (desk.folder / "no").write_bytes(b" \n")
    assert "must hold a text" in trouble(await desk.ask(spec))
