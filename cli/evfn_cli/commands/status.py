"""`evfn status`: every trigger's numbers, every topic, every instance."""

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import Any

import click

from evfn.errors import UsageError
from evfn_cli.options import common
from evfn_cli.render import escape, out, say, seconds, table

SHORTEST, LONGEST = timedelta(milliseconds=100), timedelta(hours=1)
_COLUMNS = {
    "lag": "lag",
    "pending": "pending",
    "due": "due",
    "dead": "dead",
    "delivered": "delivered",
    "filtered": "filtered",
    "succeeded": "succeeded",
    "retried": "retried",
    "emitted": "emitted",
}


@click.command("status")
@click.option("--watch", is_flag=True, help="Look again every second, with rates and errors of the last minute.")
@click.option("--every", metavar="DURATION", help="How often --watch looks.  [default: 1s]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch one a line.")
@common
@click.pass_context
def command(context: click.Context, *, watch: bool, every: str | None, as_json: bool) -> None:
    """Show every trigger: what waits, what ran, what failed.

    lag: events not delivered yet; pending: running; due: waiting for a retry; dead: dead letters that wait for you.
    """
    if every is not None and not watch:
        raise click.UsageError("--every says how often --watch looks; write both", context)
    # What asks the server is imported only now: `evfn status --help` needs none of it.
    from evfn_cli.opened import open_project
    from evfn_cli.snapshot import take

    opened = open_project(context, filters=False)
    if watch:
        from evfn_cli import watching
        from evfn_cli.until_signal import until_signal

        until_signal(partial(watching.watch, opened, _often(every), as_json=as_json))
        return
    found = asyncio.run(take(opened))
    out(json.dumps(found)) if as_json else _show(found)


def _often(every: str | None) -> timedelta:
    from evfn.manifest import duration

    try:
        found = timedelta(seconds=1) if every is None else duration.parse(every)
    except ValueError as error:
        raise UsageError(f"--every {error}") from error
    if not SHORTEST <= found <= LONGEST:
        raise UsageError(f"--every {escape(every or '')} is too short or too long; write 100ms to 1h")
    return found


def _show(found: dict[str, Any]) -> None:
    from evfn_cli.leftover import as_text
    from evfn_cli.status_screen import instances

    triggers: dict[str, dict[str, Any]] = found["triggers"]
    headings = ["trigger", "state", *_COLUMNS, "oldest"]
    table(
        headings,
        [
            [name, each["state"], *(_number(each[column]) for column in _COLUMNS), seconds(each["oldest_seconds"])]
            for name, each in triggers.items()
        ],
        numbers=frozenset([*_COLUMNS, "oldest"]),
    )
    for name, each in triggers.items():
        if each["problem"]:
            out(f"\n{name} is {each['state']}: {escape(each['problem'])}")
        if each["filter_errors"]:
            out(f"\n{name}: events on which its filter had an error, and which it skipped: {each['filter_errors']:,}")
        if each["unemitted"]:
            out(f"\n{name}: returned values that were dropped, for it has no `emits`: {each['unemitted']:,}")
        if each["replay"]:
            said = f"its replay {escape(each['replay'])} is not finished; `evfn replay {name} --resume` goes on with it"
            out(f"\n{name}: {said}")
    out("")
    table(
        ["topic", "events", "last at", "triggers"],
        [
            [name, _number(each["events"]), each["last_at"] or "", ", ".join(each["triggers"])]
            for name, each in found["topics"].items()
        ],
        numbers=frozenset(["events"]),
    )
    for each in found["topics"].values():
        if each["problem"]:
            out(f"\n{escape(each['problem'])}")
    out("")
    for line in instances(found):
        out(line)
    for leftover in found["leftovers"]:
        deletes = f"`evfn forget {leftover['trigger']} --yes` deletes it"
        say(f"no longer in the manifest: {escape(as_text(leftover))}; {deletes}")


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
