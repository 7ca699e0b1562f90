"""The tables that are printed, and are copied into RESULTS.md."""

import re
from collections.abc import Iterable, Iterator, Sequence

from bench.case import Case, Durability, Goal, Wanted
from bench.figures import spread
from bench.records import Record, outcome, values


def report(cases: Iterable[Case], records: Sequence[Record]) -> str:
    """Give the table of goals, and below it all figures."""
    cases = list(cases)
    lines: list[str] = []
    for durability in Durability:
        chosen = [record for record in records if record.durability is durability]
        if chosen:
            lines += [f"### {_TITLES[durability]}", "", *goals(cases, chosen, durability), ""]
            lines += [*figures(cases, chosen), ""]
    return "\n".join(lines)


_FOR_PLOTS = re.compile(r", p(?!50$|99$)\d+$")
"""The other percentiles of a distribution."""
_TITLES = {Durability.SYNCED: "Synced files", Durability.LOG: "Write-ahead log"}


def goals(
    cases: Iterable[Case], records: Sequence[Record], durability: Durability
) -> Iterator[str]:
    """Give the table of goals: wanted and measured figures, the highest load, and the verdicts."""
    yield "| case | figure | floor / aim | median (range) | rounds | scale | load | |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        mine = [record for record in records if record.case == case.name]
        scales = sorted({record.scale for record in mine})
        load = number(max((record.load for record in mine), default=0))
        for goal in case.goals:
            found = outcome(records, case=case.name, goal=goal)
            if found is None:
                continue
            wanted = f"{goal.bound.value} {_either(goal.wanted(durability))}"
            measured = f"{number(found.median)} ({number(found.least)}-{number(found.most)})"
            scale = ", ".join(f"{scale:g}" for scale in scales)
            verdict = goal.verdict(found.median, durability)
            cells = (case.words, _asked(goal), wanted, measured, found.rounds, scale, load, verdict)
            yield f"| {' | '.join(map(str, cells))} |"


def _either(wanted: Wanted) -> str:
    return f"{wanted.floor:g}" + (f" / {wanted.aim:g}" if wanted.aim != wanted.floor else "")


def _asked(goal: Goal) -> str:
    whose = "" if goal.of == "ours" else f"{goal.of}: "
    if not goal.to:
        return f"{whose}{goal.figure}"
    other = goal.to if not goal.to_figure else f"{goal.to_figure} of {goal.to}"
    return f"{whose}{goal.figure} : {other}"


def figures(cases: Iterable[Case], records: Sequence[Record]) -> Iterator[str]:
    """Give the table of all figures by contestant."""
    yield "| case | figure | contestant: median (range) |"
    yield "|---|---|---|"
    for case in cases:
        mine = [record for record in records if record.case == case.name]
        names = dict.fromkeys(name for record in mine for name in record.figures)
        for name in names:
            if _FOR_PLOTS.search(name):
                continue
            cells: list[str] = []
            for contestant in case.contestants:
                if found := values(mine, case=case.name, contestant=contestant, figure=name):
                    all_of = spread(found)
                    span = f"{number(all_of.least)}-{number(all_of.most)}"
                    cells.append(f"{contestant} {number(all_of.median)} ({span})")
            yield f"| {case.words} | {name} | {'; '.join(cells)} |"


def number(value: float) -> str:
    """Write a figure with the digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
