"""What `evfn run` prints: one line per invocation, with what the function wrote and where it failed in place.

When a trigger has more to say than a person reads, its lines of that moment become one line of counts.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from evfn.listener import (
    Captured,
    FilterFailed,
    Happening,
    Invoked,
    LeaseLost,
    LeaseUncertain,
    NotReloaded,
    Reloaded,
    Started,
    StateChanged,
    Stopped,
    Stopping,
    SucceededMany,
    TriggersChanged,
    TriggerState,
    Unbound,
    Unreachable,
    Warned,
    Watched,
)
from evfn.outcome import Crashed, Failed, Rejected, Succeeded, TimedOut
from evfn.settlement import Ack, DeadLetter, RetryAt
from evfn.traceback import format_failure, place_in
from evfn_cli.render import escape, escape_lines, fit, seconds, shorten, terminal_width

BURST = 40
"""Lines a trigger may have within one moment before the rest of them is counted."""
MOMENT_SECONDS = 1.0
NAMED = 5
"""Triggers named beside the first one that an edit concerned."""
LEAST_MESSAGE = 20
"""Columns that an error's message keeps on the narrowest terminal."""


class Log:
    """A listener that prints. `write` takes one line, `folder` is the project's, to shorten the names of files.

    `columns` says how wide the terminal is now, None where there is none.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int | None] = terminal_width,
    ) -> None:
        self.dead_letters = 0
        self._write = write
        self._folder = f"{folder}/"
        self._clock = clock
        self._columns = columns
        self._width = 0
        self._moment = clock()
        self._lines: Counter[str] = Counter()
        self._counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._ready: set[str] = set()

    def tell(self, happening: Happening) -> None:
        """Print it, or count it where too much happens."""
        match happening:
            case Started():
                self._started(happening)
            case Invoked():
                self._invoked(happening)
            case SucceededMany(trigger, count):
                self._count(trigger, "ok", count)
            case Captured(trigger, _, stream, text):
                if self._room(trigger, "lines of output"):
                    self._line(trigger, click.style("│ ", fg="red" if stream == "stderr" else None) + escape(text))
            case StateChanged():
                self._state(happening)
            case FilterFailed():
                self._line(
                    happening.trigger,
                    click.style("filter error", fg="yellow")
                    + escape(f" on {happening.topic} {happening.stream_id}: {happening.failure.message}"),
                )
                self._line(happening.trigger, f"  the event: {escape(shorten(happening.event))}")
                self._line(happening.trigger, "  it does not match; further ones are only counted (evfn status)")
            case Warned(text, trigger):
                # A warning of the manifest begins with its place and says itself what it is.
                told = ": warning: " in text.partition("\n")[0]
                prefix = "" if told else click.style("warning: ", fg="yellow")
                self._line(trigger or "evfn", prefix + escape_lines(text))
            case Unreachable(problem):
                self._warned(f"{problem}; trying again until it does")
            case LeaseUncertain(problem):
                self._warned(
                    "the lease is renewed again"
                    if problem is None
                    else f"the lease is not renewed: {problem}; trying until it is"
                )
            case LeaseLost(why):
                self._warned(why)
            case Reloaded(triggers, dead):
                self._reloaded(triggers, dead)
            case NotReloaded():
                self._not_reloaded(happening)
            case TriggersChanged(added, removed):
                self._width = max([self._width, *(len(each.trigger) for each in added)])
                for each in added:
                    self._write(self._described(each))
                for name in removed:
                    self._line(name, "no longer in the manifest: nothing is lost, its events and dead letters stay")
            case Unbound(file, lines):
                shown = str(file).removeprefix(self._folder)
                self._line(
                    "evfn",
                    escape(f"{shown}: no trigger uses it; to run it, paste this below `triggers:` of triggers.yaml"),
                )
                self._write(f"\n{escape_lines(lines)}\n")
            case Stopping(cause, running):
                self.flush()
                rest = (
                    f", {running} still running: they are finished first; again to abort"
                    if running
                    else "; again to abort"
                )
                self._line("evfn", f"{escape(cause)}: taking nothing new{rest}")
            case Stopped(_, interrupted) if interrupted:
                self._line("evfn", f"{interrupted} still ran and were killed: they are delivered again")

    def tick(self) -> None:
        """To be called about once a moment: prints the counts of the last one, and lines may appear again."""
        if self._clock() - self._moment >= MOMENT_SECONDS:
            self.flush()
            self._moment = self._clock()
            self._lines.clear()

    def flush(self) -> None:
        """Print what was only counted so far."""
        counted, self._counted = self._counted, defaultdict(Counter)
        for trigger, kinds in counted.items():
            said = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
            self._line(trigger, click.style("… ", dim=True) + said)

    def _started(self, started: Started) -> None:
        self._width = max([len(each.trigger) for each in started.watched], default=0)
        count = len([each for each in started.watched if each.enabled])
        self._write(
            f"{escape(started.project)}: watching {count} trigger{'' if count == 1 else 's'} on {started.server}"
        )
        for each in started.watched:
            self._write(self._described(each))

    def _described(self, each: Watched) -> str:
        emits = f" → {', '.join(each.emits)}" if each.emits else ""
        condition = f"  if {shorten(' '.join(each.filter.split()), 60)}" if each.filter else ""
        waiting = f"  ({each.waiting:,} waiting)" if each.waiting else ""
        state = "" if each.enabled else "  disabled: its events wait"
        line = f"  {each.trigger:{self._width}}  {', '.join(each.topics)} → {each.function}{emits}"
        return escape(line + condition + waiting + state)

    def _reloaded(self, triggers: tuple[str, ...], dead: Mapping[str, int]) -> None:
        if not triggers:
            self._line("evfn", "the manifest is right again")
            return
        first, *rest = triggers
        more = f" (and {', '.join(rest[:NAMED])}{f', {len(rest) - NAMED} more' if len(rest) > NAMED else ''})"
        self._line(first, click.style("reloaded", fg="green") + (escape(more) if rest else ""))
        for trigger, count in dead.items():
            letters = "a dead letter waits" if count == 1 else f"{count:,} dead letters wait"
            self._line(trigger, escape(f"{letters}: evfn dlq redrive {trigger} --all"))

    def _not_reloaded(self, kept: NotReloaded) -> None:
        if not kept.triggers:
            self._write(escape_lines(kept.problem))
            self._line("evfn", click.style("not reloaded", fg="red") + ": the manifest before goes on")
            return
        first, *rest = kept.triggers
        more = f" (and {', '.join(rest)})" if rest else ""
        problem = escape_lines(kept.problem.replace(self._folder, ""))
        self._line(
            first, click.style("not reloaded", fg="red") + escape(more) + f": {problem}; the code before goes on"
        )
        if kept.traceback:
            self._block(first, kept.traceback)

    def _invoked(self, invoked: Invoked) -> None:
        if isinstance(invoked.settlement, DeadLetter):
            self.dead_letters += 1
        kind = "ok" if isinstance(invoked.settlement, Ack) else _dead_or_failed(invoked)
        if not self._room(invoked.trigger, kind):
            return
        where = f"{invoked.topic} {invoked.stream_id}"
        took = "" if invoked.duration is None else f" {seconds(invoked.duration.total_seconds())}"
        attempt = f", attempt {invoked.attempt} of {invoked.attempts}" if invoked.attempt > 1 else ""
        match invoked.settlement:
            case Ack(emits):
                to = Counter(emit.topic for emit in emits)
                emitted = ", ".join(topic if count == 1 else f"{topic} ({count:,})" for topic, count in to.items())
                arrow = f"  → {emitted}" if emitted else ""
                self._line(invoked.trigger, click.style("ok", fg="green") + escape(f"{took}{attempt}  {where}{arrow}"))
            case RetryAt(due, failure):
                again = max(0.0, (due - datetime.now(UTC)).total_seconds())
                text = f", attempt {invoked.attempt} of {invoked.attempts}, next in {seconds(again)}  {where}"
                self._failed(invoked, _ended(invoked) + text, failure.message, shown=invoked.attempt == 1)
            case DeadLetter(reason, failure):
                text = f"dead letter ({reason.value}) after attempt {invoked.attempt} of {invoked.attempts}  {where}"
                self._failed(invoked, text, failure.message, shown=True)

    def _failed(self, invoked: Invoked, text: str, message: str, *, shown: bool) -> None:
        failure = invoked.outcome.failure if isinstance(invoked.outcome, Failed | Rejected) else None
        error = message if failure is None else f"{failure.type.rpartition('.')[2]}: {failure.message}"
        at = place_in(failure, Path(self._folder)) if failure is not None else ""
        self._error_line(invoked.trigger, escape(text), escape(shorten(error)), escape(f"  {at}" if at else ""))
        if not shown:
            return
        if failure is not None and failure.frames:
            self._block(invoked.trigger, format_failure(failure))
        elif isinstance(invoked.outcome, TimedOut | Crashed) and invoked.outcome.stack:
            self._block(invoked.trigger, invoked.outcome.stack)

    def _error_line(self, trigger: str, text: str, error: str, end: str) -> None:
        """Where a terminal is too narrow, the error gets a line of its own and is cut: never the place at its end."""
        width = self._columns()
        room = None if width is None else width - max(self._width, len(escape(trigger))) - 2
        head = click.style(text, fg="red")
        if room is None or len(text) + 2 + len(error) + len(end) <= room:
            self._line(trigger, f"{head}  {error}{end}")
        else:
            self._line(trigger, head)
            self._line(trigger, f"  {fit(error, max(room - 2 - len(end), LEAST_MESSAGE))}{end}")

    def _state(self, changed: StateChanged) -> None:
        if changed.state is TriggerState.OK:
            # Of a trigger that was ready before, what happened to it is said by itself.
            if changed.trigger not in self._ready:
                self._line(changed.trigger, "ready")
            self._ready.add(changed.trigger)
        elif changed.state is not TriggerState.LOADING:
            self._ready.discard(changed.trigger)
            problem = f": {escape_lines(changed.problem)}" if changed.problem else ""
            place = f"  {escape(changed.place)}" if changed.place else ""
            self._line(changed.trigger, click.style(changed.state.value, fg="red") + problem + place)
            if changed.traceback:
                self._block(changed.trigger, changed.traceback)

    def _warned(self, text: str) -> None:
        self._line("evfn", click.style("warning: ", fg="yellow") + escape_lines(text))

    def _block(self, trigger: str, text: str) -> None:
        for line in escape_lines(text).replace(self._folder, "").splitlines():
            self._line(trigger, f"    {line}")

    def _line(self, trigger: str, text: str) -> None:
        self._write(f"{escape(trigger):{self._width}}  {text}")

    def _room(self, trigger: str, kind: str) -> bool:
        """Whether this may have a line of its own; else it is counted."""
        self.tick()
        self._lines[trigger] += 1
        if self._lines[trigger] <= BURST:
            return True
        self._count(trigger, kind, 1)
        return False

    def _count(self, trigger: str, kind: str, count: int) -> None:
        self.tick()
        self._counted[trigger][kind] += count


def _dead_or_failed(invoked: Invoked) -> str:
    return "dead letters" if isinstance(invoked.settlement, DeadLetter) else _ended(invoked)


def _ended(invoked: Invoked) -> str:
    match invoked.outcome:
        case TimedOut():
            return "timed out"
        case Crashed():
            return "crashed"
        case Succeeded():
            return "ok"
        case _:
            return "failed"
