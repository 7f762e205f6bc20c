"""The Makefile says in one line what is wrong with an interpreter, before it makes anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program is not None
    return subprocess.run([program, "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        ("3.9", "evfn needs Python 3.11 or newer, and {python} is 3.9;"),
        ("", "there is no Python interpreter '{python}'"),
    ],
)
def test_an_old_or_missing_interpreter_is_named(tmp_path: Path, prints: str, said: str) -> None:
    """With what to write instead; the `.venv` of another interpreter is left as it is."""
    python = tmp_path / "python"
    if prints:
        python.write_text(f"#!/bin/sh\necho {prints}\n")
        python.chmod(0o755)
    before = sorted((ROOT / ".venv").glob(".ready-*"))
    done = make(f"PYTHON={python}", "check")
    assert done.returncode == 2
    assert said.format(python=python) in done.stderr
    assert "make PYTHON=python3.12" in done.stderr
    assert sorted((ROOT / ".venv").glob(".ready-*")) == before


def test_help_lists_the_targets() -> None:
    """`make` alone is `make help`."""
    said = make().stdout
    for target in ("demo", "test", "coverage", "chaos", "bench", "bench-quick", "check", "format"):
        assert f"  make {target} " in said


def test_the_constraints_are_names_and_versions_only() -> None:
    """No address, no hash, no path of anybody's machine."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, separator, version = line.partition("==")
        assert separator, line
        assert all(part and not set(part) & set(":/ @#;") for part in (name, version)), line
