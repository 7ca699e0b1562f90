"""Requests to a provider's HTTP endpoints.

Only this module uses httpx2 and joserfc, and it imports them late. Time and size are bounded. TLS
is verified, the proxy of the environment is used, and redirects are not followed: secrets go only
to the address in the settings.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

from emailrelay import extras
from emailrelay.errors import RelayError
from emailrelay.oauth.request import Claims, Client

_TIME = 20.0
"""Seconds for one request, from the name lookup to the last octet of the answer."""
_SIZE = 256 * 1024
_LONGEST_QUOTE = 300
_TRY_LATER = frozenset({408, 425, 429})
_BUSY = frozenset({"temporarily_unavailable", "server_error"})


class MissingExtra(RelayError):
    """The packages for OAuth2 are not installed."""

    temporary = False

    def __init__(self) -> None:
        super().__init__(f"OAuth2 needs more packages: {extras.advice('oauth')}")


class BadKey(RelayError):
    """A private key cannot sign."""

    temporary = False


@dataclass
class Unavailable(RelayError):
    """No usable answer, for a reason that is not ours: the same request may succeed later."""

    reason: str
    retry_after: float = 0.0
    """The pause in seconds that the server requested."""

    def __str__(self) -> str:
        return self.reason


@dataclass
class TokenRefused(RelayError):
    """The server refused: an error code of RFC 6749 section 5.2 or an extension, and its text."""

    temporary = False

    code: str
    description: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.description}" if self.description else self.code


async def ask(url: str, form: Mapping[str, str], client: Client) -> Mapping[str, object]:
    """Send a form and return the JSON object of an answer with status 200.

    Raises:
        TokenRefused: the server refused and gave a reason.
        Unavailable: any other failure of the request.
        MissingExtra: httpx2 is not installed.

    """
    host = urlsplit(url).netloc
    try:
        async with asyncio.timeout(_TIME):
            status, retry_after, octets = await _post(url, form, client)
    except TimeoutError as error:
        raise Unavailable(f"{host} has not answered within {_TIME:g} s") from error
    try:
        answer: Any = json.loads(octets)
    except (ValueError, RecursionError):
        answer = None  # reported below; the error would quote the text
    if status == 200 and isinstance(answer, dict):
        return cast("dict[str, object]", answer)
    if status >= 500 or status in _TRY_LATER or status < 400:
        raise Unavailable(f"{host} answered with HTTP status {status}", retry_after)
    if not isinstance(answer, dict) or "error" not in answer:
        raise Unavailable(f"{host} answered with HTTP status {status} and no reason", retry_after)
    said = cast("dict[str, object]", answer)
    code, description = (
        _words(said.get(word, ""), form, client) for word in ("error", "error_description")
    )
    if code in _BUSY:
        raise Unavailable(f"{host} answered {code}", retry_after)
    raise TokenRefused(code, description)


async def _post(url: str, form: Mapping[str, str], client: Client) -> tuple[int, float, bytes]:
    try:
        import httpx2  # noqa: PLC0415 -- an extra, and 20 MB that most forwarders do without
    except ImportError as error:
        raise MissingExtra from error
    fields, auth = dict(form), None
    if client.secret is not None and client.basic:
        auth = httpx2.BasicAuth(quote(client.id, safe=""), quote(client.secret.reveal(), safe=""))
    elif client.id:
        fields["client_id"] = client.id
        if client.secret is not None:
            fields["client_secret"] = client.secret.reveal()
    # Not compressed, so that the size limit counts the octets that are stored.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    host = urlsplit(url).netloc
    try:
        async with (
            httpx2.AsyncClient(verify=ssl.create_default_context(), timeout=_TIME) as http,
            http.stream("POST", url, data=fields, auth=auth, headers=headers) as response,
        ):
            octets = bytearray()
            async for chunk in response.aiter_raw():
                octets += chunk
                if len(octets) > _SIZE:
                    raise Unavailable(f"{host} answered with more than {_SIZE} octets")
            return response.status_code, _seconds(response.headers), bytes(octets)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise Unavailable(f"{host} cannot be asked: {_one_line(error)}") from error


def sign(statement: Claims) -> str:
    """Sign a statement as a JSON Web Token (RFC 7519, RFC 7523 section 3).

    Raises:
        BadKey: the key cannot sign; the error shows nothing of it.
        MissingExtra: joserfc is not installed.

    """
    try:
        from joserfc import jwk, jwt  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise MissingExtra from error
    header = {"alg": statement.algorithm, **statement.header}
    try:
        key = jwk.RSAKey.import_key(statement.key.reveal())
        return jwt.encode(header, dict(statement.claims), key, algorithms=[statement.algorithm])
    except Exception:  # noqa: BLE001 -- the library's error may quote the key
        raise BadKey("the private key cannot sign: it must be an RSA key in PEM form") from None


def _seconds(headers: Mapping[str, str]) -> float:
    # RFC 9110 section 10.2.3 also allows a date; no token endpoint is known to send one.
    said = headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0


def _words(said: object, form: Mapping[str, str], client: Client) -> str:
    """Return a server's text for log and terminal: one short line without our secrets."""
    text = str(said)
    hidden = [form[name] for name in _SECRET_FIELDS if form.get(name)]
    if client.secret is not None:
        hidden.append(client.secret.reveal())
    for secret in hidden:
        text = text.replace(secret, "(secret)")
    return _one_line(text)


_SECRET_FIELDS = ("refresh_token", "device_code", "assertion", "client_assertion")


def _one_line(said: object) -> str:
    text = " ".join(str(said).split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."
