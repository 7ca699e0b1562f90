"""What an account's requests are proved with: the secrets in the files that its settings name."""

import base64
import hashlib
import json
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emailrelay.config.accounts import Grant, OAuth2, Provider
from emailrelay.secrets.secret import Secret

_LONGEST = 64 * 1024


class MaterialError(Exception):
    """A secret file cannot be used; the text names it and holds nothing of what stands in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Secrets and what belongs to them; None and empty where the settings name no file."""

    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    key: Secret | None = None
    """A private key as PEM."""
    key_id: str = ""
    issuer: str = ""
    """Who signs with the key, if its file says so."""
    thumbprint: str = ""
    """Of the certificate: SHA-256, base64url (RFC 7515 section 4.1.8)."""


def load(oauth2: OAuth2) -> Material:
    """Read the secret files of an account.

    Raises:
        MaterialError: one cannot be read, or others could read it too, or it holds something else.

    """
    key, key_id, issuer = _key(oauth2)
    return Material(
        client_secret=_line(oauth2.client_secret_file),
        refresh_token=_line(oauth2.refresh_token_file),
        key=key,
        key_id=key_id,
        issuer=issuer,
        thumbprint=_thumbprint(oauth2.certificate_file),
    )


def stamp(path: Path | None) -> str:
    """Give a word that changes when a file is written or replaced."""
    if path is None:
        return ""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"


def stamps(oauth2: OAuth2) -> str:
    """Give a word that changes with any of the secret files."""
    return " ".join(stamp(path) for path in _files(oauth2))


def _files(oauth2: OAuth2) -> Iterator[Path | None]:
    yield oauth2.client_secret_file
    yield oauth2.key_file
    yield oauth2.certificate_file
    yield oauth2.refresh_token_file


def _key(oauth2: OAuth2) -> tuple[Secret | None, str, str]:
    path = oauth2.key_file
    if path is None:
        return None, "", ""
    text = _text(path)
    if not (oauth2.grant is Grant.SERVICE_ACCOUNT and oauth2.provider is Provider.GOOGLE):
        if "PRIVATE KEY-----" not in text:
            raise MaterialError(f"{path}: is no private key in PEM form")
        return Secret(text), "", ""
    try:
        entry: Any = json.loads(text)
        return (
            Secret(str(entry["private_key"])),
            str(entry["private_key_id"]),
            str(entry["client_email"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        # The library's error quotes the text: it must not become this one's cause.
        raise MaterialError(f"{path}: is no key file (JSON) of a Google service account") from None


def _thumbprint(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        der = ssl.PEM_cert_to_DER_cert(_text(path, secret=False).strip())
    except ValueError:
        raise MaterialError(f"{path}: is no certificate in PEM form") from None
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def _line(path: Path | None) -> Secret | None:
    if path is None:
        return None
    text = _text(path).strip()
    if not text or not (text.isascii() and text.isprintable()):
        raise MaterialError(f"{path}: must hold the secret, one line")
    return Secret(text)


def _text(path: Path, *, secret: bool = True) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and mode & (stat.S_IROTH | stat.S_IWOTH):
                raise MaterialError(f"{path}: others can read or write it; say chmod o-rwx {path}")
            octets = file.read(_LONGEST + 1)
    except OSError as error:
        raise MaterialError(f"{path}: cannot be read: {error.strerror}") from error
    if len(octets) > _LONGEST:
        raise MaterialError(f"{path}: is too long for a secret")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise MaterialError(f"{path}: is no text") from None
