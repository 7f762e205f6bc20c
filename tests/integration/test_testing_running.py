"""Projects run one after the other in one process, as a suite of tests does it."""

import tempfile
import threading
from pathlib import Path

import pytest

from evfn.testing import Project

ROOT = Path(__file__).parents[2]


def test_a_long_suite_collects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor, no thread, no process and no file stays behind a project that ran and did something."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    project = Project(ROOT, env={"READINGS_DB": str(tmp_path / "readings.sqlite")})
    shown: list[str] = []

    # Servers that other tests of this process share are not this project's.
    others = children()

    def once() -> tuple[int, int, set[str], list[str]]:
        with project.running(show=shown.append) as running:
            caused = running.emit("readings.temperature", {"station": "SF", "celsius": 25, "at": "now"})
            assert caused.succeeded, caused
        files = [path.name for path in tmp_path.rglob("*") if not path.is_dir()]
        left = [name for name in files if not name.startswith("readings")]
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children() - others, left

    first = once()
    assert [once() for _ in range(3)] == [first] * 3
    assert first[2:] == (set(), [])
    assert "└─ notify   ok" in shown[0]


def children() -> set[str]:
    """The processes that this one has started and that are still there."""
    return {each for task in Path("/proc/self/task").iterdir() for each in (task / "children").read_text().split()}


def test_a_trigger_with_jobs_needs_no_rq_worker(tmp_path: Path) -> None:
    """What would be a job on servers runs in a process here, and a test sees what comes of it."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "images.py").write_text("def resize(event):\n    return event.data\n")
    (tmp_path / "triggers.yaml").write_text(
        "version: 1\nname: t\ntriggers:\n"
        "  resize: {topic: uploaded, function: 'images:resize', isolation: job, emits: resized}\n"
    )
    with Project(tmp_path).running() as running:
        caused = running.emit("uploaded", {"n": 1})
        assert caused.succeeded, caused
        assert [(event.topic, event.data) for event in caused.emits] == [("resized", {"n": 1})]
