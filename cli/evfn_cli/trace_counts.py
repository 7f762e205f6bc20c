"""What `evfn emit --file --wait` shows: per topic and trigger how many events ended how, with errors."""

from collections.abc import Iterator

import click

from evfn.trace.report import Fate
from evfn.trace.summary import Summary, Tally
from evfn.trace.trace import Trace
from evfn.trace.tree import Standing
from evfn_cli.render import escape
from evfn_cli.trace_tree import error

SHOWN_ERRORS = 5
_WORDS = {
    Fate.SUCCEEDED: ("ok", "green"),
    Fate.SKIPPED: ("skipped", None),
    Fate.FILTER_ERROR: ("filter errors", "yellow"),
    Fate.DEAD_LETTERED: ("dead letters", "red"),
}


def lines(trace: Trace) -> list[str]:
    """Ready to print, one string a line."""
    return [line for topic in trace.topics for line in _topic(trace, topic)]


def _topic(trace: Trace, topic: str) -> Iterator[str]:
    summary = trace.summary
    count = summary.events[topic]
    yield f"{escape(topic)}  {count:,} event{'' if count == 1 else 's'}"
    rows = summary.rows(topic)
    names = [escape(name + (f" (project {project})" if project else "")) for name, project, _ in rows]
    width = max(map(len, names), default=0)
    for index, (name, (trigger, project, tally)) in enumerate(zip(names, rows, strict=True)):
        last = index == len(rows) - 1
        stem, inner = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield f"{stem}{name:{width}}   {_counts(trace, topic, trigger, tally, own=not project)}"
        for line in _details(tally):
            yield f"{inner}{'':{width}}   {line}"


def _counts(trace: Trace, topic: str, trigger: str, tally: Tally, *, own: bool) -> str:
    parts = [
        click.style(f"{tally.fates[fate]:,} {word}", fg=colour, reset=colour is not None)
        for fate, (word, colour) in _WORDS.items()
        if tally.fates[fate]
    ]
    if own:
        parts += _open(trace.summary, trace, topic, trigger, tally)
    elif tally.retrying:
        parts.append(f"{tally.retrying:,} failed, to run again")
    return ", ".join(parts)


def _open(summary: Summary, trace: Trace, topic: str, trigger: str, tally: Tally) -> Iterator[str]:
    standing, count = summary.open(topic, trigger, tally)
    absent = trace.listeners.absent(topic, trigger)
    if standing in (Standing.STUCK, Standing.ABSENT) and absent is not None:
        yield click.style(f"{count:,} {escape(absent.reason)}", fg="yellow")
        return
    retrying = min(tally.retrying, count)
    if retrying:
        yield click.style(f"{retrying:,} failed, to run again", fg="red")
    if count > retrying:
        yield click.style(f"{count - retrying:,} waiting", dim=True)


def _details(tally: Tally) -> Iterator[str]:
    """The most frequent errors, and dead letters by name."""
    errors = sorted(tally.errors.items(), key=lambda item: -item[1].count)
    for (kind, where), each in errors[:SHOWN_ERRORS]:
        yield f"{each.count:,} times {error(kind, each.message, where)}"
    rest = sum(each.count for _, each in errors[SHOWN_ERRORS:]) + tally.other_errors
    if rest:
        yield f"{rest:,} times other errors"
    for place, letter in tally.letters:
        yield f"dead letter {escape(letter)}: {escape(f'{place.topic} {place.stream_id}')}"
    if tally.fates[Fate.DEAD_LETTERED] > len(tally.letters):
        yield f"… {tally.fates[Fate.DEAD_LETTERED] - len(tally.letters):,} more dead letters"
