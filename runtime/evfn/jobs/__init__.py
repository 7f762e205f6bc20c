"""Functions as RQ jobs: RQ carries and shows them, evfn alone decides what becomes of them."""

from typing import NoReturn


def invoke(**job: object) -> NoReturn:
    """What RQ is told to call. `evfn rq-worker` knows the job for what it is, and runs it without this.

    Raises RuntimeError: only another RQ worker comes here.
    """
    raise RuntimeError(f"this is a job of evfn ({job.get('trigger')}); it runs in `evfn rq-worker`, not in `rq worker`")
