"""`evfn run` takes edits over while events flow, and leaves what cannot be used alone."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evfn import Client
from sandbox import Sandbox, wait_until

ONE = """
    greet:
      topic: people
      function: greet:run
      env: {GREETING: "${GREETING:-hello}"}
      workers: {min: 1, max: 1}
"""
VERSION = (
    "\nVERSION = {}\n\ndef run(event, context):\n    note(f\"{{VERSION}} {{event.data['n']}} {{context.attempt}}\")\n"
)

HELD = '    while os.path.exists(os.environ["JOURNAL"] + ".hold"):\n        time.sleep(0.01)\n'
"""What runs this ends when it is let go."""


@pytest.fixture
def project(sandbox: Sandbox) -> Iterator[Sandbox]:
    sandbox.manifest(ONE)
    sandbox.function("greet", VERSION.format(1))
    with sandbox.running():
        said(sandbox, "ready")
        yield sandbox


def said(box: Sandbox, text: str, times: int = 1) -> None:
    wait_until(lambda: box.log.read_text().count(text) >= times, description=f"{text!r} {times} times in the log")


def hold(box: Sandbox) -> None:
    Path(f"{box.journal}.hold").touch()


def let_go(box: Sandbox) -> None:
    Path(f"{box.journal}.hold").unlink()


def ran(box: Sandbox, n: int) -> str:
    """Publish an event with this number and return what its function noted."""
    box.emit("people", {"n": n})
    found: list[str] = []

    def look() -> bool:
        found[:] = [line for line in box.notes() if line.split()[1] == str(n)]
        return bool(found)

    wait_until(look, description=f"event {n} ran")
    return found[0]


def test_a_good_edit_serves_the_next_event(project: Sandbox) -> None:
    """No restart, no attempt burnt, and the log says so in a word."""
    assert ran(project, 1) == "1 1 1"
    project.function("greet", VERSION.format(2))
    said(project, "greet  reloaded")
    assert ran(project, 2) == "2 2 1"


BROKEN = {
    "syntax error": ("def run(event:\n", "functions/greet.py:7: '(' was never closed"),
    "import error": ("import no_such_module\n", "functions/greet.py:7: no module named 'no_such_module'"),
    "error at import": ("raise RuntimeError('no luck')\n", "functions/greet.py:7: RuntimeError: no luck"),
    "function gone": ("\ndef walk(event): ...\n", "functions/greet.py has no function 'run' (has: note, walk)"),
    "signature": ("\ndef run(event, one, two): ...\n", "nothing is passed for the parameter 'two'"),
    "half-written": (VERSION.format(2)[:-20], "functions/greet.py:11: unterminated string literal"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_f58_a_broken_edit_leaves_the_code_before_it_running(project: Sandbox, case: str) -> None:
    """It is told once, with its place; the events go on, also in a worker started later; mending it is an edit."""
    source, problem = BROKEN[case]
    project.function("greet", source)
    said(project, "greet  not reloaded: ")
    assert ran(project, 1) == "1 1 1"
    kill_workers(project)
    assert ran(project, 2) == "1 2 1"
    log = project.log.read_text()
    (line,) = [line for line in log.splitlines() if "not reloaded" in line]
    assert problem in line
    assert line.endswith("; the code before goes on")
    assert "greet  broken" not in log
    status = project.status("greet")
    assert status["state"] == "ok"
    assert problem in status["problem"]
    project.function("greet", VERSION.format(3))
    said(project, "greet  reloaded")
    assert ran(project, 3) == "3 3 1"
    assert project.status("greet")["problem"] is None


def test_a_deleted_file_leaves_its_code_running(project: Sandbox) -> None:
    """And coming back it is loaded again."""
    assert ran(project, 0) == "1 0 1"
    serving = workers(project)
    (project.folder / "functions" / "greet.py").unlink()
    said(project, "there is no functions/greet.py")
    kill(serving)
    assert ran(project, 1) == "1 1 1"
    project.function("greet", VERSION.format(2))
    said(project, "greet  reloaded")
    assert ran(project, 2) == "2 2 1"


def test_a_function_that_was_broken_at_the_start_is_taken_up_when_mended(sandbox: Sandbox) -> None:
    """Its events waited; they run with their first attempt."""
    sandbox.manifest(ONE)
    sandbox.function("greet", "def run(:\n")
    with sandbox.running():
        said(sandbox, "broken")
        sandbox.emit("people", {"n": 1})
        sandbox.function("greet", VERSION.format(2))
        wait_until(lambda: sandbox.notes() == ["2 1 1"], description="the event ran on the mended code")
        assert "reloaded" not in sandbox.log.read_text()
        said(sandbox, "greet  ready")


def test_only_functions_whose_imports_changed_are_restarted(sandbox: Sandbox) -> None:
    """A shared module concerns those that import it, also where they do so only while they run; others keep their
    workers."""
    sandbox.manifest(
        """
        early: {topic: people, function: "early:run", workers: {min: 1, max: 1}}
        late: {topic: people, function: "late:run", workers: {min: 1, max: 1}}
        apart: {topic: people, function: "apart:run", workers: {min: 1, max: 1}}
        """
    )
    note = "note(f'{word} {os.getpid()}')"
    shared = sandbox.folder / "functions" / "words.py"
    shared.write_text("WORD = 'one'\n")
    sandbox.function("early", f"\nfrom .words import WORD\n\ndef run(event):\n    word = 'early ' + WORD\n    {note}\n")
    sandbox.function("late", f"\ndef run(event):\n    from .words import WORD\n    word = 'late ' + WORD\n    {note}\n")
    sandbox.function("apart", f"\ndef run(event):\n    word = 'apart one'\n    {note}\n")

    def noted(count: int) -> dict[str, list[str]]:
        wait_until(lambda: len(sandbox.notes()) == count, description=f"{count} notes")
        return {line.split()[0]: line.split()[1:] for line in sandbox.notes()[count - 3 :]}

    with sandbox.running():
        said(sandbox, "ready", 3)
        sandbox.emit("people", {"n": 1})
        before = noted(3)
        shared.write_text("WORD = 'two'\n")
        said(sandbox, "reloaded")
        sandbox.emit("people", {"n": 2})
        after = noted(6)
        assert {name: word for name, (word, _) in after.items()} == {"early": "two", "late": "two", "apart": "one"}
        assert before["apart"] == after["apart"]
        line = next(line for line in sandbox.log.read_text().splitlines() if "reloaded" in line)
        assert "apart" not in line


def test_a_shared_module_that_breaks_is_told_once_for_all(sandbox: Sandbox) -> None:
    """One line for the mistake, with the triggers that it concerns."""
    sandbox.manifest("\n".join(f"t{n}: {{topic: people, function: 'uses:run{n}'}}" for n in range(3)))
    shared = sandbox.folder / "functions" / "words.py"
    shared.write_text("WORD = 'one'\n")
    runs = "".join(f"def run{n}(event):\n    note(f'{{WORD}}')\n\n" for n in range(3))
    sandbox.function("uses", f"\nfrom .words import WORD\n\n{runs}")
    with sandbox.running():
        said(sandbox, "ready", 3)
        shared.write_text("WORD = 'one\n")
        said(sandbox, "not reloaded")
        sandbox.emit("people", {"n": 1})
        wait_until(lambda: len(sandbox.notes()) == 3, description="all three ran on the code before")
        assert sandbox.log.read_text().count("not reloaded") == 1
        assert "(and t1, t2)" in sandbox.log.read_text()


def test_what_runs_ends_on_the_code_it_began_with(sandbox: Sandbox) -> None:
    """No attempt is burnt, and where one worker serves the trigger the next event begins only then: order is kept."""
    sandbox.manifest("slow: {topic: people, function: 'slow:run', workers: {max: 1}}")
    slow = "\nimport time\n\ndef run(event, context):\n    note(f\"begin {{event.data['n']}} on {0}\")\n" + HELD
    slow += "    note(f\"end {{event.data['n']}} on {0} attempt {{context.attempt}}\")\n"
    sandbox.function("slow", slow.format(1))
    hold(sandbox)
    with sandbox.running():
        said(sandbox, "ready")
        sandbox.emit("people", {"n": 1}, {"n": 2}, {"n": 3})
        wait_until(lambda: sandbox.notes() == ["begin 1 on 1"], description="the first event runs")
        sandbox.function("slow", slow.format(2))
        said(sandbox, "reloaded")
        let_go(sandbox)
        wait_until(lambda: len(sandbox.notes()) == 6, description="all ran")
    assert sandbox.notes() == [
        *("begin 1 on 1", "end 1 on 1 attempt 1"),
        *("begin 2 on 2", "end 2 on 2 attempt 1"),
        *("begin 3 on 2", "end 3 on 2 attempt 1"),
    ]


def test_a_dead_letter_names_the_revision_that_it_ran_on(sandbox: Sandbox) -> None:
    """Also where another one has taken over by the time the attempt ends."""
    sandbox.manifest("slow: {topic: people, function: 'slow:run', retry: {attempts: 1}, workers: {max: 2}}")
    slow = "\nimport time\n\ndef run(event):\n    note('begin')\n{}    raise ValueError\n"
    sandbox.function("slow", slow.format(HELD))
    hold(sandbox)
    with sandbox.running():
        said(sandbox, "ready")
        sandbox.emit("people", {"n": 1})
        wait_until(lambda: sandbox.notes() == ["begin"], description="the first event runs")
        sandbox.function("slow", slow.format(""))
        said(sandbox, "reloaded")
        sandbox.emit("people", {"n": 2})
        said(sandbox, "dead letter")
        let_go(sandbox)
        said(sandbox, "dead letter", 2)
        sandbox.emit("people", {"n": 3})
        said(sandbox, "dead letter", 3)
    revisions = {letter["event"]["data"]["n"]: letter["revision"] for letter in sandbox.dead("slow")}
    assert revisions[2] == revisions[3] != revisions[1]


def test_two_edits_while_one_event_runs_keep_the_order(sandbox: Sandbox) -> None:
    """The second edit waits for what runs on the code before the first one, and no worker is left behind."""
    sandbox.manifest("slow: {topic: people, function: 'slow:run', workers: {max: 1}}")
    slow = "\nimport time\n\ndef run(event):\n    note(f\"begin {{event.data['n']}} on {0}\")\n" + HELD
    slow += "    note(f\"end {{event.data['n']}} on {0}\")\n"
    sandbox.function("slow", slow.format(1))
    hold(sandbox)
    with sandbox.running():
        said(sandbox, "ready")
        sandbox.emit("people", {"n": 1}, {"n": 2})
        wait_until(lambda: sandbox.notes() == ["begin 1 on 1"], description="the first event runs")
        sandbox.function("slow", slow.format(2))
        said(sandbox, "reloaded")
        sandbox.function("slow", slow.format(3))
        said(sandbox, "reloaded", 2)
        let_go(sandbox)
        wait_until(lambda: len(sandbox.notes()) == 4, description="both ran")
        assert sandbox.notes() == ["begin 1 on 1", "end 1 on 1", "begin 2 on 3", "end 2 on 3"]
        wait_until(lambda: len(workers(sandbox)) == 1, description="the workers of the code before are gone")


def test_f57_an_import_that_hangs_is_given_up_for_the_next_edit(project: Sandbox) -> None:
    """Nobody waits a minute for a mistake that is mended already."""
    project.function("greet", "\nimport time\n\ntime.sleep(600)\n")
    assert ran(project, 1) == "1 1 1"
    project.function("greet", VERSION.format(2))
    said(project, "greet  reloaded")
    assert ran(project, 2) == "2 2 1"
    wait_until(lambda: len(workers(project)) == 1, description="the worker that hung is gone")


def test_f58_the_manifest_is_taken_over_trigger_by_trigger(project: Sandbox) -> None:
    """Triggers come, change their filter and topic, are disabled and go; what is wrong in it changes nothing."""
    project.function("other", "\ndef run(event):\n    note(f\"other {event.data['n']}\")\n")
    other = "    other: {topic: things, function: 'other:run', start: earliest}\n"
    project.emit("things", {"n": 1})
    project.manifest(ONE + other)
    wait_until(lambda: "other 1" in project.notes(), description="the new trigger runs")
    project.manifest(ONE + other.replace("start: earliest", "filter: event.data.n > 5"))
    said(project, "other  reloaded")
    project.emit("things", {"n": 2}, {"n": 6})
    wait_until(lambda: "other 6" in project.notes(), description="the filter lets it through")
    assert "other 2" not in project.notes()
    project.manifest(ONE + other.replace("topic: things", "topic: stuff"))
    said(project, "other  reloaded", 2)
    project.emit("stuff", {"n": 7})
    wait_until(lambda: "other 7" in project.notes(), description="it listens on the other topic")
    project.manifest(ONE + other.replace("topic: things", "topic: stuff, enabled: false"))
    wait_until(lambda: project.status("other")["state"] == "disabled", description="it is disabled")
    project.emit("stuff", {"n": 8})
    project.manifest(ONE + other.replace("topic: things", "topic: stuff"))
    wait_until(lambda: "other 8" in project.notes(), description="enabled again it takes what waited")
    url = json.loads(project.evfn("status", "--json").stdout)["server"]
    good = (project.folder / "triggers.yaml").read_text()
    (project.folder / "triggers.yaml").write_text(good + "  x: {topic: [}\n")
    said(project, "the manifest before goes on")
    assert "triggers.yaml:" in project.log.read_text()
    with Client(url) as client:
        client.emit("stuff", {"n": 9})
    wait_until(lambda: "other 9" in project.notes(), description="the manifest before goes on")
    project.manifest(ONE)
    said(project, "no longer in the manifest")
    assert ran(project, 10) == "1 10 1"


def test_a_trigger_that_is_taken_out_while_it_runs_delays_no_other_edit(project: Sandbox) -> None:
    """What runs is finished, and only then is it gone; one that comes back meanwhile begins when that has ended."""
    project.function("slow", "\nimport time\n\ndef run(event):\n    note(f\"slow {event.data['n']}\")\n" + HELD)
    slow = "    slow: {topic: work, function: 'slow:run', workers: {max: 1}}\n"
    project.manifest(ONE + slow)
    said(project, "slow   ready")
    hold(project)
    project.emit("work", {"n": 1})
    wait_until(lambda: "slow 1" in project.notes(), description="it runs")
    project.manifest(ONE)
    project.function("greet", VERSION.format(2))
    said(project, "greet  reloaded")
    assert ran(project, 2) == "2 2 1"
    project.manifest(ONE + slow)
    project.emit("work", {"n": 3})
    project.function("greet", VERSION.format(3))
    said(project, "greet  reloaded", 2)
    assert "slow 3" not in project.notes()
    let_go(project)
    wait_until(lambda: "slow 3" in project.notes(), description="it is back, after what ran")
    project.manifest(ONE)
    said(project, "no longer in the manifest")


def test_an_edit_that_is_undone_leaves_no_problem(project: Sandbox) -> None:
    """Whichever file it was undone in: `status` has nothing to repeat, and the log says so."""
    good = (project.folder / "triggers.yaml").read_text()
    project.manifest(ONE.replace("greet:run", "greet:runn"))
    said(project, "has no function 'runn'")
    wait_until(lambda: project.status("greet")["problem"] is not None, description="status says it")
    (project.folder / "triggers.yaml").write_text(good)
    said(project, "greet  reloaded")
    wait_until(lambda: project.status("greet")["problem"] is None, description="status has nothing to say")
    (project.folder / "triggers.yaml").write_text(good + "  x: {topic: [}\n")
    said(project, "the manifest before goes on")
    (project.folder / "triggers.yaml").write_text(good)
    said(project, "the manifest is right again")


def test_triggers_that_are_added_together_are_all_known_to_be_ready(project: Sandbox) -> None:
    """However quickly the first ones load while the last ones are still being added."""
    project.function("many", "\ndef run(event): ...\n")
    names = [f"m{n}" for n in range(12)]
    project.manifest(ONE + "".join(f"    {name}: {{topic: many, function: 'many:run'}}\n" for name in names))
    said(project, "ready", 13)
    status = json.loads(project.evfn("status", "--json").stdout)["triggers"]
    assert {name: status[name]["state"] for name in names} == dict.fromkeys(names, "ok")


def test_a_changed_start_moves_a_trigger_that_has_had_nothing_yet(sandbox: Sandbox) -> None:
    """As the hint says that older events bring; after the first delivery it is said to have no effect."""
    sandbox.manifest("other: {topic: other, function: 'late:run'}")
    sandbox.function("late", "\ndef run(event):\n    note(event.data['n'])\n")
    sandbox.emit("things", {"n": 1}, {"n": 2})
    late = "late: {topic: things, function: 'late:run'}"
    sandbox.manifest(late)
    with sandbox.running():
        said(sandbox, "late begins behind 2 older events of things; write `start: earliest`")
        sandbox.manifest(late.replace("things", "things, start: earliest"))
        wait_until(lambda: sandbox.notes() == ["1", "2"], description="the older events are delivered")
        sandbox.manifest(late)
        said(sandbox, "`start` was changed after the first delivery")
        sandbox.emit("things", {"n": 3})
        wait_until(lambda: sandbox.notes() == ["1", "2", "3"], description="it goes on where it was")
    assert "`start` was changed" not in sandbox.evfn("status").stderr


def test_env_is_taken_over(project: Sandbox) -> None:
    """`.env` beside the manifest, made and changed while it runs; a mistake in it keeps what was."""
    project.function("greet", "\ndef run(event):\n    note(f\"{os.environ['GREETING']} {event.data['n']}\")\n")
    said(project, "greet  reloaded")
    assert ran(project, 1) == "hello 1"
    (project.folder / ".env").write_text("GREETING=welcome\n")
    said(project, "greet  reloaded", 2)
    assert ran(project, 2) == "welcome 2"
    (project.folder / ".env").write_text("GREETING='welcome\n")
    said(project, ".env:1:10: error")
    assert ran(project, 3) == "welcome 3"


def test_a_new_file_that_no_trigger_uses_comes_with_the_lines_to_paste(project: Sandbox) -> None:
    """Pasted as they are they make a trigger that loads."""
    path = project.folder / "functions" / "farewell.py"
    path.write_text("import os\n\ndef goodbye(event):\n    open(os.environ['JOURNAL'], 'a').write('bye\\n')\n")
    said(project, "functions/farewell.py: no trigger uses it")
    lines = project.log.read_text().partition("of triggers.yaml\n\n")[2].partition("\n\n")[0]
    with (project.folder / "triggers.yaml").open("a") as manifest:
        manifest.write(lines + "\n")
    said(project, "farewell  ready")
    project.emit("change.me", {"n": 1})
    wait_until(lambda: "bye" in project.notes(), description="the pasted trigger runs")


def test_reloading_names_the_dead_letters_that_wait(sandbox: Sandbox) -> None:
    """With the command that sends them back, which then runs them on the new code."""
    sandbox.manifest("fails: {topic: people, function: 'fails:run', retry: {attempts: 1}}")
    sandbox.function("fails", "\ndef run(event):\n    raise ValueError('no')\n")
    with sandbox.running():
        said(sandbox, "ready")
        sandbox.emit("people", {"n": 1}, {"n": 2})
        said(sandbox, "dead letter", 2)
        sandbox.function("fails", "\ndef run(event):\n    note(event.data['n'])\n")
        said(sandbox, "2 dead letters wait: evfn dlq redrive fails --all")
        sandbox.evfn("dlq", "redrive", "fails", "--all")
        wait_until(lambda: sorted(sandbox.notes()) == ["1", "2"], description="both ran on the new code")


def test_no_reload_keeps_to_the_code_of_the_start(sandbox: Sandbox) -> None:
    """`--no-reload` watches nothing, and a worker that begins later runs what the first one did."""
    sandbox.manifest(ONE.replace("max: 1}", "max: 1, recycle_after: 1}"))
    sandbox.function("greet", VERSION.format(1))
    with sandbox.running("--no-reload"):
        said(sandbox, "ready")
        sandbox.function("greet", VERSION.format(2))
        before = workers(sandbox)
        assert ran(sandbox, 1) == "1 1 1"
        wait_until(lambda: workers(sandbox).isdisjoint(before), description="another worker has taken over")
        assert ran(sandbox, 2) == "1 2 1"
        assert "reloaded" not in sandbox.log.read_text()


def test_saving_without_a_change_does_nothing(project: Sandbox) -> None:
    """A touched file is the same file; its workers stay."""
    before = workers(project)
    path = project.folder / "functions" / "greet.py"
    os.utime(path, (time.time() + 5, time.time() + 5))
    project.function("seen", "\ndef run(event): ...\n")
    said(project, "functions/seen.py: no trigger uses it")
    assert workers(project) == before


def test_the_functions_folder_may_vanish_and_come_back(project: Sandbox) -> None:
    """As with a checkout of another branch."""
    assert ran(project, 0) == "1 0 1"
    folder, away = project.folder / "functions", project.folder / "away"
    shutil.move(folder, away)
    said(project, "not reloaded")
    assert ran(project, 1) == "1 1 1"
    shutil.move(away, folder)
    said(project, "greet  reloaded")
    project.function("greet", VERSION.format(2))
    said(project, "greet  reloaded", 2)
    assert ran(project, 2) == "2 2 1"


def workers(box: Sandbox) -> set[int]:
    status = json.loads(box.evfn("status", "--json").stdout)
    (instance,) = status["instances"].values()
    return set(instance["workers"])


def kill_workers(box: Sandbox) -> None:
    kill(workers(box))


def kill(processes: set[int]) -> None:
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), description="the workers are gone")
