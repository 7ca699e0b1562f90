"""The spool of the tests of emailrelay-queue."""

from pathlib import Path

import pytest
from tests.service.queue_command.stored_mail import Mail


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    return Mail(tmp_path / "spool")
