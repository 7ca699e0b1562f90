"""The URL of a database store: what it may say, and what it never shows."""

from pathlib import Path

import psycopg
import pytest

from emailrelay.errors import IdTaken, StoreError, StoreForbidden, StoreUnusable
from emailrelay.store.postgres.link import place
from emailrelay.store.postgres.link.trouble import (
    Busy,
    Conflict,
    Lost,
    as_relay_error,
    not_connected,
)

SECRET = "hunter2"  # noqa: S105 - of no one


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host/mail",
        f"postgresql://user@host/mail?password={SECRET}",
        f"postgresql://user@host/mail?sslpassword={SECRET}",
        f"postgresql://user:{SECRET}@host/mail?nonsense=1",
        f"postgresql://user:{SECRET}@[host/mail",
        f"postgresql://user:{SECRET}@host:port/mail",
    ],
)
def test_url_with_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(StoreUnusable) as refused:
        place.parse(url)
    shown = "".join(map(str, (refused.value, refused.value.args)))
    assert SECRET not in shown
    assert "postgresql://" in shown or "PGPASSFILE" in shown


def test_what_is_shown_names_hosts_and_database_alone() -> None:
    found = place.parse("postgresql://user@one,two/mail?connect_timeout=7&lease=30")
    assert found.shown == "postgresql://one,two/mail"
    assert found.parameters["connect_timeout"] == "7"
    assert "lease" not in found.parameters
    assert found.lease == 30


def test_of_several_servers_the_one_that_takes_writes_is_used() -> None:
    assert place.parse("postgresql://a,b/mail").parameters["target_session_attrs"] == "read-write"
    given = "postgresql://a/mail?target_session_attrs=any"
    assert place.parse(given).parameters["target_session_attrs"] == "any"


@pytest.mark.parametrize("query", ["lease=0", "lease=soon", "connections=1", "lease=1e9"])
def test_number_out_of_range_is_refused_with_its_range(query: str) -> None:
    with pytest.raises(StoreUnusable, match=r"is a number from \d+ to \d+"):
        place.parse(f"postgresql://host/mail?{query}")


def test_password_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    found = place.parse(f"postgresql://user@host/mail?password_file={file}")
    assert found.secret() == {"password": SECRET}
    assert SECRET not in repr(found)
    file.write_text("changed")
    assert found.secret() == {"password": "changed"}
    file.unlink()
    with pytest.raises(StoreError, match=r"password: .*No such file"):
        found.secret()


def test_libpq_finds_the_password_by_itself_without_a_file() -> None:
    assert place.parse("postgresql://user@host/mail").secret() == {}


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (psycopg.errors.UndefinedTable("x"), StoreUnusable, "emailrelay-store init"),
        (psycopg.errors.InsufficientPrivilege("x"), StoreForbidden, "grants"),
        (psycopg.errors.ReadOnlySqlTransaction("x"), Lost, "replica"),
        (psycopg.errors.AdminShutdown("x"), Lost, "does not answer"),
        (psycopg.errors.DeadlockDetected("x"), Conflict, "refused"),
        (psycopg.errors.StatementCompletionUnknown("x"), Lost, "does not answer"),
        (psycopg.errors.DatatypeMismatch("x"), StoreUnusable, "undo the change"),
        (psycopg.errors.QueryCanceled("x"), Busy, "statement_timeout"),
        (psycopg.errors.CheckViolation("x"), StoreError, "refused"),
        (psycopg.errors.NotNullViolation("x"), IdTaken, "another message"),
        (psycopg.OperationalError("connection reset\nby peer"), Lost, "connection reset"),
    ],
)
def test_error_says_what_to_do_in_one_line(
    error: psycopg.Error, kind: type[Exception], advice: str
) -> None:
    found = as_relay_error("commit a message", error)
    assert type(found) is kind
    assert str(found).startswith("commit a message: ")
    assert advice in str(found)
    assert "\n" not in str(found)


def test_full_disk_is_told_as_such() -> None:
    found = as_relay_error("commit a message", psycopg.errors.DiskFull("x"))
    assert isinstance(found, StoreError)
    assert found.no_room


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  password authentication failed for user "x"', StoreForbidden),
        ('FATAL:  role "x" does not exist', StoreForbidden),
        ('FATAL:  no pg_hba.conf entry for host "::1", database "x"', StoreForbidden),
        ('FATAL:  role "x" is not permitted to log in', Lost),
        ('FATAL:  database "x" does not exist', StoreUnusable),
        ("FATAL:  sorry, too many clients already", Lost),
        ("Connection refused", Lost),
    ],
)
def test_refused_connection_is_permanent_only_if_an_administrator_must_act(
    text: str, kind: type[Exception]
) -> None:
    assert type(not_connected("postgresql://host/mail", psycopg.OperationalError(text))) is kind


def test_mail_is_announced_if_wanted() -> None:
    assert place.parse("postgresql://host/mail?notify=yes").notify
    assert not place.parse("postgresql://host/mail").notify
    with pytest.raises(StoreUnusable, match="yes or no"):
        place.parse("postgresql://host/mail?notify=perhaps")
