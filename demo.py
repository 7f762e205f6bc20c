"""`make demo`: a year of real readings through the example project, and what became of each of them, counted."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
STATE = HERE / ".demo"
TOPIC = "readings.temperature"
COLUMNS = {
    "delivered": "delivered",
    "filtered": "filtered",
    "succeeded": "succeeded",
    "retried": "retried",
    "dead": "dead_lettered",
    "emitted": "emitted",
}


def evfn(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "evfn_cli", "--state", str(STATE), *arguments]


def show(*arguments: str) -> None:
    print(f"\n$ evfn --state .demo {' '.join(arguments)}", flush=True)  # noqa: T201 - this is what a demo is for


def main() -> None:
    console = Console()
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir()
    os.environ["READINGS_DB"] = str(STATE / "readings.sqlite")
    os.chdir(HERE)
    for file in ("events/sf-temps-2010.ndjson", "events/broken-readings.ndjson"):
        command = ("emit", TOPIC, "--file", file)
        show(*command)
        subprocess.run(evfn(*command), check=True, stdout=subprocess.DEVNULL)

    show("run", "--until-idle")
    began = time.monotonic()
    run = subprocess.run(evfn("run", "--until-idle"), check=False)
    seconds = time.monotonic() - began
    if run.returncode not in (0, 3):
        sys.exit(run.returncode)

    status = json.loads(subprocess.run(evfn("status", "--json"), check=True, capture_output=True).stdout)
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"\nWhat became of the events, in {seconds:.1f} s from start to idle",
    )
    table.add_column("trigger", no_wrap=True)
    for column in (*COLUMNS, "rate"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, trigger in status["triggers"].items():
        counts = [f"{trigger[key]:,}" for key in COLUMNS.values()]
        table.add_row(name, *counts, f"{trigger['delivered'] / seconds:,.0f}/s")
    console.print(table)
    console.print(
        "\nLook around (each line can be pasted as it stands):\n\n"
        "  .venv/bin/evfn --state .demo status\n"
        "  .venv/bin/evfn --state .demo dlq ls\n"
        "  .venv/bin/evfn --state .demo dlq show quality\n"
        """  .venv/bin/evfn invoke heat-alert --data '{"station": "here", "celsius": 31.5, "at": "now"}'\n"""
        "  .venv/bin/evfn run     # and in a second terminal:\n"
        """  .venv/bin/evfn emit readings.temperature '{"station": "here", "celsius": 31.5, "at": "now"}'\n""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
