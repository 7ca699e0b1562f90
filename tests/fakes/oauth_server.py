"""A real OAuth2 server over HTTPS: it checks clients, codes, signatures and refresh tokens.

It serves a token endpoint and a device authorization endpoint (RFC 6749, 7523, 8628), and checks
access tokens. Tests script trouble with ``answers`` and hold answers back with ``gate``.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
import ssl
import time
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import trustme
from joserfc import jwk, jwt
from joserfc.errors import JoseError

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JWT_CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class No(Exception):
    """An error answer (RFC 6749 section 5.2)."""

    def __init__(self, code: str, description: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.description, self.status = code, description, status


@dataclass(slots=True)
class Answer:
    """The answer that a test sets; ``status`` 0 closes the connection without an answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Client:
    """An application that the server knows."""

    secret: str | None = None
    key: str | None = None
    """The public key (PEM) that its statements are signed with."""
    thumbprint: str | None = None
    """The required fields in the header of its statements, if any."""
    users: frozenset[str] = frozenset()
    """For whom its key may act (RFC 7523 section 2.1)."""


@dataclass(slots=True)
class Device:
    client: str
    user_code: str
    interval: float
    ends: float
    state: str = "authorization_pending"
    asked: float = 0.0


class LiveTokens(set[str]):
    """Access tokens; an expired one is removed."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, float] = {}

    def __contains__(self, token: object) -> bool:
        return self.ends.get(str(token), 0.0) > time.monotonic()


@dataclass(slots=True)
class OAuthServer:
    """An ``async with`` block in which the server listens; ``ca`` is the file of its authority."""

    folder: Path
    clients: dict[str, Client] = field(default_factory=dict[str, Client])
    lifetime: float = 3600.0
    rotates: bool = False
    """With it each refresh gives a new refresh token and ends the old one."""
    gives_refresh: bool = True
    interval: float = 1.0
    device_lifetime: float = 60.0
    answers: list[Answer] = field(default_factory=list[Answer])
    """Answers to the next requests in place of the usual ones."""
    gate: asyncio.Event | None = None
    """Answers are ready, but wait for it."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has been decided."""
    requests: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The forms that came, in order; ``path`` among the fields."""
    tokens: LiveTokens = field(default_factory=LiveTokens)
    refresh_tokens: set[str] = field(default_factory=set[str])
    devices: dict[str, Device] = field(default_factory=dict[str, Device])
    clock: Callable[[], float] = time.time
    """The keys that verify signed statements."""
    port: int = 0
    _used: set[str] = field(default_factory=set[str])
    _server: asyncio.Server | None = None
    _busy: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _ca: trustme.CA = field(default_factory=trustme.CA)

    async def __aenter__(self) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType] -- also takes pyOpenSSL's
        self._ca.cert_pem.write_to_path(self.ca)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    @property
    def ca(self) -> Path:
        return self.folder / "oauth-authority.pem"

    @property
    def token_url(self) -> str:
        return f"https://localhost:{self.port}/token"

    @property
    def device_url(self) -> str:
        return f"https://localhost:{self.port}/device"

    def approve(self, user_code: str, state: str = "approved") -> None:
        """Do what a person does in the browser."""
        next(d for d in self.devices.values() if d.user_code == user_code).state = state

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            self._busy.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        path = first.split()[1]
        self.requests.append({**fields, "path": path})
        answer = self.answers.pop(0) if self.answers else self._decide(path, fields, headers)
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if answer.status:
            more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            writer.write(
                f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(answer.body)}\r\n{more}"
                "Connection: close\r\n\r\n".encode()
                + answer.body
            )
            await writer.drain()

    def _decide(self, path: str, fields: dict[str, str], headers: dict[str, str]) -> Answer:
        try:
            client = self._client(fields, headers)
            found = (
                self._device(client, fields) if path == "/device" else self._token(client, fields)
            )
        except No as error:
            entry = {"error": error.code, "error_description": error.description}
            return Answer(error.status, json.dumps(entry).encode())
        return Answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _client(self, fields: dict[str, str], headers: dict[str, str]) -> str:
        if fields.get("grant_type") == JWT_BEARER and "client_id" not in fields:
            return ""
        secret = fields.get("client_secret")
        name = fields.get("client_id", "")
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            name, secret = map(unquote, b64decode(value).decode().split(":"))
        known = self.clients.get(name)
        if known is None:
            raise No("invalid_client", "no such application", 401)
        if known.key is not None and fields.get("client_assertion_type") == JWT_CLIENT:
            claims = self._claims(fields.get("client_assertion", ""), known, "PS256")
            if claims["iss"] != name or claims["sub"] != name:
                raise No("invalid_client", "the statement is another's", 401)
        elif known.secret != secret:
            raise No("invalid_client", f"wrong secret {secret}", 401)
        return name

    def _claims(self, assertion: str, client: Client, algorithm: str) -> dict[str, Any]:
        assert client.key is not None
        try:
            found = jwt.decode(assertion, jwk.import_key(client.key, "RSA"), algorithms=[algorithm])
        except (JoseError, ValueError) as error:
            raise No("invalid_grant", "the signature is wrong") from error
        claims: dict[str, Any] = found.claims
        now = self.clock()
        if claims["aud"] != self.token_url or not claims["iat"] <= now <= claims["exp"]:
            raise No("invalid_grant", "not for us, or not now")
        if claims["exp"] - claims["iat"] > 3600 or claims["jti"] in self._used:
            raise No("invalid_grant", "good for too long, or used before")
        if client.thumbprint is not None and found.header.get("x5t#S256") != client.thumbprint:
            raise No("invalid_client", "no such certificate", 401)
        self._used.add(claims["jti"])
        return claims

    def _token(self, client: str, fields: dict[str, str]) -> dict[str, Any]:
        match fields.get("grant_type"):
            case "client_credentials":
                return self._issue(refresh=False)
            case "refresh_token":
                return self._refresh(fields["refresh_token"])
            case word if word == DEVICE_CODE:
                return self._poll(client, fields["device_code"])
            case word if word == JWT_BEARER:
                return self._act_for(fields["assertion"])
            case _:
                raise No("unsupported_grant_type")

    def _refresh(self, used: str) -> dict[str, Any]:
        if used not in self.refresh_tokens:
            raise No("invalid_grant", f"the refresh token {used} has expired")
        if self.rotates:
            self.refresh_tokens.discard(used)
        return self._issue(refresh=self.rotates)

    def _poll(self, client: str, code: str) -> dict[str, Any]:
        device = self.devices.get(code)
        now = time.monotonic()
        if device is None or device.client != client:
            raise No("invalid_grant")
        if now > device.ends:
            raise No("expired_token")
        early, device.asked = now < device.asked + device.interval * 0.95, now
        if early:
            device.interval += 5
            raise No("slow_down")
        if device.state != "approved":
            raise No(device.state)
        del self.devices[code]
        return self._issue(refresh=self.gives_refresh)

    def _act_for(self, assertion: str) -> dict[str, Any]:
        issuer = str(json.loads(urlsafe_b64decode(assertion.split(".")[1] + "=="))["iss"])
        known = self.clients.get(issuer)
        if known is None or known.key is None:
            raise No("invalid_grant", "no such account")
        claims = self._claims(assertion, known, "RS256")
        if claims["sub"] not in known.users:
            raise No("unauthorized_client", "may not act for this user", 401)
        return self._issue(refresh=False)

    def _device(self, client: str, fields: dict[str, str]) -> dict[str, Any]:
        code, user_code = secrets.token_urlsafe(), secrets.token_hex(4).upper()
        self.devices[code] = Device(
            client, user_code, self.interval, time.monotonic() + self.device_lifetime
        )
        assert "scope" in fields
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": "https://login.test/device",
            "expires_in": self.device_lifetime,
            "interval": self.interval,
        }

    def _issue(self, *, refresh: bool) -> dict[str, Any]:
        token = secrets.token_urlsafe()
        self.tokens.ends[token] = time.monotonic() + self.lifetime
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if refresh:
            answer["refresh_token"] = secrets.token_urlsafe()
            self.refresh_tokens.add(str(answer["refresh_token"]))
        return answer


def thumbprint(der: bytes) -> str:
    """Give the name of a certificate in a statement's header (RFC 7515 section 4.1.8)."""
    return urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
