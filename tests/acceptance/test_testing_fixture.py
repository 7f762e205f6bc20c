"""The fixture `evfn_project`, in projects of users: pytest runs there as they run it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox import Sandbox

TRIGGERS = """
    hot: {topic: readings, function: "climate:hot", filter: event.data.celsius > 30.0, emits: alerts}
    notify: {topic: alerts, function: "climate:notify", retry: {attempts: 3, initial_delay: 1m}}
    resting: {topic: readings, function: "climate:notify", enabled: false}
"""
FUNCTIONS = """
    def hot(event):
        print("it is hot")
        note(f"hot {os.getpid()}")
        return {"station": event.data["station"]}

    def notify(event, context):
        note(f"notify {context.attempt}")
        if event.data["station"] == "late" and context.attempt < 3:
            raise TimeoutError("not yet")
        if event.data["station"] == "south":
            raise KeyError("phone")
"""


def as_at_a_desk(environment: dict[str, str]) -> dict[str, str]:
    """In what it takes for CI, pytest's summary repeats every failure in full: what is counted here would double."""
    return {name: value for name, value in environment.items() if name not in ("CI", "BUILD_NUMBER")}


class Suite:
    """A project with tests, and pytest run on them."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.temporary = box.folder / "tmp"
        self.temporary.mkdir()
        box.manifest(TRIGGERS)
        box.function("climate", FUNCTIONS)
        (box.folder / "tests").mkdir()

    def pytest(self, source: str, *arguments: str, expect: int = 0) -> str:
        (self.box.folder / "tests" / "test_it.py").write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error", *arguments],
            cwd=self.box.folder,
            env={**as_at_a_desk(self.box.environment), "TMPDIR": str(self.temporary)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def assert_nothing_left(self) -> None:
        assert self.box.processes() == []
        files = [path for path in self.temporary.rglob("*") if path.is_file() or path.is_socket()]
        assert files == []
        assert not (self.box.folder / ".evfn").exists()


@pytest.fixture
def suite(sandbox: Sandbox) -> Suite:
    return Suite(sandbox)


def test_what_an_event_causes_is_there_when_emit_returns(suite: Suite) -> None:
    """Outcomes, emits and reasons, to the end of the chain; each test begins with nothing; nothing is left."""
    suite.pytest(
        """
        import pytest
        from evfn.testing import NotCaused

        def test_hot(evfn_project):
            caused = evfn_project.emit("readings", {"station": "north", "celsius": 31.5}, subject="s")
            assert caused.succeeded
            assert caused["hot"].succeeded and caused["notify"].succeeded
            assert [event.data for event in caused["hot"].emits] == [{"station": "north"}]
            assert [event.topic for event in caused.emits] == ["alerts"]
            (stored,) = evfn_project.events("readings")
            assert (stored.data["celsius"], stored.subject) == (31.5, "s")
            with pytest.raises(NotCaused, match="resting takes none of the events: disabled in the manifest"):
                caused["resting"]

        def test_cold(evfn_project):
            assert evfn_project.events("readings") == []
            caused = evfn_project.emit("readings", {"station": "north", "celsius": 3})
            assert caused["hot"].skipped
            assert caused["hot"].reason == "event.data.celsius > 30.0 is false (event.data.celsius is 3)"
            assert "notify" not in caused
            with pytest.raises(NotCaused, match="notify got none of the events"):
                caused["notify"]

        def test_several(evfn_project):
            evfn_project.emit("alerts", {"station": "a"})
            caused = evfn_project.emit("alerts", {"station": "b"})
            assert len(caused.all("notify")) == 1

        async def within(project):
            return project.emit("alerts", {"station": "north"})

        def test_on_a_loop(evfn_project):
            import asyncio
            assert asyncio.run(within(evfn_project)).succeeded
        """
    )
    assert [note.split()[0] for note in suite.box.notes()] == ["hot", "notify", "notify", "notify", "notify"]
    suite.assert_nothing_left()


def test_retries_run_at_once_unless_asked_otherwise(suite: Suite) -> None:
    """The manifest's minute is not waited for; a test of its own may want it, and time is up then."""
    suite.pytest(
        """
        import pytest
        from evfn.testing import NotSettled, Project

        def test_late(evfn_project):
            caused = evfn_project.emit("alerts", {"station": "late"}, timeout=20)
            assert caused["notify"].succeeded and caused["notify"].attempts == 3

        def test_dead(evfn_project):
            caused = evfn_project.emit("alerts", {"station": "south"}, timeout=20)
            assert not caused.succeeded
            dead = caused["notify"]
            assert dead.dead_lettered and dead.reason == "failed" and dead.attempts == 3
            assert (dead.error.type, dead.error.message) == ("KeyError", "'phone'")
            assert dead.error.place.startswith("functions/climate.py:")
            assert 'raise KeyError("phone")' in dead.error.traceback
            (letter,) = evfn_project.dead_letters("notify")
            assert letter.event.data == {"station": "south"} and letter.reason == "failed"

        def test_real_delays(evfn_manifest):
            with Project(evfn_manifest).running(retry_delays=True) as project:
                with pytest.raises(NotSettled, match="failed, to run again   KeyError"):
                    project.emit("alerts", {"station": "south"}, timeout=0.5)
        """
    )
    suite.assert_nothing_left()


def test_a_failing_test_shows_what_happened(suite: Suite) -> None:
    """The tree with errors and their place, what functions wrote, and no frame of evfn; nothing is left behind it."""
    said = suite.pytest(
        """
        def test_south(evfn_project):
            caused = evfn_project.emit("readings", {"station": "south", "celsius": 31.5})
            assert caused.succeeded

        def test_at_trigger(evfn_project):
            assert evfn_project.emit("alerts", {"station": "south"})["notify"].succeeded
        """,
        expect=1,
    )
    assert said.count("where False = <notify dead letter (failed) after attempt 3   KeyError: 'phone'") == 2
    assert "Captured evfn call" in said
    assert "├─ hot       ok   → alerts" in said
    assert "│  └─ notify   dead letter (failed) after attempt 3   KeyError: 'phone'   functions/climate.py:" in said
    assert "└─ resting   disabled" in said
    assert "hot │ it is hot" in said
    assert "runtime/evfn" not in said
    suite.assert_nothing_left()


def test_slips_are_told_without_a_traceback_of_evfn(suite: Suite) -> None:
    """A topic nobody listens on; data that are none; a trigger that there is not."""
    said = suite.pytest(
        """
        def test_topic(evfn_project):
            evfn_project.emit("reading", {})

        def test_data(evfn_project):
            evfn_project.emit("readings", {1, 2})

        def test_attribute(evfn_project):
            evfn_project.emit("readings", {}, colour="red")

        def test_trigger(evfn_project):
            evfn_project.dead_letters("notfy")
        """,
        expect=1,
    )
    assert "no trigger listens on 'reading' (did you mean readings?); topics: alerts, readings" in said
    assert "not JSON" in said
    assert "an event has no attribute colour; it has data, type, topic" in said
    assert "there is no trigger 'notfy' (did you mean notify?)" in said
    assert "runtime/evfn" not in said
    suite.assert_nothing_left()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda box: box.function("climate", "def hot(event)\n"), "climate.py:7"),
        (lambda box: box.function("climate", "import sunshine\n"), "no module named 'sunshine'"),
        (lambda box: box.manifest("hot: {topc: readings}"), "triggers.yaml:4:"),
        (lambda box: (box.folder / "triggers.yaml").unlink(), "no triggers.yaml in"),
    ],
)
def test_a_project_that_does_not_run_is_an_error_with_its_place(suite: Suite, break_it: object, said: str) -> None:
    """Of the test that asked for it, in a few lines."""
    assert callable(break_it)
    break_it(suite.box)
    shown = suite.pytest("def test_it(evfn_project): ...", expect=1)
    assert "1 error" in shown
    assert said in shown
    assert "During handling" not in shown
    assert "runtime/evfn" not in shown
    suite.assert_nothing_left()


def test_the_manifest_can_be_chosen(suite: Suite) -> None:
    """By an option of pytest's ini file, and by a fixture."""
    other = suite.box.folder / "other"
    (other / "functions").mkdir(parents=True)
    (other / "functions" / "f.py").write_text("def run(event): ...\n")
    (other / "triggers.yaml").write_text("version: 1\nname: other\ntriggers:\n  only: {topic: t, function: 'f:run'}\n")
    source = "def test_it(evfn_project):\n    assert evfn_project.emit('t')['only'].succeeded\n"
    suite.pytest(source, "-o", "evfn_manifest=other/triggers.yaml")
    suite.pytest(
        "import pathlib, pytest\n\n"
        "@pytest.fixture\ndef evfn_manifest():\n    return pathlib.Path(__file__).parents[1] / 'other'\n\n" + source
    )


def test_variables_of_evfn_choose_nothing(suite: Suite) -> None:
    """A test run in a shell that is set up for a server does not touch that server."""
    suite.box.environment["EVFN_REDIS_URL"] = "redis://127.0.0.1:1"
    suite.box.environment["EVFN_STATE"] = str(suite.box.folder / "state")
    suite.pytest("def test_it(evfn_project):\n    assert evfn_project.emit('alerts', {'station': 'a'}).succeeded\n")
    assert not (suite.box.folder / "state").exists()


def test_a_function_that_hangs_does_not_outlive_the_test(suite: Suite) -> None:
    """The time is up, the test fails, its worker is gone."""
    suite.box.function("climate", FUNCTIONS.replace('note(f"hot {os.getpid()}")', "import time; time.sleep(60)"))
    said = suite.pytest(
        "def test_it(evfn_project):\n    evfn_project.emit('readings', {'celsius': 40}, timeout=0.5)\n", expect=1
    )
    assert "not settled after 0.5 s" in said
    assert "hot       waiting" in said
    suite.assert_nothing_left()


def test_other_runs_of_pytest_pay_nothing(tmp_path: Path) -> None:
    """Where no fixture is used, only the plugin itself is imported."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    ours = ('evfn', 'redis', 'pydantic', 'msgspec')\n"
        "    found = {name for name in sys.modules if name.partition('.')[0] in ours}\n"
        "    assert found == {'evfn', 'evfn.testing', 'evfn.testing.plugin'}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
