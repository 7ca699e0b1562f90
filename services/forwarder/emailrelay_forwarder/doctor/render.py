"""Shows the findings of the doctor, for people and for programs."""

import json
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from emailrelay.printable import printable
from emailrelay.terminal.screen import new_table, plain
from emailrelay_forwarder.doctor.finding import DoctorVerdict, ServerReport

_COLOURS = {DoctorVerdict.OK: "green", DoctorVerdict.NOTE: "yellow", DoctorVerdict.PROBLEM: "red"}


def show(reports: Sequence[ServerReport], console: Console) -> None:
    """Print a table for each server; the remedies are below their steps."""
    for report in reports:
        console.print(f"[bold]{plain(report.server)}[/]")
        console.print(_table(report))


def _table(report: ServerReport) -> RenderableType:
    table = new_table()
    table.add_column("Step", overflow="fold")
    table.add_column("Result", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    table.add_column("Found", overflow="fold")
    for finding in report.findings:
        colour = _COLOURS[finding.verdict]
        found: RenderableType = Text(printable(finding.text))
        if finding.remedy:
            found = Group(found, Text(f"-> {printable(finding.remedy)}", style="bold"))
        table.add_row(
            Text(printable(finding.step)),
            Text(finding.verdict, style=colour),
            f"{finding.seconds * 1000:.0f} ms",
            found,
        )
    return table


def as_json(reports: Sequence[ServerReport]) -> str:
    """Return the reports as one JSON object; see ``docs/doctor.md``."""
    servers = [
        {
            "server": report.server,
            "ok": report.well,
            "steps": [
                {
                    "step": finding.step,
                    "result": finding.verdict,
                    "seconds": round(finding.seconds, 4),
                    "text": finding.text,
                    "remedy": finding.remedy,
                    **finding.details,
                }
                for finding in report.findings
            ],
        }
        for report in reports
    ]
    return json.dumps({"ok": all(r.well for r in reports), "servers": servers}, indent=2)
