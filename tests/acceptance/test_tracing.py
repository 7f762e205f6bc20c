"""Traces of real processes, as a collector gets them, and what they cost who asks for none."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sandbox import Sandbox
from servers import free_port

TRIGGERS = """
    order: {topic: orders, function: "shop:order", emits: parcels}
    pack: {topic: parcels, function: "shop:pack"}
"""
PLAIN = """
    import sys

    def order(event):
        note(f"imported: {'opentelemetry.trace' in sys.modules}")
        return event.data

    def pack(event):
        note("packed")
"""
SPANS_OF_ITS_OWN = """
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def order(event):
        with trace.get_tracer("shop").start_as_current_span("look up"):
            return event.data

    def pack(event):
        pass
"""


class Collector:
    """Takes what is exported by OTLP over HTTP; `spans` has each with its service's name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, request: Any) -> None:
        for each in request.resource_spans:
            names = [one.value.string_value for one in each.resource.attributes if one.key == "service.name"]
            self.spans += [(names[0], span) for scope in each.scope_spans for span in scope.spans]

    def one(self, name: str) -> Any:
        """The span of this name, which is there once."""
        (found,) = [span for _, span in self.spans if span.name == name]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


@pytest.fixture
def shop(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest(TRIGGERS)
    sandbox.function("shop", PLAIN)
    return sandbox


def test_a_collector_gets_one_trace_of_all_that_an_event_causes(shop: Sandbox, collector: Collector) -> None:
    """With the standard variables set, spans of `evfn emit`, of every attempt and of the function itself meet at the
    collector as one tree, below the span whose command it was."""
    shop.function("shop", SPANS_OF_ITS_OWN)
    trace = "0af7651916cd43dd8448eb211c80319c"
    shop.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TRACEPARENT": f"00-{trace}-b7ad6b7169203331-01"}
    shop.evfn("emit", "orders", '{"order": 1}')
    assert collector.one("send orders").parent_span_id.hex() == "b7ad6b7169203331"
    shop.run()
    order, look_up, pack = (collector.one(name) for name in ("process orders", "look up", "process parcels"))
    assert order.parent_span_id == collector.one("send orders").span_id
    assert look_up.parent_span_id == order.span_id
    assert pack.parent_span_id == order.span_id
    assert order.start_time_unix_nano <= look_up.start_time_unix_nano
    assert look_up.end_time_unix_nano <= order.end_time_unix_nano
    assert {span.trace_id.hex() for _, span in collector.spans} == {trace}
    assert {name for name, span in collector.spans if span.name != "look up"} == {"evfn-emit", "sandbox"}


def test_a_collector_that_is_away_stops_nothing(shop: Sandbox) -> None:
    """Events run and commands end all the same, and it is said once why no trace arrives."""
    shop.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    sent = shop.evfn("emit", "orders", "{}")
    done = shop.run()
    for said in (sent.stderr, done.stdout):
        assert "traces: " in said
        assert "Traceback" not in said
    assert shop.notes() == ["imported: True", "packed"]


def test_who_asks_for_no_traces_pays_for_none(shop: Sandbox) -> None:
    """Neither an instance, nor a worker, nor a command imports what makes spans, or what renders metrics."""
    shop.environment |= {"PYTHONPROFILEIMPORTTIME": "1", "OTEL_TRACES_EXPORTER": "none"}
    for done in (shop.evfn("emit", "orders", "{}"), shop.run()):
        assert "evfn.tracing" in done.stderr
        # These, and no others, import OpenTelemetry; redis-py may do so for reasons of its own.
        for each in ("attempts", "current", "pipeline"):
            assert f"evfn.tracing.{each}" not in done.stderr
        assert "prometheus_client" not in done.stderr
    assert shop.notes() == ["imported: False", "packed"]


def test_a_wish_for_traces_that_cannot_be_met_is_said(shop: Sandbox, tmp_path: Path) -> None:
    """Whoever sets OTEL_… and has not installed the extra, or the exporter, reads so; everything else works."""
    shop.environment |= {"OTEL_TRACES_EXPORTER": "zipkin"}
    said = shop.evfn("emit", "orders", "{}").stderr
    assert "the exporter 'zipkin', which is not installed (there are: console, otlp_proto_http)" in said
    (tmp_path / "empty" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "empty" / "opentelemetry" / "__init__.py").touch()
    shop.environment |= {"PYTHONPATH": str(tmp_path / "empty"), "OTEL_TRACES_EXPORTER": "otlp"}
    assert "pip install 'evfn[otel]'" in shop.run().stdout
    assert shop.notes() == ["imported: False", "packed"]
