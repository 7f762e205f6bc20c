"""Spans of attempts, as OpenTelemetry's own SDK gathers them: producer, function, emit, function."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags, format_span_id, format_trace_id

from evfn.broker.connection import Connection
from evfn.clock import SystemClock
from evfn.event.traceparent import TraceParent
from evfn.listener import Captured, Happening
from evfn.project import OpenedProject
from evfn.retry import RetryPolicy
from evfn.runtime import Place, Runtime
from evfn.tracing.attempts import Attempts
from evfn.tracing.pipeline import Pipeline
from evfn.trigger import Project, StartAt, Trigger, Workers
from evfn_cli.masks import Masks
from servers import RealServer

FUNCTIONS = """
import asyncio
import os
import time

import evfn
from opentelemetry import trace

def here():
    place = trace.get_current_span().get_span_context()
    return f"{place.trace_id:032x}-{place.span_id:016x}"

def order(event):
    print("order", here())
    time.sleep(0.02)
    return {"order": event.data["order"]}

def pack(event, context):
    if context.attempt == 1:
        raise ValueError("no box")

def quick(event):
    pass

async def slowly(event):
    print("slowly", here())
    await asyncio.sleep(0.05)
    print("slowly", here())

def refuse(event):
    raise evfn.Reject("not this one, with very-secret-value")

def crash(event):
    os._exit(3)
"""

PRODUCER = """
import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import evfn

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with evfn.Client(sys.argv[1]) as client:
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        client.emit("orders", {"order": 1})
    client.emit_many("orders", [{"order": 2}, {"order": 3}])
print(json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()]))
"""


def trigger(name: str, topic: str, function: str, *, emits: tuple[str, ...] = ()) -> Trigger:
    return Trigger(
        name,
        (topic,),
        f"shop:{function}",
        emits=emits,
        start=StartAt.EARLIEST,
        retry=RetryPolicy(attempts=2, initial_delay=timedelta(milliseconds=10)),
        workers=Workers(max=1),
    )


@pytest.fixture(scope="module")
def valkey() -> Iterator[RealServer]:
    """One server for all of these. Socket paths are limited, so not below pytest's folders."""
    server = RealServer("valkey", Path(tempfile.mkdtemp(prefix="evfn-")))
    try:
        yield server.start()
    finally:
        server.stop()


@dataclass(frozen=True)
class Seen:
    """A finished span; ids in hexadecimal digits, `ran` in nanoseconds."""

    span: ReadableSpan
    trace_id: str
    id: str
    parent_id: str | None
    linked: list[str]
    attributes: dict[str, Any]
    ran: tuple[int, int]

    @classmethod
    def of(cls, span: ReadableSpan) -> "Seen":
        assert span.context is not None
        assert span.start_time is not None
        assert span.end_time is not None
        return cls(
            span,
            format_trace_id(span.context.trace_id),
            format_span_id(span.context.span_id),
            None if span.parent is None else format_span_id(span.parent.span_id),
            [format_span_id(link.context.span_id) for link in span.links],
            dict(span.attributes or {}),
            (span.start_time, span.end_time),
        )

    @property
    def seconds(self) -> float:
        return (self.ran[1] - self.ran[0]) / 1e9


class Spans:
    """What the SDK gathered of one run, and what the functions printed."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.pipeline = Pipeline.of(SimpleSpanProcessor(self.exporter), service="shop")
        self.printed: list[str] = []

    def tell(self, happening: Happening) -> None:
        if isinstance(happening, Captured):
            self.printed.append(happening.text)

    def of(self, trigger: str) -> list["Seen"]:
        found = [Seen.of(each) for each in self.exporter.get_finished_spans()]
        return sorted((each for each in found if each.attributes["evfn.trigger"] == trigger), key=lambda each: each.ran)


async def run(server: RealServer, spans: Spans, *triggers: Trigger) -> None:
    """These triggers, until nothing is left to do."""
    folder = Path(tempfile.mkdtemp(prefix="evfn-"))
    try:
        (folder / "functions").mkdir()
        (folder / "state").mkdir()
        (folder / "functions" / "shop.py").write_text(FUNCTIONS)
        place = Place(folder, folder / "functions", folder / "state", server.url)
        project = Project("shop", triggers)
        masked = Masks(["very-secret-value"]).mask
        tracer = Attempts(spans.pipeline, "shop", SystemClock(), masked)
        async with asyncio.timeout(60):
            await Runtime(OpenedProject(project, {}), place, spans, tracer=tracer).run(until_idle=True)
    finally:
        shutil.rmtree(folder)


def publish(server: RealServer) -> list[dict[str, Any]]:
    """A program of its own that makes spans; what it made, ids without their `0x`."""
    done = subprocess.run(
        [sys.executable, "-c", PRODUCER, server.url], capture_output=True, text=True, timeout=60, check=True
    )
    spans: list[dict[str, Any]] = json.loads(done.stdout.replace('"0x', '"'))
    return spans


async def test_one_trace_leads_from_the_producer_over_every_attempt(valkey: RealServer) -> None:
    """The span of an attempt is a child of the span that published its event, be it a program's or another attempt's; a
    retry is a span of its own below the same one, and what failed says so."""
    valkey.flush()
    sent = publish(valkey)
    spans = Spans()
    order = trigger("order", "orders", "order", emits=("parcels",))
    await run(valkey, spans, order, trigger("pack", "parcels", "pack"))

    checkout = next(each for each in sent if each["name"] == "checkout")
    send, batch = (each for each in sent if each["name"] == "send orders")
    assert send["kind"] == "SpanKind.PRODUCER"
    assert send["parent_id"] == checkout["context"]["span_id"]
    assert send["attributes"]["messaging.system"] == "redis"
    assert send["attributes"]["messaging.operation.type"] == "send"
    assert send["attributes"]["messaging.destination.name"] == "orders"
    assert batch["attributes"]["messaging.batch.message_count"] == 2
    assert len(spans.of("order")) == 3
    assert len(spans.of("pack")) == 6

    first = spans.of("order")[0]
    assert first.span.name == "process orders"
    assert first.span.kind is SpanKind.CONSUMER
    assert first.span.resource.attributes["service.name"] == "shop"
    assert first.trace_id == send["context"]["trace_id"]
    assert first.parent_id == send["context"]["span_id"]
    assert first.linked == [first.parent_id]
    assert first.span.status.status_code is StatusCode.UNSET
    assert first.attributes == {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.consumer.group.name": "shop/order",
        "messaging.message.id": send["attributes"]["messaging.message.id"],
        "code.function.name": "shop:order",
        "evfn.trigger": "order",
        "evfn.invocation.id": f"order:orders:{send['attributes']['messaging.message.id']}",
        "evfn.attempt": 1,
        "evfn.outcome": "succeeded",
        "evfn.settlement": "ack",
        "evfn.emits": 1,
    }
    assert 0.02 <= first.seconds < 1
    # The function saw this very span as the current one.
    assert f"order {first.trace_id}-{first.id}" in spans.printed

    failed, again = (each for each in spans.of("pack") if each.parent_id == first.id)
    assert failed.trace_id == again.trace_id == first.trace_id
    assert failed.span.name == again.span.name == "process parcels"
    assert failed.attributes["evfn.attempt"] == 1
    assert failed.attributes["evfn.outcome"] == "failed"
    assert failed.attributes["evfn.settlement"] == "retry"
    assert failed.attributes["error.type"] == "ValueError"
    assert failed.span.status.status_code is StatusCode.ERROR
    assert failed.span.status.description == "ValueError: no box"
    told = dict(failed.span.events[0].attributes or {})
    assert told["exception.message"] == "no box"
    assert "shop.py" in str(told["exception.stacktrace"])
    assert again.attributes["evfn.attempt"] == 2
    assert again.attributes["evfn.settlement"] == "ack"
    assert again.ran[0] >= failed.ran[1]
    assert {each.trace_id for each in spans.of("order")[1:]} == {batch["context"]["trace_id"]}


async def test_every_event_of_a_frame_has_a_span_with_its_own_times(valkey: RealServer) -> None:
    """Plain successes are settled together, and traced one by one; async functions side by side each with their own
    span as the current one. An event without a producer's place begins a trace. A worker's death ends the span of the
    event that it had, and secrets are masked."""
    valkey.flush()
    connection = await Connection.open(valkey.url, clock=SystemClock())
    for number in range(20):
        await connection.call("XADD", "orders", "*", "data", json.dumps({"order": number}))
    for number in range(3):
        await connection.call("XADD", "crashes", "*", "data", str(number))
    await connection.close()
    spans = Spans()
    triggers = [trigger(name, "orders", name) for name in ("quick", "slowly", "refuse")]
    await run(valkey, spans, *triggers, trigger("crash", "crashes", "crash"))
    quick, slowly, refuse = (spans.of(name) for name in ("quick", "slowly", "refuse"))
    assert [len(each) for each in (quick, slowly, refuse)] == [20, 20, 20]
    assert len({each.trace_id for each in quick}) == 20
    assert all(each.parent_id is None and not each.linked for each in quick)
    # One worker, one at a time: no two overlap.
    assert all(one.ran[1] <= other.ran[0] for one, other in pairwise(quick))
    assert all(each.seconds >= 0.05 for each in slowly)
    seen = [line for line in spans.printed if line.startswith("slowly")]
    assert sorted(seen) == sorted(2 * [f"slowly {each.trace_id}-{each.id}" for each in slowly])
    assert {each.attributes["evfn.dead_letter.reason"] for each in refuse} == {"rejected"}
    assert {each.attributes["evfn.outcome"] for each in refuse} == {"rejected"}
    assert {each.span.status.description for each in refuse} == {"evfn.Reject: not this one, with ***"}
    assert "very-secret-value" not in "".join(each.span.to_json() for each in refuse)
    crash = spans.of("crash")
    assert sorted(each.attributes["evfn.attempt"] for each in crash) == [1] * 3 + [2] * 3
    assert {each.attributes["error.type"] for each in crash} == {"crashed"}
    assert all(each.span.status.status_code is StatusCode.ERROR for each in crash)


async def test_what_is_not_sampled_is_passed_on_and_not_exported(valkey: RealServer) -> None:
    """The sampler decides for each attempt, and the events that it emits say what was decided."""
    valkey.flush()
    publish(valkey)
    spans = Spans()
    spans.pipeline = replace(spans.pipeline, sampler=ALWAYS_OFF)
    await run(valkey, spans, trigger("order", "orders", "order", emits=("parcels",)))
    assert spans.exporter.get_finished_spans() == ()
    connection = await Connection.open(valkey.url, clock=SystemClock())
    ((_, fields), *_) = await connection.call("XRANGE", "parcels", "-", "+")
    await connection.close()
    passed_on = TraceParent.of(fields)
    assert passed_on is not None
    assert int(passed_on.flags, 16) & TraceFlags.SAMPLED == 0
