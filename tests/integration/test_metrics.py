"""What a running instance tells Prometheus, scraped as it would be."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from evfn.client import AsyncClient
from evfn.listener import Delivered
from evfn.metrics import CONTENT_TYPE, Metrics
from evfn.metrics.catalogue import CATALOGUE, Kind
from evfn.metrics.readings import FRESH, PATIENCE
from evfn.project import OpenedProject
from evfn.retry import RetryPolicy
from evfn.runtime import Place, Runtime
from evfn.trigger import Project, StartAt, Trigger, Workers
from scrape import Scrape, promtool
from servers import RealServer

FUNCTIONS = """
import evfn

def quick(event):
    pass

def copy(event):
    return event.data

def second_try(event, context):
    if context.attempt == 1:
        raise ValueError("not yet")

def refuse(event):
    raise evfn.Reject("no")
"""


def trigger(name: str, function: str, *, condition: str | None = None, emits: tuple[str, ...] = ()) -> Trigger:
    return Trigger(
        name,
        ("orders",),
        f"shop:{function}",
        filter=condition,
        emits=emits,
        start=StartAt.EARLIEST,
        retry=RetryPolicy(attempts=2, initial_delay=timedelta(milliseconds=10)),
        workers=Workers(max=1),
    )


PROJECT = Project(
    "shop",
    (
        trigger("quick", "quick"),
        trigger("copy", "copy", emits=("copies",)),
        trigger("second-try", "second_try"),
        trigger("refuse", "refuse"),
        trigger("large", "quick", condition="event.data.total > 7"),
    ),
)


@pytest.fixture
def valkey() -> Iterator[RealServer]:
    """A server that a test may stop. Socket paths are limited, so not below pytest's folders."""
    server = RealServer("valkey", Path(tempfile.mkdtemp(prefix="evfn-")))
    try:
        yield server.start()
    finally:
        server.stop()


@asynccontextmanager
async def running(server: RealServer) -> AsyncIterator[Metrics]:
    """The project on this server."""
    folder = Path(tempfile.mkdtemp(prefix="evfn-"))
    (folder / "functions").mkdir()
    (folder / "state").mkdir()
    (folder / "functions" / "shop.py").write_text(FUNCTIONS)
    metrics = Metrics(PROJECT, server.url, ready=lambda: True)
    place = Place(folder, folder / "functions", folder / "state", server.url)
    runtime = Runtime(OpenedProject(PROJECT, {}), place, metrics)
    metrics.watch(runtime)
    serving = asyncio.create_task(runtime.run())
    try:
        yield metrics
    finally:
        runtime.abort()
        await asyncio.gather(serving, return_exceptions=True)
        await metrics.close()
        shutil.rmtree(folder)


async def scrape(metrics: Metrics) -> Scrape:
    content_type, body = await metrics.render("*/*")
    assert content_type == CONTENT_TYPE
    return Scrape(body)


async def until(metrics: Metrics, holds: Callable[[Scrape], object], description: str) -> Scrape:
    """The first scrape for which this holds."""
    try:
        async with asyncio.timeout(20):
            while not holds(found := await scrape(metrics)):  # noqa: ASYNC110 - a scrape tells, no event
                await asyncio.sleep(0.05)
            return found
    except TimeoutError:
        raise AssertionError(f"waited 20 s in vain: {description}") from None


async def test_a_scrape_tells_what_came_of_every_event(valkey: RealServer) -> None:
    """Each event is counted where it went, once; times are measured for each; and Prometheus' own tools accept it."""
    async with running(valkey) as metrics, AsyncClient(valkey.url) as client:
        await client.emit_many("orders", [{"total": number} for number in range(10)])
        # What the server tells is at most a second old.
        found = await until(
            metrics,
            lambda found: (
                found.get("evfn_attempts_total", trigger="quick", outcome="succeeded") == 10
                and found.get("evfn_attempts_total", trigger="copy", outcome="succeeded") == 10
                and found.get("evfn_attempts_total", trigger="second-try", outcome="succeeded") == 10
                and found.get("evfn_attempts_total", trigger="large", outcome="succeeded") == 2
                and found.get("evfn_waiting_dead_letters", trigger="refuse") == 10
                and all(found.get("evfn_pending_events", trigger=each.name) == 0 for each in PROJECT.triggers)
                and found.get("evfn_due_events", trigger="second-try") == 0
            ),
            "all events are settled",
        )
        assert found.get("evfn_deliveries_total", trigger="quick") == 10
        assert found.get("evfn_deliveries_total", trigger="second-try") == 20
        assert found.get("evfn_attempts_total", trigger="second-try", outcome="failed") == 10
        assert found.get("evfn_retries_total", trigger="second-try", reason="failed") == 10
        assert found.get("evfn_settlements_total", trigger="second-try", settlement="ack") == 10
        assert found.get("evfn_settlements_total", trigger="second-try", settlement="retry") == 10
        assert found.get("evfn_dead_letters_total", trigger="refuse", reason="rejected") == 10
        assert found.get("evfn_dead_letters_total", trigger="refuse", reason="timed_out") == 0
        assert found.get("evfn_settlements_total", trigger="refuse", settlement="dead_letter") == 10
        assert found.get("evfn_events_filtered_total", trigger="large") == 8
        assert found.get("evfn_filter_errors_total", trigger="large") == 0
        assert found.get("evfn_events_emitted_total", trigger="copy") == 10
        assert found.get("evfn_attempt_duration_seconds_count", trigger="quick") == 10
        assert found.get("evfn_attempt_duration_seconds_count", trigger="second-try") == 20
        assert found.get("evfn_event_latency_seconds_count", trigger="quick") == 10
        assert found.get("evfn_event_latency_seconds_bucket", trigger="quick", le="3600.0") == 10
        assert found.get("evfn_event_latency_seconds_count", trigger="second-try") == 10
        assert found.get("evfn_event_latency_seconds_count", trigger="refuse") == 10
        assert (found.get("evfn_cold_start_duration_seconds_sum", trigger="quick") or 0) > 0
        assert found.get("evfn_workers", trigger="quick") == 1
        assert found.get("evfn_running_events", trigger="quick") == 0
        assert found.get("evfn_trigger_state", trigger="quick", state="ok") == 1
        assert found.get("evfn_trigger_state", trigger="quick", state="broken") == 0
        assert found.get("evfn_lag_events", trigger="quick") == 0
        assert found.get("evfn_pending_events", trigger="quick") == 0
        assert found.get("evfn_due_events", trigger="second-try") == 0
        assert found.get("evfn_oldest_event_age_seconds", trigger="quick") == 0
        assert found.get("evfn_server_up") == 1
        assert found.get("evfn_leases_lost_total") == 0
        assert "process_resident_memory_bytes" in found.names
        scraped = {f"{each.name}_count" if each.kind is Kind.HISTOGRAM else each.name for each in CATALOGUE}
        assert scraped <= found.names
        checked = promtool("check", "metrics", text=found.text)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        content_type, body = await metrics.render("application/openmetrics-text; version=1.0.0")
        assert content_type.startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
        families = openmetrics(body.decode())  # type: ignore[no-untyped-call]
        assert {"evfn_deliveries", "evfn_event_latency_seconds"} <= {each.name for each in families}


async def test_a_server_that_stands_still_delays_a_scrape_for_two_seconds(valkey: RealServer) -> None:
    """What the instance knows itself is told all the same, and that the server does not answer; afterwards all is as
    before."""
    async with running(valkey) as metrics, AsyncClient(valkey.url) as client:
        await client.emit("orders", {"total": 1})
        await until(
            metrics,
            lambda found: (
                found.get("evfn_attempts_total", trigger="quick", outcome="succeeded") == 1
                and found.get("evfn_server_up") == 1
            ),
            "the event is settled",
        )
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            found = await until(metrics, lambda found: found.get("evfn_server_up") == 0, "no answer from the server")
            assert found.get("evfn_lag_events", trigger="quick") is None
            assert found.get("evfn_attempts_total", trigger="quick", outcome="succeeded") == 1
            assert found.get("evfn_workers", trigger="quick") == 1
            await asyncio.sleep(FRESH.total_seconds())
            began = time.monotonic()
            await scrape(metrics)
            assert time.monotonic() - began < PATIENCE.total_seconds() + 1
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await until(metrics, lambda found: found.get("evfn_lag_events", trigger="quick") == 0, "the server answers")
        valkey.command("CLIENT", "KILL", "TYPE", "normal")
        await until(metrics, lambda found: found.get("evfn_reconnects_total"), "lost sockets are counted")


async def test_what_the_server_refuses_to_tell_is_missing_and_no_zero(valkey: RealServer) -> None:
    """A key of another type, a right that was taken away: nobody may read it as a backlog of nothing."""
    async with running(valkey) as metrics:
        await until(metrics, lambda found: found.get("evfn_pending_events", trigger="quick") == 0, "it is told")
        valkey.command("DEL", "orders")
        valkey.command("SET", "orders", "a mistake")
        found = await until(metrics, lambda found: found.get("evfn_server_up") == 0, "not all is told")
        for name in ("lag", "pending", "due"):
            assert found.get(f"evfn_{name}_events", trigger="quick") is None


async def test_many_scrapers_at_once_cost_no_more_than_one() -> None:
    """Each form is made once for all that ask for it at the same time; the next one who asks gets new numbers."""
    metrics = Metrics(PROJECT, "redis://127.0.0.1:1")
    try:
        accepted = ["*/*", "application/openmetrics-text"] * 50
        bodies = [body for _, body in await asyncio.gather(*map(metrics.render, accepted))]
        assert len({id(body) for body in bodies}) == 2
        metrics.tell(Delivered("quick", 7))
        assert (await scrape(metrics)).get("evfn_deliveries_total", trigger="quick") == 7
    finally:
        await metrics.close()
