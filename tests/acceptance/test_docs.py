"""What README and docs show is what happens: every snippet is run, or says beside it why it is not.

A comment before a code block tells what the test does with it: `file: NAME` writes it, `run` runs it in a fresh folder,
`run: in an empty folder` and `run: in a new project` (after `evfn init`, with each `file in a new project: NAME` of the
page) where they say, `run: in the example project` where the example's events have run, `python: with a server` against
a real server; `manifest` is checked as one; `not run: WHY` is for readers. `message: NAME` is provoked by
test_does_not_run.py, `screen: NAME` and `edit: NAME` by test_walk_through.py. A Python block without a comment is run
as it stands.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evfn.manifest import load
from sandbox import Sandbox
from servers import RealServer

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(
    r"(?:<!-- (?P<order>[^\n]+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
IN_NEW_PROJECT = "file in a new project: "
RUNNABLE = ("sh", "bash", "python", "console")


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    order: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        content = page.read_text()
        for match in BLOCK.finditer(content):
            line = content.count("\n", 0, match.start("language")) + 1
            yield Block(page.name, line, match["order"] or "", match["language"], match["text"])


ALL = list(blocks())


def environment(box: Sandbox) -> dict[str, str]:
    return {**box.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_every_snippet_that_can_be_run_says_what_is_done_with_it() -> None:
    """No shell snippet slips past the tests without a reason a reader can see."""
    silent = [
        str(block) for block in ALL if block.language in RUNNABLE and block.language != "python" and not block.order
    ]
    assert silent == []


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "python" and not b.order], ids=str)
def test_python_snippet_runs_as_it_stands(block: Block) -> None:
    """Definitions and plain calls: executed in a namespace of their own."""
    exec(compile(block.text, str(block), "exec"), {"__name__": "snippet"})  # noqa: S102 - that is the test


def test_first_function_in_five_minutes(sandbox: Sandbox) -> None:
    """README's files and commands, literally, in an empty folder."""
    shutil.rmtree(sandbox.folder / "functions")
    page = [block for block in ALL if block.page == "README.md"]
    for block in page:
        if block.order.startswith("file: "):
            path = sandbox.folder / block.order.removeprefix("file: ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)
    scripts = [block.text for block in page if block.order == "run"]
    assert scripts
    for script in scripts:
        done = subprocess.run(
            ["/bin/bash", "-euc", script], cwd=sandbox.folder, env=environment(sandbox), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "hello Ada" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.order.startswith(("run: in a new", "run: in an empty"))], ids=str
)
def test_commands_shown_for_a_new_project_work(sandbox: Sandbox, block: Block) -> None:
    """Line by line, and none of them ends with an error."""
    shutil.rmtree(sandbox.folder / "functions")
    if block.order == "run: in a new project":
        sandbox.evfn("init")
        for file in ALL:
            if file.page == block.page and file.order.startswith(IN_NEW_PROJECT):
                (sandbox.folder / file.order.removeprefix(IN_NEW_PROJECT)).write_text(file.text)
    done = subprocess.run(
        ["/bin/bash", "-euc", block.text],
        cwd=sandbox.folder,
        env=environment(sandbox),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [b for b in ALL if b.order == "manifest"], ids=str)
def test_manifest_shown_is_one(block: Block, tmp_path: Path) -> None:
    """It has no mistake and no warning, given the modules it names."""
    (tmp_path / "triggers.yaml").write_text(block.text)
    (tmp_path / "functions").mkdir()
    for module in re.findall(r"function: (\w+)", block.text):
        (tmp_path / "functions" / f"{module}.py").touch()
    loaded = load(tmp_path / "triggers.yaml", functions_dir=tmp_path / "functions", environ={}, cores=1)
    assert loaded.warnings == ()


@pytest.mark.parametrize("block", [b for b in ALL if b.order == "python: with a server"], ids=str)
def test_python_snippet_runs_against_a_server(block: Block, tmp_path: Path) -> None:
    """The address in the text stands for the reader's own server."""
    server = RealServer("valkey", tmp_path / "server", tcp=True).start()
    try:
        text = block.text.replace("redis://localhost:6379", server.tcp_url)
        exec(compile(text, str(block), "exec"), {"__name__": "snippet"})  # noqa: S102 - that is the test
    finally:
        server.stop()


def test_commands_shown_for_the_example_project_work(sandbox: Sandbox) -> None:
    """Run where the demo left its events: in a copy of the example project."""
    shutil.rmtree(sandbox.folder / "functions")
    for name in ("functions", "events"):
        shutil.copytree(ROOT / name, sandbox.folder / name)
    shutil.copy(ROOT / "triggers.yaml", sandbox.folder)
    sandbox.evfn("emit", "readings.temperature", "--file", "events/broken-readings.ndjson")
    sandbox.run(expect=3)
    scripts = [block for block in ALL if block.order == "run: in the example project"]
    assert scripts
    for block in scripts:
        done = subprocess.run(
            ["/bin/bash", "-euc", block.text],
            cwd=sandbox.folder,
            env=environment(sandbox),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
