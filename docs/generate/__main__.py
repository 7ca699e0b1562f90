"""Writes every generated page into the checkout."""

import sys
from pathlib import Path

from docs.generate.made import made_pages


def main() -> int:
    """Write the pages that differ, and print their names."""
    root = Path(__file__).parents[2]
    for name, text in made_pages().items():
        path = root / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
