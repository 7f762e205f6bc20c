"""`evfn check`: is everything in the manifest right, and does every function load?"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evfn_cli.options import common
from evfn_cli.render import escape, escape_lines, out, say

if TYPE_CHECKING:
    from evfn.trigger import Trigger
    from evfn.workers.one_worker import Broken
    from evfn.workers.protocol import Ready
    from evfn_cli.opened import Opened


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a verdict per trigger.")
@common
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> int:
    """Validate the manifest and its functions, and warn of emit cycles.

    Imports every function in a worker of its own. Names the files that no trigger uses. Needs no server. Exit code 2
    where something is wrong.
    """
    # What loads functions is imported only now: `evfn check --help` needs none of it.
    from evfn.workers.one_worker import Broken
    from evfn_cli.one_worker import load_all
    from evfn_cli.opened import open_project

    opened = open_project(context)
    verdicts = asyncio.run(load_all(opened, lambda text: say("│ " + escape(text)), _say_slow))
    broken = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Broken)}
    if as_json:
        problems = {name: broken[name].message if name in broken else None for name in verdicts}
        out(json.dumps({"version": 1, "project": opened.project.name, "triggers": problems}))
    imported: list[str] = []
    for trigger in opened.project.triggers:
        verdict = verdicts[trigger.name]
        if isinstance(verdict, Broken):
            _say_broken(trigger, verdict, opened.location.folder)
            continue
        imported += verdict.files
        _say_unknown_exceptions(trigger, verdict)
        _say_residue(trigger, verdict)
        if not as_json:
            arrow = f" → {', '.join(trigger.emits)}" if trigger.emits else ""
            out(escape(f"ok  {trigger.name}: {', '.join(trigger.topics)} → {trigger.function}{arrow}"))
    if not broken:
        # What a broken function would import is not known.
        _say_unused(opened, imported)
    return 2 if broken else 0


def _say_slow(trigger: "Trigger", patience: float) -> None:
    say(f"{trigger.name}: still importing {trigger.function}; it has {patience:g} s in all")


def _say_broken(trigger: "Trigger", verdict: "Broken", folder: Path) -> None:
    say(f"{escape(trigger.written.function)}: error: {trigger.name}: {escape_lines(verdict.message)}")
    if verdict.traceback:
        say("    " + escape_lines(verdict.traceback).replace(f"{folder}/", "").rstrip().replace("\n", "\n    "))


def _say_unknown_exceptions(trigger: "Trigger", ready: "Ready") -> None:
    for name, place in zip(trigger.retry.give_up_on, trigger.written.give_up_on, strict=True):
        if name in ready.unknown_exceptions:
            near = ready.unknown_exceptions[name]
            hint = f" (did you mean {escape(near)}?)" if near is not None else ""
            say(
                f"{escape(place)}: warning: {trigger.name}: give_up_on: no exception called {name} is imported with "
                f"{trigger.function}{hint}"
            )


def _say_residue(trigger: "Trigger", ready: "Ready") -> None:
    from evfn.trigger import Isolation

    if ready.residue and trigger.isolation is Isolation.PROCESS:
        say(
            f"{escape(trigger.written.function)}: note: {trigger.name}: importing {trigger.function} leaves "
            f"{escape(ready.residue)}, so each worker imports it anew (docs/functions.md, What is imported once)"
        )


def _say_unused(opened: "Opened", imported: list[str]) -> None:
    from evfn.functions.unbound import suggestion, unused

    functions = opened.location.functions
    taken = {trigger.name for trigger in opened.project.triggers}
    for path in unused(functions, [Path(file) for file in imported]):
        lines = suggestion(path, functions, taken)
        if lines is not None:
            taken.add(lines.strip().partition(":")[0])
            file = escape(f"{functions.name}/{path.relative_to(functions)}")
            manifest = escape(opened.location.manifest.name)
            say(f"{file}: no trigger uses it; to run it, paste this below `triggers:` of {manifest}\n{lines}")
