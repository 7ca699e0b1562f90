"""Milters in the settings: their specs, and the check before the start."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter

from emailrelay.config import FilterdSettings, read
from emailrelay.errors import ConfigError
from emailrelay.filters.spec import parse_chain
from emailrelay.service.checks import filters


async def test_check_of_the_settings_names_a_milter_that_cannot_serve() -> None:
    async with serving(ScriptedMilter(version=7)) as new, serving(ScriptedMilter()) as good:
        specs = [f"milter:{new}", f"milter:{good}", "milter:127.0.0.1:9"]
        found = await asyncio.to_thread(lambda: list(filters.check("filter", parse_chain(specs))))
    assert [finding.text for finding in found] == [
        (
            f"{new}: it speaks version 7 of the milter protocol; "
            "this relay speaks the versions 2 to 6; mail waits for it"
        ),
        found[1].text,
    ]
    assert found[1].text.startswith("127.0.0.1:9: cannot be reached")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("milter:", "needs host and port"),
        ("milter:8891", "needs host and port"),
        ("milter:localhost:smtp", "write the number of the port"),
        ("milter:localhost:70000", "the port must be a number from 1 to 65535"),
        ("mitler:localhost:25", "there is no kind 'mitler' of filter; it can be the path"),
        ("milter :localhost:25", "there is no kind 'milter ' of filter; it can be the path"),
        ("milter:inet:localhost:8891", "write milter:localhost:8891; inet:localhost:8891 is for"),
        ("milter:inet:[::1]:8891", r"write milter:\[::1\]:8891; "),
        ("milter:inet:8891@localhost", "write milter:localhost:8891; "),
        ("milter:inet6:8891@::1", r"write milter:\[::1\]:8891; "),
        ("milter:8891@localhost", "write milter:localhost:8891; "),
        ("milter:unix:/run/m", "write milter:/run/m; unix:/run/m is for Postfix or Sendmail"),
        ("milter:local:run/m", "write milter:/PATH; "),
    ],
)
def test_spec_that_names_no_milter(spec: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_chain([spec])
    assert spec.partition(":")[0] in str(caught.value)


@pytest.mark.parametrize(
    "place", ["inet:8891", "unix:25", "local:25", "/run/a@b", "[::1]:25", "unix.test:25"]
)
def test_place_that_only_looks_like_one_of_postfix(place: str) -> None:
    assert [str(one) for one in parse_chain([f"milter:{place}"])] == [f"milter:{place}"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("miltr:127.0.0.1:8891", "no kind 'miltr' of filter; it can be the path of a program"),
        ("milter:127.0.0.1", "needs host and port"),
        ("milter:", "needs host and port"),
    ],
)
def test_error_in_the_settings_file_names_the_line_and_the_choices(
    tmp_path: Path, spec: str, problem: str
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f"filter_timeout = 5\nfilter = ['msgid:', '{spec}']\n")
    with pytest.raises(ConfigError) as caught:
        read(FilterdSettings, ["--config", str(file)], {})
    (text,) = caught.value.problems
    assert text.startswith(f"filter in {file}, line 2: ")
    assert problem in text
    assert ("milter:HOST:PORT, milter:/PATH" in text) is spec.startswith("miltr")
