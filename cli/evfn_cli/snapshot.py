"""The whole state of a project as one JSON object: what `evfn status --json` prints, field by field."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evfn import instance_lock
from evfn.broker import topics
from evfn.broker.connection import Connection
from evfn.broker.instances import Instances, Present
from evfn.broker.keys import Keys
from evfn.broker.leftovers import Leftovers, Remains
from evfn.broker.status import GroupStatus, status
from evfn.broker.trim import Trimmed, look
from evfn.errors import BrokerError
from evfn.services.discovery import Discovery
from evfn.services.retention import expected, held, ruled
from evfn.trigger import Project, TopicRules, Trigger
from evfn_cli import leftover, states
from evfn_cli.local_workers import workers
from evfn_cli.opened import Opened
from evfn_cli.server import again, connected

COUNTERS = (
    "delivered",
    "succeeded",
    "failed",
    "retried",
    "dead_lettered",
    "filtered",
    "filter_errors",
    "dropped",
    "emitted",
    "unemitted",
)


async def take(opened: Opened) -> dict[str, Any]:
    """Connect to the project's server and read everything once."""
    async with connected(opened) as connection:
        return await again(lambda: snapshot(connection, opened))


@dataclass(frozen=True, slots=True)
class Survey:
    """What only a search through all keys of the server finds: each trigger's topics, and what is left of others."""

    topics: dict[str, set[str]]
    leftovers: list[Remains]


async def survey(connection: Connection, opened: Opened) -> Survey:
    """Search once."""
    found = await Discovery(connection, opened.project).topics()
    leftovers = await Leftovers(connection, Keys(opened.project.settings.key_prefix)).find()
    return Survey(found, leftover.of_project(leftovers, opened.project))


async def snapshot(connection: Connection, opened: Opened, known: Survey | None = None) -> dict[str, Any]:
    """Read everything once; with `known` nothing is searched for. Fields are added within a version, never changed."""
    project = opened.project
    keys = Keys(project.settings.key_prefix)
    known = known or await survey(connection, opened)
    said = states.read(opened.location.state)
    triggers: dict[str, Any] = {}
    takers: dict[str, list[str]] = {}
    for trigger in project.triggers:
        names = sorted(known.topics[trigger.name])
        for name in names:
            takers.setdefault(name, []).append(trigger.name)
        for topic in trigger.emits:
            takers.setdefault(topic, [])
        parts = [await status(connection, keys, name, project.group(trigger.name)) for name in names]
        triggers[trigger.name] = _trigger(trigger, parts, said.get(trigger.name))
    lease = project.settings.lease
    rules = ruled(project)
    for name in rules:
        takers.setdefault(name, [])
    streams = await topics.info(connection, keys, takers)
    wanted = [(name, each, expected(project, name)) for name, each in rules.items()]
    kept = dict(zip(rules, await look(connection, keys, wanted, lease), strict=True))
    here = {each.instance: each.pid for each in instance_lock.living(opened.location.state)}
    # One that was killed here keeps its field until another takes its deliveries over; its lock says what it is.
    folder = opened.location.state
    present = {
        name: each
        for name, each in (await Instances(connection, keys).present()).items()
        if instance_lock.held(folder, name) is not False
    }
    return {
        "version": 1,
        "project": project.name,
        "server": connection.server,
        "triggers": triggers,
        "topics": {
            name: {
                "events": stream.events,
                "last_at": None if stream.last_at is None else stream.last_at.isoformat(),
                "oldest_at": None if stream.oldest_at is None else stream.oldest_at.isoformat(),
                "triggers": takers[name],
                **_kept(name, rules.get(name), kept.get(name), opened.project),
            }
            for name, stream in streams.items()
        },
        "instances": {
            name: {"beats": each.beats, **_here(here.get(name)), **_told(each, lease)} for name, each in present.items()
        },
        "leftovers": [leftover.as_object(await Leftovers(connection, keys).counted(each)) for each in known.leftovers],
    }


def _kept(topic: str, rules: TopicRules | None, kept: Trimmed | BrokerError | None, project: Project) -> dict[str, Any]:
    """Who holds back what the topic's rule would trim."""
    if isinstance(kept, BrokerError):
        return {"held_by": [], "problem": str(kept)}
    holders = () if kept is None else kept.held_by
    stream = Keys(project.settings.key_prefix).topic(topic)
    return {
        "held_by": [
            {"group": each.group, "why": each.why.value, "pending": each.pending, "lag": each.lag} for each in holders
        ],
        "problem": held(topic, rules, kept, project, stream) if rules and kept and holders else None,
    }


def _here(pid: int | None) -> dict[str, Any]:
    """An instance that runs in this folder, by its pid; both are null for all others."""
    return {"pid": pid, "workers": None if pid is None else workers(pid)}


def _told(present: Present, lease: timedelta) -> dict[str, Any]:
    """What an instance says of itself, null where it says nothing; `silent` is one that others will take over from."""
    about = present.about
    return {
        "host": None if about is None else about.host,
        "project": None if about is None else about.project,
        "started_at": None if about is None else about.started.isoformat(),
        "lease_seconds": None if about is None else about.lease.total_seconds(),
        "last_beat_seconds": None if present.silent_for is None else present.silent_for.total_seconds(),
        "silent": present.is_silent(lease),
    }


def _trigger(trigger: Trigger, parts: list[GroupStatus], said: dict[str, str | None] | None) -> dict[str, Any]:
    lags = [part.lag for part in parts]
    ages = [part.oldest.total_seconds() for part in parts if part.oldest is not None]
    problem = next((part.problem for part in parts if part.problem is not None), None)
    state = {"state": "ok" if trigger.enabled else "disabled", "problem": None} if said is None else said
    if problem is not None and state["state"] != "broken":
        state = {"state": "blocked", "problem": problem}
    counters: Counter[str] = Counter()
    for part in parts:
        counters.update(part.counters)
    return {
        "topics": list(trigger.topics),
        "function": trigger.function,
        **state,
        "lag": None if None in lags else sum(lag or 0 for lag in lags) + sum(part.inbox for part in parts),
        "pending": sum(part.pending for part in parts),
        "due": sum(part.due for part in parts),
        "dead": sum(part.dead for part in parts),
        "oldest_seconds": max(ages, default=None),
        **{name: counters[name] for name in COUNTERS},
        "replay": next((part.replay for part in parts if part.replay is not None), None),
    }
