"""The authority that certifies the servers."""

from pathlib import Path

import pytest
from tests.service.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
