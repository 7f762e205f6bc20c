"""Whether spans are asked for: by the standard variables of OpenTelemetry, without a setting of our own."""

from collections.abc import Mapping
from importlib.util import find_spec

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NOT_INSTALLED = "OTEL_… asks for traces, and OpenTelemetry's SDK is not installed: pip install 'evfn[otel]'"


def exporters(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the exporters that are asked for; none where nobody asks for spans.

    OTEL_TRACES_EXPORTER names them; without it an endpoint for OTLP is a wish, too. OTEL_SDK_DISABLED=true ends it all.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    named = environ.get("OTEL_TRACES_EXPORTER", "")
    if named:
        return tuple(name for each in named.split(",") if (name := each.strip()) and name != "none")
    return ("otlp",) if any(environ.get(each) for each in _ENDPOINTS) else ()


def installed() -> bool:
    """Whether the SDK could be imported."""
    try:
        return find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False
