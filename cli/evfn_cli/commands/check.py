"""`evfn check`: is everything in the manifest right, and does every function load?"""

import asyncio
import json

import click

from evfn_cli.options import common
from evfn_cli.render import escape, escape_lines, out, say


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a verdict per trigger.")
@common
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> int:
    """Validate the manifest and its functions, and warn of emit cycles.

    Imports every function in a worker of its own. Needs no server. Exit code 2 where something is wrong.
    """
    # What loads functions is imported only now: `evfn check --help` needs none of it.
    from evfn_cli.one_worker import Broken, load_all
    from evfn_cli.opened import open_project

    opened = open_project(context)
    verdicts = asyncio.run(load_all(opened, lambda text: say("│ " + escape(text))))
    broken = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Broken)}
    if as_json:
        problems = {name: broken[name].message if name in broken else None for name in verdicts}
        out(json.dumps({"version": 1, "project": opened.project.name, "triggers": problems}))
    for trigger in opened.project.triggers:
        if trigger.name in broken:
            verdict = broken[trigger.name]
            place = f"{opened.location.manifest.name}:{trigger.line}:1: " if trigger.line else ""
            say(f"{place}error: {trigger.name}: {escape_lines(verdict.message)}")
            if verdict.traceback:
                say("    " + escape_lines(verdict.traceback).rstrip().replace("\n", "\n    "))
        elif not as_json:
            arrow = f" → {', '.join(trigger.emits)}" if trigger.emits else ""
            out(escape(f"ok  {trigger.name}: {', '.join(trigger.topics)} → {trigger.function}{arrow}"))
    return 2 if broken else 0
