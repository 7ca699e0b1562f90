"""A content in the form that goes out, so that what a milter signs is what the next server gets."""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from emailrelay.filters.editing import chunks
from emailrelay.filters.shipped.sent_form import SentForm


def as_sent(file: BinaryIO, folder: Path | None) -> BinaryIO:
    """Return a content with CRLF line ends and without NUL; ``file`` itself if it is in this form.

    A last line without an end stays so. A new content is in a file in ``folder`` that has no name,
    or in memory without ``folder``.

    Raises:
        OSError: the system's fault.

    """
    if not _differs(file):
        return file
    made = BytesIO() if folder is None else cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 -- the caller's
    try:
        form = SentForm()
        for chunk in chunks(file):
            made.write(form.feed(chunk))
        made.write(form.finish())
        made.seek(0)
    except BaseException:
        made.close()
        raise
    return made


def _differs(file: BinaryIO) -> bool:
    form = SentForm()
    for chunk in chunks(file):
        form.feed(chunk)
        if form.changed:
            break
    form.feed(b".")  # a CR at the very end waits for the next octet
    file.seek(0)
    return form.changed
