"""The examples in every command's help work as they stand, in a copy of the example project."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from evfn_cli.examples import EXAMPLES
from evfn_cli.main import COMMANDS, cli
from sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ALL = [line for lines in EXAMPLES.values() for line in lines]
NOT_RUN = {
    "evfn generate docker --out deploy/docker --instances 3": "test_generate.py runs it, in less time",
    "evfn generate kubernetes --out deploy/kubernetes": "test_generate.py runs it, in less time",
    "evfn run": "does not end by itself",
    "evfn run --redis redis://localhost:6379": "the address is that of the reader's own server",
    "evfn serve --redis redis://localhost:6379": "the address is that of the reader's own server",
    "evfn serve --redis redis://localhost:6379 --drain-timeout 2m": "the same",
    "evfn rq-worker --count 4": "does not end by itself, and the example project has no jobs",
    "evfn rq-worker --redis redis://localhost:6379 --queue evfn:climate": "the same",
    "evfn tail 'readings.*' --from 10m": "does not end by itself",
    "evfn status --watch": "does not end by itself",
    "evfn dlq show quality --json | evfn invoke quality --event - --debug": "waits for a person",
    "evfn forget old-trigger": "the trigger is one that the reader once had",
    "evfn dlq show quality 1763881200000-0 --json": "the id is one that the reader saw",
}


def paths(command: click.Command, path: str) -> list[str]:
    """The command and all below it, as they are typed."""
    inner = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(each for name, sub in inner for each in paths(sub, f"{path} {name}"))]


def test_every_command_has_one_to_three_examples() -> None:
    """Those in groups too, and there is no example for a command that is none."""
    root = click.Context(cli)
    found = [path for name in COMMANDS if (command := cli.get_command(root, name)) for path in paths(command, name)]
    assert {path: 1 <= len(EXAMPLES.get(path, ())) <= 3 for path in found} == dict.fromkeys(EXAMPLES, True)


@pytest.mark.parametrize("line", ALL)
def test_every_example_can_be_read_and_fits(line: str) -> None:
    """No option or argument that there is not; no line that breaks at 80 columns."""
    assert len(line) <= 76
    for part in line.removeprefix('eval "$(').removesuffix(')"').partition(" > ")[0].split(" | "):
        words = shlex.split(part)
        if words[0] == "evfn":
            parse(cli, words[1:])


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """As click does before it carries a command out; raises UsageError."""
    context = command.make_context(command.name or "evfn", list(words), parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        _, inner, left = command.resolve_command(context, rest)
        assert inner is not None
        parse(inner, left, context)


@pytest.mark.early(5)
def test_examples_that_end_by_themselves_work(sandbox: Sandbox) -> None:
    """One after the other, where the example project's broken readings have become dead letters."""
    shutil.rmtree(sandbox.folder / "functions")
    for name in ("functions", "events"):
        shutil.copytree(ROOT / name, sandbox.folder / name)
    shutil.copy(ROOT / "triggers.yaml", sandbox.folder)
    sandbox.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sandbox.evfn("emit", "readings.temperature", "--file", "events/broken-readings.ndjson")
    sandbox.run(expect=3)
    (sandbox.folder / "new").mkdir()
    # One may stand at a group and at its command.
    for line in dict.fromkeys(ALL):
        if line in NOT_RUN:
            continue
        folder = sandbox.folder / "new" if line.startswith("evfn init") else sandbox.folder
        done = subprocess.run(
            ["/bin/bash", "-euc", line], cwd=folder, env=sandbox.environment, capture_output=True, text=True, timeout=60
        )
        # The example project has readings that its functions fail on; a run that met them says so.
        expected = (0, 3) if line.startswith("evfn run") else (0,)
        assert done.returncode in expected, f"{line}: {done.stdout}{done.stderr}"
