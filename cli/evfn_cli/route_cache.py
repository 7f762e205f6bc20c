"""What `evfn emit` needs of a manifest that was found valid: kept in the state folder, because checking it anew costs
more time than publishing. Only what says who takes an event is kept; no environment, nothing secret.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from evfn.project import Location, prepare_state
from evfn.trigger import DataMode, Project, Settings, Start, StartAt, TopicRules, Trigger

_FORMAT = 2


def read(location: Location, environ: Mapping[str, str]) -> Project | None:
    """The project as far as routing goes, or None where its manifest is not the one last found valid."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_path(location).read_text())
        if kept["of"] != _fingerprint(location, environ):
            return None
        triggers = tuple(
            Trigger(
                each["name"],
                tuple(each["topics"]),
                each["function"],
                filter=each["filter"],
                start=_start(each["start"]),
                emits=tuple(each["emits"]),
                enabled=each["enabled"],
            )
            for each in kept["triggers"]
        )
        topics = tuple((name, TopicRules(DataMode(mode))) for name, mode in kept["topics"].items())
        return Project(kept["name"], triggers, topics, Settings(key_prefix=kept["key_prefix"]))
    return None


def write(location: Location, environ: Mapping[str, str], project: Project) -> None:
    """Keep it. A folder that cannot be written costs only the time."""
    kept = {
        "of": _fingerprint(location, environ),
        "name": project.name,
        "key_prefix": project.settings.key_prefix,
        "topics": {name: rules.data.value for name, rules in project.topics},
        "triggers": [
            {
                "name": each.name,
                "topics": each.topics,
                "function": each.function,
                "filter": each.filter,
                "start": _written(each.start),
                "emits": each.emits,
                "enabled": each.enabled,
            }
            for each in project.triggers
        ],
    }
    with suppress(OSError):
        prepare_state(location.state)
        new = _path(location).with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.rename(_path(location))


def _path(location: Location) -> Path:
    return location.state / "routes.json"


def _fingerprint(location: Location, environ: Mapping[str, str]) -> str:
    # Settings may come from variables; everything else of use here stands in the file.
    settings = sorted((name, value) for name, value in environ.items() if name.startswith("EVFN_"))
    said = json.dumps([_FORMAT, str(location.manifest), str(location.functions), location.name, settings]).encode()
    return hashlib.sha256(said + b"\0" + location.manifest.read_bytes()).hexdigest()


def _written(start: Start) -> dict[str, str]:
    if isinstance(start, StartAt):
        return {"word": start.value}
    return {"at": start.isoformat()} if isinstance(start, datetime) else {"id": start}


def _start(written: dict[str, Any]) -> Start:
    match written:
        case {"word": str(word)}:
            return StartAt(word)
        case {"at": str(at)}:
            return datetime.fromisoformat(at)
        case {"id": str(stream_id)}:
            return stream_id
    raise ValueError("no start")
