"""One client's connection: its requests, one after the other, until one of the two ends it."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import h11

from evfn.http import target
from evfn.http.limits import Limits
from evfn.http.messages import Request, Response, problem

READ = 4096
"""Bytes read at once. What is read beyond a limit before that is noticed is no more than this."""
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 20


class Stage(Enum):
    """What a connection is waiting for."""

    IDLE = "idle"
    ARRIVING = "arriving"
    ANSWERING = "answering"


class Conversation:
    """`answer` never raises; `refused` gets each request that was none, with status and problem."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        answer: Callable[[Request], Awaitable[Response]],
        refused: Callable[[int, str], None],
    ) -> None:
        self.stage = Stage.IDLE
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._answer = answer
        self._refused = refused
        self._head = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        # So that `drain` returns when all is sent, and not when little of it is left.
        writer.transport.set_write_buffer_limits(0)

    async def run(self) -> None:
        """Until it ends; never raises but when it is cancelled."""
        try:
            again = True
            while again:
                again = await self._exchange()
                # A client that asks without a pause gets no more than its turn.
                await asyncio.sleep(0)
        except (OSError, TimeoutError, h11.ProtocolError):
            self._writer.transport.abort()
        finally:
            self._writer.close()

    def end(self) -> None:
        """Cut it off."""
        self._writer.transport.abort()

    def turn_away(self, why: str) -> None:
        """Say that there is no room, and wait for nothing."""
        self._writer.write(self._packed(problem(503, why), close=True))
        self._writer.close()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another one may follow."""
        self.stage = Stage.IDLE
        self._head = False
        if not self._http.trailing_data[0]:
            try:
                async with asyncio.timeout(self._limits.idle.total_seconds()):
                    data = await self._reader.read(READ)
            except TimeoutError:
                return False
            if not data:
                return False
            self._http.receive_data(data)
        self.stage = Stage.ARRIVING
        try:
            async with asyncio.timeout(self._limits.arrival.total_seconds()):
                request = await self._receive()
        except _Refused as refused:
            self._refused(refused.status, refused.problem)
            return await self._refuse(refused.status, refused.problem)
        except TimeoutError:
            self._refused(408, _SLOW)
            return await self._refuse(408, _SLOW)
        if request is None:
            return False
        self.stage = Stage.ANSWERING
        return await self._send(await self._answer(request))

    async def _receive(self) -> Request | None:
        """A request, all of it; None where the client has ended. Raises _Refused."""
        begin = await self._event()
        if not isinstance(begin, h11.Request):
            return None
        self._head = begin.method == b"HEAD"
        headers: dict[str, str] = {}
        for raw_name, raw_value in begin.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, query = _checked(begin, headers)
        length = headers.get("content-length", "0")
        if len(length) > 18 or int(length) > self._limits.body_bytes:
            raise _Refused(413, self._too_large)
        if self._http.they_are_waiting_for_100_continue:
            await self._put(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            # Counted, not believed.
            body += event.data
            if len(body) > self._limits.body_bytes:
                raise _Refused(413, self._too_large)
        return Request(begin.method.decode("ascii"), path, query, headers, bytes(body))

    @property
    def _too_large(self) -> str:
        return f"a body may have {self._limits.body_bytes} bytes"

    async def _event(self) -> Any:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                status = error.error_status_hint
                # Not h11's own words: they hold what the client sent.
                raise _Refused(status, _WHY.get(status, "this is no HTTP/1.1 request")) from None
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(READ))

    async def _send(self, response: Response) -> bool:
        """Whether another request may follow."""
        await self._put(self._packed(response, close=False))
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _packed(self, response: Response, *, close: bool) -> bytes:
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *response.headers,
            *([("connection", "close")] if close else []),
        ]
        parts = [self._http.send(h11.Response(status_code=response.status, headers=headers))]
        if not self._head:
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    async def _put(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(self._limits.departure.total_seconds()):
            await self._writer.drain()

    async def _refuse(self, status: int, why: str) -> bool:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._put(self._packed(problem(status, why), close=True))
            # Closed with bytes unread, the client's system would throw the answer away.
            self._writer.write_eof()
            left = _LINGER_BYTES
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0 and (data := await self._reader.read(READ)):
                    left -= len(data)
        return False


_SLOW = "the request took too long to arrive"
_WHY = {431: "the headers are too large", 501: "only the chunked transfer encoding is known"}


class _Refused(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.problem = why


def _checked(begin: h11.Request, headers: dict[str, str]) -> tuple[str, str]:
    """Path and query. Raises _Refused."""
    if begin.http_version not in (b"1.0", b"1.1"):
        raise _Refused(505, "only HTTP/1.1 is spoken here")
    if "transfer-encoding" in headers and "content-length" in headers:
        raise _Refused(400, "Transfer-Encoding and Content-Length exclude each other")
    if not target.HOST.fullmatch(headers.get("host", "")):
        raise _Refused(400, "the Host header names no host")
    try:
        return target.split(begin.target.decode("latin-1"))
    except ValueError as error:
        raise _Refused(400, str(error)) from None
