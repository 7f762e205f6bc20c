"""From stream entries to deliveries: what a filter lets through, what an inbox entry carries, what is nobody's."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from evfn.broker.group import Entry, Source
from evfn.broker.record import unpack
from evfn.clock import Clock
from evfn.event import TRACED, Subject
from evfn.filter import Filter, FilterError
from evfn.listener import FilterFailed, Listener, Warned
from evfn.outcome import Failure
from evfn.services import settling
from evfn.services.held import Held, HeldEntries
from evfn.services.reports import Reports
from evfn.services.subscription import Subscription
from evfn.trigger import DataMode, Trigger

_Pairs = list[tuple[bytes, list[bytes]]]
FILTERED_AT_A_TIME = 64
"""After so many filter evaluations the loop gets its turn: settling and timeouts must not wait for a long batch."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one fetch came to: `held` in order, in parts. `filter_errors` counts those of the filtered for which the
    filter had an error.

    `reported` are the filtered ones that somebody follows: they are settled with a report, and count for themselves.
    """

    held: list[HeldEntries | list[Held]] = field(default_factory=list)
    filtered: list[bytes] = field(default_factory=list)
    reported: list[Entry] = field(default_factory=list)
    filter_errors: int = 0
    dropped: list[bytes] = field(default_factory=list)


class Intake:
    """Reads entries for one trigger. `modes` tells how a topic's data are read where they do not say it themselves.

    `followed` are the deliveries made here that somebody follows, until their owner takes them out: while it is empty,
    nobody need look for reports to make.
    """

    def __init__(
        self,
        trigger: Trigger,
        condition: Filter | None,
        modes: Callable[[str], DataMode],
        reports: Reports,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.followed: set[Held] = set()
        self._trigger = trigger.name
        self._filter = condition
        self._modes = modes
        self._reports = reports
        self._listener = listener
        self._clock = clock
        self._failure_shown = False

    def use(self, condition: Filter | None) -> None:
        """Decide by this filter from now on."""
        if (condition and condition.source) != (self._filter and self._filter.source):
            self._failure_shown = False
        self._filter = condition

    async def read(
        self, subscription: Subscription, source: Source, entries: list[tuple[bytes, list[bytes] | None]]
    ) -> Taken:
        """Sort out one fetch. An entry without fields was trimmed between its delivery and now."""
        dropped = [entry for entry, fields in entries if fields is None]
        if dropped:
            settling.warn_trimmed(self._listener, self._trigger, subscription.topic, dropped)
        if source is Source.INBOX:
            inbox = [
                (entry, self.from_inbox(subscription, entry, fields)) for entry, fields in entries if fields is not None
            ]
            dropped += [entry for entry, held in inbox if held is None]
            return await self._replayed([held for _, held in inbox if held is not None], dropped)
        now_ms = int(self._clock.now().timestamp() * 1000)
        if self._filter is None:
            there = [(entry, fields) for entry, fields in entries if fields is not None] if dropped else entries
            return Taken(held=self._parts(subscription, cast("_Pairs", there), now_ms), dropped=dropped)
        return await self._filtered(self._filter, subscription, entries, now_ms, dropped)

    def skip(self, held: Held) -> Entry | None:
        """The settling of one that the filter does not let through; None for one that is to run."""
        if self._filter is None:
            return None
        matches = self._matches(self._filter, self._subject(held))
        if matches is True:
            return None
        self.followed.discard(held)
        return self._skipped(self._filter, held.topic, held.entry_id, held.fields, matches)

    def from_topic(self, subscription: Subscription, entry: bytes, fields: list[bytes], now_ms: int) -> Held:
        """A first delivery."""
        held = self._entries(subscription, [], now_ms).delivery((entry, fields))
        if fields[0] == TRACED:
            self.followed.add(held)
        return held

    def from_inbox(self, subscription: Subscription, entry: bytes, fields: list[bytes]) -> Held | None:
        """A retry, a redriven dead letter or a replayed event; None, and said, for what something else put there."""
        try:
            record = unpack(fields[1])
        except (ValueError, IndexError):
            text = f"entry {entry.decode()} of its inbox is none of evfn's: dropped"
            self._listener.tell(Warned(text, self._trigger))
            return None
        held = Held(
            topic=record.topic,
            stream_id=record.stream_id,
            attempt=record.attempt,
            invocation_id=record.invocation_id,
            fields=record.fields,
            subscription=subscription,
            source=Source.INBOX,
            entry_id=entry,
            first_delivered_ms=record.first_delivered_ms or int(self._clock.now().timestamp() * 1000),
            record=record,
        )
        if record.fields[:1] == [TRACED]:
            self.followed.add(held)
        return held

    async def _replayed(self, inbox: list[Held], dropped: list[bytes]) -> Taken:
        """Ask the filter about those of an inbox that it was never asked about; for all others it has been."""
        condition = self._filter
        if condition is None:
            return Taken(held=[inbox], dropped=dropped)
        held: list[Held] = []
        filtered: list[bytes] = []
        errors = 0
        for index, each in enumerate(inbox):
            if index % FILTERED_AT_A_TIME == FILTERED_AT_A_TIME - 1:
                await asyncio.sleep(0)
            matches = not each.unfiltered or self._matches(condition, self._subject(each))
            if matches is True:
                held.append(each)
            else:
                filtered.append(each.entry_id)
                errors += matches is not False
        return Taken(held=[held], filtered=filtered, filter_errors=errors, dropped=dropped)

    def _subject(self, held: Held) -> Subject:
        return Subject(held.topic, held.stream_id, held.fields, self._modes(held.topic))

    async def _filtered(
        self,
        condition: Filter,
        subscription: Subscription,
        entries: list[tuple[bytes, list[bytes] | None]],
        now_ms: int,
        dropped: list[bytes],
    ) -> Taken:
        matching: _Pairs = []
        filtered: list[bytes] = []
        reported: list[Entry] = []
        errors = 0
        mode = self._modes(subscription.topic)
        for index, (entry, fields) in enumerate(entries):
            if fields is None:
                continue
            if index % FILTERED_AT_A_TIME == FILTERED_AT_A_TIME - 1:
                await asyncio.sleep(0)
            matches = self._matches(condition, Subject(subscription.topic, entry.decode(), fields, mode))
            if matches is True:
                matching.append((entry, fields))
            elif fields[0] == TRACED:
                reported.append(self._skipped(condition, subscription.topic, entry, fields, matches))
            else:
                filtered.append(entry)
                errors += matches is not False
        return Taken(self._parts(subscription, matching, now_ms), filtered, reported, errors, dropped)

    def _entries(self, subscription: Subscription, pairs: "_Pairs", now_ms: int) -> HeldEntries:
        return HeldEntries(self._trigger, subscription.topic, pairs, subscription, now_ms)

    def _parts(self, subscription: Subscription, pairs: "_Pairs", now_ms: int) -> list[HeldEntries | list[Held]]:
        """First deliveries; what somebody follows stands by itself, in its place."""
        parts: list[HeldEntries | list[Held]] = []
        begin = 0
        for at in [index for index, pair in enumerate(pairs) if pair[1][0] == TRACED]:
            if begin < at:
                parts.append(self._entries(subscription, pairs[begin:at], now_ms))
            parts.append([self.from_topic(subscription, *pairs[at], now_ms)])
            begin = at + 1
        if begin < len(pairs):
            parts.append(self._entries(subscription, pairs[begin:], now_ms))
        return parts

    def _matches(self, condition: Filter, subject: Subject) -> bool | FilterError:
        """Whether the event passes; the filter's error on it, shown where it is the first, is told from false."""
        try:
            return condition.matches(subject)
        except FilterError as error:
            self._show(subject, error)
            return error

    def _skipped(
        self, condition: Filter, topic: str, entry: bytes, fields: list[bytes], failed: bool | FilterError
    ) -> Entry:
        if isinstance(failed, FilterError):
            return self._reports.skipped(topic, entry, fields, str(failed), error=True)
        subject = Subject(topic, entry.decode(), fields, self._modes(topic))
        return self._reports.skipped(topic, entry, fields, condition.explain(subject), error=False)

    def _show(self, subject: Subject, error: FilterError) -> None:
        """The first error of a trigger's filter is shown with its event; the rest is counted."""
        if not self._failure_shown:
            self._failure_shown = True
            failure = Failure("evfn.FilterError", str(error))
            topic, stream_id = str(subject.attribute("topic")), str(subject.attribute("stream_id"))
            self._listener.tell(FilterFailed(self._trigger, topic, stream_id, failure, subject.preview()))
