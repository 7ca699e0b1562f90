import base64
import hashlib
import hmac
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.errors import ConfigError
from emailrelay.secrets import (
    AuthConfig,
    Form,
    Mechanism,
    NoSuchAccount,
    Secret,
    SecretsFile,
    md5_state,
)
from emailrelay.secrets import key as keys
from emailrelay.secrets.parsing import parse

_CHEAP = keys.write_scrypt(
    keys.ScryptKey(
        4, 8, 1, b"salt" * 4, hashlib.scrypt(b"pass", salt=b"salt" * 4, n=16, r=8, p=1, dklen=32)
    )
)


def _written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secrets"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2"


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")), st.binary(max_size=200))
def test_a_hash_serves_cram_md5_like_the_password_itself(password: str, challenge: bytes) -> None:
    plain = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
    assert md5_state.hmac_md5(md5_state.masked(password), challenge) == plain


@given(st.binary(min_size=32, max_size=32))
def test_hashes_are_read_in_both_notations(states: bytes) -> None:
    numbers = [int.from_bytes(states[i : i + 4], "little") for i in range(0, 32, 4)]
    assert md5_state.from_text(md5_state.to_text(states)) == states
    assert md5_state.from_text(".".join(map(str, numbers))) == states


def test_passwords_are_proved_in_every_form() -> None:
    md5 = md5_state.to_text(md5_state.masked("pass"))
    parsed = parse(f"server plain a pass\nserver md5 b {md5}\nserver scrypt c {_CHEAP}\n".encode())
    assert not parsed.problems
    for user in "abc":
        assert parsed.server.verify_password(user, "pass")
        assert not parsed.server.verify_password(user, "Pass")
    assert not parsed.server.verify_password("d", "pass")


def test_a_challenge_is_answered_with_the_password_or_its_md5_form_but_not_scrypt() -> None:
    md5 = md5_state.to_text(md5_state.masked("pass"))
    parsed = parse(f"server plain a pass\nserver md5 b {md5}\nserver scrypt c {_CHEAP}\n".encode())
    digest = hmac.new(b"pass", b"<1@x>", hashlib.md5).hexdigest()
    answers = [parsed.server.verify_challenge(user, b"<1@x>", digest) for user in "abcd"]
    assert answers == [True, True, False, False]
    assert parsed.server.knows_challenges
    assert not parse(f"server scrypt c {_CHEAP}\n".encode()).server.knows_challenges


def test_a_new_hash_is_read_back_and_proves_the_password() -> None:
    made = keys.make_scrypt("pass word", b"0123456789abcdef")
    again = keys.read_scrypt(keys.write_scrypt(made))
    assert again == made
    assert keys.fits_hash(again, "pass word")
    assert not keys.fits_hash(again, "pass  word")


@pytest.mark.parametrize(
    "costs", ["ln=30,r=8,p=1", "ln=20,r=32,p=1", "ln=0,r=8,p=1", "ln=14,r=0,p=1", "ln=14,r=8,p=99"]
)
def test_hashes_that_would_cost_too_much_to_check_are_refused(costs: str) -> None:
    with pytest.raises(ValueError, match="costs"):
        keys.read_scrypt(f"$scrypt${costs}$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA")


def test_old_words_and_codings_are_read() -> None:
    md5 = md5_state.to_text(md5_state.masked("x"))
    coded = base64.b64encode(b"p w").decode()
    parsed = parse(
        f"# old\n\nCLIENT login me+2B pass+20word\nserver LOGIN joe se=cret\n"
        f"server CRAM-MD5 ann {md5}\nserver cram-md5 bob open\n"
        f"client plain:b am9l {coded} two\n".encode()
    )
    assert not parsed.problems
    first, second = parsed.accounts
    assert (first.id, first.secret.reveal(), first.selector) == ("me+", "pass word", "")
    assert (second.id, second.secret.reveal(), second.selector) == ("joe", "p w", "two")
    server = parsed.server
    assert server.verify_password("joe", "se=cret")
    assert server.verify_password("ann", "x")
    assert server.verify_password("bob", "open")


def test_each_selector_has_its_account_and_one_may_mean_none_at_all() -> None:
    client = parse(b"client plain a A\nclient oauth b B two\nclient plain:b = = three\n").client
    plain, oauth = client.account(), client.account("two")
    assert plain is not None
    assert oauth is not None
    assert (plain.form, oauth.form, oauth.id) == (Form.PLAIN, Form.OAUTH, "b")
    assert client.account("three") is None
    assert client.selectors == ("", "two", "three")
    with pytest.raises(NoSuchAccount, match="'four'"):
        client.account("four")


def test_a_client_account_answers_challenges_in_both_forms() -> None:
    md5 = md5_state.to_text(md5_state.masked("A"))
    client = parse(f"client plain a A\nclient md5 a {md5} two\n".encode()).client
    plain, hashed = client.account(), client.account("two")
    assert plain is not None
    assert hashed is not None
    assert plain.cram_md5(b"hello") == hashed.cram_md5(b"hello")


@pytest.mark.parametrize(
    ("client", "keyword"),
    [
        ("192.168.0.7", "lan"),
        ("::ffff:192.168.0.7", "lan"),
        ("10.1.255.1", "ten"),
        ("10.2.0.1", None),
        ("fd00::1", "six"),
        ("fe80::1%eth0", None),
        ("172.16.0.9", "one"),
        ("/run/socket", None),
        ("", None),
    ],
)
def test_networks_are_trusted_by_address(client: str, keyword: str | None) -> None:
    parsed = parse(
        b"server none 192.168.0.0/24 lan\nserver none 10.1.*.* ten\n"
        b"server none fd00::/8 six\nserver none 172.16.0.9 one\n"
    )
    assert not parsed.problems
    assert parsed.server.trusted(client) == keyword
    assert not parsed.server.has_users


def test_every_problem_is_told_with_its_line_and_no_secret() -> None:
    lines = [
        b"server plain hunter2",
        b"hunter2 plain a b",
        b"server hunter2 a b",
        b"server plain a hunter2+",
        b"server plain:b !hunter2 b",
        b"server md5 a hunter2",
        b"server scrypt a $scrypt$hunter2",
        b"client scrypt a hunter2",
        b"server none hunter2 x",
        b"server oauth a hunter2",
        b"server plain a b hunter2 d",
        b"server plain \xff hunter2",
        b"server plain same hunter2",
        b"server plain same hunter3",
        b"server plain:b = hunter22",
        b"client plain:b AAAA hunter2a",
        b"server none 10.*.1.* hunter2",
    ]
    problems = parse(b"\n".join(lines)).problems
    numbers = [int(problem.partition(":")[0]) for problem in problems]
    assert numbers == [n for n in range(1, len(lines) + 1) if n != 13]
    assert "hunter" not in "".join(problems)


@given(st.binary(max_size=300))
def test_no_octets_break_the_parser(octets: bytes) -> None:
    parse(b"server plain " + octets)
    parse(octets)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_any_password_can_be_written_in_xtext_and_base64(password: str) -> None:
    xtext = "".join(f"+{octet:02X}" for octet in password.encode())
    coded = base64.b64encode(password.encode()).decode()
    server = parse(f"server plain a {xtext}\nserver plain:b Yg== {coded}\n".encode()).server
    assert server.verify_password("a", password)
    assert server.verify_password("b", password)


def test_octets_beyond_ascii_may_stand_as_they_are() -> None:
    server = parse("server plain jürgen süß\nserver plain +C3+BC +c3+bc\n".encode()).server
    assert server.verify_password("jürgen", "süß")
    assert server.verify_password("ü", "ü")


def test_a_file_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chmod o="):
        SecretsFile(_written(tmp_path, "server plain a b\n", 0o604))
    assert SecretsFile(_written(tmp_path, "server plain a b\n", 0o640)).server.has_users


def test_a_missing_file_and_a_wrong_line_are_told_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        SecretsFile(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"secrets:2: the first word"):
        SecretsFile(_written(tmp_path, "\nfoo bar baz quux\n"))


def test_a_changed_file_is_read_again_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    path = _written(tmp_path, "server plain a old\n")
    file = SecretsFile(path)
    assert not file.refresh()
    _written(tmp_path, "server plain a newer\n")
    assert file.refresh()
    assert file.server.verify_password("a", "newer")
    _written(tmp_path, "server plane a b\n")
    with pytest.raises(ConfigError):
        file.refresh()
    assert not file.refresh()
    assert file.server.verify_password("a", "newer")
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        file.refresh()
    fresh = tmp_path / "fresh"
    fresh.write_text("server plain a newest\n")
    fresh.chmod(0o600)
    os.replace(fresh, path)  # noqa: PTH105 - as an editor does
    assert file.refresh()
    assert file.server.verify_password("a", "newest")


_ALL = (Mechanism.PLAIN, Mechanism.LOGIN, Mechanism.CRAM_MD5)


@pytest.mark.parametrize(
    ("text", "clear", "encrypted"),
    [
        ("", "PLAIN LOGIN CRAM-MD5", "PLAIN LOGIN CRAM-MD5"),
        ("m:login,plain", "LOGIN PLAIN", "LOGIN PLAIN"),
        ("x:plain", "LOGIN CRAM-MD5", "LOGIN CRAM-MD5"),
        ("m:cram-md5; a:plain,login", "CRAM-MD5", "PLAIN LOGIN"),
        ("d:cram-md5", "PLAIN LOGIN CRAM-MD5", "PLAIN LOGIN"),
        ("m:;a:PLAIN", "", "PLAIN"),
        ("m:xoauth2", "", ""),
    ],
)
def test_the_words_of_the_auth_config_choose_mechanisms(
    text: str, clear: str, encrypted: str
) -> None:
    config = AuthConfig.parse(text)
    assert " ".join(config.choose(_ALL, encrypted=False)) == clear
    assert " ".join(config.choose(_ALL, encrypted=True)) == encrypted


@pytest.mark.parametrize("text", ["plain", "m:foo", "q:plain", "m:plain;m:login", "m"])
def test_a_wrong_auth_config_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AuthConfig.parse(text)
