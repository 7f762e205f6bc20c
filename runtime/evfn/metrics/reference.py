"""docs/metrics.md: every metric, from the catalogue. `python -m evfn.metrics.reference > docs/metrics.md`."""

import sys

from evfn.metrics.catalogue import CATALOGUE, Kind, Metric, Origin

_INTRODUCTION = """\
# Metrics

`evfn serve --http HOST:PORT` answers `GET /metrics` in Prometheus' text format, and in OpenMetrics where the request
accepts it:

<!-- not run: it is for your Prometheus -->
```yaml
scrape_configs:
  - job_name: evfn
    static_configs:
      - targets: ["127.0.0.1:9464"]
```

Numbers of *this instance* are counted by the process that is scraped, from its start: sum them over instances. Numbers
of *the server* are the same whichever instance is asked: take `max by (trigger)` of them. They are read at the scrape,
over a connection of their own, at most once a second. A server that does not answer delays the scrape by two seconds;
then `evfn_server_up` is 0, its numbers are missing, and all the others are there. They are of triggers that the
instance serves: of a disabled one there are none.

`trigger` is a trigger's name in the manifest. No label has values that come from events, so the number of series is
that of the triggers times a constant. A trigger that leaves the manifest takes its series along. Topics' names, errors'
texts and event ids are in the log, not here.
"""

_PROCESS = """\
With these come the usual ones of the process that is scraped, where the system has them: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_open_fds` and their like. Workers are processes of their own and not in them.
"""

_EXACTLY = """\
## What exactly is measured

**Counters of outcomes** move when the settlement is stored, not before: what an instance did and could not settle (it
was fenced, its server was away until its end) is not in them, and its events are delivered again. `interrupted` is what
evfn itself stopped: a drain that was not waited for, another event's timeout in the same worker.

**`evfn_attempt_duration_seconds`** is measured for every attempt that failed, emitted, or was handed to its worker
alone. Fast functions get their events in frames of up to 512; of those in a frame that succeeded with nothing to emit,
each counts with the average of the frame: the mean is right, and the buckets are those of the averages. Where a worker
of an async function died in the middle of a frame, what had succeeded before is counted in `evfn_attempts_total` only.

**`evfn_event_latency_seconds`** is the time from the event's stream id (when the server stored it) to its success or
its dead letter, by the server's clock, waiting and retries included. Events that succeeded together with nothing to
emit are taken as spread evenly between the first and the last of them. A dead letter that is redriven counts again,
with its whole age; a replayed event does not count.

**`evfn_cold_start_duration_seconds`** is from the wish for a worker to its function being loaded: a fork takes a few
milliseconds; what the function imports takes the rest, where it was not
[imported before](functions.md#what-is-imported-once).

**`evfn_oldest_event_age_seconds`** looks at what is not delivered or not settled. What waits for a retry has its own
time, and is counted by `evfn_due_events`.

## Dashboard and alerts

[`grafana-dashboard.json`](grafana-dashboard.json) shows all of these; import it in Grafana and choose your Prometheus
as its data source. [`alerts.yaml`](alerts.yaml) has rules for Prometheus: a trigger that is broken, dead letters that
rise, events that wait too long, a server that cannot be reached, leases that are lost.
"""


def markdown() -> str:
    """Every metric with its kind, labels, origin and meaning, and what exactly they measure."""
    counted = [metric for metric in CATALOGUE if metric.origin is Origin.COUNTED]
    told = [metric for metric in CATALOGUE if metric.origin is Origin.SERVER]
    return "\n".join(
        [
            _INTRODUCTION,
            _table("Of this instance", counted),
            _PROCESS,
            _table("Of the server", told),
            _EXACTLY,
        ]
    )


def _table(title: str, metrics: list[Metric]) -> str:
    lines = [f"## {title}", "", "| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{each.name}` | {each.kind.value} | {_labels(each)} | {each.help} |" for each in metrics]
    return "\n".join(lines) + "\n"


def _labels(metric: Metric) -> str:
    parts = [f"`{label}`" for label in metric.labels]
    if metric.values:
        parts[-1] += ": " + ", ".join(metric.values)
    elif metric.kind is Kind.HISTOGRAM:
        parts.append(f"`le`: {len(metric.bounds) + 1} buckets")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.stdout.write(markdown())
