"""emailrelay-config makes, checks and shows the settings of a host."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.command import CODE, SYSTEM_PYTHON, others_can_run_it
from tests.forked import run_forked
from tests.service.test_check_and_start import HERE, TO

from emailrelay.config import ForwarderSettings, ReceiverSettings, read
from emailrelay.configure.cli import main
from emailrelay.secrets import SecretsFile
from emailrelay.service.checks import host_name

COMMAND = [sys.executable, "-m", "emailrelay.configure"]
PASSWORD = "open sesame + 100 %"  # noqa: S105 -- of no account


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of a settings file that all commands of the test use."""
    path = tmp_path / "emailrelay.toml"
    monkeypatch.setenv("EMAILRELAY_CONFIG", str(path))
    return path


def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return run_forked("emailrelay-config", *words, text=text)


def show(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Give what is shown about each setting."""
    assert main(["show", "--json", *words]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row.pop("setting"): row for row in rows}


def test_three_answers_make_settings_with_which_the_services_start(file: Path) -> None:
    answers = ("--smarthost", "127.0.0.1", "--account", "me@x.test", "--clients", "10.0.0.0/8")

    done = run("init", *answers, "--password-file", "-", text=f"{PASSWORD}\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert PASSWORD not in done.stdout + file.read_text()
    forwarder = read(ForwarderSettings, ["-c", str(file)], {})
    assert forwarder.forward_to == "127.0.0.1:587"
    assert forwarder.client_auth is not None
    secrets = SecretsFile(forwarder.client_auth)
    account = secrets.client.account()
    assert account is not None
    assert (account.id, account.secret.reveal()) == ("me@x.test", PASSWORD)
    assert read(ReceiverSettings, ["-c", str(file)], {}).server_auth == secrets.path
    assert [secrets.server.trusted(each) for each in ("10.1.2.3", "127.0.0.1", "11.1.1.1")] == [
        "lan",
        "local",
        None,
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert not secrets.path.stat().st_mode & stat.S_IRWXO
    with file.open("a") as more:
        more.write(f"port = 0\nspool_dir = '{file.parent}/mail'\n")
    assert run("check").returncode == 0


@pytest.mark.parametrize(
    ("answers", "keys"),
    [
        (
            ("smtp.x.test", "none", "local"),
            {"forward_to": "smtp.x.test:25", "interface": ["127.0.0.1"]},
        ),
        (
            ("[::1]:465", "", "local"),
            {
                "forward_to": "[::1]:465",
                "client_tls_connection": True,
                "interface": ["127.0.0.1"],
            },
        ),
    ],
)
def test_settings_without_an_account_need_no_secrets(
    file: Path, answers: tuple[str, str, str], keys: dict[str, object]
) -> None:
    smarthost, account, clients = answers
    words = ["--smarthost", smarthost, "--account", account, "--clients", clients]

    assert main(["init", "--no-doctor", *words]) == 0

    assert tomllib.loads(file.read_text()) == keys
    assert [path.name for path in file.parent.iterdir()] == ["emailrelay.toml"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "standard input is not a terminal: give --smarthost, --account, --clients"),
        (("--smarthost", "x", "--clients", "local"), "give --account"),
        (("--smarthost", "x", "--account", "a", "--clients", "local"), "give --password-file FILE"),
        (("--smarthost", "x:y z", "--account", "none", "--clients", "local"), "--smarthost: "),
        (("--smarthost", "x", "--account", "none", "--clients", "lan"), "--clients: lan: write"),
        (("--smarthost", "x", "--account", "none", "--clients", "0.0.0.0/0"), "an open relay"),
        (
            ("--smarthost=x", "--account=a", "--clients=local", "--password-file=/none"),
            "--password-file: /none: cannot be read",
        ),
    ],
)
def test_without_a_terminal_a_missing_or_wrong_answer_is_named(
    file: Path, words: tuple[str, ...], told: str
) -> None:
    done = run("init", *words)

    assert done.returncode == 64
    assert told in done.stderr
    assert not file.exists()


def test_an_existing_file_is_replaced_only_by_force(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("workers = 2\n")
    words = ["init", "--smarthost=x", "--account=none", "--clients=local", "--no-doctor"]

    assert main(words) == 78
    assert f"{file}: exists" in capsys.readouterr().err
    assert file.read_text() == "workers = 2\n"
    assert main([*words, "--force"]) == 0
    assert "forward_to" in file.read_text()
    assert (file.parent / "emailrelay.toml.old").read_text() == "workers = 2\n"


@pytest.mark.parametrize("option", [True, False], ids=["--config", "variable"])
def test_the_next_command_names_the_file_of_the_option(
    file: Path, capsys: pytest.CaptureFixture[str], *, option: bool
) -> None:
    other = file.with_name("other.toml")
    named = ["--config", str(other)] if option else []

    assert (
        main(["init", "--smarthost=x", "--account=none", "--clients=local", "--no-doctor", *named])
        == 0
    )

    told = capsys.readouterr().out.splitlines()
    check = f"next: emailrelay-config check --config {other}"
    assert (check if option else "next: emailrelay-config check") in told


def test_a_file_with_comments_only_is_replaced_and_kept(file: Path) -> None:
    file.write_text("# size = 7\n\n")

    assert main(["init", "--smarthost=x", "--account=none", "--clients=local", "--no-doctor"]) == 0

    assert "forward_to" in file.read_text()
    assert (file.parent / "emailrelay.toml.old").read_text() == "# size = 7\n\n"


def test_a_person_is_asked_until_the_answers_are_good(file: Path) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "init"], stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True
    ) as asking:
        os.close(terminal)
        said = ""
        for prompt, answer in (
            ("HOST:PORT: ", "two words"),
            ("HOST:PORT: ", "127.0.0.1:9"),
            ("[none]: ", "me"),
            ("Password of me: ", PASSWORD),
            ("[local]: ", ""),
            ("[Y/n]: ", "n"),
        ):
            said += until(controller, prompt)
            os.write(controller, f"{answer}\n".encode())
        said += until(controller, "next: emailrelay-doctor")
        assert asking.wait(30) == 0
    os.close(controller)
    assert "must not contain blanks" in said
    assert PASSWORD not in said
    assert tomllib.loads(file.read_text())["forward_to"] == "127.0.0.1:9"


def until(terminal: int, words: str) -> str:
    """Read what a terminal shows, up to these words."""
    said = b""
    while words.encode() not in said:
        said += os.read(terminal, 4096)
    return said.decode()


def test_the_doctor_is_run_if_it_is_wanted(file: Path) -> None:
    done = run("init", "--smarthost=127.0.0.1:9", "--account=none", "--clients=local", "--doctor")

    assert file.exists()
    assert done.returncode == 1
    assert "refused" in done.stdout


def test_show_names_the_source_of_each_value(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("# one\n\nsize = 7\nworkers = 2\nstore = 'postgresql://u:sesame@h/m'\n")
    monkeypatch.setenv("EMAILRELAY_WORKERS", "3")

    rows = show("--domain", "x.test", capsys=capsys)

    assert rows["size"] == {
        "value": 7,
        "default": 104857600,
        "source": "file",
        "from": f"{file}:3",
        "services": ["receiver"],
    }
    assert rows["workers"]["from"] == "EMAILRELAY_WORKERS"
    assert rows["workers"]["value"] == 3
    assert rows["domain"]["from"] == "--domain"
    assert rows["store"]["value"] == "postgresql://u:***@h/m"
    assert rows["port"]["source"] == "default"
    assert rows["port"]["from"] is None
    assert "forward_to" in rows


def test_show_changed_leaves_the_defaults_out(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(
        "size = 7\nport = 25\n[[route]]\nname = 'isp'\nsmarthosts = ['a.test:25']\nrate = '5/m'\n"
    )

    assert set(show("--changed", capsys=capsys)) == {"size", "route"}
    assert main(["show", "--changed"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["settings", "file:", str(file)],
        ["Setting", "Value", "From"],
        ["route", "isp", f"{file}:3"],
        ["size", "7", f"{file}:1"],
    ]


def test_show_can_be_about_some_settings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("port = 2525\n")

    assert set(show("port", "spool-dir", "--size", "9", capsys=capsys)) == {"port", "spool_dir"}
    assert main(["show", "prot"]) == 64
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        "emailrelay-config: prot: unknown setting; did you mean port?\n",
    )


def test_show_tells_problems_and_ends_with_78(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("prot = 25\n")

    assert main(["show", "--polll=3"]) == 78

    told = capsys.readouterr().err.splitlines()
    assert sorted(told) == [
        "emailrelay-config: --polll: unknown option; did you mean --poll?",
        f"emailrelay-config: prot in {file}, line 1: unknown setting; did you mean port?",
    ]


def test_check_lists_the_problems_of_all_services(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(
            f"interface = ['127.0.0.1']\nport = {port}\nspool_dir = '{file.parent}/mail'\n"
            "client_auth = '/none'\nfilter = ['/none']\nforward_to = '127.0.0.1:9'\n"
            "domain = 'relay.test'\n"
        )
        assert main(["check", "--json"]) == 1

    report = json.loads(capsys.readouterr().out)
    assert report["good"] is False
    found = {each["setting"]: each for each in report["findings"]}
    assert found.keys() == {"port", "client_auth", "filter"}
    assert found["filter"]["services"] == ["receiver", "filterd"]
    assert found["port"]["from"] == f"port in {file}, line 2"
    assert "Address already in use" in found["port"]["text"]
    assert f"process {os.getpid()}" in found["port"]["text"]
    assert all(each["level"] == "problem" for each in found.values())


def test_a_short_host_name_is_spoken_of_unless_domain_is_set(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init", "--smarthost=x", "--account=none", "--clients=local", "--no-doctor", "--force"]
    for name, told in (("box", True), ("box.example.net", False)):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        assert main(words) == 0
        assert ("the name of this machine, box, has no dot" in capsys.readouterr().out) is told
        assert ('# domain = "box.example.com"' in file.read_text()) is told
        assert [finding.level for finding in host_name.check(None)] == ["warning"] * told
        assert list(host_name.check("relay.test")) == []


def test_check_and_start_speak_of_the_host_name(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"{TO}port = 0\nspool_dir = '{file.parent}/mail'\n")
    assert main(["check", "receiver", "forwarder"]) == 0
    warned = "warning: receiver, forwarder: domain" in capsys.readouterr().out
    assert warned is host_name.is_short(socket.gethostname())


def test_misspelt_names_get_a_suggestion(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "reciever"]) == 64
    assert "unknown service; did you mean receiver?" in capsys.readouterr().err
    assert main(["chekc"]) == 64
    assert "no such command; did you mean check?" in capsys.readouterr().err
    assert not file.exists()


def test_check_can_be_about_some_services(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"spool_dir = '{file.parent}/mail'\n")

    assert main(["check", "filterd"]) == 0
    assert capsys.readouterr().out.endswith(": filterd can start\n")
    assert main(["check", "forwarder"]) == 1
    assert "problem: forwarder: --forward-to (in a file: forward_to)" in capsys.readouterr().out
    assert main(["check", "sender"]) == 64


@pytest.mark.skipif(find_spec("h11") is None, reason="the extra metrics is missing")
def test_a_runtime_directory_that_the_services_cannot_make_is_a_warning(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, mail = file.parent / "none" / "run", file.parent / "mail"
    file.write_text(f"monitor_port = 0\nspool_dir = '{mail}'\nruntime_dir = '{missing}'\n")

    assert main(["check", "monitor"]) == 0
    assert f"warning: monitor: runtime_dir in {file}, line 3: {missing}: is missing, and" in (
        capsys.readouterr().out
    )


def test_a_port_of_a_running_service_is_no_problem(file: Path) -> None:
    spool = file.parent / "mail"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file.write_text(f"{TO}interface = ['127.0.0.1']\nport = {port}\nspool_dir = '{spool}'\n")
    program = [sys.executable, "-m", "emailrelay_receiver"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as receiver:
        for line in receiver.stdout or ():
            if '"event":"started"' in line:
                break
        done = run("check")
        own = subprocess.run([*program, "--check-config"], check=False, capture_output=True)
        receiver.send_signal(signal.SIGTERM)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the settings are good" in done.stdout
    assert own.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can check for another user")
def test_root_checks_with_the_rights_of_the_user_of_the_services(
    sockets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, spool = sockets / "emailrelay.toml", sockets / "mail"
    monkeypatch.setenv("EMAILRELAY_CONFIG", str(file))
    spool.mkdir(mode=0o700)
    secret = sockets / "users"
    secret.write_text("client plain me sesame\n")
    secret.chmod(0o600)
    file.write_text(f"{HERE}{TO}spool_dir = '{spool}'\nclient_auth = '{secret}'\n")
    # Not below pytest's own directory, which each pytest that starts closes to other users.
    sockets.chmod(0o755)
    if not others_can_run_it():
        pytest.skip("other users cannot reach this checkout")
    monkeypatch.setattr(sys, "executable", str(SYSTEM_PYTHON))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, CODE)))

    assert main(["check", "--json"]) == 0
    assert main(["check", "--json", "--user", "nobody"]) == 1

    found = json.loads(capsys.readouterr().out.splitlines()[1])["findings"]
    told = {each["setting"]: each["text"] for each in found}
    assert told.get("client_auth") == f"{secret}: cannot be read: Permission denied", found
    assert "Permission denied; the spool must be" in told["spool_dir"]
    assert "that the user nobody can write to" in told["spool_dir"]
