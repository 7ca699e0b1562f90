"""Which pages are made, and what each must say."""

from docs.generate import example, reference
from docs.generate.man import roff
from docs.generate.pages import all_pages


def made_pages() -> dict[str, str]:
    """Return the text of each made page by its path in the checkout."""
    manual = {f"docs/man/{page.name}.1": roff(page) for page in all_pages()}
    return {
        "docs/reference.md": reference.page(),
        "deploy/emailrelay.toml": example.page(),
        **manual,
    }
