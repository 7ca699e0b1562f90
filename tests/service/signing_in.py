"""Accounts, their files and their tokens around a real OAuth2 server, for tests."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.fakes.oauth_server import OAuthServer
from tests.forked import run_forked

from emailrelay.config.accounts import AccountSettings
from emailrelay.events.event import Event
from emailrelay.oauth import settings
from emailrelay.oauth.bearer import Bearer
from emailrelay.oauth.clocks import ClockReading
from emailrelay.oauth.renewal import Renewal
from emailrelay.store.spool.tokens import SpoolTokens

HANG = 30.0
SECRET = "cl1ent/s3cret+%"  # noqa: S105 -- of the test's own server
USER = "relay@contoso.test"
START = ClockReading(wall=1_700_000_000.0, uptime=5000.0, boot="a")
_TOKEN_USER = Path(__file__).parents[1] / "fakes" / "token_user.py"


def rsa_key() -> tuple[str, str]:
    """Give a private and its public key, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@dataclass(slots=True)
class Desk:
    """A settings file, a spool and a server; ``told`` has the events in order."""

    folder: Path
    server: OAuthServer
    told: list[Event] = field(default_factory=list[Event])
    now: ClockReading = START
    pauses: list[float] = field(default_factory=list[float])
    chance: float = 0.0
    accounts: list[str] = field(default_factory=list[str])

    @property
    def spool(self) -> Path:
        path = self.folder / "spool"
        path.mkdir(exist_ok=True)
        return path

    @property
    def config(self) -> Path:
        return self.folder / "relay.toml"

    def secret_file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def account(
        self, grant: str, *, name: str = "office", mechanism: str = "xoauth2", **more: str
    ) -> AccountSettings:
        """Add an account to the settings file, with the server's addresses."""
        table = {"grant": grant, "token_url": self.server.token_url, "scope": "mail", **more}
        if grant == "device-code":
            table["device_authorization_url"] = self.server.device_url
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        self.accounts.append(
            f'[[account]]\nname = "{name}"\nmechanism = "{mechanism}"\nuser = "{USER}"\n'
            "[account.oauth2]\n" + "\n".join(lines) + "\n"
        )
        self.config.write_text("".join(self.accounts))
        return settings.load(self.config, self.spool, {}).named(name)

    def application(self, **more: str) -> AccountSettings:
        """Add an account that signs in with the application's secret."""
        path = self.secret_file("client-secret", SECRET + "\n")
        return self.account(
            "client-credentials", client_id="app:1", client_secret_file=str(path), **more
        )

    def person(self, refresh_token: str | None = None, **more: str) -> AccountSettings:
        """Add an account that a person has signed in to, with a refresh token."""
        if refresh_token is not None:
            self.server.refresh_tokens.add(refresh_token)
            more["refresh_token_file"] = str(self.secret_file("refresh", refresh_token))
        return self.account("refresh-token", client_id="public", **more)

    def bearer(self) -> Bearer:
        """Give the tokens as another process would see them."""
        return Bearer(
            settings.load(self.config, self.spool, {}).tables,
            SpoolTokens(str(self.spool)),
            report=self.told.append,
            clock=lambda: self.now,
            chance=lambda: self.chance,
            pause=self.pause,
        )

    def renewal(self, account: AccountSettings) -> Renewal:
        assert account.oauth2 is not None
        return Renewal(
            account=account,
            oauth2=account.oauth2,
            tokens=SpoolTokens(str(self.spool)),
            report=self.told.append,
            clock=lambda: self.now,
            chance=lambda: self.chance,
            pause=self.pause,
        )

    async def pause(self, seconds: float) -> None:
        """Note a pause, and make none."""
        self.pauses.append(seconds)

    def later(self, seconds: float) -> None:
        self.now = replace(self.now, wall=self.now.wall + seconds, uptime=self.now.uptime + seconds)

    def kept(self, name: str = "office") -> str:
        """Give the file of an account's tokens as it stands."""
        return (self.spool / ".tokens" / f"{name}.json").read_text()

    def events(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.told if isinstance(event, kind)]

    async def run(self, *arguments: str, text: str = "") -> tuple[int, str, str]:
        """Run ``emailrelay-auth``; give exit status, output and complaints."""
        where = ("--config", str(self.config), "--spool-dir", str(self.spool))
        run = partial(run_forked, "emailrelay-auth", *arguments, *where, text=text)
        done = await asyncio.to_thread(run)  # the sign-in server of the test answers meanwhile
        return done.returncode, done.stdout, done.stderr

    @contextlib.asynccontextmanager
    async def command(self, *arguments: str) -> AsyncGenerator[Process]:
        where = ("--config", str(self.config), "--spool-dir", str(self.spool))
        words = (sys.executable, "-m", "emailrelay.oauth", *arguments, *where)
        async with running(*words) as process:
            yield process

    @contextlib.asynccontextmanager
    async def token_user(self, *more: str, name: str = "office") -> AsyncGenerator[Process]:
        """Start a process that wants a token."""
        words = (sys.executable, str(_TOKEN_USER), str(self.config), str(self.spool), name)
        async with running(*words, *more) as process:
            yield process


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, "PYTHONPATH": ""}
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
