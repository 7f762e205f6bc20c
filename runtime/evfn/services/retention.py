"""The storage rules of a project's topics: which triggers must have finished what they trim, and who holds it back."""

from evfn.broker.trim import Hold, Holder, Trimmed
from evfn.topic import Pattern
from evfn.trigger import Project, TopicRules


def ruled(project: Project) -> dict[str, TopicRules]:
    """The topics that something is trimmed of, with their rules."""
    return {
        topic: rules for topic, rules in project.topics if rules.retention is not None or rules.max_events is not None
    }


def expected(project: Project, topic: str) -> list[str]:
    """The groups that must be there before anything of this topic is trimmed: those of the triggers that fetch from it.

    A trigger's group on a new stream is made a moment after the stream; until then it has finished nothing.
    """
    return [
        project.group(trigger.name)
        for trigger in project.triggers
        if trigger.enabled and any(Pattern.compile(text).matches(topic) for text in trigger.topics)
    ]


def held(topic: str, rules: TopicRules, trimmed: Trimmed, project: Project, stream: str) -> str:
    """What a topic keeps beyond its rule, and for whom."""
    who = "; ".join(explain(each, project, stream) for each in trimmed.held_by)
    if rules.max_events is not None and trimmed.events > rules.max_events:
        return f"{topic} keeps {trimmed.events:,} events, more than its max_events of {rules.max_events:,}: {who}"
    return f"{topic} keeps events for longer than its retention: {who}"


def explain(holder: Holder, project: Project, stream: str) -> str:
    """Who holds back what a rule would trim, by how much, and what to do where it will not pass by itself."""
    name, slash, trigger = holder.group.partition("/")
    ours = {project.group(each.name): each for each in project.triggers}.get(holder.group)
    shown = trigger if name == project.name and slash else holder.group
    match holder.why:
        case Hold.MISSING:
            return f"{shown} has no consumer group there yet, so it has finished nothing"
        case Hold.REPLAY:
            return f"a replay to {shown} has yet to read some of them"
        case Hold.MADE_AGAIN:
            return f"the consumer group of {shown} was gone and is made again; instances put back what they hold of it"
        case Hold.UNFINISHED:
            said = f"{shown} has yet to finish {_count(holder)}"
    if ours is not None:
        return said if ours.enabled else f"{said}, and is disabled"
    if not slash:
        return f"{said}; evfn did not make this group, `XGROUP DESTROY {stream} {holder.group}` where nobody reads it"
    if name == project.name:
        return f"{said}, and is no longer in the manifest; `evfn forget {trigger} --yes` deletes its group"
    return (
        f"{said} of project {name}; if that is gone, `evfn forget {trigger} --project {name} --yes` deletes its group"
    )


def _count(holder: Holder) -> str:
    pending = holder.pending or 0
    every = "an unknown number of events" if holder.lag is None else f"{holder.lag + pending:,} events"
    return f"{every}, {pending:,} of them delivered" if pending else every
