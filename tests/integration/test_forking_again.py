"""What the dispatcher asks a template process for: all it takes to load a function, or one more of what is loaded."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from evfn.workers import process, template_process
from evfn.workers.frame import SLOTS
from evfn.workers.process import Worker
from evfn.workers.protocol import Fork, ForkAgain, Message, Pinned, Ready, WorkerConfig, encode
from evfn.workers.template_process import Template
from waiting import wait_until

FUNCTION = "def run(event):\n    pass\n"


class Project:
    """One function, and all workers that it gets of a template process. `orders` says how they were asked for."""

    def __init__(self, folder: Path, orders: list[type]) -> None:
        self.template = Template()
        self.orders = orders
        self.workers: list[Worker] = []
        module = folder / "functions" / "it.py"
        module.parent.mkdir()
        module.write_text(FUNCTION)
        self._pinned = Pinned("r1", {"functions.it": str(module)}, {str(module): FUNCTION.encode()})
        self.config = WorkerConfig(
            project="tests",
            project_dir=str(folder),
            functions_dir=str(module.parent),
            trigger="under-test",
            function="it:run",
            emits=[],
            data_modes={},
            concurrency=1,
            timeout_ms=30_000,
            slots=SLOTS,
            env={"PATH": os.environ["PATH"]},
            pinned=self._pinned,
            kept=True,
        )

    async def worker(self) -> Worker:
        """One more, once its function is loaded."""
        return await self.ready(await self.template.fork(self.config))

    async def ready(self, worker: Worker) -> Worker:
        self.workers.append(worker)
        said: list[Message] = []
        worker.on_message = said.append
        await wait_until(lambda: bool(said), "it has loaded the function")
        (answer,) = said
        assert answer == Ready("r1", is_async=False, modules=self._pinned.modules), answer
        return worker

    async def end(self) -> None:
        """End the template process, and see every worker end."""
        await self.template.stop()
        await wait_until(lambda: all(worker.ended for worker in self.workers), "the workers have ended")

    async def loaded_template(self) -> int:
        """The pid of the one there is, once it is there."""
        await wait_until(lambda: len(self._loaded()) == 1, "a loaded template is kept")
        return self._loaded()[0]

    def _loaded(self) -> list[int]:
        assert self.template._process is not None
        pid = self.template._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(each) for each in children if _name(each) == "evfn-loaded\n"]


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""  # It has just ended.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner) -> Iterator[Project]:
    """With a worker, and its loaded template."""
    orders: list[type] = []

    def noted(message: Message) -> bytes:
        orders.append(type(message))
        return encode(message)

    monkeypatch.setattr(template_process, "encode", noted)
    project = Project(tmp_path, orders)

    async def begin() -> None:
        await project.worker()
        await project.loaded_template()

    try:
        runner.run(begin())
        yield project
    finally:
        runner.run(project.end())


async def test_code_is_sent_until_a_loaded_template_has_it(project: Project) -> None:
    """From then on a worker costs the same however much code there is."""
    for _ in range(3):
        await project.worker()
    assert project.orders == [Fork, Fork, ForkAgain, ForkAgain]


async def test_another_config_is_asked_for_in_full(project: Project) -> None:
    """What a loaded template has is its own config's alone."""
    await project.worker()
    project.config = msgspec.structs.replace(project.config, trigger="another")
    await project.worker()
    assert project.orders == [Fork, Fork, Fork]


async def test_f57_what_a_killed_loaded_template_had_is_sent_again(project: Project) -> None:
    """Nobody notices but the one worker that imports anew."""
    await project.worker()
    os.kill(await project.loaded_template(), signal.SIGKILL)
    await wait_until(lambda: not project._loaded(), "it is gone")
    await project.worker()
    await project.loaded_template()
    await project.worker()
    await project.worker()
    assert project.orders == [Fork, Fork, ForkAgain, Fork, Fork, ForkAgain]


async def test_f57_a_short_order_that_a_loaded_template_dies_on_is_carried_out(project: Project) -> None:
    """Asked for while it stands still, and killed: no worker is waited for in vain."""
    await project.worker()
    pid = await project.loaded_template()
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(project.template.fork(project.config))
        await wait_until(lambda: project.orders[-1] is ForkAgain, "it is asked for")
        os.kill(pid, signal.SIGKILL)
    await project.ready(asked.result())
    assert project.orders == [Fork, Fork, ForkAgain, Fork]


async def test_a_new_template_process_is_told_everything(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing of what the one before had."""
    monkeypatch.setattr(process, "STATUS_PATIENCE", 0.01)  # There is nobody to wait for.
    await project.worker()
    assert project.template._process is not None
    project.template._process.kill()
    await wait_until(lambda: project.template._control is None, "its end is seen")
    await project.worker()
    assert project.orders == [Fork, Fork, Fork]


async def test_what_is_forgotten_is_asked_for_in_full(project: Project) -> None:
    """Its loaded template ends with its last worker."""
    await project.worker()
    project.template.forget(project.config, "r1")
    await project.worker()
    assert project.orders[-1] is Fork
