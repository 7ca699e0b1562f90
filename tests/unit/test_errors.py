"""All errors of the product have one root; the exceptions without it are listed with a reason."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import emailrelay
import emailrelay_console
import emailrelay_filterd
import emailrelay_forwarder
import emailrelay_monitor
import emailrelay_receiver
from emailrelay.errors import RelayError, StoreError, reason_of

OTHERS = {
    "LineTooLong": "control flow of the receiver: the session answers with 500",
    "LogGone": "an OSError, since callers treat it as any failed write to the log",
    "LoopsBack": "a finding of the filter mx:, which becomes its verdict",
    "MilterGone": "control flow: the dialogue may begin anew over another connection",
    "NoContent": "control flow of the console: the download becomes 404",
    "NoRegularFileError": "an OSError, since callers treat it as any file that cannot be read",
    "NotRecorded": "an OSError, since callers treat it as any failed write to the store",
    "NoServers": "a finding of the filter mx:, which becomes its verdict",
    "OutputClosed": "control flow: the reader of the output has gone, which is no error",
    "Problem": "control flow of the console: it carries the answer to a request",
    "Refused": "control flow of the receiver: it carries the reply to a command",
    "SealedMessage": "control flow: a signed or encrypted message stays as it is",
    "SpawnRefused": "control flow of filterd: the program is started in another way",
    "TooBusy": "control flow of the receiver: the session answers with 454",
}
"""Public exceptions that do not derive from ``RelayError``, with the reason."""


PACKAGES = (
    emailrelay,
    emailrelay_console,
    emailrelay_filterd,
    emailrelay_forwarder,
    emailrelay_monitor,
    emailrelay_receiver,
)


def modules() -> Iterator[str]:
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for known in kind.__subclasses__():
        yield known
        yield from below(known)


def test_public_exceptions_derive_from_the_root_or_have_a_reason_not_to() -> None:
    ours = set(modules())
    for name in ours:
        importlib.import_module(name)
    public = {
        kind
        for kind in below(BaseException)
        if kind.__module__ in ours and not kind.__name__.startswith("_")
    }
    assert {RelayError, StoreError} <= public
    outside = {kind.__name__ for kind in public if not issubclass(kind, RelayError)}
    assert outside == set(OTHERS)


@pytest.mark.parametrize(
    ("known", "text"),
    [("", "/spool/x: No space left on device"), ("commit /spool/x", "No space left on device")],
)
def test_a_reason_names_the_file_once_and_no_number(known: str, text: str) -> None:
    assert reason_of(OSError(28, "No space left on device", "/spool/x"), known) == text
