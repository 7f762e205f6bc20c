"""What the files that run a project on servers are made from, and the texts they are made of."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from importlib import metadata, resources
from string import Template

from evfn.trigger import Isolation, Project

GRACE = timedelta(seconds=15)
"""How much longer than the drain timeout an instance may take to end: it settles, and tells others what is left."""
_LONGEST_NAME = 48
"""Of what an object in a cluster may be called, with room for what is put behind it."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """`manifest` and `functions` are relative to the project's folder. `variables` are those that `env` values refer
    to, `settings` what stands in EVFN_ variables for every process. `drain` is as a user writes it: `30s`."""

    project: Project
    manifest: str
    functions: str
    variables: tuple[str, ...]
    settings: Mapping[str, str]
    drain: str
    drain_timeout: timedelta
    instances: int
    rq_workers: int

    @property
    def name(self) -> str:
        """The project's name as everything may bear it: lower-case, begun by a letter, 48 characters at most."""
        plain = f"evfn-{self.project.name}"
        if len(plain) <= _LONGEST_NAME and not plain.endswith("-"):
            return plain
        # Cut off, two long names could become one.
        mark = blake2b(self.project.name.encode(), digest_size=4).hexdigest()
        return f"{plain[: _LONGEST_NAME - len(mark) - 1].rstrip('-')}-{mark}"

    @property
    def stop_seconds(self) -> int:
        """Whole seconds after which whoever stops an instance may kill it."""
        return math.ceil((self.drain_timeout + GRACE).total_seconds())

    @property
    def job_drain(self) -> timedelta:
        """How long a job gets to finish: as long as it may take. One that is ended runs anew, for just as long."""
        jobs = [each.timeout for each in self.project.triggers if each.isolation is Isolation.JOB]
        return max([self.drain_timeout, *jobs])

    @property
    def job_stop_seconds(self) -> int:
        """As `stop_seconds`, of RQ workers."""
        return math.ceil((self.job_drain + GRACE).total_seconds())

    @property
    def has_jobs(self) -> bool:
        return bool(self.triggers(Isolation.JOB))

    def triggers(self, isolation: Isolation) -> list[str]:
        """The names of those that run so."""
        return [each.name for each in self.project.triggers if each.isolation is isolation]


def fill(file: str, **values: object) -> str:
    """A text of `server_files`, with the values in its places."""
    text = (resources.files("evfn_cli") / "server_files").joinpath(*file.split("/")).read_text("utf-8")
    filled = Template(text).substitute({name: str(value) for name, value in values.items()})
    # A value may be empty: a comment block then ends with the line before.
    return re.sub(r"[ \t]+$", "", re.sub(r"\n{3,}", "\n\n", filled), flags=re.MULTILINE)


def quoted(text: str) -> str:
    """As JSON, and so as YAML and in a Dockerfile's lists."""
    return json.dumps(text)


def mapping(values: Mapping[str, str], indent: int) -> str:
    """Lines of YAML, each begun by a line's end."""
    return "".join(f"\n{' ' * indent}{name}: {quoted(value)}" for name, value in values.items())


def comment_lines(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(f"# {line}" for line in lines)


def release() -> str:
    """The version of evfn that made a file, as pip can ask for it."""
    return metadata.version("evfn")
