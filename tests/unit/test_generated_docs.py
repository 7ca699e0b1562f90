"""The generated pages are up to date with their declarations."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from docs.generate.made import made_pages
from docs.generate.man import Entry, ManPage, Section, roff

from emailrelay.config import SERVICES, Settings, read
from emailrelay.config.tables import tables
from emailrelay.errors import ConfigError

_ROOT = Path(__file__).parents[2]
_MADE = made_pages()
_EXCLUDING = re.compile(
    r"\[\[account\]\] 1 \('\w+'\) in \S+, line \d+(, oauth2)?: "
    r"|server_tls_verify in \S+, line \d+: .* needs a way to encrypt"
)


@pytest.mark.parametrize("name", _MADE)
def test_committed_page_is_what_the_declaration_makes(name: str) -> None:
    assert (_ROOT / name).read_text("utf-8") == _MADE[name], "run: python -m docs.generate"


def test_no_manual_page_is_left_of_a_command_that_is_gone() -> None:
    folders = [_ROOT / "docs" / "man", _ROOT / "docs" / "completion"]
    there = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    names = {path.relative_to(_ROOT).as_posix() for path in there}
    assert names == {name for name in _MADE if name.startswith(("docs/man/", "docs/completion/"))}


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff (make peers)")
@pytest.mark.parametrize("name", [name for name in _MADE if name.startswith("docs/man/")])
def test_manual_page_is_good_for_troff(name: str) -> None:
    """All warnings of troff are on; the page has the sections that readers look for."""
    words = ["groff", "-ww", "-man", "-Tutf8", "-rLL=80n", str(_ROOT / name)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    sections = re.findall(r'^\.SH "?([A-Z ]+)', _MADE[name], re.MULTILINE)
    expected = {"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "FILES", "SEE ALSO"}
    if name.endswith(".1"):
        expected |= {"OPTIONS", "EXIT STATUS"}
    assert expected <= set(sections)


def test_pages_refer_to_pages_that_are_there() -> None:
    pages = {name.rpartition("/")[2].rpartition(".")[0::2] for name in _MADE if "/man/" in name}
    for name in _MADE:
        if "/man/" in name:
            text = _MADE[name].replace("\\fP", "").replace("\\fB", "").replace("\\-", "-")
            found = set(re.findall(r"(emailrelay[\w.-]*)\((\d)\)", text))
            assert found
            assert found <= pages


def test_reference_has_every_setting() -> None:
    fields = {name for service in SERVICES for name in service.model_fields}
    fields -= {name for service in SERVICES for name in tables(service)}
    page = _MADE["docs/reference.md"]
    missing = [name for name in fields if page.count(f"* file: `{name} = ") != 1]
    assert not missing


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.service)
def test_every_key_of_the_example_file_is_accepted(service: type[Settings], tmp_path: Path) -> None:
    lines = _MADE["deploy/emailrelay.toml"].splitlines()
    lines = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    keys = [line for line in lines if line.startswith("[") or " = " in line]
    example = tmp_path / "example.toml"
    example.write_text("\n".join(keys))
    first_table = next(number for number, key in enumerate(keys) if key.startswith("["))
    found = tomllib.loads(example.read_text())
    assert len(found) - len([key for key in keys if key.startswith("[[")]) == first_table > 30

    try:
        read(service, ["--config", str(example)], {})
    except ConfigError as error:
        # Some keys of an account exclude each other: a problem of the whole table. Certificates of
        # clients need encryption, which is off in the example.
        assert [told for told in error.problems if not _EXCLUDING.match(told)] == []  # noqa: PT017 -- as it says


def test_example_file_sets_nothing_by_itself() -> None:
    assert tomllib.loads(_MADE["deploy/emailrelay.toml"]) == {}


def test_manual_page_protects_what_troff_would_obey() -> None:
    page = ManPage(
        name="a-b",
        summary="does",
        synopsis=("",),
        sections=(Section("One", (".start \\n",), (Entry("--x", "'quoted"),)),),
    )
    written = roff(page)
    assert "\\&.start \\en" in written
    assert ".B \\-\\-x" in written
    assert "\n\\(aqquoted\n" in written
