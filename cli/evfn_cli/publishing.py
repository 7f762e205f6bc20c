"""Publishes what `evfn emit` was given: one event, or a file of them."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from evfn.broker.connection import Connection, ReplyLost
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, Published, publish_many
from evfn.errors import BrokerError, PublishUnknown
from evfn.nearest import did_you_mean
from evfn.topic import Pattern, is_pattern
from evfn_cli import ndjson
from evfn_cli.draft import TYPES, Attributes, content_type, publication, publication_of_body
from evfn_cli.opened import Opened
from evfn_cli.progress import bar
from evfn_cli.render import out, say
from evfn_cli.server import again, connected

CHUNK = 500


def publish_one(
    opened: Opened, topic: str, data: str | None, kind: str | None, attributes: Attributes, *, as_json: bool
) -> None:
    """Publish one event and print its stream id. `data` is `-` for stdin, `kind` what `--as` said."""
    body = _body(data, kind)
    declared = None if body is None else content_type(body, kind)
    one = [publication_of_body(topic, body, declared, attributes)]
    asyncio.run(_publish(opened, topic, iter([(one, 0)]), as_json, ids=True))


def publish_file(opened: Opened, topic: str, file: str, attributes: Attributes, *, as_json: bool) -> None:
    """Publish a file of JSON lines, `-` for stdin, whole or not at all where a line has a mistake."""
    with _file(file) as (lines, size, name):
        count = ndjson.check(lines, name)
        with bar(f"to {topic}", size) as advance:
            asyncio.run(_publish(opened, topic, _chunks(topic, lines, name, attributes), as_json, advance=advance))
    say(f"{count:,} event{'' if count == 1 else 's'} published to {topic}")


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
