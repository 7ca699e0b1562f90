"""emailrelay-queue route: the route of a message, and the reason."""

import json
from pathlib import Path

import pytest

from emailrelay.queue.cli import main

SETTINGS = """\
forward_to = "smart.test:25"

[[route]]
name = "isp"
recipient = ["*.isp.test"]
smarthosts = ["mx.isp.test:587", "mx2.isp.test:587"]
account = "me"
tls = "required"
tls_verify = true
connections = 2
rate = "30/m"
envelope_from = "public.test"
max_age = 86400

[[route]]
name = "users"
user = ["*"]
smarthosts = ["users.test:25"]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "relay.toml"
    path.write_text(SETTINGS)
    return str(path)


def test_the_route_is_told_with_all_that_it_means(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", "ann@home.test", "<bob@x.isp.test>", "--config", config]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "isp: yes, its recipient pattern *.isp.test matches",
        "  smarthosts   mx.isp.test:587, then mx2.isp.test:587",
        "  account      me",
        "  encryption   required, certificate verified",
        "  sender       <ann@public.test>",
        "  connections  at most 2 over all processes",
        "  messages     at most 30 in 60 s over all processes",
        (
            "  retries      after 60 s, each pause 2 times the one before, "
            "at most 3600 s; given up after 1 days"
        ),
    ]


def test_routes_passed_over_are_told_with_their_reasons(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", "<>", "bob@isp.test", "-c", config]) == 0

    told = capsys.readouterr().out.splitlines()
    assert told[:3] == [
        "isp: no, its recipient pattern *.isp.test does not match",
        "users: no, no user logged in, not *",
        "default: yes, no [[route]] matches, so forward_to is used",
    ]
    assert "  sender       <>" in told


def test_programs_get_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "a@b", "c@d", "--user", "ann", "--json", "-c", config]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["route"], told["smarthosts"]) == ("users", ["users.test:25"])
    assert told["why"] == "its user * logged in"


def test_settings_are_found_in_the_environment(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAILRELAY_CONFIG", config)
    monkeypatch.setenv("EMAILRELAY_FORWARD_TO", "other.test:25")

    assert main(["route", "a@b", "c@d"]) == 0

    assert "other.test:25" in capsys.readouterr().out


def test_wrong_settings_are_told_with_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('forward_to = "nowhere"\n[[route]]\nname = "x"\n')

    assert main(["route", "a@b", "c@d", "-c", str(path)]) == 78

    told = capsys.readouterr().err
    assert "needs host and port" in told
    assert "smarthosts: is missing" in told
