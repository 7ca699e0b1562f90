"""The plots beside RESULTS.md: ``python -m bench.plots FILE DIRECTORY``.

Needs matplotlib: ``pip install --group bench``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.cases import accept, latency
from bench.cases.relay import RATE
from bench.figures import spread
from bench.records import Record, read, values

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "bench"
_COLOURS = {"ours, synced files": "C0", "ours, write-ahead log": "C2", "postfix": "C1"}


def _lines(records: Sequence[Record], cases: Sequence[str], figure: str, axis: plt.Axes) -> None:
    """Draw a line for each contestant over the cases, with the ranges of the rounds."""
    for label, contestant, durability in (
        ("ours, synced files", "ours", "synced"),
        ("ours, write-ahead log", "ours", "log"),
        ("postfix", "postfix", None),
    ):
        chosen = [r for r in records if durability in (None, r.durability.value)]
        points = [
            (case, values(chosen, case=case, contestant=contestant, figure=figure))
            for case in cases
        ]
        drawn = [(str(_sessions(case)), spread(found)) for case, found in points if found]
        if not drawn:
            continue
        middles = [s.median for _, s in drawn]
        below = [s.median - s.least for _, s in drawn]
        above = [s.most - s.median for _, s in drawn]
        axis.errorbar(
            [name for name, _ in drawn],
            middles,
            yerr=[below, above],
            marker="o",
            capsize=4,
            label=label,
            color=_COLOURS[label],
        )


def _sessions(case: str) -> int:
    return int(case.removesuffix("-one").rpartition("-")[2])


def throughput(records: Sequence[Record], path: Path) -> None:
    """Draw the messages accepted per second over the number of sessions."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, suffix, title in zip(
        axes, ("", "-one"), ("many messages a session", "one message a session"), strict=True
    ):
        cases = [f"accept-10KiB-{sessions}{suffix}" for sessions in (1, 20, 100)]
        _lines(records, cases, accept.RATE, axis)
        axis.set(title=f"10 KiB, {title}", xlabel="sessions", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accepted/s")
    axes[0].legend()
    _save(figure, path)


def latencies(records: Sequence[Record], path: Path) -> None:
    """Draw the distributions of the time that a message takes."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True)
    for axis, what in zip(axes, (latency.ANSWER, latency.THROUGH, latency.AFTER), strict=True):
        for label, contestant, durability in (
            ("ours, synced files", "ours", "synced"),
            ("ours, write-ahead log", "ours", "log"),
            ("postfix", "postfix", None),
        ):
            chosen = [r for r in records if durability in (None, r.durability.value)]
            points = [
                (
                    share,
                    values(
                        chosen,
                        case="latency",
                        contestant=contestant,
                        figure=latency.named(what, share),
                    ),
                )
                for share in latency.SHARES[:-1]
            ]
            drawn = [(spread(found).median, 100 * share) for share, found in points if found]
            if drawn:
                axis.plot(*zip(*drawn, strict=True), marker=".", label=label, color=_COLOURS[label])
        axis.set(title=what, xlabel="ms", xscale="log" if what != latency.AFTER else "linear")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("% of the messages")
    axes[0].legend()
    _save(figure, path)


def depth(records: Sequence[Record], path: Path) -> None:
    """Draw the cost of a relayed message over the depth of the queue."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    names = ("empty queue", "10,000", "100,000", "1,000,000")
    for axis, what in zip(axes, (RATE, accept.CPU), strict=True):
        for durability, label in (
            ("synced", "ours, synced files"),
            ("log", "ours, write-ahead log"),
        ):
            chosen = [r for r in records if r.durability.value == durability]
            found = {
                name: values(chosen, case="depth", contestant=name, figure=what)
                + values(chosen, case="depth-1000000", contestant=name, figure=what)
                for name in names
            }
            drawn = [
                (name.removesuffix(" queue"), spread(some)) for name, some in found.items() if some
            ]
            if drawn:
                axis.errorbar(
                    [name for name, _ in drawn],
                    [s.median for _, s in drawn],
                    yerr=[
                        [s.median - s.least for _, s in drawn],
                        [s.most - s.median for _, s in drawn],
                    ],
                    marker="o",
                    capsize=4,
                    label=label,
                    color=_COLOURS[label],
                )
        axis.set(xlabel="deferred messages in the queue", ylabel=what, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw all plots."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args(argv)
    records = read(arguments.records)
    arguments.directory.mkdir(exist_ok=True)
    for draw in (throughput, latencies, depth):
        draw(records, arguments.directory / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main()
