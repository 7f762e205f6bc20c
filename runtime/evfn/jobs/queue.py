"""The dispatcher's end of an RQ queue. Calls block: they are made in a thread."""

from collections.abc import Iterable

import rq
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import JobStatus

from evfn.broker.refusal import translate
from evfn.broker.rq_client import FAILURES, rq_client
from evfn.broker.url import parse
from evfn.jobs.job import FUNCTION, Job

FAILED_KEPT = 24 * 60 * 60
"""Seconds for which RQ's tools show a failed job; of what ran well they show as long as RQ usually does."""
_UNDER_WAY = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.CREATED)


class JobQueue:
    """`name` is RQ's. Methods raise BrokerUnavailable for what may pass later, BrokerError for what will not."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._url = parse(url)
        self._queue = rq.Queue(name, connection=rq_client(self._url), serializer="json")

    def enqueue(self, jobs: Iterable[Job]) -> None:
        """Have these run, each unless it is queued or runs already, by whomever."""
        try:
            for job in jobs:
                if not self._enqueue(job) and self._is_over(job):
                    self._forget(job)
                    self._enqueue(job)
        except FAILURES as error:
            raise translate(error, self._url.masked, sent=True) from error

    def enqueue_again(self, jobs: Iterable[Job]) -> frozenset[str]:
        """The same for jobs that nobody has taken; those that still wait for an RQ worker are left as they are.

        The ids of those that do not wait any more: an RQ worker had them, or they are lost.
        """
        gone: set[str] = set()
        try:
            for job in jobs:
                if not self._waits(job):
                    gone.add(job.id)
                    self._forget(job)
                    self._enqueue(job)
            return frozenset(gone)
        except FAILURES as error:
            raise translate(error, self._url.masked, sent=True) from error

    def workers(self) -> int:
        """How many RQ workers listen on the queue."""
        try:
            return rq.Worker.count(queue=self._queue)
        except FAILURES as error:
            raise translate(error, self._url.masked, sent=True) from error

    def close(self) -> None:
        self._queue.connection.close()

    def _enqueue(self, job: Job) -> bool:
        """False where RQ knows a job of this id."""
        try:
            self._queue.enqueue_call(
                FUNCTION,
                kwargs=job.arguments(),
                job_id=job.id,
                unique=True,
                timeout=-1,  # The trigger's timeout is kept beside the function, not by RQ.
                failure_ttl=FAILED_KEPT,
                description=job.description,
            )
        except DuplicateJobError:
            return False
        return True

    def _is_over(self, job: Job) -> bool:
        """What ran before is shown for a while; its id must not keep the same delivery from running again."""
        found = self._find(job)
        return found is None or found.get_status(refresh=False) not in _UNDER_WAY

    def _waits(self, job: Job) -> bool:
        return self._find(job) is not None and self._queue.get_job_position(job.id) is not None

    def _forget(self, job: Job) -> None:
        found = self._find(job)
        if found is not None:
            found.delete()
        self._queue.remove(job.id)
        self._queue.connection.delete(rq.job.Job.key_for(job.id))

    def _find(self, job: Job) -> rq.job.Job | None:
        """None where RQ has no such job, and where it has something that is none: who writes to one that was deleted
        meanwhile, as RQ itself does, leaves a part of a job."""
        try:
            return rq.job.Job.fetch(job.id, connection=self._queue.connection, serializer="json")
        except (NoSuchJobError, ValueError, KeyError, TypeError):
            return None
