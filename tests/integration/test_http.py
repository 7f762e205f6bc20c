"""The HTTP server behind `--http`, as honest and as hostile clients meet it: bytes over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from evfn.errors import EvfnError, UsageError
from evfn.http import Address, Limits, Request, Response, Server
from evfn.http.conversation import Stage
from waiting import wait_until

SHORT = timedelta(milliseconds=200)
GET = b"GET /%b HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Desk:
    """Answers with what was asked, and keeps what was reported."""

    reports: list[tuple[int, str, int]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: Request) -> Response:
        match request.path:
            case "/raise":
                raise ValueError("a secret of the inside")
            case "/hold":
                await self.held.wait()
            case "/large":
                return Response(200, b"x" * 20_000_000, "text/plain")
        return Response.json([request.method, request.path, request.query, len(request.body)])

    def refused(self, status: int, why: str, count: int) -> None:
        self.reports.append((status, why, count))

    def failed(self, path: str, error: BaseException) -> None:
        self.errors.append(error)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> Answer:
        async with asyncio.timeout(10):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            status = int(lines[0].split()[1])
            body = b"" if head or status == 100 else await self.reader.readexactly(int(headers["content-length"]))
        return Answer(status, headers, body)

    async def ask(self, data: bytes) -> Answer:
        self.send(data)
        return await self.answer()

    async def over(self) -> bool:
        """Whether the server ends it, in time, with nothing more to say."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@dataclass
class Place:
    desk: Desk
    server: Server
    address: Address
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection(self.address.host, self.address.port)))
        return self.clients[-1]


@asynccontextmanager
async def listening(limits: Limits | None = None) -> AsyncIterator[Place]:
    desk = Desk()
    server = Server(desk, desk, limits)
    place = Place(desk, server, await server.start(Address.parse(":0")))
    try:
        yield place
    finally:
        for client in place.clients:
            client.writer.close()
        desk.held.set()
        await server.close()


async def test_requests_follow_each_other_on_one_connection() -> None:
    """Decoded paths, absolute targets, bodies with a length and in chunks, HEAD without a body, HTTP/1.0."""
    async with listening() as place:
        client = await place.client()
        answer = await client.ask(GET % b"a%20b?x=%20")
        assert (answer.status, json.loads(answer.body)) == (200, ["GET", "/a b", "x=%20", 0])
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        answer = await client.ask(b"GET http://elsewhere:80/c HTTP/1.1\r\nHost: here\r\n\r\n")
        assert json.loads(answer.body)[1] == "/c"
        answer = await client.ask(b"POST /d HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc")
        assert json.loads(answer.body) == ["POST", "/d", "", 3]
        chunks = (
            b"POST /e HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
        )
        assert json.loads((await client.ask(chunks)).body)[3] == 4
        client.send((GET % b"f").replace(b"GET", b"HEAD"))
        assert (await client.answer(head=True)).headers["content-length"] != "0"
        answer = await client.ask(b"GET /g HTTP/1.0\r\n\r\n")
        assert json.loads(answer.body)[1] == "/g"
        assert await client.over()
        assert place.desk.reports == []


async def test_i27_what_follows_a_head_request_and_is_none_is_refused_in_words() -> None:
    """The answer has its body again: it is not the one to HEAD."""
    async with listening() as place:
        client = await place.client()
        client.send((GET % b"a").replace(b"GET", b"HEAD"))
        assert (await client.answer(head=True)).status == 200
        answer = await client.ask(b"nonsense\r\n\r\n")
        assert (answer.status, json.loads(answer.body)["status"]) == (400, 400)


async def test_f55_pipelined_requests_are_answered_in_their_order() -> None:
    """Also those behind which the client has closed its half."""
    async with listening() as place:
        client = await place.client()
        client.send(b"".join(GET % b"%d" % n for n in range(50)))
        client.writer.write_eof()
        assert [json.loads((await client.answer()).body)[1] for _ in range(50)] == [f"/{n}" for n in range(50)]
        assert await client.over()


async def test_f55_100_continue_is_said_before_a_body_and_not_before_one_too_large() -> None:
    """A client that asks first sends nothing in vain."""
    async with listening(Limits(body_bytes=10)) as place:
        client = await place.client()
        begin = b"POST /a HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        assert (await client.ask(begin % 10)).status == 100
        assert json.loads((await client.ask(b"x" * 10)).body)[3] == 10
        assert (await client.ask(begin % 11)).status == 413
        assert await client.over()


HOSTILE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a bad host": (b"GET / HTTP/1.1\r\nHost: a b<script>\r\n\r\n", 400),
    "a bad host in the target": (b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "other encodings": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a bad length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    "a huge length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 18 + b"\r\n\r\n", 413),
    "a bad chunk": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunks beyond the limit": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n1\r\nx\r\n0\r\n\r\n",
        413,
    ),
    "64 KiB of headers": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 65_536 + b"\r\n\r\n", 431),
    "very many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", 431),
    "a long target": (b"GET /" + b"x" * 65_536 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "dots": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "escaped dots": (b"GET /scale/%2e%2e%2fx HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a NUL": (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a line feed": (b"GET /a%0d%0ab HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a broken escape": (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no UTF-8": (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no path": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "half a request": (b"GET / HTTP/1.1\r\nHost", 400),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
async def test_i27_what_is_no_request_is_refused(case: str) -> None:
    """With a problem that says why and nothing of what was sent; the connection ends, and one line is logged."""
    data, status = HOSTILE[case]
    async with listening() as place:
        client = await place.client()
        client.send(data)
        client.writer.write_eof()
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        told = json.loads(answer.body)
        assert told["status"] == status
        assert "Traceback" not in told["detail"]
        assert await client.over()
        assert place.desk.reports == [(status, told["detail"], 1)]


async def test_i27_an_error_of_ours_is_a_500_and_told_nobody_but_the_log() -> None:
    """The connection, and the server, go on."""
    async with listening() as place:
        client = await place.client()
        answer = await client.ask(GET % b"raise")
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert [str(error) for error in place.desk.errors] == ["a secret of the inside"]
        assert (await client.ask(GET % b"next")).status == 200


async def test_i27_a_flood_of_bad_requests_is_a_line_at_once_and_a_count_later() -> None:
    """However many there are."""
    async with listening() as place:
        for _ in range(50):
            client = await place.client()
            assert (await client.ask(b"nonsense\r\n\r\n")).status == 400
        assert len(place.desk.reports) == 1
        await place.server.close()
        assert [count for *_, count in place.desk.reports] == [1, 49]


async def test_f55_who_is_slow_is_cut_off() -> None:
    """A request that takes too long to arrive is a 408, a body too; an idle connection ends without a word; an answer
    that nobody reads is thrown away; a handler that takes too long is a 503."""
    limits = Limits(arrival=SHORT, idle=SHORT, departure=SHORT, answer=SHORT)
    async with listening(limits) as place:
        idle, slow, half, deaf, long = [await place.client() for _ in range(5)]
        deaf.send(GET % b"large")
        slow.send(b"GET / HTTP/1.1\r\nX-One: 1\r\n")
        half.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert (await long.ask(GET % b"hold")).status == 503
        assert (await slow.answer()).status == 408
        assert (await half.answer()).status == 408
        assert await idle.over()
        assert await slow.over()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await deaf.answer()


async def test_f55_a_thousand_idle_connections_leave_room_for_an_honest_one() -> None:
    """The number of connections is bounded: those that have waited longest go, the slow after the idle."""
    async with listening(Limits(connections=20)) as place:
        for _ in range(1_000):
            await place.client()
        assert (await (await place.client()).ask(GET % b"a")).status == 200
        assert len(place.server._open) <= 20
        # Half a request each, and none of them ever comes to its end.
        for _ in range(100):
            (await place.client()).send(b"GET / HTTP/1.1\r\n")
        assert (await (await place.client()).ask(GET % b"b")).status == 200
        assert len(place.server._open) <= 20


async def test_f55_where_all_are_being_answered_one_more_is_turned_away() -> None:
    """With a 503, at once."""
    async with listening(replace(Limits(), connections=2)) as place:
        for _ in range(2):
            (await place.client()).send(GET % b"hold")
        await wait_until(
            lambda: [each.stage for each in place.server._open] == [Stage.ANSWERING] * 2, "both are being answered"
        )
        late = await place.client()
        assert (await late.answer()).status == 503
        assert await late.over()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("localhost:80", "localhost:80"),
        ("[::1]:80", "[::1]:80"),
        ("[::]:80", "[::]:80"),
    ],
)
def test_an_address_without_a_host_is_this_machine_alone(text: str, address: str) -> None:
    """All others have to be written out."""
    assert str(Address.parse(text)) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":99999", "http://host:80", "::1:80", "a b:80", ":-1"])
def test_what_is_no_address_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="write :PORT for this machine alone"):
        Address.parse(text)


async def test_an_address_that_is_taken_is_an_error_in_words() -> None:
    async with listening() as place:
        with pytest.raises(EvfnError, match=r"cannot listen on 127.0.0.1:\d+: Address already in use"):
            await Server(Desk(), Desk()).start(place.address)
        with pytest.raises(EvfnError, match=r"cannot listen on no-such-host.invalid:80: \w"):
            await Server(Desk(), Desk()).start(Address.parse("no-such-host.invalid:80"))
