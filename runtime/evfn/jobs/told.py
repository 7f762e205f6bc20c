"""What a machine that runs jobs tells whoever shows it. Values only, as `evfn.listener` has them for an instance."""

from dataclasses import dataclass

from evfn.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Began:
    """A job was taken from RQ's queue."""

    job: Job


@dataclass(frozen=True, slots=True)
class Over:
    """A job is over; `text` says how. What it means for the event is the instance's to say."""

    job: Job
    well: bool
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in the queue is no job of evfn, or none of this project: nothing of it was loaded or called."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a person should know, in one line; `grave` where it may take a person to mend it."""

    text: str
    grave: bool = True


Told = Began | Over | Refused | Noted
