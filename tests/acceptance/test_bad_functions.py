"""One bad function never stops another: whatever it does, its event ends with a reason that a person understands, its
neighbours in the same frame run exactly once, and the other trigger is undisturbed."""

from collections import Counter

import pytest

from sandbox import Sandbox

MANIFEST = """
    bad:
      topic: work
      function: bad:run
      timeout: 1s
      retry: {attempts: 2, initial_delay: 50ms, jitter: none}
    good:
      topic: work
      function: good:run
"""
GOOD = """
    def run(event):
        note(f"good {event.data['n']}")
"""
CASES = {
    "sys_exit": ("import sys; sys.exit(0)", "crashed", "exit code 0"),
    "os_exit": ("os._exit(0)", "crashed", "exit code 0"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
    "kill_itself": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
    "endless_c_loop": ("sum(range(10**15))", "timed_out", "timeout of 1 s"),
    "swallowed_everything": (
        """
    import time
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
    """,
        "timed_out",
        "timeout of 1 s",
    ),
    "closed_descriptors": ("os.closerange(0, 4096); print('said'); return 1", "crashed", "control channel"),
    "broken_str": (
        """
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no")
    raise Broken
    """,
        "failed",
        "",
    ),
    "base_exception": ("raise KeyboardInterrupt", "crashed", ""),
    "not_json": ("return {1, 2}", "rejected", "set"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_f17_f18_f20_bad_function_harms_only_its_own_event(sandbox: Sandbox, case: str) -> None:
    """Event 13 of 40 misbehaves on every attempt; the rest runs once each, and 13 is a dead letter that says why."""
    code, reason, words = CASES[case]
    sandbox.manifest(MANIFEST.replace("function: bad:run", "function: bad:run\n      emits: results"))
    body = "\n".join(f"        {line.strip() if chr(10) not in code else line}" for line in code.splitlines())
    sandbox.function(
        "bad", f"\ndef run(event):\n    note(f\"bad {{event.data['n']}}\")\n    if event.data['n'] == 13:\n{body}\n"
    )
    sandbox.function("good", GOOD)
    sandbox.emit("work", *({"n": n} for n in range(40)))
    sandbox.run(expect=3)
    counts = Counter(sandbox.notes())
    attempts = 1 if reason == "rejected" else 2
    assert {n: counts[f"bad {n}"] for n in range(40)} == {n: attempts if n == 13 else 1 for n in range(40)}
    assert all(counts[f"good {n}"] == 1 for n in range(40))
    (letter,) = sandbox.dead("bad")
    assert letter["reason"] == reason
    assert letter["event"]["data"] == {"n": 13}
    assert letter["attempts"] == attempts
    assert words in letter["error"]["message"], letter["error"]
    status = sandbox.status("bad")
    assert status["delivered"] == 40
    assert status["succeeded"] == 39
    assert status["dead_lettered"] == 1


def test_closed_descriptors_do_not_undo_what_the_ledger_says_is_done(sandbox: Sandbox) -> None:
    """A function that closes everything and then returns has succeeded, with what it returned: the shared pages said so
    before the channel was missed. Its worker is replaced, and every event runs exactly once."""
    sandbox.manifest("closes: {topic: work, function: 'closes:run', emits: results}")
    closes = "note(event.data['n'])\n    os.closerange(0, 4096)\n    return 1 if event.data['n'] % 2 else None"
    sandbox.function("closes", f"\ndef run(event):\n    {closes}\n")
    sandbox.emit("work", *({"n": n} for n in range(20)))
    sandbox.run()
    assert sorted(map(int, sandbox.notes())) == list(range(20))
    status = sandbox.status("closes")
    assert (status["succeeded"], status["emitted"]) == (20, 10)


def test_f21_flood_of_output_is_capped_and_the_event_succeeds(sandbox: Sandbox) -> None:
    """A hundred megabytes of print neither block the worker nor fill the memory."""
    sandbox.manifest("loud:\n  topic: work\n  function: loud:run\n")
    sandbox.function("loud", "\ndef run(event):\n    for _ in range(100):\n        print('x' * (1 << 20))\n")
    sandbox.emit("work", {"n": 1})
    done = sandbox.run()
    assert sandbox.status("loud")["succeeded"] == 1
    assert len(done.stdout) + len(done.stderr) < 1 << 20


def test_fork_that_returns_in_the_child_counts_once(sandbox: Sandbox) -> None:
    """The child of a function's own fork ends when the call does, if not before; only the parent's return counts."""
    sandbox.manifest("forks:\n  topic: work\n  function: forks:run\n")
    sandbox.function(
        "forks", "\ndef run(event):\n    child = os.fork() == 0\n    note('child' if child else 'parent')\n"
    )
    sandbox.emit("work", {"n": 1}, {"n": 2})
    sandbox.run()
    status = sandbox.status("forks")
    assert (status["succeeded"], status["failed"]) == (2, 0)
    assert sandbox.notes().count("parent") == 2
    assert sandbox.notes().count("child") <= 2


def test_import_that_fails_leaves_the_trigger_broken_and_its_events_waiting(sandbox: Sandbox) -> None:
    """The other trigger runs; once the file is mended, the event is delivered on its first attempt."""
    sandbox.manifest(MANIFEST)
    sandbox.function("bad", "\nraise RuntimeError('no such luck')\n")
    sandbox.function("good", GOOD)
    sandbox.emit("work", {"n": 1})
    done = sandbox.run(expect=1)
    assert "no such luck" in done.stderr + done.stdout
    assert sandbox.notes() == ["good 1"]
    sandbox.function("bad", "\ndef run(event, context):\n    note(f'mended {context.attempt}')\n")
    sandbox.run()
    assert sandbox.notes() == ["good 1", "mended 1"]


def test_f19_memory_hog_is_ended_with_a_reason(sandbox: Sandbox) -> None:
    """Above workers.memory the worker is ended: crashed, memory limit."""
    sandbox.manifest(
        """
        hog:
          topic: work
          function: hog:run
          retry: {attempts: 1}
          workers: {memory: 100MiB}
        """
    )
    sandbox.function("hog", "\nimport time\n\ndef run(event):\n    data = b'x' * (300 << 20)\n    time.sleep(10)\n")
    sandbox.emit("work", {"n": 1})
    sandbox.run(expect=3)
    (letter,) = sandbox.dead("hog")
    assert letter["reason"] == "crashed"
    assert "memory limit" in letter["error"]["message"]
