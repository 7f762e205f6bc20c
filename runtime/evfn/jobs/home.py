"""The project on a machine that runs jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evfn.jobs.job import Job
from evfn.nearest import did_you_mean
from evfn.trigger import Isolation, Project, Trigger


@dataclass(frozen=True, slots=True)
class Home:
    """`env_file` holds the variables of `.env` that the environment does not have itself; `server` is the URL."""

    project: Project
    env_file: Mapping[str, str]
    folder: Path
    functions: Path
    server: str

    def trigger(self, job: Job) -> Trigger:
        """What the manifest here says of a job's trigger. Raises ValueError for a job that is not of this project."""
        if (job.project, job.key_prefix) != (self.project.name, self.project.settings.key_prefix):
            theirs = f"{job.project} (key prefix {job.key_prefix!r})"
            raise ValueError(f"the job is of project {theirs}, this is {self.project.name}")
        triggers = {trigger.name: trigger for trigger in self.project.triggers}
        found = triggers.get(job.trigger)
        if found is None:
            hint = did_you_mean(job.trigger, triggers)
            raise ValueError(f"the manifest here has no trigger {job.trigger!r}{hint}: is this an older revision?")
        if found.isolation is not Isolation.JOB:
            raise ValueError(f"{job.trigger} has no `isolation: job` in the manifest here: is this another revision?")
        return found
