"""Specs of filters, and the examples of docs/filters.md."""

import re
from pathlib import Path

import pytest
from tests.service.filter_programs.program_desk import ENVELOPE, Desk, rejected
from tests.service.filtering import PAGE

from emailrelay import envelope_format
from emailrelay.config import FilterdSettings, ReceiverSettings, read
from emailrelay.envelope import Address
from emailrelay.errors import ConfigError
from emailrelay.filters.program import Programs
from emailrelay.filters.spec import ExitFilter, ProgramFilter, parse_chain, unstartable
from emailrelay.filters.verdict import Accept
from emailrelay.reply import Reply


def examples() -> list[str]:
    """Give the programs on the administrator's page that run for each message, in their order."""
    page = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
    found = re.findall(r"```(?:sh|python)\n(#!.*?)```", page, re.DOTALL)
    return [text for text in found if "sys.stdin" not in text]


@pytest.fixture(params=range(3), ids=["header", "size", "greylist"])
def example(request: pytest.FixtureRequest, desk: Desk) -> Path:
    return desk.program(examples()[int(request.param)])


async def test_examples_of_the_page_accept_an_ordinary_message(
    desk: Desk, programs: Programs, example: Path
) -> None:
    assert (await desk.ask(programs, example)).verdict == Accept()


async def test_examples_of_the_page_do_what_they_say(desk: Desk, programs: Programs) -> None:
    header, size, greylist = (desk.program(text) for text in examples())
    await desk.ask(programs, header)
    assert desk.copy.content.read_bytes().startswith(b"X-Filtered-By: ")
    slow = ENVELOPE._replace(sender=Address("a@slow.example"))
    desk.copy.envelope.write_bytes(envelope_format.write(slow))
    assert rejected(await desk.ask(programs, greylist)).reply == Reply(451, "4.7.1 not now")
    desk.copy.content.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    refusal = rejected(await desk.ask(programs, size))
    assert refusal.reply == Reply(552, "5.3.4 message too big")
    assert refusal.reason == "10485761 octets"


def test_specs_of_the_page_are_understood() -> None:
    table = PAGE[PAGE.index("| setting | filter |") : PAGE.index("## Try it first")]
    specs = re.findall(r"`([^`]+:[^`]*)`(?=[^|]*\|.*\|\n)", table)
    found = {spec.partition(":")[0] for spec in specs}
    assert len(found) == 17
    for spec in specs:
        if "NAME" not in spec and spec not in {"header:EDIT", "dkim:"}:  # they need more
            given = spec.replace("HOST", "h").replace("IP:PORT", "192.0.2.1:53")
            assert parse_chain([given.replace("PORT", "25").replace("exit:N", "exit:0")])
    for command in re.findall(r"^emailrelay-filterd (--filter .*)$", PAGE, re.MULTILINE):
        assert read(FilterdSettings, command.split(), {}).chain


def test_specs_are_read_into_a_chain_in_their_order() -> None:
    assert parse_chain(["/bin/a, exit:100", "file:/bin/b"]) == (
        ProgramFilter(Path("/bin/a")),
        ExitFilter(100),
        ProgramFilter(Path("/bin/b")),
    )


def test_every_spec_that_is_not_understood_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_chain(["net:localhost", "exit:256", "", "/bin/true", "spam:"])
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("spec", ["splitt:", "nett:localhost:9", "Exit:0", "spam_edit:h:9"])
def test_a_kind_that_there_is_not_is_no_path_and_the_kinds_are_listed(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"it can be the path of a program, file:PATH, net:"):
        parse_chain([spec])
    for service in (ReceiverSettings, FilterdSettings):
        with pytest.raises(ConfigError, match=r"there is no kind"):
            read(service, [f"--filter={spec}"], {})


@pytest.mark.parametrize("spec", ["dkim", "split", "msgid", "exit"])
def test_a_kind_without_its_colon_is_no_program(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"filter '{spec}': a colon is missing"):
        parse_chain([spec])


def test_a_path_with_a_colon_is_a_program() -> None:
    named = (ProgramFilter(Path("/bin/a:b")), ProgramFilter(Path("x:y").absolute()))
    assert parse_chain(["/bin/a:b", "file:x:y"]) == named


def test_programs_that_cannot_be_run_are_named_at_start_up(desk: Desk) -> None:
    paths = [desk.folder / "no", desk.folder, desk.script("", mode=0o644), Path("/bin/true")]
    assert list(unstartable(parse_chain([*map(str, paths)])).values()) == [
        "there is no such file",
        "is not a file",
        "is not executable (chmod +x)",
    ]
