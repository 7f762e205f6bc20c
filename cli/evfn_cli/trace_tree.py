"""The tree that `evfn emit --wait` shows: an event, what each trigger made of it, what was emitted, to the end."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

import click

from evfn.trace.report import Fate, Place, Report, Told
from evfn.trace.tree import Branch, Standing, Tree
from evfn_cli.render import escape, seconds, shorten

MAX_EMITS = 10
"""Emits of one attempt that are shown with what became of them; those with trouble come first."""
_STATE_WIDTH = 10


def present_ms() -> int:
    """Now, in milliseconds since the epoch."""
    return int(time.time() * 1000)


def lines(tree: Tree, now_ms: int) -> list[str]:
    """Ready to print, one string a line. `now_ms` is the present, in milliseconds since the epoch."""
    if tree.root is None:
        return []
    rows = [(_name(tree.root), ""), *_below(tree, tree.root, "", now_ms)]
    # One column for what became of it, however deep the event is.
    width = max((len(head) for head, said in rows if said), default=0)
    return [f"{head:{width}}   {said}".rstrip() if said else head for head, said in rows]


def told(told: Told, now_ms: int) -> str:
    """What is reported of an event at one trigger, escaped, in colour."""
    report = told.report
    match report.fate:
        case Fate.SUCCEEDED:
            took = "" if report.seconds is None else f" {seconds(report.seconds)}"
            attempt = f", attempt {report.attempt} of {report.attempts}" if report.attempt > 1 else ""
            dropped = "   its value is dropped: the trigger has no `emits`" if report.unemitted else ""
            return _state(f"ok{took}{attempt}", "green") + dropped
        case Fate.SKIPPED:
            return escape(f"skipped: {report.reason}")
        case Fate.FILTER_ERROR:
            return click.style("filter error", fg="yellow") + escape(f": {report.reason}")
        case Fate.FAILED:
            how = report.reason.replace("_", " ")
            wait = seconds(max(report.due_ms - now_ms, 0) / 1000)
            due = f" in {wait}" if report.due_ms > now_ms else ", due now"
            return _state(f"{how}, attempt {report.attempt + 1} of {report.attempts}{due}", "red") + _error_of(report)
        case Fate.DEAD_LETTERED:
            after = f" after attempt {report.attempt} of {report.attempts}"
            return _state(f"dead letter ({report.reason}){after}", "red") + _error_of(report)


def error(kind: str, message: str, place: str) -> str:
    """An error in one line, escaped."""
    name = kind.rpartition(".")[2]
    said = escape(shorten(f"{name}: {message}" if message else name, 120))
    return f"{said}   {escape(place)}" if place else said


def _error_of(report: Report) -> str:
    return "" if report.error is None else f"   {error(*report.error)}"


def _outcome(branch: Branch, now_ms: int) -> str:
    parts = [] if branch.told is None else [told(branch.told, now_ms)]
    if branch.absent is not None and branch.standing is not Standing.SETTLED:
        parts.append(click.style(escape(branch.absent.reason), fg="yellow"))
    return "   ".join(parts) or click.style("waiting", dim=True)


def _below(tree: Tree, place: Place, indent: str, now_ms: int) -> Iterator[tuple[str, str]]:
    """Lines in two parts: where, and what became of it there."""
    branches = tree.branches(place)
    for branch, (stem, inner) in zip(branches, _stems(len(branches)), strict=True):
        emitted = () if branch.told is None else branch.told.emitted
        yield f"{indent}{stem}{_trigger(branch)}", f"{_outcome(branch, now_ms)}{_arrow(emitted)}"
        if len(emitted) == 1:
            yield from _below(tree, emitted[0], indent + inner, now_ms)
        else:
            yield from _each(tree, emitted, indent + inner, now_ms)


def _each(tree: Tree, emitted: Sequence[Place], indent: str, now_ms: int) -> Iterator[tuple[str, str]]:
    """Several emits, as far as anybody listens to them."""
    heard = [place for place in emitted if tree.branches(place)]
    # Sorting keeps the order among equals: what went well follows what did not, each as it was emitted.
    shown = sorted(heard, key=lambda place: not _troubled(tree, place))[:MAX_EMITS]
    stems = _stems(len(shown) + (len(heard) > len(shown)))
    for place, (stem, inner) in zip(shown, stems, strict=False):
        yield f"{indent}{stem}{_name(place)}", ""
        yield from _below(tree, place, indent + inner, now_ms)
    if len(heard) > len(shown):
        yield f"{indent}{stems[-1][0]}… {len(heard) - len(shown):,} more", ""


def _troubled(tree: Tree, place: Place) -> bool:
    branches = tree.branches(place)
    return any(
        branch.standing in (Standing.WAITING, Standing.STUCK)
        or (branch.told is not None and branch.told.report.fate is Fate.DEAD_LETTERED)
        or (branch.told is not None and any(_troubled(tree, each) for each in branch.told.emitted))
        for branch in branches
    )


def _arrow(emitted: Sequence[Place]) -> str:
    if not emitted:
        return ""
    if len(emitted) == 1:
        return f"   → {_name(emitted[0])}"
    counted = Counter(place.topic for place in emitted)
    return "   → " + ", ".join(f"{escape(topic)} ({count:,})" for topic, count in counted.items())


def _stems(count: int) -> list[tuple[str, str]]:
    """For each of so many siblings what stands before it, and before what is below it."""
    return [("├─ ", "│  ")] * (count - 1) + [("└─ ", "   ")] * (count > 0)


def _state(text: str, colour: str) -> str:
    return click.style(escape(text), fg=colour) + " " * (_STATE_WIDTH - len(text))


def _trigger(branch: Branch) -> str:
    return escape(branch.trigger + (f" (project {branch.project})" if branch.project else ""))


def _name(place: Place) -> str:
    return escape(f"{place.topic} {place.stream_id}")
