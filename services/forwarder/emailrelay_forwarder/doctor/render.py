"""The doctor's findings for people, and for programs."""

import json
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from emailrelay.printable import printable
from emailrelay_forwarder.doctor.finding import DoctorVerdict, ReportFinding

_COLOURS = {DoctorVerdict.OK: "green", DoctorVerdict.NOTE: "yellow", DoctorVerdict.PROBLEM: "red"}


def show(reports: Sequence[ReportFinding], console: Console) -> None:
    """Write a table for each server, with the remedies under their steps."""
    for report in reports:
        console.print(f"[bold]{escape(printable(report.server))}[/]", highlight=False)
        console.print(_table(report), highlight=False)


def _table(report: ReportFinding) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False)
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


def as_json(reports: Sequence[ReportFinding]) -> str:
    """Give all of it as one JSON object; see ``docs/doctor.md``."""
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
