"""``dkim:`` on a content: signatures by the domain of the author (RFC 6376, RFC 8463)."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from emailrelay.filters.editing import chunks, replaced
from emailrelay.filters.result import opened
from emailrelay.filters.shipped import dkim_keys, dkim_text
from emailrelay.filters.shipped.header_block import (
    HeaderBlock,
    name_of,
    read_header,
    write_message,
)
from emailrelay.filters.shipped.parameters import DkimKey
from emailrelay.filters.shipped.sent_form import SentForm


def sign(keys: Sequence[DkimKey], content: Path, now: float) -> None:
    """Put a signature of each fitting key in front of a content, in the form that goes out.

    Raises:
        DkimKeyUnusable: a key file cannot be used.
        ContentRefused: the header is too long.
        OSError: the system's fault.

    """
    with opened(content, "content") as file:
        fitting = _fitting(keys, read_header(file))
    if not fitting:
        return
    normalise(content)
    with opened(content, "content") as file:
        block = read_header(file)
        # The form that goes out has other fields if the content had bare CRs or NULs.
        fitting = _fitting(keys, block)
        body = _body_hash(file, block.end)
        signatures = [_signature(key, block.fields, body, int(now)) for key in fitting]
        if signatures:
            with replaced(content) as write:
                write_message(write, [*signatures, *block.fields], file, block.end)


def foreign(keys: Sequence[DkimKey], content: Path) -> str:
    """Return the reason for which no key fits the author of a content, or an empty text.

    Raises:
        ContentRefused: the header is too long.
        OSError: the system's fault.

    """
    with opened(content, "content") as file:
        domain = dkim_text.author_domain(read_header(file).fields)
    if domain is None:
        return "the message does not have one author domain (From)"
    if any(key.fits(domain) for key in keys):
        return ""
    return f"no key is for {domain}, the domain of the author (From)"


def normalise(content: Path) -> None:
    """Bring a content into the form that goes out; leave it alone if it has that form."""
    with opened(content, "content") as file:
        form = SentForm()
        for _ in _formed(file, form):
            if form.changed:
                break
        if form.changed:
            file.seek(0)
            with replaced(content) as write:
                for chunk in _formed(file, SentForm()):
                    write(chunk)


def _formed(file: BinaryIO, form: SentForm) -> Iterator[bytes]:
    for chunk in chunks(file):
        yield form.feed(chunk)
    yield form.finish()


def _fitting(keys: Sequence[DkimKey], block: HeaderBlock) -> list[DkimKey]:
    domain = dkim_text.author_domain(block.fields)
    if domain is None:
        return []
    signed = any(name_of(field) == dkim_text.SIGNATURE for field in block.fields)
    return [key for key in keys if key.fits(domain) and (key.sign_again or not signed)]


def _body_hash(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    if file.read(2) != b"\r\n":
        file.seek(start)  # ``write_message`` adds the empty line.
    body = dkim_text.RelaxedBody()
    for chunk in chunks(file):
        body.feed(chunk)
    return body.finish()


def _signature(key: DkimKey, fields: Sequence[bytes], body: bytes, now: int) -> bytes:
    signer = dkim_keys.signer(key.key_file)
    names, text = dkim_text.signed_fields(fields, key.headers, key.closed)
    field = dkim_text.signature_field(
        algorithm=signer.algorithm,
        domain=key.domain,
        selector=key.selector,
        now=now,
        names=names,
        body=body,
    )
    own = dkim_text.relaxed_field(field).removesuffix(b"\r\n")
    return dkim_text.with_signature(field, signer.sign(hashlib.sha256(text + own).digest()))
