"""`evfn init`: a project that runs, passes its own test, and overwrites nothing."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evfn_cli.new_project import FILES
from sandbox import Sandbox, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(sandbox: Sandbox) -> Sandbox:
    """An empty folder, with the environment that has evfn and pytest first on the path."""
    shutil.rmtree(sandbox.folder / "functions")
    sandbox.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return sandbox


def made(folder: Path) -> set[str]:
    """The files below a folder, the state folder's left out."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(file) for file in files if file.parts[0] != ".evfn"}


def shell(here: Sandbox, folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-euc", "\n".join(commands)],
        cwd=folder,
        env=here.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_it_prints_can_be_typed_and_works(here: Sandbox) -> None:
    """Every line that it says to type next, literally: the function runs, its event is followed, its tests pass."""
    told = here.evfn("init", "my shop").stderr
    typed = [line.strip() for line in told.partition("What to type next:")[2].splitlines() if line.startswith("  ")]
    there, run, emit, test = typed
    assert there == "cd 'my shop'"
    assert run == "evfn run"
    assert emit.startswith("evfn emit ")
    assert test == "pytest"
    log = here.folder / "run.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["/bin/bash", "-euc", f"{there}\nexec {run}"],
            cwd=here.folder,
            env=here.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: running.poll() is not None or b"ready" in log.read_bytes(), description="evfn run is ready")
        emitted = shell(here, here.folder, there, emit)
        assert emitted.returncode == 0, emitted.stdout + emitted.stderr
        wait_until(lambda: b"people.greeted" in log.read_bytes().partition(b"ready")[2], description="it emitted")
        assert "hello Ada" in log.read_text()
    finally:
        running.terminate()
        assert running.wait(20) == 0
    tested = shell(here, here.folder, there, test)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout


def test_the_project_is_sound(here: Sandbox) -> None:
    """`evfn check` finds nothing, `run --until-idle` runs what waits, mypy --strict has no word about its code."""
    here.evfn("init")
    assert made(here.folder) == set(FILES)
    checked = here.evfn("check")
    assert checked.stdout == "ok  greet: people.arrived → greet:hello → people.greeted\n"
    assert checked.stderr == ""
    here.emit("people.arrived", {"name": "Ada"})
    assert "hello Ada" in here.run().stdout
    typed = shell(here, here.folder, "python -m mypy --strict --cache-dir /dev/null functions tests")
    assert typed.returncode == 0, typed.stdout


def test_editors_find_the_schema_at_once(here: Sandbox) -> None:
    """The manifest's first line names it, and it is the one that `evfn schema` prints."""
    here.evfn("init")
    first = (here.folder / "triggers.yaml").read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert named is not None
    assert (here.folder / named[1]).read_text() == here.evfn("schema").stdout


def test_nothing_is_overwritten_and_all_that_is_in_the_way_is_named(here: Sandbox) -> None:
    """Exit code 1, and not one file is written; what was there stays as it was."""
    (here.folder / "requirements.txt").write_text("mine\n")
    (here.folder / "triggers.yaml").symlink_to("nowhere.yaml")
    (here.folder / "tests").write_text("a file where a folder has to be\n")
    done = here.evfn("init", expect=1)
    assert done.stderr.startswith("error: ")
    assert "has triggers.yaml, tests/test_greet.py, requirements.txt already" in done.stderr
    assert made(here.folder) == {"requirements.txt", "tests"}
    assert (here.folder / "requirements.txt").read_text() == "mine\n"
    assert not (here.folder / ".evfn").exists()


def test_a_folder_with_other_things_in_it_is_fine(here: Sandbox) -> None:
    """Also one with functions and an .evfn of its own."""
    (here.folder / "README.md").write_text("mine\n")
    (here.folder / "functions").mkdir()
    (here.folder / "functions" / "other.py").write_text("def handle(event): ...\n")
    here.evfn("init")
    assert made(here.folder) == {*FILES, "README.md", "functions/other.py"}


@pytest.mark.parametrize(
    ("folder", "arguments", "name"),
    [
        ("Heat Alerts", [], "heat-alerts"),
        ("deep/er/climate_2", [], "climate-2"),
        ("any", ["--name", "chosen"], "chosen"),
        ("漢字", [], "my-project"),
    ],
)
def test_the_project_is_called_after_its_folder(here: Sandbox, folder: str, arguments: list[str], name: str) -> None:
    """Unless --name says otherwise; a folder whose name has nothing that a name may have is said to have none."""
    told = here.evfn("init", folder, *arguments).stderr
    assert f"made the project {name} in" in told
    assert ("makes no project name" in told) == (name == "my-project")
    manifest = (here.folder / folder / "triggers.yaml").read_text()
    assert f"\nname: {name}  #" in manifest
    here.evfn("check", "--manifest", folder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["init", "--name", "Big Shop"], "'Big Shop' cannot be a project's name (did you mean big-shop?)"),
        (["init", "afile"], "afile is a file; name a folder"),
        (["--redis", "redis://localhost", "init"], "--redis means nothing to init"),
        (["init", "one", "two"], "unexpected extra argument"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(here: Sandbox, arguments: list[str], said: str) -> None:
    """Exit code 2: nothing was done."""
    (here.folder / "afile").write_text("")
    done = here.evfn(*arguments, expect=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert made(here.folder) == {"afile"}


def test_a_folder_that_cannot_be_written_is_said_plainly(here: Sandbox) -> None:
    """One line with the path, no traceback."""
    done = here.evfn("init", "/proc/new", expect=1)
    assert re.fullmatch(r"error: /proc/new.*: .+\n", done.stderr)


def test_a_project_within_another_gets_a_word(here: Sandbox) -> None:
    """Commands find the nearest manifest, so below the new folder it is the new one that counts."""
    here.evfn("init")
    told = here.evfn("init", "inner").stderr
    assert f"It lies within the project of {here.folder}: commands in inner work on the new one." in told


def test_outside_of_a_project_commands_name_it(here: Sandbox) -> None:
    """Whoever begins with `evfn run` learns what to type before."""
    assert "evfn init" in here.evfn("run", expect=2).stderr


def test_a_built_wheel_holds_every_file_that_evfn_makes(tmp_path: Path) -> None:
    """The templates are data of the package, not of the repository."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*command, "-w", str(tmp_path), str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"evfn_cli/project_template/{file.removeprefix('.')}" for file in FILES} <= names
    templates = {path.relative_to(ROOT / "cli") for path in (ROOT / "cli/evfn_cli/server_files").rglob("*.*")}
    assert {str(path) for path in templates} <= names
