"""The publish API for programs of any kind: `Client` blocks, `AsyncClient` is for event loops.

    with Client("redis://localhost") as client:
        client.emit("readings.temperature", {"celsius": 31.5})

Data are stored as JSON, bytes as they are; `data_as` says otherwise. An event counts as the same as another of its
topic if source and id are the same, and is stored once however often it is sent within two minutes.
"""

import asyncio
import os
import random
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from evfn import inside
from evfn.broker.blocking import BlockingConnection
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.limits import EMITS, VALUES
from evfn.broker.patience import Patience
from evfn.broker.publish import PUBLISH, WINDOW, Publication, Published, call, chunks, publish_many, read
from evfn.broker.refusal import ReplyLost
from evfn.broker.url import Url, parse
from evfn.clock import Clock, SystemClock
from evfn.errors import BrokerError, BrokerUnavailable, UsageError
from evfn.event import Event, encode
from evfn.project import read_url
from evfn.topic import check_name
from evfn.tracing.producing import sending

DataAs = Literal["json", "text", "bytes"]
DEADLINE = timedelta(seconds=10)
"""How long a call goes on trying while the server cannot serve."""
_CONTENT_TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8", "bytes": "application/octet-stream"}


class _Publisher:
    """What both clients share: settings, and events as the publish script takes them."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key_prefix: str | None = None,
        source: str = "evfn/client",
        deadline: timedelta = DEADLINE,
        clock: Clock | None = None,
    ) -> None:
        if inside.in_worker():
            raise UsageError(
                "a function has no connection to the server: use context.emit, whose events are stored with the "
                "success of the attempt and not at all when it fails"
            )
        url = url or os.environ.get("EVFN_REDIS_URL")
        if not url and os.environ.get("EVFN_REDIS_URL_FILE"):
            url = read_url(Path(os.environ["EVFN_REDIS_URL_FILE"]))
        if not url:
            raise UsageError(
                'which server? Pass its URL, as in Client("redis://localhost:6379"), or set EVFN_REDIS_URL or '
                "EVFN_REDIS_URL_FILE"
            )
        if not timedelta(0) < deadline < WINDOW:
            raise UsageError(f"the deadline must be above zero and below {WINDOW.seconds} s, not {deadline}")
        self._url: Url = parse(url)
        self._keys = Keys(os.environ.get("EVFN_KEY_PREFIX", "") if key_prefix is None else key_prefix)
        self._source = source
        self._deadline = deadline
        self._clock = clock or SystemClock()

    def _publication(self, topic: str, event: Event) -> Publication:
        try:
            check_name(topic)
        except ValueError as error:
            raise UsageError(str(error)) from None
        complete = event.replace(
            id=event.id or str(uuid.uuid4()),
            source=event.source or self._source,
            type=event.type or topic,
            time=event.time or self._clock.now(),
        )
        fields = encode(complete)
        if len(fields) > VALUES:
            raise UsageError(f"the event has {len(fields) // 2} attributes; at most {VALUES // 2:,} are possible")
        return Publication(topic, complete.source, complete.id, fields)

    def _publications(self, topic: str, items: Iterable[object]) -> Iterator[list[Publication]]:
        iterator = iter(items)
        while chunk := [self._publication(topic, _event(item)) for item in islice(iterator, EMITS)]:
            yield chunk


class Client(_Publisher):
    """Publishes from ordinary code; threads may share it, and a forked child gets a connection of its own.

    `url` defaults to EVFN_REDIS_URL, `key_prefix` to EVFN_KEY_PREFIX. `deadline` is how long a call goes on trying.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key_prefix: str | None = None,
        source: str = "evfn/client",
        deadline: timedelta = DEADLINE,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(url, key_prefix=key_prefix, source=source, deadline=deadline, clock=clock)
        self._connection = BlockingConnection(self._url)

    def emit(
        self,
        topic: str,
        data: object = None,
        *,
        type: str | None = None,  # noqa: A002 - CloudEvents names it so
        source: str | None = None,
        subject: str | None = None,
        id: str | None = None,  # noqa: A002 - CloudEvents names it so
        time: datetime | None = None,
        extensions: Mapping[str, str] | None = None,
        data_as: DataAs | None = None,
    ) -> str:
        """Store one event and return its stream id. `data` may be an `Event`; what is named here overrides it.

        Raises UsageError or InvalidData for what cannot be an event, BrokerUnavailable where nothing was stored within
        the deadline, PublishUnknown where that is not known (pass `id`, so that emitting again cannot store it twice).
        """
        event = _event(
            data, data_as, type=type, source=source, subject=subject, id=id, time=time, extensions=extensions
        )
        return self._store([self._publication(topic, event)])[0]

    def emit_many(self, topic: str, events: Iterable[object]) -> list[str]:
        """Store many, each an `Event` or data, in order; returns their stream ids. Reads `events` bit by bit.

        When it raises, those before the failing one are stored.
        """
        return [each for chunk in self._publications(topic, events) for each in self._store(chunk)]

    def close(self) -> None:
        """Close the connection. Emitting again opens another."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _store(self, publications: list[Publication]) -> list[str]:
        with sending(publications[0].topic, len(publications)) as span:
            stored = self._store_all(span.marked(publications))
            span.stored(stored)
        return stored

    def _store_all(self, publications: Sequence[Publication]) -> list[str]:
        server = self._connection.server
        result: list[str] = []
        for chunk in chunks(publications):
            patience = Patience(self._deadline, self._clock)
            while True:
                try:
                    calls = [call(self._keys, each, WINDOW) for each in chunk]
                    replies = self._connection.run_many(PUBLISH, calls, patience.left)
                    result += [read(reply, server).stream_id for reply in replies]
                    break
                except BrokerUnavailable as error:
                    # An event nobody sets: a pause that Ctrl-C ends.
                    threading.Event().wait(patience.pause(error).total_seconds())
        return result


class AsyncClient(_Publisher):
    """`Client` for event loops: the same calls, awaited."""

    _connection: Connection | None = None

    async def emit(
        self,
        topic: str,
        data: object = None,
        *,
        type: str | None = None,  # noqa: A002 - CloudEvents names it so
        source: str | None = None,
        subject: str | None = None,
        id: str | None = None,  # noqa: A002 - CloudEvents names it so
        time: datetime | None = None,
        extensions: Mapping[str, str] | None = None,
        data_as: DataAs | None = None,
    ) -> str:
        """As `Client.emit`."""
        event = _event(
            data, data_as, type=type, source=source, subject=subject, id=id, time=time, extensions=extensions
        )
        return (await self._store([self._publication(topic, event)]))[0]

    async def emit_many(self, topic: str, events: Iterable[object]) -> list[str]:
        """As `Client.emit_many`."""
        return [each for chunk in self._publications(topic, events) for each in await self._store(chunk)]

    async def close(self) -> None:
        """Close the connection. Emitting again opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _store(self, publications: list[Publication]) -> list[str]:
        with sending(publications[0].topic, len(publications)) as span:
            stored = await self._store_all(span.marked(publications))
            span.stored(stored)
        return stored

    async def _store_all(self, publications: Sequence[Publication]) -> list[str]:
        if self._connection is None:
            self._connection = Connection(self._url, self._clock, random.random)
        connection = self._connection
        result: list[str] = []
        for chunk in chunks(publications):
            patience = Patience(self._deadline, self._clock)
            while True:
                try:
                    async with asyncio.timeout(patience.left):
                        outcomes = await publish_many(connection, self._keys, chunk)
                    result += [_stored(outcome) for outcome in outcomes]
                    break
                except BrokerUnavailable as error:
                    await self._clock.sleep(patience.pause(error))
                except TimeoutError:
                    await self._clock.sleep(patience.pause(ReplyLost(f"{connection.server} did not answer in time")))
        return result


def _stored(outcome: Published | BrokerError) -> str:
    if isinstance(outcome, BrokerError):
        raise outcome
    return outcome.stream_id


def _event(data: object, data_as: DataAs | None = None, **attributes: Any) -> Event:
    event = data if isinstance(data, Event) else Event(data)
    event = event.replace(**{name: value for name, value in attributes.items() if value is not None})
    if data_as is not None:
        if data_as not in _CONTENT_TYPES:
            raise UsageError(f"data_as is json, text or bytes, not {data_as!r}")
        return event.replace(datacontenttype=_CONTENT_TYPES[data_as])
    if event.datacontenttype is None and isinstance(event.data, bytes | bytearray):
        return event.replace(datacontenttype=_CONTENT_TYPES["bytes"])
    return event
