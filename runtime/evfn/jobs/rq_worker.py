"""An RQ worker for evfn's jobs: RQ fetches, forks, shows; what a job is, and how it ends, is decided here.

Nothing in the queue is unpickled or imported, whoever put it there.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import rq
import rq.job
from rq.exceptions import DeserializationError, StopRequested
from rq.executions import Execution

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.mailbox import Mailboxes
from evfn.broker.rq_client import FAILURES
from evfn.clock import SystemClock
from evfn.errors import BrokerError, EvfnError
from evfn.jobs.home import Home
from evfn.jobs.horse import Horse, Ran
from evfn.jobs.job import FUNCTION, Job, read
from evfn.jobs.report import pack
from evfn.jobs.told import Began, Noted, Over, Refused, Told
from evfn.outcome import Crashed
from evfn.workers import kinship

WORKER_TTL = 18
"""Seconds: RQ blocks for this less 15 at a time, and gives up on a silent server 10 s later."""


class JobWorker(rq.Worker):
    """`tell` gets every job, and everything else that a person should know."""

    max_connection_wait_time = 2.0
    log_result_lifespan = False

    def __init__(self, queue: str, home: Home, connection: Any, tell: Callable[[Told], None]) -> None:
        super().__init__(
            [queue],
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            connection=connection,
            serializer="json",
            worker_ttl=WORKER_TTL,
            log_job_description=False,
        )
        self.stop_asked = False
        self._home = home
        self._tell = tell
        self._me = ""
        self._fetching = False

    # --- fetching ----------------------------------------------------------------------------------------------------

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[rq.job.Job, rq.Queue] | None:
        if self.stop_asked:
            raise StopRequested
        self._fetching = True
        try:
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        finally:
            self._fetching = False

    def execute_job(self, job: rq.job.Job, queue: rq.Queue) -> None:
        try:
            mine = _accepted(job)
        except ValueError as error:
            self._refuse(job, queue, str(error))
            return
        self._me = f"{self.name}-{secrets.token_hex(6)}"
        self._tell(Began(mine))
        try:
            super().execute_job(job, queue)
        except FAILURES as error:
            # The horse goes on, and waits for the server to tell how it ended.
            self._tell(Noted(f"the server is away: {_one_line(error)}; the job goes on"))
            while self.horse_pid:
                if self.wait_for_horse()[0] is not None:
                    self._horse_pid = 0
                else:
                    break

    def maintain_heartbeats(self, job: rq.job.Job, execution: Execution) -> None:
        try:
            super().maintain_heartbeats(job, execution)
        except FAILURES:
            return  # They are for RQ's tools only.

    # --- stopping ----------------------------------------------------------------------------------------------------

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.request_stop)

    def request_stop(self, signum: Any, frame: FrameType | None) -> None:
        """First: take no other job. Second: end the one that runs, too; it is run again, and no attempt is burnt."""
        if self.stop_asked and self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)
        self.stop_asked = self._stop_requested = True
        if self._fetching:
            raise StopRequested

    # --- in the horse ------------------------------------------------------------------------------------------------

    def perform_job(self, job: rq.job.Job, queue: rq.Queue, execution: Execution) -> bool:
        """Run it; tell RQ for those who look at its tools."""
        if not kinship.die_with_parent(self.pid or 0, signal.SIGTERM):
            return False
        job.started_at = datetime.now(UTC)
        mine = _accepted(job)
        try:
            self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        except FAILURES as error:
            # Nobody has taken it: the dispatcher notices, and has it enqueued again.
            self._tell(Over(mine, False, f"not begun, for the server is away or refuses: {_one_line(error)}"))
            return False
        try:
            ran = asyncio.run(self._ride(mine))
        except EvfnError as error:
            ran = Ran(False, str(error))
        self._tell(Over(mine, ran.well, ran.text))
        try:
            if ran.well:
                self._finalize_success(job, queue, execution, ran.text)
            else:
                self.handle_execution_ended(job, queue, job.failure_callback_timeout)
                self.handle_job_failure(job, queue, exc_string=ran.text, execution=execution)
        except FAILURES:
            return False
        return True

    async def _ride(self, job: Job) -> Ran:
        return await Horse(job, self._home, self._me, self._tell).run()

    # --- in the worker, when a horse was killed ----------------------------------------------------------------------

    def handle_work_horse_killed(self, job: rq.job.Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        code = os.waitstatus_to_exitcode(ret_val)
        self._died(job, f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}", code)

    def _handle_stopped_job(self, job: rq.job.Job, queue: rq.Queue, execution: Execution) -> None:
        self._died(job, "RQ's command to stop it")
        super()._handle_stopped_job(job, queue, execution)

    def _died(self, job: rq.job.Job, how: str, code: int | None = None) -> None:
        """Tell the dispatcher at once, instead of when its beats stand still for a lease."""
        mine = _accepted(job)
        self._tell(Over(mine, False, f"its process was ended by {how}"))
        try:
            asyncio.run(self._crashed(mine, Crashed(f"the process of its job was ended by {how}", code)))
        except BrokerError:
            return  # Then the beats tell.

    async def _crashed(self, job: Job, crashed: Crashed) -> None:
        connection = await Connection.open(self._home.server, clock=SystemClock())
        try:
            boxes = Mailboxes(connection, Keys(job.key_prefix), job.topic, job.group)
            (box,) = await boxes.read([job.run])
            if box.by == self._me and box.begun:
                await boxes.report(job.run, self._me, pack(crashed, timedelta(), []))
            elif box.by == self._me:
                await boxes.reset(job.run, self._me, refusal=f"{socket.gethostname()}: {crashed.cause}")
        finally:
            await connection.close()

    def _refuse(self, job: rq.job.Job, queue: rq.Queue, why: str) -> None:
        """Fail what is no job of evfn, without looking at what it asks for."""
        self._tell(Refused(job.id, why))
        execution = self.prepare_execution(job)
        job.started_at = job.ended_at = datetime.now(UTC)
        job.webhooks, job.retries_left = [], 0
        try:
            self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
            self.handle_job_failure(job, queue, exc_string=f"refused by evfn: {why}", execution=execution)
        finally:
            self.executions.pop(execution.id, None)


class _Lines(logging.Handler):
    """What RQ itself has to say, a line each and none twice in a row; what it says of each job is said better."""

    def __init__(self, tell: Callable[[Told], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg != self._last:
            self._last = str(record.msg)
            self._tell(Noted(_one_line(record.getMessage())))


def speak(tell: Callable[[Told], None]) -> None:
    """Have RQ's own messages told in this way, in this process and those it forks."""
    for name in ("rq.worker", "rq.job", "rq.queue"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_Lines(tell)]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def _accepted(job: rq.job.Job) -> Job:
    """Raises ValueError for what evfn has not enqueued: what it names is neither loaded nor called."""
    try:
        function, arguments = job.func_name, job.kwargs
    except DeserializationError:
        raise ValueError("its content is not JSON; nothing of it was loaded") from None
    if function != FUNCTION or job.args or job.instance is not None:
        raise ValueError(f"it names another function than evfn's: {_one_line(function)}")
    callbacks = (job._success_callback_name, job._failure_callback_name, job._stopped_callback_name)
    if any(callbacks) or job.webhooks:
        raise ValueError("it asks for callbacks, which evfn never does")
    try:
        mine = read(arguments)
    except ValueError as error:
        raise ValueError(f"its arguments are none of evfn's: {_one_line(error)}") from error
    if mine.id != job.id:
        raise ValueError("its id is not the one evfn gives to what it asks for")
    return mine


def _one_line(what: object) -> str:
    return " ".join(str(what).split())[:200]
