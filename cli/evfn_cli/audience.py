"""What `evfn emit` says of who takes what it published, who does not, and why."""

from dataclasses import replace

from evfn import instance_lock
from evfn.broker.connection import Connection
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication
from evfn.errors import BrokerError
from evfn.filter import one_line
from evfn.nearest import nearest
from evfn.services.audience import Stance, Verdict, audience
from evfn.trigger import Project
from evfn_cli import states
from evfn_cli.opened import Opened
from evfn_cli.render import escape, say, shorten
from evfn_cli.server import again


async def of_event(
    connection: Connection, opened: Opened, event: Publication, stream_id: str
) -> dict[str, dict[str, str]] | None:
    """Say how each trigger stands to one stored event; returned for `--json`, None where the server does not tell."""
    verdicts = await _asked(connection, opened, opened.project, event, stream_id)
    if verdicts is None:
        return None
    await _say(connection, opened, event.topic, verdicts, [each.line for each in verdicts])
    return {each.trigger: {"stance": each.stance.value, "reason": each.reason} for each in verdicts}


async def of_file(connection: Connection, opened: Opened, last: Publication, stream_id: str) -> None:
    """Say who listens to the events of a file, of which this one was the last; each filter is shown, not asked."""
    every = tuple(replace(each, filter=None) for each in opened.project.triggers)
    verdicts = await _asked(connection, opened, replace(opened.project, triggers=every), last, stream_id)
    if verdicts is None:
        return
    filters = {each.name: each.filter for each in opened.project.triggers if each.filter is not None}
    lines = [
        f"{each.trigger}: where {shorten(one_line(filters[each.trigger]))}"
        if each.stance is Stance.TAKES and each.trigger in filters
        else each.line
        for each in verdicts
    ]
    await _say(connection, opened, last.topic, verdicts, lines)


async def _asked(
    connection: Connection, opened: Opened, project: Project, event: Publication, stream_id: str
) -> list[Verdict] | None:
    problems = states.problems(opened.location.state)
    try:
        return await again(
            lambda: audience(connection, project, event.topic, stream_id, event.fields, problems=problems)
        )
    except BrokerError as error:
        # Whatever cannot be said now: what was published is stored.
        say(f"it is stored, but who takes it cannot be told: {escape(str(error))}")
        return None


async def _say(connection: Connection, opened: Opened, topic: str, verdicts: list[Verdict], lines: list[str]) -> None:
    for line in lines:
        say(escape(line))
    if not verdicts:
        say_nobody(opened, topic)
    elif any(each.stance is Stance.TAKES for each in verdicts) and not await is_running(connection, opened):
        say("no instance is running: they will run at the next evfn run")


def say_nobody(opened: Opened, topic: str) -> None:
    """Where nobody listens, that is most often a slip in the topic's name."""
    written = {text for trigger in opened.project.triggers for text in trigger.topics}
    near = nearest(topic, written)
    say(f"no trigger listens on {topic}" + (f" (nearest: {near})" if near is not None else ""))


async def is_running(connection: Connection, opened: Opened) -> bool:
    """Whether an instance may take it: one that beat within a lease, unless its lock here says that it died.

    When it beat is told by the server's clock: good enough to tell a person, and nothing is decided by it.
    """
    settings = opened.project.settings
    try:
        present = await again(Instances(connection, Keys(settings.key_prefix)).present)
    except BrokerError:
        return True  # A user who may not look is told nothing that may be wrong.
    state = opened.location.state
    return any(
        not each.is_silent(settings.lease)
        and (each.about is None or each.about.project == opened.project.name)
        and instance_lock.held(state, name) is not False
        for name, each in present.items()
    )
