"""`evfn dlq`: dead letters, looked at, sent back to their trigger, thrown away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, Redriven, newest_first
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys, Part
from evfn.errors import EvfnError, UsageError
from evfn_cli.letter import as_line, as_object, as_text
from evfn_cli.opened import Opened, open_project
from evfn_cli.options import common
from evfn_cli.render import escape, out, say, table
from evfn_cli.server import again, connected

T = TypeVar("T")

_HEADINGS = ("trigger", "id", "reason", "attempts", "dead at", "error")


@click.group("dlq")
@common
def command() -> None:
    """Look at, redrive or purge dead letters.

    A dead letter is an event that a trigger's function failed on until no attempt was left.
    """


@command.command("ls")
@click.argument("trigger", required=False)
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, without traceback and log.")
@common
@click.pass_context
def ls(context: click.Context, *, trigger: str | None, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    opened = open_project(context, filters=False)
    names = [each.name for each in opened.project.triggers] if trigger is None else [opened.trigger(trigger).name]

    async def read(connection: Connection) -> tuple[list[DeadLetter], int]:
        places = [place for name in names for place in await _places(connection, opened, name)]
        return await newest_first(places, limit), sum([await place.count() for place in places])

    letters, count = _with_server(opened, read)
    if as_json:
        for letter in letters:
            found = as_object(letter, opened.project)
            del found["log"]
            del found["error"]["traceback"]
            out(json.dumps(found))
        return
    if letters:
        table(_HEADINGS, [as_line(letter) for letter in letters], numbers=frozenset(["attempts"]))
    if not letters:
        say("no dead letters")
    elif count > len(letters):
        say(f"{count - len(letters):,} older ones are not shown (--limit)")


@command.command("show")
@click.argument("trigger")
@click.argument("id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; `evfn invoke --event` takes it.")
@common
@click.pass_context
def show(context: click.Context, *, trigger: str, id: str | None, as_json: bool) -> None:  # noqa: A002
    """Show one dead letter whole; without ID the newest."""
    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name

    async def read(connection: Connection) -> DeadLetter | None:
        letters = [letter for place in await _places(connection, opened, name) if (letter := await place.get(id))]
        return max(letters, key=lambda letter: letter.dead_ms, default=None)

    letter = _with_server(opened, read)
    if letter is None:
        raise EvfnError(f"{name} has no dead letter" + (f" {escape(id)}" if id else "s"))
    out(json.dumps(as_object(letter, opened.project)) if as_json else as_text(letter, opened.project))


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
    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name

    async def carry_out(connection: Connection) -> tuple[Redriven, int, bool]:
        places = await _places(connection, opened, name)
        total = Redriven()
        if dry_run:
            return total, await _count(places, ids), True
        for place in places:
            done = await place.redrive_all() if every else await place.redrive(ids)
            total.redriven.extend(done.redriven)
            total.foreign.extend(done.foreign)
        total.gone.extend(each for each in ids if each not in {*total.redriven, *total.foreign})
        running = bool(await Instances(connection, Keys(opened.project.settings.key_prefix)).all())
        return total, 0, running

    done, count, running = _with_server(opened, carry_out)
    if dry_run:
        out(json.dumps({"version": 1, "would_redrive": count}) if as_json else f"{count:,} would be redriven")
        return 0
    if as_json:
        moved = {"redriven": done.redriven, "gone": done.gone, "foreign": done.foreign}
        out(json.dumps({"version": 1, **moved}))
    else:
        out(f"{len(done.redriven):,} redriven")
    for each in done.gone:
        say(f"error: {name} has no dead letter {escape(each)}")
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
def purge(context: click.Context, *, trigger: str, ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete dead letters for good; without IDs all of the trigger's. Without --yes it only says how many."""
    opened = open_project(context, filters=False)
    name = opened.trigger(trigger).name

    async def carry_out(connection: Connection) -> int:
        places = await _places(connection, opened, name)
        if not yes:
            return await _count(places, ids)
        return sum([await place.purge(ids or None) for place in places])

    count = _with_server(opened, carry_out)
    if not yes:
        raise UsageError(f"this would delete {count:,} dead letters of {name} for good; add --yes to do it")
    out(json.dumps({"version": 1, "purged": count}) if as_json else f"{count:,} purged")


def _with_server(opened: Opened, call: Callable[[Connection], Awaitable[T]]) -> T:
    async def carry_out() -> T:
        async with connected(opened) as connection:
            return await again(lambda: call(connection))

    return asyncio.run(carry_out())


async def _places(connection: Connection, opened: Opened, trigger: str) -> list[DeadLetters]:
    """The trigger's dead letters on every topic it has, or once had."""
    keys = Keys(opened.project.settings.key_prefix)
    group = opened.project.group(trigger)
    topics: set[str] = set()
    cursor: bytes = b"0"
    while True:
        glob = f"{''.join(map(_literal, keys.prefix))}evfn:{{*}}:{group}:{Part.DEAD.value}"
        cursor, page = await connection.call("SCAN", cursor, "MATCH", glob, "COUNT", 1_000)
        for key in page:
            pair = keys.parse_pair(key.decode("utf-8", "replace"))
            if pair is not None and pair.group == group:
                topics.add(pair.topic)
        if cursor == b"0":
            return [DeadLetters(connection, keys, topic, group) for topic in sorted(topics)]


async def _count(places: list[DeadLetters], ids: tuple[str, ...]) -> int:
    if not ids:
        return sum([await place.count() for place in places])
    return sum([await place.get(each) is not None for place in places for each in ids])


def _literal(character: str) -> str:
    return f"\\{character}" if character in "*?[]\\" else character
