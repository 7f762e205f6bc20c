"""RQ does its work as the generated users: an instance enqueues, an RQ worker takes the job and keeps its books."""

import shlex

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from evfn.broker import acl
from evfn.trigger import Isolation, Project, Trigger
from servers import RealServer

PROJECT = Project("shop", (Trigger("pack", ("orders.new",), "pack", isolation=Isolation.JOB),))


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_rq_lacks_nothing(server: RealServer) -> None:
    """Jobs that succeed and that fail, unique ones, workers that come, beat, listen for orders and go; by the server's
    own log nothing was refused."""
    for role in (acl.Role.INSTANCE, acl.Role.RQ_WORKER):
        assert server.command(*shlex.split(acl.user(role, PROJECT).command("right"))) == b"+OK"
    server.command("ACL", "LOG", "RESET")
    path = str(server.path)
    try:
        with (
            Redis(unix_socket_path=path, username="shop-instance", password="right") as instance,  # noqa: S106
            Redis(unix_socket_path=path, username="shop-rq-worker", password="right") as worker,  # noqa: S106
        ):
            queue = Queue("evfn", connection=instance, serializer=JSONSerializer)
            good = queue.enqueue("operator.add", 1, 2, job_id="good", unique=True)
            bad = queue.enqueue("operator.add", 1, "x", job_id="bad")
            queues = [Queue("evfn", connection=worker, serializer=JSONSerializer)]
            SimpleWorker(queues, connection=worker, serializer=JSONSerializer).work(burst=True)
            assert good.get_status(refresh=True) is JobStatus.FINISHED
            assert bad.get_status(refresh=True) is JobStatus.FAILED
            assert good.latest_result() is not None
            bad.delete()
        # What a client calls itself; redis-py does without, and Redis 7.0 does not know the command.
        assert {each for each in server.denied() if not each.endswith("client|setinfo")} == set()
    finally:
        for role in (acl.Role.INSTANCE, acl.Role.RQ_WORKER):
            server.command("ACL", "DELUSER", f"shop-{role.value}")
