"""`evfn check`: is everything in the manifest right, and does every function load?"""

import asyncio
import json

import click

from evfn.workers.protocol import Ready
from evfn.workers.template_process import Template
from evfn_cli.one_worker import Broken, OneWorker
from evfn_cli.opened import Opened, open_project
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
    opened = open_project(context)
    verdicts = asyncio.run(_load_all(opened))
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


async def _load_all(opened: Opened) -> dict[str, Ready | Broken]:
    template = Template()
    verdicts: dict[str, Ready | Broken] = {}
    try:
        # One after the other: what importing one function prints is not mixed with another's.
        for trigger in opened.project.triggers:
            worker = OneWorker(opened, trigger, template, lambda _, text: say("│ " + escape(text)))
            verdicts[trigger.name] = await worker.load()
            await worker.close()
    finally:
        await template.stop()
    return verdicts
