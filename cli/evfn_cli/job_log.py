"""What `evfn rq-worker` prints: lines for a person, or one JSON object a line, as `evfn serve` does."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evfn.jobs.job import Job
from evfn.jobs.told import Began, Noted, Over, Refused, Told
from evfn_cli.json_log import JsonLog
from evfn_cli.masks import Masks
from evfn_cli.render import escape


class JobLog:
    """Each line goes out with one write: several processes share the descriptor, and none tears another's line."""

    def __init__(self, folder: Path, *, as_json: bool) -> None:
        self.masks = Masks(())
        self._json = JsonLog(_write, folder, self.masks) if as_json else None

    def ready(self, project: str, server: str, queues: Sequence[str], count: int) -> None:
        """The RQ workers are about to start: so many for each of the queues."""
        if self._json is not None:
            known = {"project": project, "server": server, "version": version("evfn")}
            self._json.say("jobs_awaited", **known, queues=list(queues), count=count)
        else:
            each = "an RQ worker" if count == 1 else f"{count} RQ workers"
            _write(f"{each} on queue {', '.join(map(escape, queues))}")

    def stopped(self, *, finished: bool) -> None:
        """None is left; whether what they ran came to its end."""
        if self._json is not None:
            self._json.say("jobs_stopped", "info" if finished else "warning", finished=finished)

    def tell(self, told: Told) -> None:
        """Write it down. Never raises: the jobs are worth more than the log."""
        if self._json is None:
            _write(escape(self.masks.mask(_text(told))))
            return
        self._json.masks = self.masks
        match told:
            case Began(job):
                self._json.say("job_began", **_which(job))
            case Over(job, well, text):
                self._json.say("job_over", "info" if well else "warning", **_which(job), text=text)
            case Refused(job_id, problem):
                self._json.say("job_refused", job=job_id, problem=problem)
            case Noted(text, grave):
                self._json.say("jobs_noted", "warning" if grave else "info", text=text)


def _which(job: Job) -> dict[str, Any]:
    return {
        "trigger": job.trigger,
        "topic": job.topic,
        "entry": job.entry,
        "attempt": job.attempt,
        "job": job.id,
    }


def _text(told: Told) -> str:
    match told:
        case Began(job):
            return f"{job.description}: begins ({job.id})"
        case Over(job, _, text):
            return f"{job.description}: {text}"
        case Refused(job_id, problem):
            return f"job {job_id} is refused: {problem}"
        case Noted(text):
            return text


def _write(line: str) -> None:
    with suppress(OSError):
        os.write(1, line.encode("utf-8", "backslashreplace") + b"\n")
