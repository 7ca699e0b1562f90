"""``dkim:``: signatures of odd messages, checked by other people's verifiers."""

import asyncio
import hashlib
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dkim  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fakes.signatures import (
    ED,
    HEAD,
    ODD,
    RECORDS,
    RSA,
    dkimpy_says,
    perl_says,
    write_key,
)
from tests.service.filtering import DEADLINE, PAGE, Desk, trouble

from emailrelay.config import FilterdSettings, read
from emailrelay.errors import ConfigError
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.shipped.dkim_text import RelaxedBody, author_domain
from emailrelay.filters.shipped.parameters import DkimKey, FilterTables
from emailrelay.filters.shipped.sent_form import SentForm
from emailrelay.filters.spec import parse_chain, unstartable
from emailrelay_forwarder.session.dot_stuff import DotStuffer


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        desk = Desk(tmp_path, programs)
        for name, key in (("rsa", RSA), ("ed", ED)):
            write_key(tmp_path / f"{name}.pem", key)
        desk.tables = FilterTables(
            dkim={
                name: DkimKey(
                    domain="example.org", selector=name, key_file=tmp_path / f"{name}.pem"
                )
                for name in ("rsa", "ed")
            }
        )
        yield desk


def sent(content: bytes) -> bytes:
    """Return a content as the next server gets it."""
    stuffer = DotStuffer()
    wire = stuffer.feed(content) + stuffer.finish()
    return wire.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")


@pytest.mark.parametrize("name", ODD)
async def test_signatures_of_odd_messages_are_good_for_other_verifiers(
    desk: Desk, name: str
) -> None:
    content = await desk.edit(ODD[name], "dkim:")
    assert sent(content) == content
    body = sent(ODD[name]).removeprefix(sent(HEAD))
    assert content.endswith(body)
    assert perl_says(await desk.edit(ODD[name], "dkim:rsa")) == ["pass"]
    if name != "blank before colon":  # dkimpy does not find such a field by its name
        assert dkimpy_says(content) == [True, True]


async def test_verifiers_see_changes(desk: Desk) -> None:
    content = await desk.edit(ODD["ordinary"], "dkim:")
    for changed in (
        content.replace(b"body", b"Body"),
        content.replace(b"hello", b"Hello"),
        content.replace(b"To:", b"From: x@example.org\r\nTo:"),
        content.replace(b"To:", b"Subject: x\r\nTo:"),
        content.replace(b"To:", b"Cc: x@y.test\r\nTo:"),
    ):
        assert changed != content
        assert dkimpy_says(changed) == [False, False]
        assert perl_says(changed)[1:] != ["pass"]


async def test_lines_of_the_signature_are_short(desk: Desk) -> None:
    content = await desk.edit(ODD["ordinary"], "dkim:")
    assert max(map(len, content.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEAD.replace(b"org", b"net") + b"\r\n", id="another domain"),
        pytest.param(HEAD.replace(b"@", b"@sub.") + b"\r\n", id="a subdomain"),
        pytest.param(HEAD + HEAD + b"\r\n", id="two From fields"),
        pytest.param(b"From: a@example.org, b@example.net\r\n\r\n", id="two domains"),
        pytest.param(b"Subject: x\r\n\r\nFrom: me@example.org\r\n", id="no author"),
        pytest.param(b"From: me\r\n\r\n", id="no domain"),
        pytest.param(b"From: \xff@\xff\r\n\r\n", id="broken"),
        pytest.param(b"From: " + b"(" * 3000 + b"\r\n\r\n", id="nested"),
        pytest.param(b"From: " + b"a@b, " * 2000 + b"\r\n\r\n", id="long"),
        pytest.param(b"DKIM-Signature: v=1\r\n" + HEAD + b"\r\n", id="signed already"),
        pytest.param(b"just text, bo\rdy", id="no header"),
    ],
)
async def test_other_messages_stay_as_they_are(desk: Desk, content: bytes) -> None:
    assert await desk.edit(content, "dkim:") == content


async def test_keys_can_sign_again_and_for_subdomains(desk: Desk) -> None:
    key = desk.tables.dkim["rsa"]
    desk.tables = FilterTables(dkim={"rsa": replace(key, subdomains=True, sign_again=True)})
    for content in (
        HEAD.replace(b"@", b"@sub.") + b"\r\nbody\r\n",
        b"dkim-signature: v=1\r\n" + HEAD + b"\r\nbody\r\n",
    ):
        assert "pass" in perl_says(await desk.edit(content, "dkim:"))


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"b\r\n", b"\r\n" * 3]), max_size=20))
@example([b"a", b"\r", b"\n", b" ", b"\r\n", b"b"])
def test_hash_of_the_body_is_that_of_dkimpy_wherever_the_pieces_end(pieces: list[bytes]) -> None:
    text = b"".join(pieces) + b"\r\n"
    canonical = cast("Any", dkim).canonicalization.Relaxed.canonicalize_body(text)
    canonical = b"" if canonical == b"\r\n" else canonical
    for size in (1, 3, 1000):
        body = RelaxedBody()
        for at in range(0, len(text), size):
            body.feed(text[at : at + size])
        assert body.finish() == hashlib.sha256(canonical).digest()


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"a", b"\r\n", b"."])))
def test_form_that_goes_out_is_that_of_the_forwarder(pieces: list[bytes]) -> None:
    form = SentForm()
    formed = b"".join(map(form.feed, pieces)) + form.finish()
    whole = b"".join(pieces)
    stuffer = DotStuffer()
    wire = b"".join(map(stuffer.feed, pieces)) + stuffer.finish()
    assert wire == re.sub(rb"(?m)^\.", b"..", formed) + b".\r\n"
    assert form.changed == (formed != whole)


@pytest.mark.parametrize(
    ("field", "domain"),
    [
        (b"From: a@Example.ORG\r\n", "example.org"),
        (b'From: "x@y, z" <a@b.test> (c@d)\r\n', "b.test"),
        (b"From: a@b.test, c@b.test\r\n", "b.test"),
        (b"From: a@B.Test, c@b.test\r\n", "b.test"),
        (b"From: a@b.test, c@d.test\r\n", None),
        ("From: a@straße.test\r\n".encode(), "xn--strae-oqa.test"),
        (f"From: a@{'ü' * 64}.test\r\n".encode(), None),
        (b"From: a@\xff.test\r\n", None),
        ("From: a@bücher.test\r\n".encode(), "xn--bcher-kva.test"),
        (b"From:\r\n", None),
    ],
)
def test_domain_of_the_author(field: bytes, domain: str | None) -> None:
    assert author_domain([field]) == domain


def open_to_all(path: Path) -> None:
    path.chmod(0o644)


def not_a_key(path: Path) -> None:
    path.write_text("no key")


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, "cannot be read: No such file"),
        (open_to_all, "other users have access"),
        (not_a_key, "must be a private key in PEM"),
    ],
)
async def test_unusable_key_is_named_at_the_start_and_holds_mail_back(
    desk: Desk, spoil: Spoil, told: str
) -> None:
    chain = parse_chain(["dkim:"], desk.tables)
    assert unstartable(chain) == {}
    spoil(desk.folder / "rsa.pem")
    assert told in unstartable(chain)["dkim:"]
    copy = desk.copy(ODD["ordinary"])
    assert told in trouble(await desk.ask("dkim:", copy=copy))


async def test_short_rsa_keys_are_refused_and_a_new_key_is_used_at_once(desk: Desk) -> None:
    path = desk.folder / "rsa.pem"
    await desk.edit(ODD["ordinary"], "dkim:rsa")
    await asyncio.to_thread(
        subprocess.run, ["openssl", "genrsa", "-out", str(path), "512"], check=True
    )
    copy = desk.copy(ODD["ordinary"])
    assert "1024 bits or more" in trouble(await desk.ask("dkim:rsa", copy=copy))
    write_key(path, RSA)
    assert perl_says(await desk.edit(ODD["ordinary"], "dkim:rsa")) == ["pass"]


def shell(script: str, folder: Path) -> bytes:
    return subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, check=True, capture_output=True
    ).stdout


async def test_example_of_the_page_does_what_it_says(desk: Desk, tmp_path: Path) -> None:
    (section,) = re.findall(r"\n## DKIM signatures\n(.*?)\n## ", PAGE, re.DOTALL)
    make, print_records, toml = re.findall(r"```(?:sh|toml)\n(.*?)```", section, re.DOTALL)
    here = make.replace("chown emailrelay", "chown root").replace("/etc/emailrelay", str(tmp_path))
    await asyncio.to_thread(shell, here, tmp_path)
    printed = (await asyncio.to_thread(shell, print_records, tmp_path)).splitlines()
    file = tmp_path / "relay.toml"
    file.write_text(toml.replace("/etc/emailrelay", str(tmp_path)))
    settings = read(FilterdSettings, [f"--config={file}"], {})
    desk.tables = settings.filter_tables
    content = await desk.edit(ODD["ordinary"].replace(b"org", b"com"), *settings.filter)
    records = dict(zip(("mail2026", "ed2026"), printed, strict=True))
    for name, record in records.items():
        RECORDS[f"{name}._domainkey.example.com.".encode()] = record
    assert dkimpy_says(content) == [True, True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('filter = ["dkim:"]', r"dkim:: there is no table \[\[dkim\]\] in the settings"),
        ('filter = ["header:k"]', r"a table \[\[header\]\] in the settings file \(there is none\)"),
        ('filter = ["dkim:k"]\n[[dkim]]\nname = "k"', r"domain.*is missing"),
        (
            '[[dkim]]\nname = "k"\ndomain = "a b"\nselector = "s"\nkey_file = "k"',
            "line 3.*a domain",
        ),
        (
            '[[dkim]]\nname = "k"\ndomain = "a.b"\nselector = "s s"\nkey_file = "k"',
            "line 4.*letters",
        ),
        (
            (
                '[[dkim]]\nname = "k"\ndomain = "a.bc"\nselector = "s"\nkey_file = "k"\n'
                'headers = ["to"]'
            ),
            "line 6.*must have from",
        ),
    ],
)
def test_wrong_tables_stop_the_start(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(FilterdSettings, [f"--config={file}"], {})
    assert any(re.search(told, problem) for problem in caught.value.problems)
