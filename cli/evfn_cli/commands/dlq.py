"""`evfn dlq`: dead letters, looked at, sent back to their trigger, thrown away."""

import json

import click

from evfn.errors import EvfnError, UsageError
from evfn_cli.options import common, same_project
from evfn_cli.render import escape, out, say, table, terminal_width

REASONS = ("failed", "timed_out", "crashed", "rejected", "invalid_data", "expired", "loop", "too_large")
SHOWN = 3
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
    if as_json:

        def print_line(each: letters.Named) -> None:
            shown = as_object(each.letter, opened.project)
            del shown["log"]
            del shown["error"]["traceback"]
            out(json.dumps(shown))

        letters.newest(opened, names, limit, print_line)
        return
    rows: list[list[str]] = []
    found, count = letters.newest(opened, names, limit, lambda each: rows.append(as_line(each.letter, each.name)))
    if rows:
        table(_HEADINGS, rows, numbers=frozenset(["attempts"]))
    else:
        say("no dead letters")
    if count > found:
        say(f"{count - found:,} older ones are not shown (--limit)")


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
@click.option("--all", "every", is_flag=True, help="All there are now; narrowed by --reason and --filter.")
@click.option("--reason", type=click.Choice(REASONS), help="Only those that died of this.")
@click.option("--filter", "condition", metavar="CEL", help="Only those for whose event this is true.")
@click.option("--first", is_flag=True, help="Only the oldest of them, to see what becomes of it.")
@click.option(
    "--stop-at", metavar="N%", default="50%", show_default=True, help="Stop when more than so many fail again."
)
@click.option("--wait/--no-wait", "wait", default=None, help="See how a step ends before the next.  [with IDs: no]")
@click.option("--rate", metavar="N/s", help="At most so many a second; 10/m a minute.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def redrive(
    context: click.Context,
    *,
    trigger: str,
    ids: tuple[str, ...],
    every: bool,
    reason: str | None,
    condition: str | None,
    first: bool,
    stop_at: str,
    wait: bool | None,
    rate: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send dead letters back to their trigger, and to no other.

    They run again as their first attempt, under the invocation id they had. With --all one goes first, then as many as
    went before, again and again; when more than --stop-at of them fail again, the rest stays, and the command ends with
    3. Where no instance runs there is nothing to wait for, and all go at once.
    """
    chosen_some = every or reason is not None or condition is not None or first
    if bool(ids) == chosen_some:
        raise click.UsageError("name dead letters, or write --all, --reason, --filter or --first", context)
    from evfn_cli import letters
    from evfn_cli.opened import open_project
    from evfn_cli.redriving import Manner
    from evfn_cli.redriving import redrive as carry_out
    from evfn_cli.replay_request import condition as compiled
    from evfn_cli.replay_request import rate as paced

    manner = Manner(wait, _share(stop_at), first, None if rate is None else paced(rate), named=as_json)
    opened = open_project(context, filters=False)
    found = opened.trigger(trigger)
    modes = {topic: rules.data for topic, rules in opened.project.topics}
    chosen = letters.Chosen(reason, None if condition is None else compiled(condition), modes)
    if dry_run:
        count = letters.count(opened, found.name, ids, chosen)
        count = min(count, 1) if first else count
        out(json.dumps({"version": 1, "would_redrive": count}) if as_json else f"{count:,} would be redriven")
        return 0
    done = carry_out(opened, found, ids, chosen, manner)
    if as_json:
        moved = {"redriven": done.ids, "gone": done.gone, "foreign": done.foreign}
        came = {"waited": done.waited, "failed_again": len(done.failed), "stopped": done.stopped}
        out(json.dumps({"version": 1, **moved, **came}))
    else:
        out(f"{done.redriven:,} redriven")
    _say_gone(found.name, done.gone)
    for each in done.foreign:
        say(f"error: {escape(each)} was not written by evfn and cannot go back; purge deletes it")
    if done.failed:
        _say_failed(found.name, done.failed, done.redriven, stopped=done.stopped)
    if done.redriven and not done.served:
        say("no instance is running: they will run at the next evfn run")
    if done.gone or done.foreign:
        return 1
    return 3 if done.failed else 0


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
    there = 0 if yes else letters.count(opened, name, ids)
    if there:
        what = "dead letter" if there == 1 else "dead letters"
        raise UsageError(f"this would delete {there:,} {what} of {name} for good; add --yes to do it")
    purged, gone = letters.purge(opened, name, ids)
    out(json.dumps({"version": 1, "purged": purged}) if as_json else f"{purged:,} purged")
    _say_gone(name, gone)
    return 1 if gone else 0


def _say_failed(trigger: str, failed: dict[str, str], redriven: int, *, stopped: bool) -> None:
    again = [letter for letter in failed.values() if letter]
    retried = len(failed) - len(again)
    say(
        f"{len(failed):,} of {redriven:,} failed again" + (f", {retried:,} of them wait for a retry" if retried else "")
    )
    for each in again[:SHOWN]:
        say(f"  evfn dlq show {trigger} {escape(each)}")
    if stopped:
        say("stopped there: the others are dead letters still")


def _share(text: str) -> float:
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and text.endswith("%") and int(number) <= 100):
        hint = f" (did you mean {number}%?)" if number.isascii() and number.isdigit() and int(number) <= 100 else ""
        raise UsageError(f"--stop-at {escape(text)!r} is no share{hint}; write 0% to 100%")
    return int(number) / 100


def _say_gone(trigger: str, ids: list[str]) -> None:
    for each in ids:
        say(f"error: {trigger} has no dead letter {escape(each)}")
