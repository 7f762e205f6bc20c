"""Which triggers take an event, and why the others do not: for people who emit one. Decides nothing and only looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from evfn.broker.beginning import beginnings
from evfn.broker.connection import Connection, KeyTaken
from evfn.broker.keys import Keys
from evfn.broker.position import NEWEST, numbers, text
from evfn.event import Subject
from evfn.filter import Filter, FilterError
from evfn.topic import Pattern
from evfn.trigger import DataMode, Project, Trigger

_WAIT = "its events wait"


class Stance(Enum):
    """How a trigger stands to an event on a topic it listens on. LATER: it begins behind the event."""

    TAKES = "takes"
    SKIPS = "skips"
    FILTER_ERROR = "filter_error"
    DISABLED = "disabled"
    BROKEN = "broken"
    LATER = "later"


_SAID = {
    Stance.TAKES: "",
    Stance.SKIPS: "no",
    Stance.FILTER_ERROR: "filter error",
    Stance.DISABLED: "disabled",
    Stance.BROKEN: "broken",
    Stance.LATER: "no",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One trigger's stance, and a phrase that says why; empty where it takes the event.

    The phrase may hold text from the event: whoever prints it escapes it.
    """

    trigger: str
    stance: Stance
    reason: str = ""

    @property
    def line(self) -> str:
        """For people: `cold-alert: no, event.data.celsius < 0 is false (event.data.celsius is 31.5)`."""
        said = ", ".join(part for part in (_SAID[self.stance], self.reason) if part)
        return f"{self.trigger}: {said}" if said else self.trigger


async def audience(
    connection: Connection,
    project: Project,
    topic: str,
    stream_id: str,
    fields: Sequence[bytes],
    *,
    problems: Mapping[str, str] = {},
) -> list[Verdict]:
    """What each trigger that listens on the topic does with this event, in the manifest's order.

    `fields` are the stored ones, alternating; `problems` tells why a trigger is broken. The project's filters must
    have been checked. Raises BrokerError where the server does not let itself be asked.
    """
    triggers = listeners(project, topic)
    if not triggers:
        return []
    keys = Keys(project.settings.key_prefix)
    wanted = [(project.group(each.name), each.start) for each in triggers]
    begun = await beginnings(connection, keys, topic, wanted)
    modes = {name: rules.data for name, rules in project.topics}
    subject = Subject(topic, stream_id, list(fields), modes.get(topic, DataMode.AUTO))
    return [
        _behind(trigger, stream_id, position) or _verdict(trigger, subject, problems.get(trigger.name))
        for trigger, position in zip(triggers, begun, strict=True)
    ]


def listeners(project: Project, topic: str) -> list[Trigger]:
    """The triggers that listen on the topic, in the manifest's order."""
    return [
        trigger for trigger in project.triggers if any(Pattern.compile(text).matches(topic) for text in trigger.topics)
    ]


def _behind(trigger: Trigger, stream_id: str, position: str | KeyTaken) -> Verdict | None:
    if isinstance(position, KeyTaken):
        return Verdict(trigger.name, Stance.BROKEN, f"{position}; {_WAIT}")
    if position == NEWEST:
        reason = "it begins with what is emitted after the first `evfn run`"
    elif numbers(stream_id) <= numbers(position):
        reason = f"it begins after this event (start: {text(trigger.start)})"
    else:
        return None
    return Verdict(trigger.name, Stance.LATER, reason)


def _verdict(trigger: Trigger, subject: Subject, problem: str | None) -> Verdict:
    if not trigger.enabled:
        return Verdict(trigger.name, Stance.DISABLED, _WAIT)
    if problem is not None:
        why = problem.strip().partition("\n")[0] or "its function does not load"
        return Verdict(trigger.name, Stance.BROKEN, f"{why}; {_WAIT}")
    if trigger.filter is None:
        return Verdict(trigger.name, Stance.TAKES)
    condition = Filter.compile(trigger.filter)
    try:
        if condition.matches(subject):
            return Verdict(trigger.name, Stance.TAKES)
    except FilterError as error:
        return Verdict(trigger.name, Stance.FILTER_ERROR, str(error))
    return Verdict(trigger.name, Stance.SKIPS, condition.explain(subject))
