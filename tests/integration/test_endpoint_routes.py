"""The endpoint's paths that need no running instance: metrics, and backlogs that many ask for."""

import asyncio
import json
from dataclasses import replace

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.endpoint.backlogs import Backlogs
from evfn.endpoint.readiness import Readiness
from evfn.endpoint.routes import Endpoint
from evfn.http import Request, Response
from evfn.trigger import Project, StartAt, Trigger
from servers import RealServer

STORE = Trigger("store", ("readings.*", "extra"), "store:run", start=StartAt.EARLIEST)


class Metrics:
    async def render(self, accept: str) -> tuple[str, bytes]:
        return "text/plain; version=1", accept.encode()


async def asked(endpoint: Endpoint, path: str, **headers: str) -> Response:
    return await endpoint.handle(Request("GET", path, headers=headers))


async def test_metrics_are_rendered_in_the_form_that_is_asked_for(server: RealServer, connection: Connection) -> None:
    """And are not there where nothing is measured."""
    backlogs = Backlogs(connection, lambda: Project("p", (STORE,)), SystemClock())
    without = Endpoint(Readiness(), backlogs, str)
    assert (await asked(without, "/metrics")).status == 404
    found = await asked(Endpoint(Readiness(), backlogs, str, Metrics()), "/metrics", accept="text/x")
    assert (found.status, found.content_type, found.body) == (200, "text/plain; version=1", b"text/x")


async def test_the_backlog_is_that_of_all_topics_and_costs_the_server_one_look_a_second(
    server: RealServer, connection: Connection
) -> None:
    """Those that match a pattern included; a hundred that ask at once get the same answer to one question."""
    keys = Keys()
    for topic, count in {"readings.a": 3, "readings.b": 2, "extra": 1, "other": 9}.items():
        for _ in range(count):
            await connection.call("XADD", keys.topic(topic), "*", "data", "x")
    own = await Connection.open(server.url, clock=SystemClock())
    backlogs = Backlogs(own, lambda: Project("p", (STORE,)), SystemClock())
    endpoint = Endpoint(Readiness(), backlogs, str)
    try:
        await connection.call("CONFIG", "RESETSTAT")
        answers = await asyncio.gather(*(asked(endpoint, "/scale/store") for _ in range(100)))
        assert {json.loads(each.body)["value"] for each in answers} == {6}
        stats = (await connection.call("INFO", "commandstats")).decode()
        (line,) = [each for each in stats.splitlines() if each.startswith("cmdstat_zcount")]
        assert "calls=3," in line, "one for each topic"
        unknown = await asked(endpoint, "/scale/stroe")
        assert unknown.status == 404
        assert b"did you mean store?" in unknown.body
    finally:
        await backlogs.close()


async def test_a_disabled_trigger_has_nothing_to_do(server: RealServer, connection: Connection) -> None:
    """Its events wait, and an autoscaler must not start workloads for them that cannot take any."""
    await connection.call("XADD", Keys().topic("extra"), "*", "data", "x")
    own = await Connection.open(server.url, clock=SystemClock())
    backlogs = Backlogs(own, lambda: Project("p", (replace(STORE, enabled=False),)), SystemClock())
    try:
        answer = await asked(Endpoint(Readiness(), backlogs, str), "/scale/store")
        assert json.loads(answer.body) == {
            "trigger": "store",
            "value": 0,
            "lag": 0,
            "pending": 0,
            "due": 0,
            "exact": True,
        }
    finally:
        await backlogs.close()
