"""The way of finished spans out of this process: sampled, gathered and exported by OpenTelemetry's SDK."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import entry_points, version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from evfn.errors import UsageError

GROUP = "opentelemetry_traces_exporter"
"""The group of entry points in which exporters are found, as OpenTelemetry names it."""
SCOPE = InstrumentationScope("evfn", version("evfn"))


@dataclass(frozen=True)
class Pipeline:
    """The parts of a tracer: evfn makes the spans of attempts after the fact, when a worker has told how they went."""

    sampler: Sampler
    ids: IdGenerator
    resource: Resource
    processors: tuple[SpanProcessor, ...]

    @classmethod
    def of(cls, *processors: SpanProcessor, service: str = "evfn") -> "Pipeline":
        """With sampler and resource as the variables say; `service` is the service's name where they do not.

        Raises ValueError where a variable's value is none.
        """
        resource = Resource.create()
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": service}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        return cls(provider.sampler, provider.id_generator, resource, processors)

    @classmethod
    def exporting(cls, exporters: tuple[str, ...], environ: Mapping[str, str], service: str) -> "Pipeline":
        """To these exporters, configured by the standard variables. Raises UsageError for one that is not installed."""
        return cls.of(*(BatchSpanProcessor(_exporter(each, environ)) for each in exporters), service=service)

    def provider(self) -> TracerProvider:
        """A tracer provider whose spans go the same way."""
        provider = TracerProvider(self.sampler, self.resource, shutdown_on_exit=False, id_generator=self.ids)
        for each in self.processors:
            provider.add_span_processor(each)
        return provider

    def export(self, span: ReadableSpan) -> None:
        """Hand over a finished span; the SDK's own threads do the rest."""
        for each in self.processors:
            each.on_end(span)

    def close(self, patience: timedelta) -> bool:
        """Export what is left, for so long at most; whether that was enough. Blocks."""
        # A collector that is away keeps the SDK trying for longer than anybody waits for the end of a process.
        closing = threading.Thread(target=self._shut_down, daemon=True)
        closing.start()
        closing.join(patience.total_seconds())
        return not closing.is_alive()

    def _shut_down(self) -> None:
        for each in self.processors:
            each.shutdown()


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    wanted = name
    if name == "otlp":
        protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        wanted = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = next(iter(entry_points(group=GROUP, name=wanted)), None)
    if found is None:
        there = ", ".join(sorted(each.name for each in entry_points(group=GROUP)))
        raise UsageError(
            f"OTEL_TRACES_EXPORTER asks for the exporter {wanted!r}, which is not installed (there are: {there})"
        )
    exporter: SpanExporter = found.load()()
    return exporter
