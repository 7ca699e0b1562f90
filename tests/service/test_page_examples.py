"""The examples in shell of the pages about verifiers and filters."""

import re
import subprocess
from pathlib import Path

import pytest

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope

DOCS = Path(__file__).parents[2] / "docs"


def script(page: str, mark: str, tmp_path: Path) -> str:
    """Return the path of the example that has a word in it."""
    (text,) = re.findall(rf"```sh\n(#!/bin/sh\n[^`]*?{mark}[^`]*?)```", (DOCS / page).read_text())
    path = tmp_path / "example"
    path.write_text(text.replace("/etc/emailrelay", str(tmp_path)))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        *(("ann@example.com", 1), ("ANN@Example.COM", 1), ("a.b@example.com", 1)),
        *((".*@example.com", 2), ("axb@example.com", 2), ("-v@example.com", 2)),
        *(("carl@example.com", 2), ("carl@other.test", 1)),
    ],
)
def test_verifier_takes_names_as_they_are(tmp_path: Path, recipient: str, status: int) -> None:
    (tmp_path / "users").write_text("Ann\na.b\n")
    words = (script("address-verifiers.md", "grep", tmp_path), recipient)
    assert subprocess.run(words, check=False, timeout=60).returncode == status


@pytest.mark.parametrize(
    ("sender", "status"), [("a@slow.example", 1), ("a@Slow.example", 1), ("a@slow.example.org", 0)]
)
def test_filter_holds_the_mail_of_one_domain_back(tmp_path: Path, sender: str, status: int) -> None:
    envelope = tmp_path / "envelope"
    envelope.write_bytes(
        envelope_format.write(Envelope(Address(sender), to_remote=(Address("b@y.test"),)))
    )
    words = (script("filters.md", "451 4.7.1", tmp_path), "content", str(envelope))
    assert subprocess.run(words, check=False, timeout=60).returncode == status
