"""The import contracts in pyproject.toml that list the stores one by one name each of them."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]
STORES = {
    f"emailrelay.store.{path.name}"
    for path in (ROOT / "shared/emailrelay/store").iterdir()
    if (path / "store.py").exists()
}


@pytest.mark.parametrize(
    ("contract", "key"),
    [
        ("services and commands reach stores only through", "forbidden_modules"),
        ("the stores do not know each other", "layers"),
    ],
)
def test_each_store_is_in_the_contract(contract: str, key: str) -> None:
    (found,) = (one for one in CONTRACTS if one["name"].startswith(contract))
    text = " ".join(found[key])
    assert len(STORES) > 1
    assert {name for name in STORES if name.rpartition(".")[2] not in text} == set()
