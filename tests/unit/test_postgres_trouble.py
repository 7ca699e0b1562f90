"""Errors of the database, translated by their SQLSTATE."""

import psycopg
import pytest
from psycopg import errors

from emailrelay.errors import IdTaken, StoreError
from emailrelay.store.postgres.link import trouble
from emailrelay.store.postgres.link.trouble import Lost


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.ConnectionFailure(), Lost),
        (errors.IdleInTransactionSessionTimeout(), Lost),
        (errors.lookup("25P04")(), Lost),
        (errors.UniqueViolation(), IdTaken),
        (errors.NotNullViolation(), IdTaken),
        (errors.CheckViolation(), StoreError),
        (errors.IoError(), StoreError),
        (errors.DataCorrupted(), StoreError),
    ],
)
def test_kind_of_error_by_sqlstate(error: psycopg.Error, ours: type[StoreError]) -> None:
    assert type(trouble.as_relay_error("write", error)) is ours
