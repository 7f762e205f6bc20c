"""The lines of `evfn serve`'s log: every event with its fields. `python -m evfn_cli.log_events` prints the tables."""

from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Kind:
    """`always` are the fields that every line of it has, `perhaps` those that it has where they apply."""

    level: str
    means: str
    always: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()


_WHICH = ("trigger", "topic", "stream_id", "invocation_id", "attempt", "attempts", "outcome")

EVENTS = {
    "listening": Kind("info", "the HTTP endpoint takes requests", ("address",)),
    "started": Kind("info", "the instance takes events from now on", ("project", "instance", "server", "version")),
    "watching": Kind(
        "info", "one trigger at the start", ("trigger", "topics", "function", "enabled"), ("filter", "emits")
    ),
    "trigger_state": Kind(
        "info, or error",
        "a trigger's state is another one, or what is wrong with it",
        ("trigger", "state"),
        ("problem", "place", "traceback"),
    ),
    "succeeded": Kind(
        "info",
        "so many first attempts of a trigger succeeded since its last such line",
        ("trigger", "count", "emitted", "seconds"),
    ),
    "attempt_succeeded": Kind(
        "info", "an attempt succeeded that was not the first", (*_WHICH, "emitted"), ("duration_ms",)
    ),
    "attempt_failed": Kind(
        "warning", "an attempt failed, and another one follows", (*_WHICH, "next_attempt_at", "error"), ("duration_ms",)
    ),
    "dead_lettered": Kind(
        "error", "an attempt failed, and no other one follows", (*_WHICH, "reason", "error"), ("duration_ms",)
    ),
    "output": Kind("info", "a line that a function wrote", ("trigger", "stream", "text"), ("invocation_id",)),
    "suppressed": Kind(
        "warning",
        "so many lines of a trigger were left out, for it had more to say than anybody reads",
        ("trigger", "of", "count", "seconds"),
    ),
    "filter_failed": Kind(
        "warning",
        "a filter had an error on an event, which counts as not matching; later ones are only counted",
        ("trigger", "topic", "stream_id", "error", "data"),
    ),
    "warning": Kind("warning", "something a person should know", ("text",), ("trigger",)),
    "unreachable": Kind("warning", "the server cannot be used; it is tried until it can", ("problem",)),
    "lease_uncertain": Kind("warning", "the lease is not renewed, and may lapse", ("problem",)),
    "lease_renewed": Kind("info", "the lease is renewed again"),
    "lease_lost": Kind(
        "error", "others may have taken over; what runs here is killed, a new lease begins", ("problem",)
    ),
    "reloading": Kind("info", "manifest, .env and functions are read anew", ("cause",)),
    "reloaded": Kind("info", "these triggers run on new code or settings", ("triggers",), ("dead",)),
    "not_reloaded": Kind(
        "error", "an edit cannot be used; what served before goes on", ("problem",), ("triggers", "traceback")
    ),
    "reload_ended": Kind("info", "all of a reload is decided; `refused` where some of it is not used", ("refused",)),
    "trigger_added": Kind(
        "info", "the manifest has this trigger now", ("trigger", "topics", "function", "enabled"), ("filter", "emits")
    ),
    "trigger_removed": Kind("info", "the manifest has this trigger no more; its events stay", ("trigger",)),
    "file_unused": Kind("info", "a new file that no trigger uses, and lines that would bind it", ("file", "text")),
    "request_refused": Kind(
        "warning", "HTTP requests that were none, or too large or too slow", ("status", "problem", "count")
    ),
    "request_failed": Kind("error", "an HTTP request met an error of evfn's own", ("path", "error")),
    "jobs_awaited": Kind(
        "info",
        "`evfn rq-worker` waits for jobs, so many at a time from each queue",
        ("project", "server", "version", "queues", "count"),
    ),
    "job_began": Kind("info", "a job was taken from its queue", ("trigger", "topic", "entry", "attempt", "job")),
    "job_over": Kind(
        "info, or warning",
        "a job is over; an instance settles its event",
        ("trigger", "topic", "entry", "attempt", "job", "text"),
    ),
    "job_refused": Kind(
        "warning", "something in the queue is no job of evfn; nothing of it was run", ("job", "problem")
    ),
    "jobs_stopped": Kind(
        "info, or warning", "all RQ workers have ended; not `finished` where a job was ended", ("finished",)
    ),
    "jobs_noted": Kind("info, or warning", "something else that a person should know of the RQ workers", ("text",)),
    "lines_lost": Kind("warning", "nobody took these lines for too long", ("count",)),
    "stopping": Kind("info", "nothing new is taken; so many functions still run", ("cause", "running")),
    "stopped": Kind(
        "info, or warning", "all is let go of; so many functions were killed and run again", ("cause", "interrupted")
    ),
    "failed": Kind("error", "the instance cannot go on and ends", ("problem",)),
}

FIELDS = {
    "time": "when, RFC 3339 in UTC, with milliseconds; in every line",
    "level": "`info`, `warning` or `error`; in every line",
    "event": "what happened, see above; in every line",
    "address": "HOST:PORT",
    "attempt": "which run it was, 1 the first",
    "attempts": "how many the trigger allows",
    "cause": "the signal's name",
    "count": "how many",
    "data": "the event's beginning",
    "dead": "trigger → how many dead letters wait",
    "duration_ms": "how long the function ran",
    "emits": "the topics it may emit to",
    "emitted": "how many events it emitted",
    "enabled": "false: its events wait",
    "entry": "the delivery: an id of the topic, or of the trigger's inbox for retries",
    "error": "an object: `type`, `message`, and `traceback` on a first and a last attempt",
    "file": "within the project",
    "filter": "the trigger's condition",
    "finished": "true or false",
    "function": "`module:name`",
    "instance": "its id, anew with every lease",
    "interrupted": "how many were killed; no attempt is burnt",
    "invocation_id": "the same on every attempt",
    "job": "RQ's id of the job",
    "next_attempt_at": "when it is due again, as `time`",
    "of": "the event that the lines would have had",
    "outcome": "`succeeded`, `failed`, `timed_out`, `crashed`, `rejected`",
    "path": "of the request",
    "place": "where the manifest names the function",
    "problem": "what is wrong, and what to do",
    "project": "its name",
    "queues": "of RQ",
    "reason": "why no attempt follows, as in `evfn dlq ls`",
    "refused": "true or false",
    "running": "how many",
    "seconds": "the time it covers",
    "server": "its URL, the password masked",
    "state": "`ok`, `loading`, `broken`, `blocked` or `disabled`",
    "status": "of HTTP",
    "stream": "`stdout`, `stderr` or `log`",
    "stream_id": "the event's id in its topic",
    "text": "as it was written",
    "topic": "of the event",
    "topics": "as the manifest writes them",
    "traceback": "where it was",
    "trigger": "its name",
    "triggers": "their names",
    "version": "evfn's",
}


def tables() -> str:
    """Both as Markdown."""
    lines = ["| event | level | what happened | fields |", "|---|---|---|---|"]
    for name, kind in EVENTS.items():
        fields = [*(f"`{each}`" for each in kind.always), *(f"`{each}`?" for each in kind.perhaps)]
        lines.append(f"| `{name}` | {kind.level} | {kind.means} | {', '.join(fields)} |")
    lines += ["", "| field | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {means} |" for name, means in FIELDS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    click.echo(tables(), nl=False)
