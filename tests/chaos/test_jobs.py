"""F51: jobs whose process, RQ worker, dispatcher, queue entry or server is lost run to their end, and settle once."""

import json
import os
import pickle
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import Popen

import pytest
import rq
from redis import Redis
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError

from chaos.machines import LEASE, Machine, Machines, Run, let_last
from evfn.broker.source import Source
from evfn.jobs.job import Job
from evfn.jobs.queue import JobQueue
from sandbox import wait_until


@pytest.fixture
def machines(machines: Machines) -> Machines:
    """With a trigger whose function runs as a job."""
    machines.project("isolation: job, retry: {attempts: 3, initial_delay: 100ms, jitter: none}")
    return machines


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def horse_of(run: Run) -> int:
    """RQ's work horse: function, template, horse."""
    return parent(parent(run.pid))


def attempts(machines: Machines, n: int) -> list[int]:
    return [run.attempt for run in machines.runs(n=n)]


def settled(machines: Machines) -> None:
    """Nothing is left of any job in evfn's own keys."""
    wait_until(lambda: machines.pending() == 0, description="all is settled")
    assert not machines.client.exists("evfn:{work}:sandbox/slow:jobs")


def test_f51_a_killed_job_is_a_crash_known_at_once(machines: Machines) -> None:
    """kill -9 of RQ's work horse ends the function, burns one attempt, and needs no lease to be noticed."""
    machines.hold("jobs")
    with machines.running("one") as one, machines.rq_worker("jobs"):
        machines.emit(1)
        (run,) = machines.wait_for_runs(1)
        os.kill(horse_of(run), signal.SIGKILL)
        wait_until(lambda: one.said("ended by signal SIGKILL"), description="the cause is told")
        machines.let_go("jobs")
        machines.wait_for_effects([1])
        settled(machines)
    assert attempts(machines, 1) == [1, 2]


def test_f51_a_job_that_rq_is_told_to_stop_is_a_crash_known_at_once(machines: Machines) -> None:
    """Whoever stops a job by RQ's tools ends one attempt; the cause is told, and no lost machine is suspected."""
    machines.hold("jobs")
    with machines.running("one") as one, machines.rq_worker("jobs"):
        machines.emit(1)
        machines.wait_for_runs(1)
        client = Redis.from_url(machines.server.url)
        (name,) = client.scan_iter("rq:job:*")
        send_stop_job_command(client, name.decode().removeprefix("rq:job:"), serializer="json")
        client.close()
        wait_until(lambda: one.said("ended by RQ's command to stop it"), description="the cause is told")
        machines.let_go("jobs")
        machines.wait_for_effects([1])
        settled(machines)
    assert attempts(machines, 1) == [1, 2]


def test_f51_a_killed_rq_worker_interrupts_its_job(machines: Machines) -> None:
    """Its job ends with it, burns no attempt, and runs in the one that takes its place."""
    machines.hold("jobs")
    with machines.running("one"), machines.rq_worker("jobs") as jobs:
        machines.emit(1)
        (run,) = machines.wait_for_runs(1)
        os.kill(parent(horse_of(run)), signal.SIGKILL)
        wait_until(lambda: jobs.said("another takes its place"), description="it is replaced")
        machines.let_go("jobs")
        machines.wait_for_effects([1])
        settled(machines)
    assert attempts(machines, 1) == [1, 1]


def test_f51_a_job_that_runs_for_three_leases_runs_once(machines: Machines) -> None:
    """It beats: nobody takes it for dead, however long it runs."""
    machines.hold("jobs")
    with machines.running("one"), machines.rq_worker("jobs"):
        machines.emit(1)
        machines.wait_for_runs(1)
        let_last(time.monotonic(), 3 * LEASE)
        machines.let_go("jobs")
        machines.wait_for_effects([1])
        settled(machines)
    assert attempts(machines, 1) == [1]


def kill_all(machines: Machines, machine: Machine) -> None:
    """As when the machine loses its power: everything of `evfn rq-worker` is gone at once."""
    mark = f"MACHINE={machine.name}".encode()
    pids = [pid for pid in machines.box.processes() if mark in Path(f"/proc/{pid}/environ").read_bytes()]
    for pid in [machine.process.pid, *pids]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_f51_a_machine_that_is_gone_is_found_by_its_beats(machines: Machines) -> None:
    """Nobody is left to tell: after a lease the attempt is a crash, and the next one runs elsewhere."""
    machines.hold("gone")
    with machines.running("one") as one:
        with machines.rq_worker("gone") as gone:
            machines.emit(1)
            machines.wait_for_runs(1)
            kill_all(machines, gone)
        with machines.rq_worker("other"):
            machines.wait_for_effects([1])
            settled(machines)
        assert one.said("no beat of")
    assert [(run.attempt, run.machine) for run in machines.runs(n=1)] == [(1, "gone"), (2, "other")]


def test_f51_a_dead_dispatcher_leaves_its_jobs_to_the_next(machines: Machines) -> None:
    """What runs goes on, what is queued stays queued; the new owner settles both, and starts neither again."""
    machines.hold("jobs")
    with machines.rq_worker("jobs"):
        with machines.running("one") as one:
            machines.emit(1, 2)
            machines.wait_for_runs(1)
            wait_until(lambda: machines.client.llen("rq:queue:evfn:sandbox") == 1, description="the other one waits")
            one.send(signal.SIGKILL)
            one.process.wait(10)
        with machines.running("two"):
            wait_until(lambda: consumer_of_both(machines) not in ("", "-"), description="they are taken over")
            machines.let_go("jobs")
            machines.wait_for_effects([1, 2])
            settled(machines)
    assert [(run.n, run.attempt) for run in machines.runs()] == [(1, 1), (2, 1)]


def consumer_of_both(machines: Machines) -> str:
    """Whose both deliveries are; empty where they are not one's, or that of an instance without a lease."""
    held = {str(each["consumer"]) for each in machines.client.xpending_range("work", "sandbox/slow", "-", "+", 10)}
    return held.pop() if len(held) == 1 and held <= machines.leases() else ""


def test_f51_a_drained_dispatcher_leaves_its_jobs_to_the_next(machines: Machines) -> None:
    """An instance ends at once, however long its jobs take."""
    machines.hold("jobs")
    with machines.rq_worker("jobs"):
        with machines.running("one") as one:
            machines.emit(1)
            machines.wait_for_runs(1)
            one.send(signal.SIGTERM)
            assert one.process.wait(10) == 0
        with machines.running("two"):
            machines.let_go("jobs")
            machines.wait_for_effects([1])
            settled(machines)
    assert attempts(machines, 1) == [1]


def test_f51_what_is_deleted_from_rq_is_enqueued_again(machines: Machines) -> None:
    """RQ's keys are transport: the delivery waits on its stream for a job that runs it."""
    with machines.running("one"):
        machines.emit(1)
        wait_until(lambda: machines.client.llen("rq:queue:evfn:sandbox") == 1, description="it is enqueued")
        machines.client.delete("rq:queue:evfn:sandbox", *machines.client.scan_iter("rq:job:*"))
        with machines.rq_worker("jobs"):
            machines.wait_for_effects([1])
            settled(machines)
    assert attempts(machines, 1) == [1]


def test_f51_jobs_outlast_a_restart_of_the_server(machines: Machines) -> None:
    """What runs meanwhile is not run again, and tells when the server is back."""
    machines.hold("jobs")
    with machines.running("one"), machines.rq_worker("jobs"):
        machines.emit(1)
        machines.wait_for_runs(1)
        machines.server.kill()
        machines.let_go("jobs")
        machines.server.start()
        machines.wait_for_effects([1])
        machines.emit(2)
        machines.wait_for_effects([1, 2])
        settled(machines)
    assert attempts(machines, 1) == [1]


Value = bytes | bytearray | memoryview | str | int | float
JOB = Job(
    project="sandbox",
    key_prefix="",
    trigger="slow",
    topic="work",
    source=Source.TOPIC,
    entry="1-0",
    attempt=1,
    lease_ms=1000,
    revision="r",
)


@pytest.mark.parametrize("left", [{"status": "failed"}, {"created_at": "yesterday"}, {"status": "?", "data": "?"}])
def test_f51_what_is_left_of_a_job_does_not_keep_its_delivery_from_running(
    machines: Machines, left: dict[Value, Value]
) -> None:
    """RQ writes to jobs that were deleted or evicted meanwhile; such a part of one makes way for the whole."""
    queue = JobQueue(machines.server.url, "evfn:sandbox")
    for enqueue in (queue.enqueue, queue.enqueue_again):
        machines.client.delete(f"rq:job:{JOB.id}", "rq:queue:evfn:sandbox")
        machines.client.hset(f"rq:job:{JOB.id}", mapping=left)
        enqueue([JOB])
        assert machines.client.lrange("rq:queue:evfn:sandbox", 0, -1) == [JOB.id]
        assert machines.client.hget(f"rq:job:{JOB.id}", "description") == JOB.description
    queue.close()


def test_f51_a_job_that_the_server_refuses_says_so(machines: Machines) -> None:
    """Where the password has changed under an RQ worker, its jobs cannot begin: they say why, the instance where to
    look, and they run once they can."""
    with machines.running("one") as one, machines.rq_worker("jobs") as jobs:
        machines.emit(1)
        machines.wait_for_effects([1])
        machines.client.config_set("requirepass", "another")
        machines.emit(2)
        wait_until(lambda: jobs.said("not begun"), description="it says so")
        assert jobs.said("uthentication required")
        wait_until(lambda: one.said("see the log of evfn rq-worker"), description="the instance notices")
        machines.client.config_set("requirepass", "")
        machines.wait_for_effects([1, 2])
        settled(machines)
    assert attempts(machines, 2) == [1]


def test_f51_two_dispatchers_enqueue_a_delivery_once(machines: Machines) -> None:
    """Its job has the same id for both; one that has ended does not stand in the way of the next."""
    job = JOB
    queues = [JobQueue(machines.server.url, "evfn:sandbox") for _ in range(2)]
    for queue in queues:
        queue.enqueue([job])
        queue.enqueue_again([job])
    assert machines.client.lrange("rq:queue:evfn:sandbox", 0, -1) == [job.id]
    machines.client.hset(f"rq:job:{job.id}", "status", "finished")
    machines.client.delete("rq:queue:evfn:sandbox")
    for queue in queues:
        queue.enqueue([job])
        queue.close()
    assert machines.client.lrange("rq:queue:evfn:sandbox", 0, -1) == [job.id]


class Trap:
    """Unpickling it is already too late."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_f51_foreign_jobs_are_refused_and_never_loaded(machines: Machines) -> None:
    """Who can write to the queue cannot run anything by it: no pickle, no function, no callback, no delivery of
    another's; and the jobs behind are run."""
    sprung = machines.box.folder / "sprung"
    pickled = pickle.dumps(("os.system", None, (Trap(sprung),), {}))
    asked = json.dumps(["os.system", None, [f"touch {sprung}"], {}]).encode()
    ours = json.dumps(["evfn.jobs.invoke", None, [], {"trigger": "slow"}]).encode()
    planted: list[dict[Value, Value]] = [
        {"data": pickled},
        {"data": asked},
        {"data": ours},
        {"data": ours, "success_callback_name": "os.system"},
        {"data": pickled, "meta": pickled, "status": "nonsense"},
    ]
    for number, fields in enumerate(planted):
        name = f"planted-{number}"
        machines.client.hset(f"rq:job:{name}", mapping={"created_at": "2026-01-01T00:00:00Z", "origin": "x"})
        machines.client.hset(f"rq:job:{name}", mapping=fields)
        machines.client.rpush("rq:queue:evfn:sandbox", name)
    with machines.running("one"), machines.rq_worker("jobs") as jobs:
        machines.emit(1)
        machines.wait_for_effects([1])
        for reason in ("is not JSON", "another function", "none of evfn's", "callbacks"):
            assert jobs.said(reason), reason
        assert not jobs.said("Traceback")
    assert not sprung.exists()


def test_f51_a_worker_of_another_revision_leaves_what_it_does_not_know(machines: Machines) -> None:
    """It says why; the job waits for a machine that has the trigger, and no attempt is burnt."""
    with machines.running("one", "--no-reload") as one:
        manifest = machines.box.folder / "triggers.yaml"
        new = manifest.read_text()
        manifest.write_text(new.replace("  slow:", "  older:"))
        with machines.rq_worker("old") as old:
            machines.emit(1)
            wait_until(lambda: old.said("has no trigger 'slow'"), description="the worker says so")
            wait_until(lambda: one.said("has no trigger 'slow'"), description="the instance says so, too")
        manifest.write_text(new)
        with machines.rq_worker("new"):
            machines.wait_for_effects([1])
            settled(machines)
    assert [(run.attempt, run.machine) for run in machines.runs()] == [(1, "new")]


def test_f51_a_function_that_does_not_load_there_burns_no_attempt(machines: Machines) -> None:
    """Its events wait until it does, as those of a broken trigger; and another revision is named."""
    function = machines.box.folder / "functions" / "slow.py"
    good = function.read_text()
    with machines.running("one", "--no-reload") as one, machines.rq_worker("jobs") as jobs:
        function.write_text("import not_installed_there\n")
        machines.emit(1)
        wait_until(lambda: one.said("not_installed_there"), description="the instance names what is missing")
        function.write_text(good + "\n# another revision\n")
        machines.wait_for_effects([1])
        assert jobs.said("runs here, the dispatcher has")
        settled(machines)
    assert attempts(machines, 1) == [1]


def end(process: "Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)


def test_f51_a_drained_rq_worker_finishes_what_runs(machines: Machines) -> None:
    """SIGTERM lets the job end and takes no other; what waits is run by the next."""
    machines.hold("one")
    with machines.running("instance"), ExitStack() as stack:
        jobs = stack.enter_context(machines.rq_worker("one"))
        machines.emit(1, 2)
        machines.wait_for_runs(1)
        end(jobs.process)
        wait_until(lambda: jobs.said("finishing what runs"), description="it drains")
        machines.let_go("one")
        assert jobs.process.wait(10) == 0
        machines.wait_for_effects([1])
        with machines.rq_worker("two"):
            machines.wait_for_effects([1, 2])
            settled(machines)
    assert [(run.n, run.attempt, run.machine) for run in machines.runs()] == [(1, 1, "one"), (2, 1, "two")]


def test_f51_sighup_reads_the_project_anew(machines: Machines) -> None:
    """What runs is finished as it began; one that cannot be used leaves all as it was."""
    manifest = machines.box.folder / "triggers.yaml"
    machines.hold("jobs")
    with machines.running("instance", "--no-reload"), machines.rq_worker("jobs") as jobs:
        machines.emit(1)
        machines.wait_for_runs(1)
        good = manifest.read_text()
        manifest.write_text(good + "nonsense: 1\n")
        jobs.send(signal.SIGHUP)
        wait_until(lambda: jobs.said("all stays as it was"), description="it says what is wrong")
        manifest.write_text(good.replace("isolation: job", "isolation: job, env: {NEW: '1'}"))
        jobs.send(signal.SIGHUP)
        wait_until(lambda: jobs.said("read anew"), description="it has read it")
        machines.let_go("jobs")
        machines.wait_for_effects([1])
        machines.box.function("slow", "def run(event):\n    note(os.environ['NEW'])\n    return event.data['n']\n")
        machines.emit(2)
        machines.wait_for_effects([1, 2])
        manifest.write_text(good.replace("isolation: job", "isolation: job, workers: {queue: heavier}"))
        jobs.send(signal.SIGHUP)
        wait_until(lambda: machines.client.scard("rq:workers:heavier") == 1, description="the new queue is served")
        wait_until(lambda: machines.client.scard("rq:workers:evfn:sandbox") == 0, description="the old one is not")
    assert "1" in machines.box.notes()


def test_f51_what_is_not_finished_in_time_runs_elsewhere(machines: Machines) -> None:
    """At the end of the drain the job is ended, and no attempt is burnt."""
    machines.hold("one")
    with machines.running("instance"):
        with machines.rq_worker("one", "--drain-timeout", "200ms") as jobs:
            machines.emit(1)
            machines.wait_for_runs(1)
            end(jobs.process)
            assert jobs.process.wait(10) == 1
            assert jobs.said("run again elsewhere")
        with machines.rq_worker("two"):
            machines.wait_for_effects([1])
            settled(machines)
    assert [(run.attempt, run.machine) for run in machines.runs()] == [(1, "one"), (1, "two")]


def test_f51_a_second_signal_aborts(machines: Machines) -> None:
    """The process dies by it at once; the job runs again elsewhere, and burns no attempt."""
    machines.hold("one")
    with machines.running("instance"):
        with machines.rq_worker("one") as jobs:
            machines.emit(1)
            machines.wait_for_runs(1)
            end(jobs.process)
            wait_until(lambda: jobs.said("finishing what runs"), description="it drains")
            end(jobs.process)
            assert jobs.process.wait(10) == -signal.SIGTERM
        with machines.rq_worker("two"):
            machines.wait_for_effects([1])
            settled(machines)
    assert [(run.attempt, run.machine) for run in machines.runs()] == [(1, "one"), (1, "two")]


def test_jobs_are_seen_in_rq(machines: Machines) -> None:
    """RQ's own tools show queue, workers, what failed and why, and refuse a second job of the same id."""
    with machines.running("one"), machines.rq_worker("jobs", "--count", "2"):
        machines.emit(1, fails=1)
        machines.wait_for_effects([1])
        client = Redis.from_url(machines.server.url)
        queue = rq.Queue("evfn:sandbox", connection=client, serializer="json")
        wait_until(lambda: queue.finished_job_registry.count == 1, description="RQ knows what ran well")
        assert rq.Worker.count(queue=queue) == 2
        (failed,) = queue.failed_job_registry.get_job_ids()
        job = queue.fetch_job(failed)
        assert job is not None
        result = job.latest_result()
        assert result is not None
        assert "RuntimeError: as told" in str(result.exc_string)
        assert job.description == f"slow on work {failed.rpartition('_')[2]}, attempt 1"
        with pytest.raises(DuplicateJobError):
            queue.enqueue_call("evfn.jobs.invoke", job_id=failed, unique=True)
        client.close()


def read_anew(jobs: Machine, times: int) -> bool:
    return jobs.log.read_text().count("read anew") == times


def test_f51_many_reloads_interrupt_nothing(machines: Machines) -> None:
    """What runs is finished however often the project is read anew meanwhile, and also in the drain that follows."""
    machines.hold("jobs")
    with machines.running("instance"), machines.rq_worker("jobs") as jobs:
        machines.emit(1)
        machines.wait_for_runs(1)
        for count in (1, 2, 3):
            jobs.send(signal.SIGHUP)
            wait_until(partial(read_anew, jobs, count), description="it is read")
        end(jobs.process)
        wait_until(lambda: jobs.said("finishing what runs"), description="it drains")
        machines.let_go("jobs")
        assert jobs.process.wait(10) == 0
        machines.wait_for_effects([1])
        settled(machines)
    assert attempts(machines, 1) == [1]


def test_f51_a_drain_needs_no_server(machines: Machines) -> None:
    """SIGTERM ends an RQ worker that waits for the server at once."""
    with machines.rq_worker("jobs") as jobs:
        machines.server.kill()
        heard = ("could not connect", "the server is away")
        wait_until(lambda: any(map(jobs.said, heard)), description="it has noticed")
        end(jobs.process)
        assert jobs.process.wait(10) == 0
    machines.server.start()


def test_f51_a_job_that_comes_too_late_leaves_nothing(machines: Machines) -> None:
    """One whose delivery is settled, on a machine that would not run it either, writes no word to nobody."""
    with machines.running("one"):
        machines.emit(1)
        with machines.rq_worker("jobs"):
            machines.wait_for_effects([1])
            settled(machines)
        (job,) = machines.client.scan_iter("rq:job:*")
        name = str(job).removeprefix("rq:job:")
        manifest = machines.box.folder / "triggers.yaml"
        manifest.write_text(manifest.read_text().replace("  slow:", "  older:"))
        with machines.rq_worker("old") as old:
            machines.client.rpush("rq:queue:evfn:sandbox", name)
            wait_until(lambda: old.said("settled already"), description="it has had its turn")
        assert not machines.client.exists("evfn:{work}:sandbox/slow:jobs")


def test_f51_what_is_gone_from_its_stream_is_waited_for_no_longer(machines: Machines) -> None:
    """Somebody deleted topic and group: deliveries that nobody can run take no place of those that come."""
    machines.project("isolation: job, workers: {max: 1}")
    with machines.running("one"):
        machines.emit(1)
        wait_until(lambda: machines.client.llen("rq:queue:evfn:sandbox") == 1, description="it is enqueued")
        machines.client.delete("work")
        machines.emit(2)
        with machines.rq_worker("jobs"):
            machines.wait_for_effects([2])
            settled(machines)
