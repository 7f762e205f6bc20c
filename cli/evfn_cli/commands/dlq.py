"""`evfn dlq`: dead letters, looked at, sent back to their trigger, thrown away."""

import json

import click

from evfn.errors import EvfnError, UsageError
from evfn_cli.options import common, same_project
from evfn_cli.render import escape, out, say, table, terminal_width

_HEADINGS = ("trigger", "id", "reason", "attempts", "dead at", "error")


@click.group("dlq")
@common
def command() -> None:
    """Look at, redrive or purge dead letters.

    A dead letter is an event that a trigger's function failed on until no attempt was left. Its ID is what `dlq ls`
    shows, TOPIC/ID where letters of two topics have the same.
    """


@command.command("ls")
@click.argument("trigger", required=False)
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, without traceback and log.")
@common
@click.pass_context
def ls(context: click.Context, *, trigger: str | None, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    from evfn_cli import letters
    from evfn_cli.letter import as_line, as_object
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    names = [each.name for each in opened.project.triggers] if trigger is None else [opened.trigger(trigger).name]
    found, count = letters.newest(opened, names, limit)
    if as_json:
        for each in found:
            shown = as_object(each.letter, opened.project)
            del shown["log"]
            del shown["error"]["traceback"]
            out(json.dumps(shown))
        return
    if found:
        table(_HEADINGS, [as_line(each.letter, each.name) for each in found], numbers=frozenset(["attempts"]))
    if not found:
        say("no dead letters")
    elif count > len(found):
        say(f"{count - len(found):,} older ones are not shown (--limit)")


@command.command("show")
@click.argument("trigger")
@click.argument("id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; `evfn invoke --event` takes it.")
@common
@click.pass_context
def show(context: click.Context, *, trigger: str, id: str | None, as_json: bool) -> None:  # noqa: A002
    """Show one dead letter whole; without ID the newest."""
    from evfn_cli import letters
    from evfn_cli.letter import as_object, as_text
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name
    found = letters.find(opened, name, id)
    if found is None:
        raise EvfnError(f"{name} has no dead letter" + (f" {escape(id)}" if id else "s"))
    if as_json:
        out(json.dumps(as_object(found.letter, opened.project)))
    else:
        command = same_project(context)
        out(as_text(found.letter, found.name, opened, command=command, width=terminal_width()))


@command.command("redrive")
@click.argument("trigger")
@click.argument("ids", metavar="(ID… | --all)", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All there are now.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def redrive(
    context: click.Context, *, trigger: str, ids: tuple[str, ...], every: bool, dry_run: bool, as_json: bool
) -> int:
    """Send dead letters back to their trigger, and to no other.

    They run again as their first attempt, under the invocation id they had.
    """
    if bool(ids) == every:
        raise click.UsageError("name dead letters, or write --all", context)
    from evfn_cli import letters
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name
    if dry_run:
        count = letters.count(opened, name, ids)
        out(json.dumps({"version": 1, "would_redrive": count}) if as_json else f"{count:,} would be redriven")
        return 0
    done, running = letters.redrive(opened, name, ids)
    if as_json:
        moved = {"redriven": done.redriven, "gone": done.gone, "foreign": done.foreign}
        out(json.dumps({"version": 1, **moved}))
    else:
        out(f"{len(done.redriven):,} redriven")
    _say_gone(name, done.gone)
    for each in done.foreign:
        say(f"error: {escape(each)} was not written by evfn and cannot go back; purge deletes it")
    if done.redriven and not running:
        say("no instance is running: they will run at the next evfn run")
    return 1 if done.gone or done.foreign else 0


@command.command("purge")
@click.argument("trigger")
@click.argument("ids", metavar="[ID…]", nargs=-1)
@click.option("--yes", is_flag=True, help="Really delete them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def purge(context: click.Context, *, trigger: str, ids: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Delete dead letters for good; without IDs all of the trigger's. Without --yes it only says how many."""
    from evfn_cli import letters
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name
    if not yes:
        there = letters.count(opened, name, ids)
        raise UsageError(f"this would delete {there:,} dead letters of {name} for good; add --yes to do it")
    purged, gone = letters.purge(opened, name, ids)
    out(json.dumps({"version": 1, "purged": purged}) if as_json else f"{purged:,} purged")
    _say_gone(name, gone)
    return 1 if gone else 0


def _say_gone(trigger: str, ids: list[str]) -> None:
    for each in ids:
        say(f"error: {trigger} has no dead letter {escape(each)}")
