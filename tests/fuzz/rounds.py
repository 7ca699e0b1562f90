"""Receivers for generated input: a new one after a number of inputs, with other settings."""

import asyncio
import faulthandler
import importlib.util
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tests.fakes.certificates import make_certificates
from tests.fuzz.clients import Complaints, Fuzz
from tests.fuzz.judgement import Wrong
from tests.service.receiving import receiving
from tests.service.receiving_tls import client_context

from emailrelay.config import ReceiverSettings

INPUTS = 200
"""So many for each receiver."""
_STUCK = 120.0
"""Seconds after which a loop that does not go on shows where it is, and everything ends."""


class Rounds:
    """The receivers of one run; the number of an input decides which one it is for."""

    def __init__(self, seed: int, folder: Path) -> None:
        certificates = make_certificates(folder)
        secrets = folder / "secrets"
        secrets.write_text("server plain alice open+20sesame\n")
        secrets.chmod(0o600)
        encrypted = {"server_tls": True, "server_tls_certificate": [str(certificates.server)]}
        login = {"server_auth": str(secrets), "server_auth_config": "m:plain,login,cram-md5"}
        self.fuzz = Fuzz(seed, client_context(certificates))
        self._settings: Sequence[Mapping[str, object]] = (
            encrypted,
            {**encrypted, **login},
            {"size": 1000, "recipients": 2, "anonymous": ["server"]},
            {**encrypted, "server_tls_required": True},
        )

    def run(self, numbers: Iterable[int]) -> None:
        """Send the inputs with these numbers.

        Raises:
            Wrong: the receiver failed at one; the text explains how to send it again.

        """
        for which, inputs in groupby(numbers, lambda number: number // INPUTS):
            with asyncio.Runner(loop_factory=_loops()[which % len(_loops())]) as runner:
                # Each kind of loop meets each kind of settings.
                settings = self._settings[which // len(_loops()) % len(self._settings)]
                runner.run(self._round(settings, inputs))

    async def _round(self, settings: Mapping[str, object], inputs: Iterable[int]) -> None:
        complaints = Complaints()
        logging.getLogger("asyncio").addHandler(complaints)
        given = ReceiverSettings.model_validate({"domain": "relay.test", **settings})
        number = -1
        try:
            async with receiving(given) as running:
                running.context.login_pause = 0
                for number in inputs:
                    faulthandler.dump_traceback_later(_STUCK, exit=True)
                    await self.fuzz.one(running, complaints, number)
        except Wrong as wrong:
            again = f"python -m tests.fuzz --seed {self.fuzz.seed} --only {number}"
            raise Wrong(f"{wrong}\nonce more: {again}") from None
        finally:
            faulthandler.cancel_dump_traceback_later()
            logging.getLogger("asyncio").removeHandler(complaints)


def _loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    if importlib.util.find_spec("uvloop") is None:
        return [asyncio.new_event_loop]
    import uvloop  # noqa: PLC0415 -- there may be none

    return [asyncio.new_event_loop, uvloop.new_event_loop]
