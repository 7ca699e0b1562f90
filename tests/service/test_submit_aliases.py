"""emailrelay-submit puts the addresses of people in place of names of this host, as cron needs."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from tests.service.receiving import receiving, settings
from tests.service.submitting import submit

from emailrelay.dsn_request import RecipientRequest
from emailrelay.queue.cli import main

CRON = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@here> backup\n\nfailed\n"
ADMIN = "admin@x.test"


def recipients(spool: Path) -> list[str]:
    """Return the recipients of the only message."""
    (envelope,) = spool.glob("*.envelope")
    lines = envelope.read_text().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("X-MailRelay-To-Remote")]


def cron(spool: Path, *arguments: str, **variables: str) -> list[str]:
    """Send a message as cron does; return its recipients."""
    environment = {f"EMAILRELAY_{name}": value for name, value in variables.items()}
    done = submit(*arguments, "-s", str(spool), text=CRON, name="sendmail", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return recipients(spool)


@pytest.mark.parametrize("name", ["root", "root@localhost", "root@here.test", "Root"])
def test_mail_of_cron_reaches_the_person_behind_the_name(tmp_path: Path, name: str) -> None:
    found = cron(tmp_path, "-i", name, ALIASES=f"root={ADMIN},bob@y.test")
    assert found == [ADMIN, "bob@y.test"]


def test_aliases_stand_in_the_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f'[aliases]\nroot = "ops"\nops = ["{ADMIN}"]\n')
    spool = tmp_path / "spool"
    spool.mkdir()
    assert cron(spool, "-t", CONFIG=str(config)) == [ADMIN]


def test_star_takes_the_names_of_this_host_and_no_other_address(tmp_path: Path) -> None:
    given = ("backup", "carl@elsewhere.test", "dora@mail.test")
    found = cron(tmp_path, "--domain", "mail.test", *given, ALIASES=f"*={ADMIN}")
    assert found == [ADMIN, "carl@elsewhere.test"]


def test_without_aliases_a_name_gets_this_hosts_domain(tmp_path: Path) -> None:
    assert cron(tmp_path, "root") == ["root@here.test"]


def test_wrong_aliases_are_named_and_the_mail_is_to_be_sent_again(tmp_path: Path) -> None:
    variables = {"EMAILRELAY_ALIASES": "root=ann"}
    done = submit("root", "-s", str(tmp_path), text=CRON, environment=variables)
    assert done.returncode == os.EX_TEMPFAIL
    assert "'root': leads to 'ann', which is not an address with a domain" in done.stderr
    assert list(tmp_path.glob("*.envelope*")) == []


@pytest.mark.parametrize("name", ["root", "ROOT@localhost", "here.test", "r*t@here.test"])
def test_trace_finds_mail_to_a_name_by_the_name(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cron(tmp_path, name if name == "ROOT@localhost" else "root", ALIASES=f"root={ADMIN}")
    assert main(["--spool-dir", str(tmp_path), "trace", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["to"] == [ADMIN]


async def test_receiver_is_told_the_name_in_whose_place_an_address_stands(tmp_path: Path) -> None:
    async with receiving(settings()) as running:
        words = ("--port", str(running.port), "root", "bob@y.test")
        nowhere = str(tmp_path / "none")
        environment = {"EMAILRELAY_ALIASES": f"root={ADMIN}", "EMAILRELAY_SPOOL_DIR": nowhere}
        done = await asyncio.to_thread(submit, *words, text=CRON, environment=environment)
        assert (done.returncode, done.stderr) == (0, "")
        (kept,) = running.store.mail.kept.values()
        assert kept.history.dsn.recipients == {
            ADMIN: RecipientRequest(original="rfc822;root@here.test")
        }
