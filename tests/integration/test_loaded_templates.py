"""Workers that are forked where their function is imported already: as those before, and in no time."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evfn.workers.loaded_templates import MOST
from evfn.workers.protocol import Forget, Pinned, Ready, Stop, encode, identity
from sandbox import wait_until
from workshop import Worker, Workshop, plain

LOADED = b"evfn-loaded\n"
MODULE = """
import os

with open(os.path.join(os.path.dirname(__file__), "imports.txt"), "a") as file:
    file.write(f"{os.getpid()}\\n")
"""
FUNCTION = """

def run(event):
    print(os.getpid(), os.environ["GREETING"])
"""


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """A template of its own: what it keeps is what a test looks at."""
    with Workshop() as shop:
        yield shop


class Project:
    """One function that notes its imports, and all workers that it gets."""

    def __init__(self, shop: Workshop, folder: Path, more: str = "", function: str = FUNCTION) -> None:
        self.shop = shop
        self.folder = folder
        (folder / "functions").mkdir(parents=True, exist_ok=True)
        (folder / "functions" / "it.py").write_text(MODULE + more + function)

    def first(self, **config: Any) -> tuple[Worker, Ready]:
        """The worker that imports, once it has decided whether it leaves a template."""
        worker = self.shop.fork("", "it:run", project_dir=self.folder, kept=True, **config)
        worker.run(plain({}))
        return worker, self.shop.loaded(worker)

    def next(self, revision: str, **config: Any) -> Worker:
        """One more of the same revision."""
        module = self.folder / "functions" / "it.py"
        pinned = Pinned(revision, {"functions.it": str(module)}, {str(module): module.read_bytes()})
        worker = self.shop.fork("", "it:run", project_dir=self.folder, kept=True, pinned=pinned, **config)
        worker.run(plain({}))
        return worker

    def imports(self) -> int:
        return len((self.folder / "functions" / "imports.txt").read_text().splitlines())


def loaded_templates(shop: Workshop) -> list[int]:
    """The pids of those that the template keeps."""
    children = Path(f"/proc/{shop.process.pid}/task/{shop.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if comm(int(pid)) == LOADED]


def comm(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return b""


def keeps(shop: Workshop, count: int) -> list[int]:
    """Wait until it keeps so many."""
    wait_until(lambda: len(loaded_templates(shop)) == count, description=f"{count} loaded templates are kept")
    return loaded_templates(shop)


def test_later_workers_import_nothing(workshop: Workshop, tmp_path: Path) -> None:
    """However many there are, together or one after the other: module-level code has run once."""
    project = Project(workshop, tmp_path)
    first, ready = project.first()
    keeps(workshop, 1)
    second, third = project.next(ready.revision), project.next(ready.revision)
    assert len({first.pid, second.pid, third.pid}) == 3
    for worker in (first, second, third):
        assert worker.lines() == [("stdout", f"{worker.pid} hello")]
        assert workshop.loaded(worker) == ready
    second.send(Stop())
    assert second.wait_for_end() == 0
    project.next(ready.revision)
    assert project.imports() == 1


def test_a_worker_does_not_see_what_another_did(workshop: Workshop, tmp_path: Path) -> None:
    """A loaded template runs no event: what a function keeps in its module is its own process's."""
    count = "\n\ncount = 0\n\ndef run(event):\n    global count\n    count += 1\n    print(count)\n"
    project = Project(workshop, tmp_path, function=count)
    first, ready = project.first()
    first.run(plain({}), first=1)
    keeps(workshop, 1)
    assert project.next(ready.revision).lines() == [("stdout", "1")]
    assert first.lines(1) == [("stdout", "2")]


def test_each_worker_draws_numbers_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    """Python's generator and NumPy's are seeded anew in each, also where the import has drawn from them."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    (tmp_path / "numpy" / "random.py").write_text("from random import Random\nown = Random(1)\nseed = own.seed\n")
    draw = "\n\ndef run(event):\n    print(random.random(), numpy.random.own.random())\n"
    project = Project(workshop, tmp_path, "import random\nimport numpy.random\nrandom.random()\n", draw)
    _, ready = project.first()
    keeps(workshop, 1)
    drawn = [project.next(ready.revision).lines()[0][1].split() for _ in range(3)]
    assert project.imports() == 1
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 3


LEFT = {
    "a thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    "a socket": "import socket\nheld = socket.socketpair()\n",
    "a file": "held = open(__file__)\n",
    "a child process": "import subprocess\nheld = subprocess.Popen(['sleep', '60'])\n",
    "an end": "import atexit\natexit.register(print, 'over')\n",
    "a folder that ends with it": "import tempfile\nheld = tempfile.TemporaryDirectory()\n",
    "a timer": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 600)\n",
    "shared memory": "import mmap\nheld = mmap.mmap(-1, 4096)\n",
    "another output": "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n",
}


@pytest.mark.parametrize("left", sorted(LEFT))
def test_what_forks_would_share_is_imported_by_each(workshop: Workshop, tmp_path: Path, left: str) -> None:
    """Then every worker imports for itself, as it would alone."""
    project = Project(workshop, tmp_path, LEFT[left])
    _, ready = project.first()
    project.next(ready.revision)
    assert project.imports() == 2
    assert loaded_templates(workshop) == []


def test_what_most_functions_import_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    """Large parts of the standard library and evfn's own parts for typed data are no reason to import again."""
    modules = "asyncio, concurrent.futures, csv, decimal, email.message, http.client, json, multiprocessing, random, \
sqlite3, ssl, statistics, subprocess, tempfile, urllib.request, uuid, zipfile, zoneinfo, pydantic"
    typed = "\n\ndef run(event, data: dict[str, int]):\n    print(data)\n"
    project = Project(workshop, tmp_path, f"import {modules}\nmultiprocessing.get_context('spawn')\n", typed)
    _, ready = project.first()
    keeps(workshop, 1)
    project.next(ready.revision)
    assert project.imports() == 1


@pytest.mark.parametrize("traced", [False, True], ids=["plain", "traced"])
def test_async_functions_are_forked_as_well(workshop: Workshop, tmp_path: Path, traced: bool) -> None:
    """Each worker has an event loop of its own, with spans or without."""
    text = "import asyncio\n\nasync def run(event):\n    await asyncio.sleep(0)\n    print(os.getpid())\n"
    project = Project(workshop, tmp_path, function=text)
    _, ready = project.first(traced=traced)
    keeps(workshop, 1)
    for _ in range(2):
        worker = project.next(ready.revision, traced=traced)
        assert worker.lines() == [("stdout", str(worker.pid))]
        worker.send(Stop())
        assert worker.wait_for_end() == 0
    assert project.imports() == 1


def test_another_environment_or_revision_is_another_import(workshop: Workshop, tmp_path: Path) -> None:
    """A worker gets the code, the env and the settings that it was asked for, never those of a neighbour."""
    project = Project(workshop, tmp_path)
    _, ready = project.first()
    keeps(workshop, 1)
    changed = project.next(ready.revision, env={"GREETING": "goodbye", "PATH": os.environ["PATH"]})
    assert changed.lines() == [("stdout", f"{changed.pid} goodbye")]
    assert project.imports() == 2
    project.next("another")
    assert project.imports() == 3
    project.next(ready.revision, timeout_ms=1)
    assert project.imports() == 4


def test_without_need_nothing_is_kept(workshop: Workshop, tmp_path: Path) -> None:
    """`evfn check`, `evfn invoke` and jobs load a function once."""
    project = Project(workshop, tmp_path)
    worker = workshop.fork("", "it:run", project_dir=project.folder)
    worker.run(plain({}))
    assert loaded_templates(workshop) == []


def test_f57_a_loaded_template_that_is_killed_is_done_without(workshop: Workshop, tmp_path: Path) -> None:
    """The next worker imports for itself, and leaves another one."""
    project = Project(workshop, tmp_path)
    first, ready = project.first()
    (pid,) = keeps(workshop, 1)
    second = project.next(ready.revision)
    os.kill(pid, signal.SIGKILL)
    assert second.wait_for_end() == -signal.SIGKILL
    first.run(plain({}), first=1)  # It is the template's own.
    third = project.next(ready.revision)
    assert project.imports() == 2
    assert keeps(workshop, 1) != [pid]
    project.next(ready.revision)
    assert project.imports() == 2
    third.signal(signal.SIGKILL)
    assert third.wait_for_end() == -signal.SIGKILL


def test_f57_an_order_that_a_loaded_template_dies_on_is_carried_out(workshop: Workshop, tmp_path: Path) -> None:
    """Asked for while it stands still, and killed: no worker is waited for in vain."""
    project = Project(workshop, tmp_path)
    _, ready = project.first()
    (pid,) = keeps(workshop, 1)
    os.kill(pid, signal.SIGSTOP)
    pinned = Pinned(ready.revision, {}, {})
    worker = workshop.order("", "it:run", project_dir=tmp_path, kept=True, pinned=pinned)
    os.kill(pid, signal.SIGKILL)
    workshop.loaded(workshop.attach(worker))
    assert project.imports() == 2


def test_ends_are_told_as_ever(workshop: Workshop, tmp_path: Path) -> None:
    """Exit codes, signals and stacks of workers that a loaded template forked; Ctrl-C and its like end none."""
    ends = """

def run(event):
    match event.data:
        case {"exit": code}:
            os._exit(code)
        case {"signal": number}:
            os.kill(os.getpid(), number)
        case {"fault": _}:
            import ctypes
            ctypes.string_at(0)
"""
    project = Project(workshop, tmp_path, function=ends)
    _, ready = project.first()
    keeps(workshop, 1)
    for data, status in (({"exit": 3}, 3), ({"signal": 15}, -15), ({"signal": 1}, -1), ({"fault": 1}, -11)):
        worker = project.next(ready.revision)
        worker.hand_over(plain(data), first=1)
        assert worker.wait_for_end() == status
    assert "Segmentation fault" in worker.dump()
    assert "it.py" in worker.dump()
    worker = project.next(ready.revision)
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGUSR1)
    worker.run(plain({}), first=1)
    assert project.imports() == 1


def test_signals_are_as_the_import_left_them(workshop: Workshop, tmp_path: Path) -> None:
    """Handlers and what is blocked, in every worker."""
    module = """
import signal

signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
"""
    function = """

def run(event):
    os.kill(os.getpid(), signal.SIGTERM)
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
    project = Project(workshop, tmp_path, module, function)
    first, ready = project.first()
    keeps(workshop, 1)
    second = project.next(ready.revision)
    assert first.lines() == second.lines() == [("stdout", "asked to end"), ("stdout", f"[{signal.SIGUSR2!r}]")]
    assert project.imports() == 1


def test_f15_nothing_outlives_a_worker_of_a_loaded_template(workshop: Workshop, tmp_path: Path) -> None:
    """A grandchild in a session of its own ends with it; the template and other workers do not."""
    leaves = """

def run(event):
    import subprocess
    print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
"""
    project = Project(workshop, tmp_path, function=leaves)
    first, ready = project.first()
    keeps(workshop, 1)
    worker = project.next(ready.revision)
    stray = int(worker.lines()[0][1])
    worker.signal(signal.SIGKILL)
    worker.wait_for_end()
    wait_until(lambda: not alive(stray), description="the stray is ended")
    assert alive(int(first.lines()[0][1]))
    keeps(workshop, 1)
    project.next(ready.revision)
    assert project.imports() == 1


@pytest.mark.parametrize("how", ["hangs up", "is killed"])
def test_f15_loaded_templates_end_with_the_template(tmp_path: Path, how: str) -> None:
    """With their workers, whether the dispatcher hangs up or the template is killed."""
    with Workshop() as shop:
        project = Project(shop, tmp_path, function="\n\ndef run(event):\n    pass\n")
        first, ready = project.first()
        pids = [*keeps(shop, 1), first.pid, project.next(ready.revision).pid]
        if how == "is killed":
            shop.process.kill()
            shop.process.wait()
            wait_until(lambda: not any(map(alive, pids)), description="all ended")
    assert not any(map(alive, pids))


def test_the_least_recently_used_goes(workshop: Workshop, tmp_path: Path) -> None:
    """A few are kept; one more than that takes the place of the one that was needed longest ago."""
    projects = [Project(workshop, tmp_path / str(number)) for number in range(MOST + 1)]
    revisions = []
    for number, project in enumerate(projects[:MOST]):
        revisions.append(project.first()[1].revision)
        keeps(workshop, number + 1)
    # Functions that nobody may ever need again push nothing out.
    _, ready = projects[MOST].first()
    projects[0].next(revisions[0])
    assert projects[MOST].imports() == projects[0].imports() == 1
    projects[MOST].next(ready.revision)
    assert projects[MOST].imports() == 2
    wait_until(lambda: len(loaded_templates(workshop)) == MOST, description="one has gone")
    for project, revision, imports in ((projects[MOST], ready.revision, 2), (projects[0], revisions[0], 1)):
        project.next(revision)
        assert project.imports() == imports
    projects[1].next(revisions[1])
    assert projects[1].imports() == 2


def test_busy_functions_do_not_take_each_others_places(workshop: Workshop, tmp_path: Path) -> None:
    """Two more than there are places for, all needed in turn: those that have one keep it. Who rests makes room."""
    projects = [Project(workshop, tmp_path / str(number)) for number in range(MOST + 2)]
    revisions = [project.first()[1].revision for project in projects]
    keeps(workshop, MOST)
    for _ in range(3):
        for project, revision in zip(projects, revisions, strict=True):
            project.next(revision)
    assert [project.imports() for project in projects] == [1] * MOST + [4] * 2
    for _ in range(3):
        for project, revision in list(zip(projects, revisions, strict=True))[1:]:
            project.next(revision)
    assert sorted(project.imports() for project in projects)[-2] < 7, "one of the two has got a place"
    assert [project.imports() for project in projects[1:MOST]] == [1] * (MOST - 1)


def test_what_is_not_needed_any_more_goes_with_its_last_worker(workshop: Workshop, tmp_path: Path) -> None:
    """An old revision's template forks no more, and cuts nothing short."""
    project = Project(workshop, tmp_path)
    _, ready = project.first()
    (pid,) = keeps(workshop, 1)
    worker = project.next(ready.revision)
    order = workshop.orders[-1]
    workshop.control.sendall(encode(Forget(identity(order.config), ready.revision)))
    project.next(ready.revision)
    assert project.imports() == 2
    assert alive(pid)
    worker.run(plain({}), first=1)
    worker.send(Stop())
    assert worker.wait_for_end() == 0
    wait_until(lambda: not alive(pid), description="it has gone")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
