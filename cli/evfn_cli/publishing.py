"""Publishes what `evfn emit` was given: one event, or a file of them."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any

from evfn.broker.connection import Connection, ReplyLost
from evfn.broker.keys import Keys
from evfn.broker.position import instant
from evfn.broker.publish import Publication, Published, publish_many
from evfn.errors import BrokerError, PublishUnknown
from evfn.tracing.producing import sending
from evfn_cli import audience, ndjson
from evfn_cli.draft import TYPES, Attributes, content_type, publication, publication_of_body
from evfn_cli.opened import Opened
from evfn_cli.progress import bar
from evfn_cli.render import out, say
from evfn_cli.server import again, connected

CHUNK = 500
AHEAD = timedelta(days=1)
"""So far ahead of the clock here an id was written by hand, and is no matter of clocks that differ."""


def publish_one(
    opened: Opened, topic: str, data: str | None, kind: str | None, attributes: Attributes, *, as_json: bool
) -> None:
    """Publish one event, print its stream id and say who takes it. `data` is `-` for stdin, `kind` what `--as` said."""
    body = body_of(data, kind)
    declared = None if body is None else content_type(body, kind)
    asyncio.run(_publish_one(opened, publication_of_body(topic, body, declared, attributes), as_json))


def publish_file(opened: Opened, topic: str, file: str, attributes: Attributes, *, as_json: bool) -> None:
    """Publish a file of JSON lines, `-` for stdin, whole or not at all where a line has a mistake."""
    with opened_file(file) as (lines, size, name):
        count = ndjson.check(lines, name)
        chunks = publications(topic, lines, name, attributes)
        asyncio.run(_publish_file(opened, topic, chunks, (count, size), as_json))


async def _publish_one(opened: Opened, event: Publication, as_json: bool) -> None:
    async with connected(opened) as connection:
        (stored,) = await store(connection, Keys(opened.project.settings.key_prefix), [event])
        kept = f"it is stored: {event.topic} {stored.stream_id}"
        if not as_json:
            _print(stored.stream_id, kept)
        if stored.repeated:
            say("it had been published before and is stored once: no trigger gets it again")
        _say_if_ahead(event.topic, stored.stream_id)
        triggers = await audience.of_event(connection, opened, event, stored.stream_id)
        if as_json:
            _print(json.dumps({**_as_object(event, stored), "triggers": triggers}), kept)


async def _publish_file(
    opened: Opened,
    topic: str,
    chunks: Iterator[tuple[list[Publication], int]],
    whole: tuple[int, int],
    as_json: bool,
) -> None:
    """`whole` is how many events the file holds, and its bytes."""
    total, size = whole
    last: tuple[Publication, str] | None = None
    count = 0
    async with connected(opened) as connection:
        with bar(f"to {topic}", size) as advance:
            for events, read in chunks:
                every = await store(connection, Keys(opened.project.settings.key_prefix), events)
                count += len(every)
                last = events[-1], every[-1].stream_id
                if as_json:
                    kept = f"{count:,} of {total:,} events are stored, up to {topic} {last[1]}"
                    for event, stored in zip(events, every, strict=True):
                        _print(json.dumps(_as_object(event, stored)), kept)
                advance(read)
        say(f"{total:,} event{'' if total == 1 else 's'} published to {topic}")
        if last is not None:
            _say_if_ahead(topic, last[1])
            await audience.of_file(connection, opened, *last)


def _as_object(event: Publication, stored: Published) -> dict[str, Any]:
    return {
        "topic": event.topic,
        "stream_id": stored.stream_id,
        "source": event.source,
        "id": event.id,
        "repeated": stored.repeated,
    }


def _say_if_ahead(topic: str, stream_id: str) -> None:
    """Somebody added an entry with an id of the future: the server counts on from there."""
    written = instant(stream_id.encode())
    if written is None or written > datetime.now(UTC) + AHEAD:
        when = stream_id if written is None else f"{written:%Y-%m-%d}"
        say(
            f"warning: {topic} holds an entry with the id of a time to come ({when}), and every later event gets an id"
            " behind it: retention, `--from` with a time and the ages shown are wrong there"
        )


def _print(text: str, kept: str) -> None:
    """Where stdout cannot be written, what was stored before is said, for it was no failure of publishing."""
    try:
        out(text)
    except OSError:
        say(kept)
        raise


async def store(connection: Connection, keys: Keys, events: Sequence[Publication]) -> list[Published]:
    """Store these in order. Raises PublishUnknown where a reply was lost for good, BrokerError for what is refused."""
    with sending(events[0].topic, len(events)) as span:
        stored = await _store(connection, keys, span.marked(events))
        span.stored([each.stream_id for each in stored])
    return stored


async def _store(connection: Connection, keys: Keys, events: Sequence[Publication]) -> list[Published]:
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


def publications(
    topic: str, lines: IO[bytes], name: str, attributes: Attributes
) -> Iterator[tuple[list[Publication], int]]:
    """The events of a file, ready to store, in pieces with their lengths in bytes; `name` is for messages."""
    events = ndjson.read(lines, name)
    while chunk := list(islice(events, CHUNK)):
        ready = [
            publication(topic, event, attributes)
            if body is None
            else publication_of_body(topic, body, TYPES["json"], attributes)
            for event, body, _ in chunk
        ]
        yield ready, sum(size for _, _, size in chunk)


def body_of(data: str | None, kind: str | None) -> bytes | None:
    """The data of an event as its argument, or stdin, gives them; None for none."""
    if data != "-":
        return None if data is None else data.encode("utf-8", "surrogateescape")
    body = sys.stdin.buffer.read() if sys.stdin is not None else b""
    # `echo hello |` ends its text with a line feed that nobody means; said with --as, every byte counts.
    return body.removesuffix(b"\n").removesuffix(b"\r") if kind is None else body


@contextmanager
def opened_file(name: str) -> Iterator[tuple[IO[bytes], int, str]]:
    """A file, or stdin for `-`, with its size and its name for messages."""
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
