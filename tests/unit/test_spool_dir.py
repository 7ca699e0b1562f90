"""The place of the spool directory: one rule for all commands."""

from pathlib import Path

import pytest

from emailrelay import spool_dir
from emailrelay.config import SERVICES, FilterdSettings, read
from emailrelay.errors import ConfigError


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give an environment that names a settings file, which names a directory."""
    file = tmp_path / "relay.toml"
    file.write_text(f'spool_dir = "{tmp_path}/in-file"\n')
    monkeypatch.delenv("EMAILRELAY_SPOOL_DIR", raising=False)
    monkeypatch.delenv("EMAILRELAY_STORE", raising=False)
    monkeypatch.setenv("EMAILRELAY_CONFIG", str(file))
    return {"EMAILRELAY_CONFIG": str(file)}


def test_every_command_finds_the_directory_of_the_settings_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert spool_dir.chosen() == f"{tmp_path}/in-file"
    assert str(read(FilterdSettings, [], environment).spool_dir) == spool_dir.chosen()


def test_the_environment_goes_before_the_settings_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAILRELAY_SPOOL_DIR", "/x")
    environment["EMAILRELAY_SPOOL_DIR"] = "/x"
    assert spool_dir.chosen() == "/x"
    assert str(read(FilterdSettings, [], environment).spool_dir) == "/x"


def test_without_both_every_command_has_the_same_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMAILRELAY_SPOOL_DIR", raising=False)
    monkeypatch.delenv("EMAILRELAY_CONFIG", raising=False)
    assert str(read(FilterdSettings, [], {}).spool_dir) == spool_dir.chosen()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("text", [None, "spool_dir = /x"])
def test_a_settings_file_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "relay.toml"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"relay\.toml"):
        spool_dir.chosen()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('store = "postgresql://u@db/mail"', "postgresql://u@db/mail"),
        (
            'store = ["postgresql://u@a/m", "postgresql://u@b/m"]',
            "postgresql://u@a/m postgresql://u@b/m",
        ),
    ],
)
def test_store_of_the_settings_file_goes_before_every_directory(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: str,
    place: str,
) -> None:
    (tmp_path / "relay.toml").write_text(f'spool_dir = "/x"\n{line}\n')
    monkeypatch.setenv("EMAILRELAY_SPOOL_DIR", "/y")
    assert spool_dir.chosen() == place
    assert read(FilterdSettings, [], environment).store_place == place


def test_store_of_the_environment_goes_before_that_of_the_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "relay.toml").write_text('store = "postgresql://u@db/mail"\n')
    monkeypatch.setenv("EMAILRELAY_STORE", "spool:///z")
    environment["EMAILRELAY_STORE"] = "spool:///z"
    assert spool_dir.chosen() == "spool:///z"
    assert read(FilterdSettings, [], environment).store_place == "spool:///z"


def test_store_that_is_no_text_is_not_passed_over(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "relay.toml").write_text("store = 3\n")
    assert environment
    with pytest.raises(ConfigError, match="line 1: must be a URL in quotes"):
        spool_dir.chosen()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("EMAILRELAY_SPOOLDIR", "EMAILRELAY_SPOOL_DIR"),
        ("EMAILRELAY_STROE", "EMAILRELAY_STORE"),
        ("EMAILRELAY_DATABASE_URL", "EMAILRELAY_STORE"),
        ("EMAILRELAY_CONFG", "EMAILRELAY_CONFIG"),
    ],
)
def test_every_command_refuses_a_misspelt_variable(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "x")
    sentence = f"{variable}: unknown variable; did you mean {meant}?"
    with pytest.raises(ConfigError) as wrong:
        spool_dir.chosen()
    assert wrong.value.problems == [sentence]
    with pytest.raises(ConfigError) as told:
        read(FilterdSettings, [], environment | {variable: "x"})
    assert sentence in told.value.problems


def test_settings_of_services_and_variables_of_others_are_no_mistakes() -> None:
    names = {name.upper() for service in SERVICES for name in service.model_fields}
    others = {"ID", "RUN", "PORTABLE", "MESSAGE_ID", "PORT_25_TCP", "SERVICE_HOST", "SERVICE_PORT"}
    others |= {"STORE_PORT", "STORE_PORT_5432_TCP", "STORE_SERVICE_HOST", "STORE_SERVICE_PORT"}
    assert spool_dir.misspelt({f"EMAILRELAY_{name}": "x" for name in names | others}) == []
