"""`evfn status`: every trigger's numbers, every topic, every instance."""

import asyncio
import json
from typing import Any

import click

from evfn_cli.options import common
from evfn_cli.render import escape, out, say, seconds, table

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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Show every trigger: what waits, what ran, what failed.

    lag: events not delivered yet; pending: running; due: waiting for a retry; dead: dead letters that wait for you.
    """
    # What asks the server is imported only now: `evfn status --help` needs none of it.
    from evfn_cli.opened import open_project
    from evfn_cli.snapshot import take

    found = asyncio.run(take(open_project(context, filters=False)))
    out(json.dumps(found)) if as_json else _show(found)


def _show(found: dict[str, Any]) -> None:
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
            out(f"\n{name}: its filter had an error on {each['filter_errors']:,} events; they count as filtered")
        if each["unemitted"]:
            out(f"\n{name}: {each['unemitted']:,} returned values were dropped, for it has no `emits`")
    out("")
    table(
        ["topic", "events", "last at", "triggers"],
        [
            [name, _number(each["events"]), each["last_at"] or "", ", ".join(each["triggers"])]
            for name, each in found["topics"].items()
        ],
        numbers=frozenset(["events"]),
    )
    instances = found["instances"]
    local = [f"pid {each['pid']}" for each in instances.values() if each["pid"] is not None]
    out(
        f"\n{len(instances)} running" + (f" (here: {', '.join(local)})" if local else "")
        if instances
        else "\nno instance is running; start one with: evfn run"
    )
    for leftover in found["leftovers"]:
        say(f"{escape(leftover['trigger'])} is no longer in the manifest, but its group and events are still there")


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
