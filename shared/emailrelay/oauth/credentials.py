"""Credentials for an account's token requests, from the files that its settings name."""

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emailrelay.config.accounts import Grant, OAuth2, Provider
from emailrelay.secrets import Secret
from emailrelay.secrets.secret_text import SecretUnusable, read_line, read_text, stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthCredentials:
    """Secrets and their ids; None and empty where the settings name no file."""

    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    key: Secret | None = None
    """A private key as PEM."""
    key_id: str = ""
    issuer: str = ""
    """The identity that signs with the key, if the key's file contains it."""
    thumbprint: str = ""
    """SHA-256 of the certificate in base64url (RFC 7515 section 4.1.8)."""


def load_credentials(oauth2: OAuth2) -> OAuthCredentials:
    """Read the secret files of an account.

    Raises:
        SecretUnusable: a file cannot be read, other users can read it, or its content is wrong.

    """
    key, key_id, issuer = _key(oauth2)
    return OAuthCredentials(
        client_secret=_line(oauth2.client_secret_file),
        refresh_token=_line(oauth2.refresh_token_file),
        key=key,
        key_id=key_id,
        issuer=issuer,
        thumbprint=_thumbprint(oauth2.certificate_file),
    )


def stamp_of_files(oauth2: OAuth2) -> str:
    """Return a string that changes when one of the secret files changes."""
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
    text = read_text(path)
    if not (oauth2.grant is Grant.SERVICE_ACCOUNT and oauth2.provider is Provider.GOOGLE):
        if "PRIVATE KEY-----" not in text:
            raise SecretUnusable(f"{path}: is not a private key in PEM form")
        return Secret(text), "", ""
    try:
        entry: Any = json.loads(text)
        return (
            Secret(str(entry["private_key"])),
            str(entry["private_key_id"]),
            str(entry["client_email"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        # The library's error quotes the text, so it must not be the cause of this one.
        raise SecretUnusable(
            f"{path}: is not a JSON key file of a Google service account"
        ) from None


def _thumbprint(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        der = ssl.PEM_cert_to_DER_cert(read_text(path, secret=False).strip())
    except ValueError:
        raise SecretUnusable(f"{path}: is not a certificate in PEM form") from None
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def _line(path: Path | None) -> Secret | None:
    return None if path is None else read_line(path)
