"""The tables of metrics in ``docs/monitoring.md``, from their declarations."""

from collections.abc import Iterator
from pathlib import Path

from emailrelay.metrics.declared import COUNTERS, HISTOGRAMS
from emailrelay.metrics.gauges import GAUGES

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- Made by `make docs` from the declarations of the metrics. -->"
END = "<!-- End of the generated table. -->"


def page() -> str:
    """Return the page: the text around the two marks as it stands, a new table between them."""
    text = (ROOT / "docs/monitoring.md").read_text("utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"docs/monitoring.md needs the lines {BEGIN!r} and {END!r}")
    rows = "\n".join(["| metric | kind | meaning |", "|---|---|---|", *_rows()])
    return f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}"


def _rows() -> Iterator[str]:
    seen = set[str]()
    for rule in COUNTERS:
        if rule.name not in seen:
            seen.add(rule.name)
            yield _row(f"{rule.name}_total", rule.labels, "counter", rule.help)
    for histogram in HISTOGRAMS:
        yield _row(histogram.name, (), "histogram", histogram.help)
    for gauge in GAUGES:
        yield _row(gauge.name, gauge.labels, "gauge", gauge.help)


def _row(name: str, labels: tuple[str, ...], kind: str, text: str) -> str:
    shown = f"{{{', '.join(labels)}}}" if labels else ""
    return f"| `{name}{shown}` | {kind} | {text} |"
