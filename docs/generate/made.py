"""All generated pages: their paths and their texts."""

from docs.generate import example, layout, log_page, metrics, reference
from docs.generate.completion import completions
from docs.generate.man import roff
from docs.generate.pages import all_pages


def made_pages() -> dict[str, str]:
    """Return the text of each generated page by its path in the checkout."""
    manual = {
        f"docs/man/man{page.number}/{page.name}.{page.number}": roff(page) for page in all_pages()
    }
    return {
        "docs/layout.md": layout.page(),
        "docs/logs.md": log_page.page(),
        "docs/monitoring.md": metrics.page(),
        "docs/reference.md": reference.page(),
        "deploy/emailrelay.toml": example.page(),
        **manual,
        **{f"docs/completion/{name}": text for name, text in completions()},
    }
