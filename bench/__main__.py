"""``python -m bench``: interleaved rounds of our relay and Postfix, printed as a table."""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Load, Result, run
from bench.peers import Ours, Postfix, sink

_SINK = 3600


def _loads(scale: float) -> list[Load]:
    def load(messages: int, octets: int, sessions: int, *, keep: bool) -> Load:
        count = max(sessions, int(messages * scale))
        return Load(messages=count, octets=octets, sessions=sessions, keep=keep)

    kib, mib = 1024, 1 << 20
    small = [
        load(4000 if sessions > 1 else 1000, 10 * kib, sessions, keep=keep)
        for keep in (True, False)
        for sessions in (1, 20, 100)
    ]
    return [*small, load(200, mib, 4, keep=True), load(12, 25 * mib, 2, keep=True)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the usual message counts"
    )
    parser.add_argument("--workers", type=int, default=1, help="workers of our services")
    arguments = parser.parse_args(argv)
    print(f"{platform.platform()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}")
    print(f"{arguments.rounds} interleaved rounds; ratios are ours to Postfix's, median (range)\n")
    print(
        "| load | accepted/s ours | Postfix | ratio | relayed/s ours | Postfix | ratio | CPU ms ours | Postfix |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-") as place, sink(_SINK):
        Path(place).chmod(0o755)
        peers = (
            Ours(Path(place), _SINK, workers=arguments.workers),
            Postfix(Path(place), _SINK),
        )
        for load in _loads(arguments.scale):
            pairs: list[tuple[Result, Result]] = []
            for _ in range(arguments.rounds):
                results: list[Result] = []
                for peer in peers:
                    peer.start()
                    try:
                        results.append(run(peer, load))
                    finally:
                        peer.stop()
                pairs.append((results[0], results[1]))
            _print(load, pairs)


def _print(load: Load, pairs: Sequence[tuple[Result, Result]]) -> None:
    cells = [load.words]
    for figure in ("accepted", "relayed"):
        ours = [getattr(mine, figure) for mine, _ in pairs]
        theirs = [getattr(other, figure) for _, other in pairs]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        cells += [f"{statistics.median(ours):,.0f}", f"{statistics.median(theirs):,.0f}"]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    for side in (0, 1):
        cells.append(f"{statistics.median(pair[side].cpu for pair in pairs):.2f}")
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
