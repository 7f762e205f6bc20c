"""Functions that do to their process what they should not: others do not notice, and it is told which one it was."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import evfn
from evfn.workers.ledger import Status
from evfn.workers.protocol import FrameDone, LoadFailed, SucceededReply
from workshop import PATIENCE, Worker, Workshop, plain


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """One template for all tests of this file; each test forks its own workers."""
    with Workshop() as shop:
        yield shop


def crash(worker: Worker) -> int:
    """Let the worker take one event, and wait for its end."""
    worker.hand_over(plain({}))
    return worker.wait_for_end()


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("zero", 0, "the function called sys.exit(0)"),
        ("text", 1, "the function called sys.exit('over')"),
        ("in_task", 3, "the function called sys.exit(3)"),
        ("interrupt", 130, "the function raised KeyboardInterrupt"),
        ("hard", 0, None),
    ],
)
def test_ending_the_process_is_no_success(workshop: Workshop, name: str, status: int, said: str | None) -> None:
    """The process ends as asked, the slot still says RUNNING, and the output says who asked for it."""
    worker = workshop.fork("exits", f"exits:{name}")
    assert crash(worker) == status
    assert worker.ledger.status(0) is Status.RUNNING
    assert worker.lines() == ([("stderr", said)] if said else [])


def test_the_ledger_names_the_event_that_ended_the_process(workshop: Workshop) -> None:
    """Finished neighbours are finished, the rest never began."""
    worker = workshop.fork("exits", "exits:second")
    worker.hand_over(plain({"n": 1}), plain({"n": 2}), plain({"n": 3}))
    assert worker.wait_for_end() == 5
    assert [worker.ledger.status(slot) for slot in range(3)] == [Status.DONE, Status.RUNNING, Status.WAITING]


def test_a_segmentation_fault_leaves_its_stack(workshop: Workshop) -> None:
    """Told as the signal, with the Python stack for the dead letter."""
    worker = workshop.fork("segv", "segv")
    assert crash(worker) == -signal.SIGSEGV
    assert "Segmentation fault" in worker.dump()
    assert "segv.py" in worker.dump()


def test_a_kill_is_told_as_its_signal(workshop: Workshop) -> None:
    """Whoever sent it."""
    worker = workshop.fork("slow", "slow")
    worker.hand_over(plain({}))
    worker.wait_until_running(0)
    worker.signal(signal.SIGKILL)
    assert worker.wait_for_end() == -signal.SIGKILL
    assert worker.ledger.status(0) is Status.RUNNING


def test_a_stuck_function_tells_where_it_is(workshop: Workshop) -> None:
    """SIGUSR1 writes every thread's stack beside the function, which neither notices nor ends by it."""
    worker = workshop.fork("slow", "slow:stubborn")
    worker.hand_over(plain({}))
    worker.dump_now(until="in stubborn")
    os.ftruncate(worker.stack, 0)
    worker.dump_now(until="in stubborn")
    assert not worker.dump().startswith("\0")
    assert worker.ledger.status(0) is Status.RUNNING


def test_ctrl_c_is_not_for_workers(workshop: Workshop) -> None:
    """Only the dispatcher decides what it means."""
    worker = workshop.fork("ok", "ok")
    worker.signal(signal.SIGINT)
    worker.run(plain({}))
    assert worker.ledger.status(0) is Status.DONE


@pytest.mark.parametrize("name", ["handle", "all_of_them"])
def test_closed_descriptors_end_the_worker_with_a_code_of_its_own(workshop: Workshop, name: str) -> None:
    """What cannot be reported must not be run on."""
    worker = workshop.fork("closes_fds", f"closes_fds:{name}")
    assert crash(worker) == 97


def test_a_dispatcher_that_is_gone_ends_the_worker(workshop: Workshop) -> None:
    """The end of the control socket is the end of the work."""
    worker = workshop.fork("ok", "ok")
    worker.hang_up()
    assert worker.template.wait_for_exit(worker.number) == 97


@pytest.mark.parametrize("function", ["forks", "forks:by_libc"])
def test_a_function_that_forks_returns_once(workshop: Workshop, function: str) -> None:
    """The child that comes back from the call exits, however it was forked; the event is its parent's."""
    worker = workshop.fork("forks", function)
    said = worker.run(plain({}), plain({}))
    replies = [message for message in said if isinstance(message, SucceededReply)]
    assert [msgspec.json.decode(reply.emits[0].fields[-1]) for reply in replies] == [{"pid": True}] * 2
    assert len([message for message in said if isinstance(message, FrameDone)]) == 1


def test_sys_exit_in_a_forked_child_is_the_childs_own(workshop: Workshop) -> None:
    """Only the worker's own process can crash the attempt."""
    worker = workshop.fork("forks", "forks:child_exits")
    worker.run(plain({}))
    assert worker.ledger.status(0) is Status.DONE


def test_f15_nothing_outlives_its_worker(workshop: Workshop) -> None:
    """Neither a child process nor a grandchild that took a session of its own; other workers are left alone."""
    other = workshop.fork("slow", "slow")
    worker = workshop.fork("forks", "forks:leaves")
    (reply,) = [message for message in worker.run(plain({})) if isinstance(message, SucceededReply)]
    strays = msgspec.json.decode(reply.emits[0].fields[-1])
    watched = [os.pidfd_open(pid) for pid in strays]
    worker.signal(signal.SIGKILL)
    worker.wait_for_end()
    for descriptor in watched:
        assert_ends(descriptor)
    with pytest.raises(AssertionError):
        assert_ends(other.pidfd, seconds=0)


def test_f15_everything_ends_with_the_template(workshop: Workshop) -> None:
    """Its workers, even one that is stopped, and what they started, when the dispatcher hangs up."""
    with Workshop() as shop:
        stuck, worker = shop.fork("slow", "slow:stubborn"), shop.fork("forks", "forks:leaves")
        stuck.hand_over(plain({}))
        stuck.wait_until_running(0)
        stuck.hold()
        (reply,) = [message for message in worker.run(plain({})) if isinstance(message, SucceededReply)]
        strays = msgspec.json.decode(reply.emits[0].fields[-1])
        watched = [os.pidfd_open(pid) for pid in strays] + [os.dup(stuck.pidfd), os.dup(worker.pidfd)]
    for descriptor in watched:
        assert_ends(descriptor)


def test_workers_end_with_a_template_that_is_killed() -> None:
    """The kernel sees to it, whatever they are doing."""
    with Workshop() as shop:
        worker = shop.fork("slow", "slow:stubborn")
        worker.hand_over(plain({}))
        worker.wait_until_running(0)
        shop.process.kill()
        assert_ends(os.dup(worker.pidfd))


def test_a_terminated_template_goes_on_serving() -> None:
    """Whoever stops a whole service at once must not cut short the drain that the dispatcher begins."""
    with Workshop() as shop:
        shop.fork("ok", "ok")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            shop.process.send_signal(number)
        assert shop.fork("ok", "ok").run(plain({}))


def test_a_flood_of_output_is_capped(workshop: Workshop) -> None:
    """64 KiB are kept of 100 MiB, one notice counts the rest, and the next event starts anew."""
    worker = workshop.fork("prints", "prints:flood")
    for slot in (0, 1):
        worker.run(plain({}), first=slot)
        lines = worker.lines(slot)
        assert lines[0] == ("stdout", "x" * 1023)
        assert sum(len(text) + 1 for _, text in lines[:-1]) == 64 * 1024
        assert lines[-1] == ("stderr", f"… output capped, {100 * 1024 * 1024 - 64 * 1024} bytes not kept")
    assert worker.ledger.status(1) is Status.DONE


def test_output_below_python_goes_to_the_pipe(workshop: Workshop) -> None:
    """From C code and child processes; never into the protocol."""
    worker = workshop.fork("prints", "prints:raw")
    worker.run(plain({}))
    worker.wait_for_raw(b"raw bytes \xff\nfrom a child process\n")
    assert worker.lines() == []


def test_odd_output_is_text_all_the_same(workshop: Workshop) -> None:
    """Bytes that are no UTF-8, half characters, a missing last newline, lines that are too long."""
    worker = workshop.fork("prints", "prints:odd")
    worker.run(plain({}))
    lines = worker.lines()
    assert ("stdout", "café \ufffd") in lines
    assert ("stdout", "no end\\ud800") in lines
    assert [len(text) for stream, text in lines if stream == "stderr"] == [8192, 8192, 20000 - 2 * 8192]


def test_output_that_looks_like_a_frame_is_text(workshop: Workshop) -> None:
    """The protocol has a socket of its own."""
    worker = workshop.fork("prints", "prints:frames")
    worker.run(plain({}))
    assert worker.lines() == [("stdout", "\x00\x00\x00\x05hello")]


def test_log_and_prints_belong_to_their_attempt(workshop: Workshop) -> None:
    """Tagged with the slot; logging goes from INFO up."""
    worker = workshop.fork("ok", "ok:count")
    worker.run(plain({"n": 1}), first=4, attempt=2)
    assert worker.lines(4) == [("stdout", "attempt 2 of 5"), ("log", "INFO under-test: logged {'n': 1}")]


@pytest.mark.parametrize(
    ("case", "function", "message"),
    [
        ("ok", "okay", r"okay:handle: there is no functions/okay\.py \(nearest: ok:handle\)"),
        ("ok", "ok:handel", r"ok:handel: functions/ok\.py has no function 'handel' \(nearest: ok:handle\)"),
        ("ok", "ok:zzz", r"ok:zzz: functions/ok\.py has no function 'zzz' \(has: handle, echo, "),
        ("ok", "os:system", r"os:system: there is no functions/os\.py"),
        ("ok", "../evil:run", r"is written with dots"),
        ("ok", "ok:handle.__globals__", r"is no function name"),
        ("ok", "ok.py", r"write the module without \.py, ok:handle"),
        ("bad_signature", "bad_signature:two_data", r"bad_signature:two_data: nothing is passed for the parameter 'b'"),
        ("bad_signature", "bad_signature:three", r"parameter 'more'; a function may ask for the event"),
        ("bad_signature", "bad_signature:unknown", r"annotation of 'event' cannot be evaluated: Missing"),
        ("bad_signature", "bad_signature:LIMIT", r"is no function but of type int"),
        ("bad_signature", "bad_signature:Handler", r"is a class; name a function"),
        ("syntax_error", "syntax_error", r"^functions/syntax_error\.py:1: "),
        (
            "imports",
            "raises",
            r"^functions/deep\.py:2: RuntimeError: at import, while functions/raises\.py is imported",
        ),
        (
            "imports",
            "exits",
            r"^functions/exits\.py:\d+: sys\.exit\(0\) ends the process while it is imported",
        ),
        (
            "imports",
            "missing",
            r"^functions/missing\.py:1: no module named 'no_such_library'; install it into the env",
        ),
        ("imports", "sibling", r"no module named 'deep'; write `from \.deep import …` for functions/deep\.py"),
    ],
)
def test_what_does_not_load_says_what_to_write(workshop: Workshop, case: str, function: str, message: str) -> None:
    """Each mistake in its own words, with the place."""
    worker = workshop.attach(workshop.order(case, function))
    failed = worker.wait_for(LoadFailed)
    assert re.search(message, failed.message), failed.message
    assert worker.wait_for_end() == 1


def test_a_traceback_of_an_import_has_user_frames_only(workshop: Workshop) -> None:
    """Neither evfn's nor the import system's."""
    worker = workshop.attach(workshop.order("imports", "raises"))
    text = worker.wait_for(LoadFailed).traceback
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("RuntimeError: at import\n")
    assert text.count('  File "') == 2
    assert "importlib" not in text
    # Not by its name alone: a clone of the repository is called so, too.
    assert str(Path(evfn.__file__).parent) not in text


def test_an_import_that_ends_the_process_is_seen_by_its_exit(workshop: Workshop) -> None:
    """Nothing is said, so nothing is believed."""
    worker = workshop.attach(workshop.order("imports", "hard_exit"))
    assert worker.wait_for_end() == 0
    assert worker.said == []


def test_an_import_that_hangs_can_be_ended(workshop: Workshop) -> None:
    """And says where it hangs before."""
    worker = workshop.attach(workshop.order("imports", "sleeps"))
    worker.dump_now(until="sleeps.py")
    worker.signal(signal.SIGKILL)
    assert worker.wait_for_end() == -signal.SIGKILL


def test_output_while_importing_belongs_to_no_event(workshop: Workshop) -> None:
    """It is told under a slot that does not exist."""
    worker = workshop.fork("imports", "prints")
    assert worker.lines(-1) == [("stdout", "while importing"), ("log", "INFO root: at import")]


def test_ready_tells_of_files_and_of_what_the_import_left(workshop: Workshop) -> None:
    """What reload, and a person who checks, need to know of a loaded function."""
    assert workshop.loaded(workshop.fork("imports", "threads", inspected=True)).residue == "a thread"
    ready = workshop.loaded(workshop.fork("imports", "relative"))
    folder = Path(__file__).parents[1] / "functions" / "imports" / "functions"
    assert ready.files == [str(folder / name) for name in ("relative.py", "shared/constants.py")]
    assert workshop.loaded(workshop.fork("asynchronous", "asynchronous")).is_async


def test_siblings_are_one_module_and_no_file_name_clashes(workshop: Workshop) -> None:
    """`from .shared` and `from functions.shared` are the same; functions/email.py leaves the library's alone."""
    for function in ("relative", "email"):
        assert [type(said) for said in workshop.fork("imports", function).run(plain({}))] == [
            SucceededReply, FrameDone,
        ]  # fmt: skip


def test_the_revision_is_the_content(workshop: Workshop, tmp_path: Path) -> None:
    """The same files give the same revision wherever they lie; an edit gives another, seen at once."""

    def revision(project: Path, text: str) -> str:
        (project / "functions").mkdir(parents=True, exist_ok=True)
        (project / "functions" / "it.py").write_text(f"def handle(event):\n    return {text}\n")
        worker = workshop.fork("", "it", project_dir=project)
        (reply, _) = worker.run(plain({}))
        assert isinstance(reply, SucceededReply)
        assert reply.emits[0].fields[-1] == text.encode()
        return workshop.loaded(worker).revision

    first = revision(tmp_path / "a", "1")
    assert revision(tmp_path / "b", "1") == first
    assert revision(tmp_path / "a", "2") != first


def test_a_functions_folder_may_have_any_name(workshop: Workshop, tmp_path: Path) -> None:
    """Deeper in the project, and no identifier; only a module's name it must not take."""
    for name in ("src/my-handlers", "json"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "it.py").write_text("def handle(event):\n    pass\n")
    workshop.fork("", "it", project_dir=tmp_path, functions_dir=str(tmp_path / "src/my-handlers"))
    order = workshop.order("", "it", project_dir=tmp_path, functions_dir=str(tmp_path / "json"))
    failed = workshop.attach(order).wait_for(LoadFailed)
    assert "has the name of another module, json: rename the folder" in failed.message


def test_a_missing_project_folder_is_said(workshop: Workshop, tmp_path: Path) -> None:
    """It may have been removed since the manifest was read."""
    worker = workshop.attach(workshop.order("", "it", project_dir=tmp_path / "gone"))
    assert "gone" in worker.wait_for(LoadFailed).message


def test_workers_import_nothing_they_must_not(workshop: Workshop, tmp_path: Path) -> None:
    """No Redis, no manifest, no command line: what is not there cannot be used, nor cost memory."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "it.py").write_text("import sys\n\ndef handle(event):\n    return sorted(sys.modules)\n")
    (reply, _) = workshop.fork("", "it", project_dir=tmp_path).run(plain({}))
    assert isinstance(reply, SucceededReply)
    loaded = set(msgspec.json.decode(reply.emits[0].fields[-1]))
    assert "evfn.workers.child" in loaded
    unwanted = {"redis", "hiredis", "yaml", "click", "rich", "pydantic", "evfn.broker", "evfn.manifest", "evfn.runtime"}
    assert loaded & unwanted == set()


def test_importing_evfn_is_cheap() -> None:
    """A function that only raises evfn.Retry does not pay for a client."""
    code = (
        "import sys, evfn; evfn.Retry; print(sorted(m for m in sys.modules if m in ('redis', 'pydantic', 'asyncio')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def assert_ends(pidfd: int, seconds: float = PATIENCE) -> None:
    """The process that the descriptor stands for ends in time. Closes the descriptor when it did."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(seconds * 1000), "the process lives on"
    with contextlib.suppress(OSError):
        os.close(pidfd)
