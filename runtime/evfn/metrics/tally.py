"""What came of one trigger's events in this process since its start: numbers that only grow."""

from collections import Counter
from datetime import datetime

from evfn.listener import (
    Delivered,
    Dropped,
    Filtered,
    Interrupted,
    Invoked,
    SucceededMany,
    WorkerStarted,
    stored_ms,
)
from evfn.metrics.catalogue import (
    ATTEMPTS,
    COLD_STARTS,
    DEAD_LETTERS,
    DELIVERIES,
    DROPPED,
    DURATION,
    EMITTED,
    FILTER_ERRORS,
    FILTERED,
    LATENCY,
    RETRIES,
    SETTLED,
    Metric,
)
from evfn.metrics.histogram import Histogram
from evfn.outcome import Crashed, Failed, Outcome, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, RetryAt

Told = Delivered | Dropped | Filtered | Interrupted | Invoked | SucceededMany | WorkerStarted
"""The happenings that are counted."""

_OUTCOMES: dict[type[Outcome], str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    TimedOut: "timed_out",
    Crashed: "crashed",
    Rejected: "rejected",
}


class Tally:
    """One trigger's. `plain` are counters by their metric, `labelled` those by a label's value as well."""

    def __init__(self) -> None:
        self.plain: Counter[Metric] = Counter()
        self.labelled: Counter[tuple[Metric, str]] = Counter()
        self.histograms = {metric: Histogram(metric.bounds) for metric in (DURATION, LATENCY, COLD_STARTS)}

    def add(self, told: Told, now: datetime) -> None:
        """Count it. `now` is the server's time, at which it was stored."""
        match told:
            case SucceededMany():
                self._succeeded(told, now)
            case Invoked():
                self._invoked(told, now)
            case Delivered(_, count):
                self.plain[DELIVERIES] += count
            case Filtered(_, count, errors):
                self.plain[FILTERED] += count
                self.plain[FILTER_ERRORS] += errors
            case Dropped(_, count):
                self.plain[DROPPED] += count
            case Interrupted():
                self.labelled[ATTEMPTS, "interrupted"] += 1
            case WorkerStarted(_, took):
                self.histograms[COLD_STARTS].observe(took.total_seconds())

    def _succeeded(self, told: SucceededMany, now: datetime) -> None:
        """Many at a time: each counts with their average duration, and their ages are spread evenly."""
        self.labelled[ATTEMPTS, "succeeded"] += told.count
        self.labelled[SETTLED, "ack"] += told.count
        self.plain[EMITTED] += told.emitted
        if told.duration is not None:
            self.histograms[DURATION].observe(told.duration.total_seconds(), told.count)
        if told.stored_ms is not None:
            first, last = (_age(each, now) for each in told.stored_ms)
            self.histograms[LATENCY].observe_spread(last, first, told.count)

    def _invoked(self, told: Invoked, now: datetime) -> None:
        outcome = _OUTCOMES[type(told.outcome)]
        self.labelled[ATTEMPTS, outcome] += 1
        # No time at all is that of an attempt which another instance made, and died in.
        if told.duration:
            self.histograms[DURATION].observe(told.duration.total_seconds())
        match told.settlement:
            case Ack(emits):
                self.labelled[SETTLED, "ack"] += 1
                self.plain[EMITTED] += len(emits)
            case RetryAt():
                self.labelled[SETTLED, "retry"] += 1
                self.labelled[RETRIES, outcome] += 1
                return
            case DeadLetter(reason):
                self.labelled[SETTLED, "dead_letter"] += 1
                self.labelled[DEAD_LETTERS, reason.value] += 1
        if (stored := stored_ms(told.stream_id, told.invocation_id)) is not None:
            self.histograms[LATENCY].observe(_age(stored, now))


def _age(stored: int, now: datetime) -> float:
    """Seconds; never negative, though somebody may have written an id of the future."""
    return max(0.0, now.timestamp() - stored / 1000)
