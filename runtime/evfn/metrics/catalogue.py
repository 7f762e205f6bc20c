"""Every metric with its name, kind, labels and meaning: what is rendered and what the docs say come from here.

Names follow Prometheus' guide: base units, the unit last, `_total` for what only grows.
"""

from dataclasses import dataclass
from enum import Enum

from evfn.listener import TriggerState
from evfn.settlement import Reason

FAST = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Bounds for attempts: a function takes a few microseconds or many minutes."""
PATIENT = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3600.0, 21600.0, 86400.0),
)
"""Bounds for the way of an event, which waits where nothing serves its trigger."""
STARTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds for the start of a worker: a fork, or all that the function imports."""

OUTCOMES = ("succeeded", "failed", "timed_out", "crashed", "rejected", "interrupted")
SETTLEMENTS = ("ack", "retry", "dead_letter")
RETRIED = ("failed", "timed_out", "crashed")
REASONS = tuple(reason.value for reason in Reason)
STATES = tuple(state.value for state in TriggerState)


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Origin(Enum):
    """Where the number comes from."""

    COUNTED = "this instance"
    """Counted by this process since its start."""
    SERVER = "the server"
    """Read from the server at the scrape: the same whichever instance is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One of a kind, told from others by being itself. `name` is the one that is scraped. `values` are all those of the
    last label, where it is not the trigger."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    origin: Origin = Origin.COUNTED
    values: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_TRIGGER = ("trigger",)

DELIVERIES = Metric(
    "evfn_deliveries_total",
    Kind.COUNTER,
    "Deliveries this instance took from the server: from the topic, from the trigger's inbox, or over from another"
    " instance.",
    _TRIGGER,
)
ATTEMPTS = Metric(
    "evfn_attempts_total",
    Kind.COUNTER,
    "Attempts that ended, by outcome; all but interrupted ones once their settlement is stored.",
    ("trigger", "outcome"),
    values=OUTCOMES,
)
SETTLED = Metric(
    "evfn_settlements_total",
    Kind.COUNTER,
    "What was done after an attempt and is stored: ack, retry or dead_letter.",
    ("trigger", "settlement"),
    values=SETTLEMENTS,
)
RETRIES = Metric(
    "evfn_retries_total",
    Kind.COUNTER,
    "Retries that were scheduled, by how the attempt before ended.",
    ("trigger", "reason"),
    values=RETRIED,
)
DEAD_LETTERS = Metric(
    "evfn_dead_letters_total",
    Kind.COUNTER,
    "Events that became dead letters, by reason.",
    ("trigger", "reason"),
    values=REASONS,
)
FILTERED = Metric(
    "evfn_events_filtered_total",
    Kind.COUNTER,
    "Events that the trigger's filter did not let through, filter errors included.",
    _TRIGGER,
)
FILTER_ERRORS = Metric(
    "evfn_filter_errors_total", Kind.COUNTER, "Events on which the trigger's filter had an error.", _TRIGGER
)
DROPPED = Metric(
    "evfn_events_dropped_total",
    Kind.COUNTER,
    "Events that this instance found gone before they ran (trimmed by somebody), or that were none of evfn's.",
    _TRIGGER,
)
EMITTED = Metric(
    "evfn_events_emitted_total",
    Kind.COUNTER,
    "Events that attempts emitted, stored together with their success.",
    _TRIGGER,
)
DURATION = Metric(
    "evfn_attempt_duration_seconds",
    Kind.HISTOGRAM,
    "How long the function ran in one attempt; of events that are handed over together and report nothing, the average"
    " of their frame.",
    _TRIGGER,
    bounds=FAST,
)
LATENCY = Metric(
    "evfn_event_latency_seconds",
    Kind.HISTOGRAM,
    "Age of an event, by its stream id and the server's clock, when its success or dead letter was stored; replays are"
    " left out.",
    _TRIGGER,
    bounds=PATIENT,
)
COLD_STARTS = Metric(
    "evfn_cold_start_duration_seconds",
    Kind.HISTOGRAM,
    "Time from asking for a worker until it had loaded the function.",
    _TRIGGER,
    bounds=STARTS,
)
WORKERS = Metric("evfn_workers", Kind.GAUGE, "Worker processes of the trigger in this instance.", _TRIGGER)
RUNNING = Metric("evfn_running_events", Kind.GAUGE, "Events in the hands of this instance's workers.", _TRIGGER)
STATE = Metric(
    "evfn_trigger_state",
    Kind.GAUGE,
    "1 for the state that the trigger has in this instance, 0 for all others.",
    ("trigger", "state"),
    values=STATES,
)
LAG = Metric(
    "evfn_lag_events",
    Kind.GAUGE,
    "Events of the trigger that no instance was given yet; absent where the server cannot know.",
    _TRIGGER,
    Origin.SERVER,
)
PENDING = Metric(
    "evfn_pending_events", Kind.GAUGE, "Events that an instance was given and has not settled.", _TRIGGER, Origin.SERVER
)
DUE = Metric("evfn_due_events", Kind.GAUGE, "Events that wait for the time of their retry.", _TRIGGER, Origin.SERVER)
DEAD = Metric("evfn_waiting_dead_letters", Kind.GAUGE, "Dead letters that wait for a person.", _TRIGGER, Origin.SERVER)
OLDEST = Metric(
    "evfn_oldest_event_age_seconds",
    Kind.GAUGE,
    "Age of the oldest event of the trigger that is not settled and waits for no retry; 0 where there is none.",
    _TRIGGER,
    Origin.SERVER,
)
READY = Metric("evfn_ready", Kind.GAUGE, "1 where the instance serves all that it should, as /readyz says it; else 0.")
SERVER_UP = Metric(
    "evfn_server_up",
    Kind.GAUGE,
    "1 where the server told all that was asked of it for this scrape; else its numbers are missing.",
)
LEASES_LOST = Metric(
    "evfn_leases_lost_total",
    Kind.COUNTER,
    "How often this instance was fenced: it lost its lease, or had to give it up, and began anew.",
)
RELOADED = Metric(
    "evfn_last_reload_successful",
    Kind.GAUGE,
    "0 where the last reload (SIGHUP) was refused, or a part of it, and older code or settings go on; else 1.",
)
RECONNECTS = Metric(
    "evfn_reconnects_total", Kind.COUNTER, "Sockets to the server that were lost and had to be opened again."
)
BUILD = Metric("evfn_build_info", Kind.GAUGE, "Always 1; the labels say what runs.", ("version", "python", "project"))

CATALOGUE = (
    DELIVERIES,
    ATTEMPTS,
    SETTLED,
    RETRIES,
    DEAD_LETTERS,
    FILTERED,
    FILTER_ERRORS,
    DROPPED,
    EMITTED,
    DURATION,
    LATENCY,
    COLD_STARTS,
    WORKERS,
    RUNNING,
    STATE,
    LAG,
    PENDING,
    DUE,
    DEAD,
    OLDEST,
    READY,
    SERVER_UP,
    LEASES_LOST,
    RELOADED,
    RECONNECTS,
    BUILD,
)
