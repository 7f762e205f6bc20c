"""`evfn emit`: publish one event, or a file of them."""

import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from evfn.broker.connection import Connection, ReplyLost
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, Published, publish_many
from evfn.errors import BrokerError, PublishUnknown, UsageError
from evfn.nearest import did_you_mean
from evfn.topic import Pattern, check_name, is_pattern
from evfn_cli import ndjson
from evfn_cli.draft import TYPES, Attributes, content_type, publication, publication_of_body
from evfn_cli.opened import Opened, open_routes
from evfn_cli.options import common
from evfn_cli.progress import bar
from evfn_cli.render import escape, out, say
from evfn_cli.server import again, connected

CHUNK = 500
_NEGATIVE = re.compile(r"-\.?\d")
_SHIELD = "\0"


class _TakesNegativeNumbers(click.Command):
    """`evfn emit numbers -5`: an argument that begins like a negative number is data, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, [_SHIELD + arg if _NEGATIVE.match(arg) else arg for arg in args])
        ctx.params = {name: _unshielded(value) for name, value in ctx.params.items()}
        return rest


@click.command("emit", cls=_TakesNegativeNumbers)
@click.argument("topic")
@click.argument("data", required=False)
@click.option("--file", "file", metavar="FILE", help="Many events, JSON lines: data, or CloudEvents. - reads stdin.")
@click.option("--as", "kind", type=click.Choice(list(TYPES)), help="What DATA is; else JSON if it begins with { or [.")
@click.option("--type", "type_", metavar="TYPE", help="What kind of fact it is.  [default: the topic's name]")
@click.option("--source", metavar="URI", help="Where it comes from.  [default: evfn/cli]")
@click.option("--subject", metavar="TEXT", help="What it is about.")
@click.option("--id", "id_", metavar="ID", help="The same id and source is stored once within two minutes.")
@click.option("--time", "time", metavar="TIME", help="When it happened, RFC 3339.  [default: now]")
@click.option("--ext", "ext", metavar="K=V", multiple=True, help="An extension attribute; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an event.")
@common
@click.pass_context
def command(
    context: click.Context,
    *,
    topic: str,
    data: str | None,
    file: str | None,
    kind: str | None,
    type_: str | None,
    source: str | None,
    subject: str | None,
    id_: str | None,
    time: str | None,
    ext: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish one event and print its stream id, or many from a file.

    DATA is JSON if it begins with { or [, else text; - reads it from stdin.
    """
    if file is not None and (data is not None or kind is not None or id_ is not None):
        raise click.UsageError("--file goes with neither DATA, --as nor --id: its lines say all that", context)
    try:
        check_name(topic)
    except ValueError as error:
        raise UsageError(str(error)) from error
    attributes = Attributes(type_, source, subject, id_, _time(time), tuple(map(_extension, ext)))
    opened = open_routes(context)
    if file is None:
        body = _body(data, kind)
        declared = None if body is None else content_type(body, kind)
        one = [publication_of_body(topic, body, declared, attributes)]
        asyncio.run(_publish(opened, topic, iter([(one, 0)]), as_json, ids=True))
        return
    with _file(file) as (lines, size, name):
        count = ndjson.check(lines, name)
        with bar(f"to {topic}", size) as advance:
            asyncio.run(_publish(opened, topic, _chunks(topic, lines, name, attributes), as_json, advance=advance))
    say(f"{count:,} events published to {topic}")


async def _publish(
    opened: Opened,
    topic: str,
    chunks: Iterator[tuple[list[Publication], int]],
    as_json: bool,
    *,
    ids: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    async with connected(opened) as connection:
        keys = Keys(opened.project.settings.key_prefix)
        for events, size in chunks:
            for event, stored in zip(events, await _stored(connection, keys, events), strict=True):
                if as_json:
                    told = {"topic": topic, "stream_id": stored.stream_id, "source": event.source, "id": event.id}
                    out(json.dumps({**told, "repeated": stored.repeated}))
                elif ids:
                    out(stored.stream_id)
                    if stored.repeated:
                        say("it had been published before and is stored once")
            advance(size)
        _say_takers(opened, topic)
        if not await again(Instances(connection, keys).all):
            say("no instance is running: what was published waits for the next evfn run")


async def _stored(connection: Connection, keys: Keys, events: Sequence[Publication]) -> list[Published]:
    try:
        # Repeating is safe: what an earlier try stored is found by its source and id.
        results = await again(lambda: publish_many(connection, keys, events))
    except ReplyLost as error:
        first = events[0]
        same = f"--source {first.source} --id {first.id}"
        hint = f"; emitting again with {same} cannot store it twice" if len(events) == 1 else ""
        raise PublishUnknown(f"it is not known whether it was stored ({error}){hint}") from error
    stored: list[Published] = []
    for result in results:
        if isinstance(result, BrokerError):
            raise result
        stored.append(result)
    return stored


def _say_takers(opened: Opened, topic: str) -> None:
    """Where nobody listens, that is most often a slip in the topic's name."""
    names: set[str] = set()
    for trigger in opened.project.triggers:
        names.update(text for text in trigger.topics if not is_pattern(text))
        if any(Pattern.compile(text).matches(topic) for text in trigger.topics):
            return
    say(f"no trigger listens on {topic}{did_you_mean(topic, names)}")


def _chunks(topic: str, lines: IO[bytes], name: str, attributes: Attributes) -> Iterator[tuple[list[Publication], int]]:
    events = ndjson.read(lines, name)
    while chunk := list(islice(events, CHUNK)):
        publications = [
            publication(topic, event, attributes)
            if body is None
            else publication_of_body(topic, body, TYPES["json"], attributes)
            for event, body, _ in chunk
        ]
        yield publications, sum(size for _, _, size in chunk)


def _body(data: str | None, kind: str | None) -> bytes | None:
    if data != "-":
        return None if data is None else data.encode("utf-8", "surrogateescape")
    body = sys.stdin.buffer.read() if sys.stdin is not None else b""
    # `echo hello |` ends its text with a line feed that nobody means; said with --as, every byte counts.
    return body.removesuffix(b"\n").removesuffix(b"\r") if kind is None else body


@contextmanager
def _file(name: str) -> Iterator[tuple[IO[bytes], int, str]]:
    if name != "-":
        with Path(name).open("rb") as file:
            yield file, Path(name).stat().st_size, name
        return
    # Kept aside, so that all of it is checked before any of it is published.
    with tempfile.TemporaryFile() as copy:
        if sys.stdin is not None:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        size = copy.tell()
        copy.seek(0)
        yield copy, size, "stdin"


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--time {escape(text)!r} is no RFC 3339 time; write 2026-11-23T10:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _extension(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--ext {escape(text)!r} lacks a value; write --ext name=value")
    return name, value


def _unshielded(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_SHIELD)
    return tuple(map(_unshielded, value)) if isinstance(value, tuple) else value
