"""emailrelay-setup on the files of another machine, with the real tools for users and packages."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from tests.acceptance.command import SYSTEM_PYTHON, others_can_run_it
from tests.acceptance.local_users import ENVIRONMENT, looks
from tests.acceptance.relay import HANG, ROOT

from emailrelay.setup import links, made_file, shipped
from emailrelay.setup.cli import main

BIN_DIR = "/opt/emailrelay/bin"
SENDMAIL = "/usr/sbin/sendmail"
SETTINGS = "/etc/emailrelay/emailrelay.toml"
UNIT = "/etc/systemd/system/emailrelay-receiver.service"
ANOTHER = "#!/bin/sh\necho another mail server\n"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can set up a machine"),
    pytest.mark.skipif(
        shutil.which("useradd") is None, reason="useradd is missing (package passwd)"
    ),
]


@dataclass(frozen=True, slots=True)
class Told:
    """The end of a run: status, lines of output, text of errors."""

    status: int
    lines: list[str]
    errors: str

    @property
    def changes(self) -> list[str]:
        """Return the lines of changes."""
        quiet = ("already there:", "left alone:", " ", "Done:", "Dry run:", "Nothing to do")
        steps = self.lines[: self.lines.index("Next:") - 1] if "Next:" in self.lines else self.lines
        return [line for line in steps if not line.startswith(quiet)]


class Elsewhere:
    """The files of a machine in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("etc", "usr/sbin", "usr/bin", "usr/lib/systemd", "usr/local", "var/spool"):
            (root / folder).mkdir(parents=True)
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.write("/etc/group", "root:x:0:\n")
        self.write("/usr/lib/systemd/systemd", "")
        self.write(f"{BIN_DIR}/emailrelay-receiver", "").chmod(0o755)

    def at(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def write(self, path: str, text: str) -> Path:
        there = self.at(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        return there

    def setup(self, *options: str) -> Told:
        out, errors = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(errors):
            status = main(["--root", str(self.root), "--bin-dir", BIN_DIR, *options])
        return Told(status, out.getvalue().splitlines(), errors.getvalue())

    def files(self) -> set[str]:
        """Return the names of all files and links, and of no directory."""
        paths = (p for p in self.root.rglob("*") if p.is_symlink() or not p.is_dir())
        backups = {"/etc/passwd-", "/etc/group-"}  # the tools for users make these
        return {f"/{path.relative_to(self.root)}" for path in paths} - backups


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Elsewhere]:
    mask = os.umask(0o022)
    yield Elsewhere(tmp_path / "root")
    os.umask(mask)


def test_user_directories_links_and_units_are_made(machine: Elsewhere) -> None:
    assert machine.setup().status == 0
    (line,) = (x for x in machine.at("/etc/passwd").read_text().splitlines() if "emailrelay" in x)
    name, _, uid, gid, _, home, shell = line.split(":")
    assert (name, home, shell) == ("emailrelay", "/var/spool/emailrelay", "/usr/sbin/nologin")
    assert f"emailrelay:x:{gid}:" in machine.at("/etc/group").read_text()
    spool, settings = machine.at(home).stat(), machine.at("/etc/emailrelay").stat()
    assert (oct(spool.st_mode), spool.st_uid, spool.st_gid) == ("0o43770", int(uid), int(gid))
    assert (oct(settings.st_mode), settings.st_uid, settings.st_gid) == ("0o42755", 0, int(gid))
    example = (ROOT / "deploy" / "emailrelay.toml").read_text()
    assert machine.at(SETTINGS).read_text() == example
    assert oct(machine.at(SETTINGS).stat().st_mode) == "0o100644"
    for link, target in {
        "/usr/local/bin/emailrelay-queue": f"{BIN_DIR}/emailrelay-queue",
        SENDMAIL: f"{BIN_DIR}/emailrelay-submit",
        "/usr/bin/mailq": f"{BIN_DIR}/emailrelay-submit",
        "/usr/bin/newaliases": f"{BIN_DIR}/emailrelay-submit",
    }.items():
        assert str(machine.at(link).readlink()) == target


@pytest.mark.parametrize(
    ("link", "source"),
    [
        ("/usr/local/share/man/man1/emailrelay-queue.1", "docs/man/man1/emailrelay-queue.1"),
        ("/usr/local/share/man/man5/emailrelay.toml.5", "docs/man/man5/emailrelay.toml.5"),
        (
            "/usr/local/share/bash-completion/completions/emailrelay",
            "docs/completion/bash-completion/completions/emailrelay",
        ),
        (
            "/usr/local/share/zsh/site-functions/_emailrelay-queue",
            "docs/completion/zsh/site-functions/_emailrelay-queue",
        ),
        (
            "/etc/fish/completions/emailrelay-queue.fish",
            "docs/completion/fish/vendor_completions.d/emailrelay-queue.fish",
        ),
    ],
)
def test_pages_and_completions_are_linked_to_where_programs_look(link: str, source: str) -> None:
    found = links.of_files(shipped.files(), shipped.OURS)
    assert found[Path(link)] == ROOT / source


@pytest.mark.parametrize("bin_dir", [BIN_DIR, "/usr/share/mail/bin"])
def test_units_are_those_of_the_checkout_with_the_real_path(
    machine: Elsewhere, bin_dir: str
) -> None:
    machine.write(f"{bin_dir}/emailrelay-receiver", "").chmod(0o755)
    assert machine.setup("--bin-dir", bin_dir).status == 0
    shipped = list((ROOT / "deploy" / "systemd").glob("emailrelay-*"))
    assert len(shipped) >= 3
    for unit in shipped:
        first, _, rest = machine.at(f"/etc/systemd/system/{unit.name}").read_text().partition("\n")
        assert first.startswith("# Made by emailrelay-setup")
        assert rest == unit.read_text().replace("/opt/emailrelay/bin", bin_dir)
    assert not machine.at("/etc/systemd/system/emailrelay.service").exists()


def test_dry_run_tells_the_same_steps_and_changes_nothing(machine: Elsewhere) -> None:
    before = looks(machine.root)
    dry = machine.setup("--dry-run")
    assert looks(machine.root) == before
    real = machine.setup()
    assert dry.changes == real.changes != []
    before = looks(machine.root)
    dry = machine.setup("--undo", "--dry-run")
    assert looks(machine.root) == before
    assert dry.changes == machine.setup("--undo").changes != []


def test_second_run_changes_nothing_and_says_so(machine: Elsewhere) -> None:
    machine.setup()
    before = looks(machine.root)
    again = machine.setup()
    assert (again.status, again.changes) == (0, [])
    assert "Nothing to do." in again.lines
    assert looks(machine.root) == before


def test_undo_puts_everything_back(machine: Elsewhere) -> None:
    before, users = machine.files(), machine.at("/etc/passwd").read_text()
    machine.setup()
    assert machine.files() > before
    assert machine.setup("--undo").status == 0
    assert machine.files() == before
    assert machine.at("/etc/passwd").read_text() == users
    assert "emailrelay" not in machine.at("/etc/group").read_text()
    share = machine.at("/usr/local/share")
    assert [str(p.relative_to(share)) for p in share.rglob("*")] in ([], ["man"])
    assert not machine.at("/etc/fish").exists()
    again = machine.setup("--undo")
    assert (again.status, again.lines) == (0, ["Nothing to do."])


def test_undo_leaves_folders_of_others(machine: Elsewhere) -> None:
    page = machine.write("/usr/local/share/man/man1/another.1", ANOTHER)
    machine.setup()
    machine.setup("--undo")
    assert page.read_text() == ANOTHER


def test_undo_leaves_mail_secrets_and_edits_and_names_them(machine: Elsewhere) -> None:
    machine.setup()
    mail = machine.write("/var/spool/emailrelay/emailrelay.1.1.1.content", "mail")
    edited = machine.write(SETTINGS, 'forward_to = "mail.example.net:25"\n')
    secret = machine.write("/etc/emailrelay/emailrelay.auth", "client plain a b\n")
    unit = machine.at(UNIT)
    unit.write_text(unit.read_text() + "# mine\n")
    link = machine.at("/usr/bin/mailq")
    link.unlink()
    link.write_text(ANOTHER)
    told = machine.setup("--undo")
    assert told.status == 0
    assert all(path.exists() for path in (mail, edited, secret, unit, link))
    assert "emailrelay:" in machine.at("/etc/passwd").read_text()
    left = [line.removeprefix("left alone: ") for line in told.lines if "left alone" in line]
    for named in (UNIT, "/etc/emailrelay:", "/var/spool/emailrelay:", "the user emailrelay:"):
        assert [line for line in left if line.startswith(named)], named


def test_user_that_was_there_before_stays(machine: Elsewhere) -> None:
    users = machine.at("/etc/passwd").read_text() + "emailrelay:x:77:77:mine:/:/bin/false\n"
    machine.write("/etc/passwd", users)
    machine.write("/etc/group", "root:x:0:\nemailrelay:x:77:\n")
    machine.setup()
    assert machine.at("/var/spool/emailrelay").stat().st_uid == 77
    machine.setup("--undo")
    assert machine.at("/etc/passwd").read_text() == users


def test_edited_unit_is_left_and_an_older_one_of_ours_is_written_again(machine: Elsewhere) -> None:
    edited = machine.write(UNIT, made_file.marked("old\n") + "edited\n").read_text()
    older = machine.write(UNIT.replace("receiver", "filterd"), made_file.marked("old\n"))
    told = machine.setup()
    assert machine.at(UNIT).read_text() == edited
    assert "Type=notify" in older.read_text()
    assert [line for line in told.lines if line.startswith(f"left alone: {UNIT}")]


def test_settings_and_spool_of_an_administrator_are_kept(machine: Elsewhere) -> None:
    mine = 'spool_dir = "/srv/mail"\n'
    machine.write(SETTINGS, mine)
    mail = machine.write("/srv/mail/emailrelay.1.1.1.content", "mail")
    mail.parent.chmod(0o755)
    told = machine.setup()
    assert machine.at(SETTINGS).read_text() == mine
    assert mail.parent.stat().st_mode & 0o7777 == 0o755
    assert [line for line in told.lines if "chown -R emailrelay:emailrelay /srv/mail" in line]
    assert not machine.at("/var/spool/emailrelay").exists()


def test_sendmail_of_another_program_is_replaced_on_request_only(machine: Elsewhere) -> None:
    machine.write(SENDMAIL, ANOTHER)
    told = machine.setup()
    assert machine.at(SENDMAIL).read_text() == ANOTHER
    assert [line for line in told.lines if line.startswith(f"left alone: {SENDMAIL} ")]
    assert machine.setup("--replace-sendmail").status == 0
    assert str(machine.at(SENDMAIL).readlink()) == f"{BIN_DIR}/emailrelay-submit"
    assert machine.setup("--undo").status == 0
    assert machine.at(SENDMAIL).read_text() == ANOTHER


@pytest.mark.skipif(shutil.which("dpkg-divert") is None, reason="dpkg is not installed")
def test_sendmail_of_a_package_is_diverted(machine: Elsewhere) -> None:
    machine.write(SENDMAIL, ANOTHER)
    fields = "Status: install ok installed\nMaintainer: x\nArchitecture: all\nVersion: 1\n"
    machine.write("/var/lib/dpkg/status", f"Package: postman\n{fields}Description: x\n")
    machine.write("/var/lib/dpkg/info/postman.list", f"/.\n{SENDMAIL}\n")
    told = machine.setup()
    assert [line for line in told.lines if line.endswith("of the package postman")]
    assert machine.setup("--replace-sendmail").status == 0
    assert machine.at(f"{SENDMAIL}.distrib").read_text() == ANOTHER
    assert f"{SENDMAIL}.distrib" in machine.at("/var/lib/dpkg/diversions").read_text()
    assert machine.setup().changes == []
    assert machine.setup("--undo").status == 0
    assert machine.at(SENDMAIL).read_text() == ANOTHER
    assert SENDMAIL not in machine.at("/var/lib/dpkg/diversions").read_text()


@pytest.mark.skipif(shutil.which("update-alternatives") is None, reason="there are no alternatives")
def test_sendmail_among_alternatives_is_one_more_of_them(machine: Elsewhere) -> None:
    other = "/usr/sbin/sendmail.other"
    machine.write(other, ANOTHER).chmod(0o755)
    machine.write(f"{BIN_DIR}/emailrelay-submit", "").chmod(0o755)
    words = ("--install", SENDMAIL, "mta", other, "30", "--slave", "/usr/bin/mailq", "mailq", other)
    tool = ("update-alternatives", "--quiet", "--root", str(machine.root))
    subprocess.run([*tool, *words], check=True, timeout=HANG)
    chosen = machine.at("/etc/alternatives/mta")
    before = chosen.readlink()
    assert machine.setup().status == 0
    assert chosen.readlink() == before
    assert machine.setup("--replace-sendmail").status == 0
    assert str(chosen.readlink()) == f"{BIN_DIR}/emailrelay-submit"
    assert machine.setup().changes == []
    assert machine.setup("--undo").status == 0
    assert chosen.readlink() == before


def test_no_sendmail_means_none(machine: Elsewhere) -> None:
    assert machine.setup("--no-sendmail").status == 0
    assert not machine.at("/usr/bin/mailq").is_symlink()


def test_links_of_another_installation_are_taken_over_and_files_are_not(
    machine: Elsewhere,
) -> None:
    folder = machine.at("/usr/local/bin")
    folder.mkdir()
    (folder / "emailrelay-queue").symlink_to("/srv/old/bin/emailrelay-queue")
    foreign = machine.write("/usr/local/bin/emailrelay-auth", ANOTHER)
    told = machine.setup()
    assert str((folder / "emailrelay-queue").readlink()) == f"{BIN_DIR}/emailrelay-queue"
    assert foreign.read_text() == ANOTHER
    assert "left alone: /usr/local/bin/emailrelay-auth: another program's file" in told.lines


def test_machine_without_systemd_gets_no_units_and_the_commands_to_start(
    machine: Elsewhere,
) -> None:
    machine.at("/usr/lib/systemd/systemd").unlink()
    told = machine.setup()
    assert told.status == 0
    assert not machine.at(UNIT).exists()
    assert [line for line in told.lines if "does not run systemd" in line]
    parts = [line.partition(f" -- {BIN_DIR}/emailrelay-") for line in told.lines if " -- " in line]
    lines = {service: before for before, _, service in parts}
    assert sorted(lines) == ["filterd", "forwarder", "receiver"]
    # runuser would stay the parent, and keep signals from the service.
    assert all(line.startswith("    setpriv --reuid=emailrelay ") for line in lines.values())
    assert "--ambient-caps=+net_bind_service" in lines["receiver"]  # for port 25


def test_commands_to_start_have_the_optional_services_that_are_set_up(machine: Elsewhere) -> None:
    machine.at("/usr/lib/systemd/systemd").unlink()
    machine.write(SETTINGS, 'runtime_dir = "/run/emailrelay"\nconsole_auth = "/etc/x.auth"\n')
    told = machine.setup()
    for service in ("monitor", "console"):
        assert [x for x in told.lines if x.endswith(f" -- {BIN_DIR}/emailrelay-{service}")], service


def test_settings_that_are_made_are_not_to_be_made_again(machine: Elsewhere) -> None:
    assert "  emailrelay-config init" in machine.setup().lines
    machine.write("/etc/emailrelay/emailrelay.toml", 'forward_to = "smtp.example.net:25"\n')
    told = machine.setup()
    assert "  emailrelay-config init" not in told.lines
    assert "  emailrelay-config check" in told.lines


@pytest.mark.parametrize("closed", ["/opt/emailrelay", BIN_DIR])
def test_commands_that_the_services_could_not_run_stop_the_set_up(
    machine: Elsewhere, closed: str
) -> None:
    machine.at(closed).chmod(0o700)
    before = looks(machine.root)
    told = machine.setup()
    assert (told.status, told.lines) == (78, [])
    assert f"no access to {closed}" in told.errors
    assert looks(machine.root) == before


def test_commands_in_a_home_directory_stop_the_set_up(machine: Elsewhere) -> None:
    machine.write("/home/ann/bin/emailrelay-receiver", "").chmod(0o755)
    told = machine.setup("--bin-dir", "/home/ann/bin")
    assert told.status == 78
    assert "in a home directory" in told.errors


def test_link_out_of_the_machine_is_not_followed(machine: Elsewhere, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    machine.at("/etc/emailrelay").symlink_to(outside)
    told = machine.setup()
    assert told.status == 1
    assert "leads out of" in told.errors
    assert list(outside.iterdir()) == []


def test_step_that_fails_is_named_and_another_run_goes_on(machine: Elsewhere) -> None:
    obstacle = machine.write("/usr/local/bin", "")
    failed = machine.setup()
    assert failed.status == 1
    assert "/usr/local/bin" in failed.errors
    obstacle.unlink()
    done = machine.setup()
    assert done.status == 0
    assert "already there: the user emailrelay" in done.lines
    assert machine.at(UNIT).exists()


def test_only_root_can_set_up_and_every_user_can_look() -> None:
    if not others_can_run_it():
        pytest.skip("other users cannot reach this checkout")
    command: list[str | Path] = [SYSTEM_PYTHON, "-P", "-m", "emailrelay.setup"]
    refused, shown = list[str](), ["--dry-run", "--undo"]
    for options, status in ((refused, 77), (shown, 0)):
        done = subprocess.run(
            [*command, *options], check=False, user=65534, group=65534, extra_groups=[],
            env=ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=HANG,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
