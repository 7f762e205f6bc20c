"""The demo counts the same every time: its table is the one that the README shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ROW = re.compile(
    r"^ (heat-alert|notify|store|quality) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) ", re.MULTILINE
)


@pytest.mark.early(5)
def test_demo_ends_by_itself_with_the_counts_of_the_readme(sandbox: Sandbox) -> None:
    """Every number but the rate; the steps it proposes name commands that exist."""
    shutil.rmtree(sandbox.folder / "functions")
    for name in ("functions", "events"):
        shutil.copytree(ROOT / name, sandbox.folder / name)
    for name in ("demo.py", "triggers.yaml"):
        shutil.copy(ROOT / name, sandbox.folder)
    environment = {**sandbox.environment, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "demo.py"], cwd=sandbox.folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = ROW.findall(done.stdout)
    assert len(counted) == 4
    assert counted == ROW.findall((ROOT / "README.md").read_text())
    assert (sandbox.folder / ".demo" / "readings.sqlite").exists()
    listed = sandbox.evfn("--state", ".demo", "dlq", "ls", "--json")
    assert len(listed.stdout.splitlines()) == 5
    shown = sandbox.evfn("--state", ".demo", "dlq", "show", "quality")
    assert "quality.py" in shown.stdout
    invoked = sandbox.evfn("invoke", "heat-alert", "--data", '{"station": "here", "celsius": 31.5, "at": "now"}')
    assert "alerts.raised" in invoked.stdout + invoked.stderr
