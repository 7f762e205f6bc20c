"""What shells offer: the real bash by its own completion machinery, the others by the variables their scripts set."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from own_time import to_its_end
from sandbox import PATIENCE, Sandbox

MANIFEST = """\
version: 1
name: sandbox
topics:
  kept.only: {data: json}
triggers:
  heat-alert:
    topic: [readings.temperature, "readings.*", "sensors:north"]
    function: climate:alert
    emits: alerts.raised
  store:
    topic: readings.temperature
    function: store
"""
COMMANDS = [
    *["init", "check", "run", "serve", "rq-worker", "emit", "invoke", "replay"],
    *["tail", "status", "doctor", "dlq", "forget", "generate", "schema", "completion"],
]

# Does what readline does: splits the line into words at bash's own breaks, and calls the function that is registered.
DRIVER = r"""
eval "$(evfn completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -r -a COMP_WORDS <<< "$(sed 's/[:=]/ & /g' <<< "$1")"
[[ $1 == *[\ :=] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { echo "compopt $*"; }
registered=$(complete -p evfn)
[[ $registered =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" evfn "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
(( ${#COMPREPLY[@]} == 0 )) || printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    (sandbox.folder / "triggers.yaml").write_text(MANIFEST)
    sandbox.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return sandbox


def bash(project: Sandbox, line: str) -> list[str]:
    """What bash would offer behind this line."""
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", DRIVER, "driver", line],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def ask(project: Sandbox, shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The protocol between a shell's script and evfn."""
    return subprocess.run(
        [sys.executable, "-m", "evfn_cli"],
        cwd=project.folder,
        env={**project.environment, "_EVFN_COMPLETE": f"{shell}_complete", **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("evfn ", COMMANDS),
        ("evfn s", ["serve", "status", "schema"]),
        ("evfn dlq ", ["ls", "purge", "redrive", "show"]),
        ("evfn dlq show ", ["heat-alert", "store"]),
        ("evfn dlq redrive h", ["heat-alert"]),
        ("evfn dlq ls ", ["heat-alert", "store"]),
        ("evfn dlq purge s", ["store"]),
        ("evfn invoke ", ["heat-alert", "store", "climate:alert"]),
        ("evfn emit ", ["readings.temperature", "sensors:north", "alerts.raised", "kept.only"]),
        ("evfn emit r", ["readings.temperature"]),
        ("evfn emit sensors:", ["north"]),
        ("evfn emit sensors:no", ["north"]),
        ("evfn invoke climate:a", ["alert"]),
        ("evfn emit --fi", ["--file"]),
        ("evfn run --unt", ["--until-idle"]),
        ("evfn emit readings.temperature --as ", ["json", "text", "bytes"]),
        ("evfn emit readings.temperature --file ", ["compopt -o default"]),
        ("evfn emit readings.temperature --file=", ["compopt -o default"]),
        ("evfn invoke store --event ", ["compopt -o default"]),
        ("evfn --manifest ", ["compopt -o default"]),
        ("evfn status --state ", ["compopt -o dirnames"]),
        ("evfn init ", ["compopt -o dirnames"]),
        ("evfn completion ", ["bash", "zsh", "fish"]),
        ("evfn nonsense ", []),
        ("evfn emit nowhere.", []),
        ("evfn emit 'unclosed", []),
    ],
)
def test_bash_offers_what_fits(project: Sandbox, line: str, offered: list[str]) -> None:
    """Commands, options, choices, files, and the manifest's names; only the part behind a colon is replaced by bash."""
    assert bash(project, line) == offered


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("evfn em", "evfn emit "),
        ("evfn emit sens", "evfn emit sensors:north "),
        ("evfn emit sensors:n", "evfn emit sensors:north "),
        ("evfn emit 'sensors:n", "evfn emit 'sensors:north' "),
        ("evfn emit x --file=tri", "evfn emit x --file=triggers.yaml "),
        ("true && EVFN_NAME=x evfn dlq show h", "true && EVFN_NAME=x evfn dlq show heat-alert "),
    ],
)
def test_a_tab_on_a_terminal_completes_the_line(project: Sandbox, typed: str, becomes: str) -> None:
    """The whole way, through bash's own line editor."""
    terminal, its_end = pty.openpty()
    shell = subprocess.Popen(
        ["/bin/bash", "--norc", "-i"],
        cwd=project.folder,
        env={**project.environment, "PS1": "$ ", "TERM": "dumb"},
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    os.close(its_end)
    try:
        os.write(terminal, b'eval "$(evfn completion bash)"; echo re""ady\n')
        read_until(terminal, "ready\r\n$ ")
        os.write(terminal, f"{typed}\t#end".encode())
        assert read_until(terminal, "#end") == f"{becomes}#end"
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def read_until(terminal: int, end: str) -> str:
    """All that the terminal shows up to this text."""
    shown, deadline = "", time.monotonic() + PATIENCE
    while end not in shown:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], f"no {end!r} in {shown!r}"
        shown += os.read(terminal, 1 << 12).decode()
    return shown


def test_names_come_from_the_manifest_that_the_line_names(project: Sandbox) -> None:
    """By option, by variable, or in a parent of the folder one is in."""
    (project.folder / "other.yaml").write_text(MANIFEST.replace("heat-alert", "other"))
    assert bash(project, "evfn --manifest other.yaml dlq show o") == ["other"]
    assert bash(project, "evfn dlq show --manifest other.yaml o") == ["other"]
    project.environment["EVFN_MANIFEST"] = "other.yaml"
    assert bash(project, "evfn dlq show o") == ["other"]
    del project.environment["EVFN_MANIFEST"]
    below = Sandbox(project.folder / "functions")
    below.environment["PATH"] = project.environment["PATH"]
    assert bash(below, "evfn dlq show ") == ["heat-alert", "store"]


@pytest.mark.parametrize(
    "manifest",
    [None, "", "triggers: [", "triggers: 3\ntopics: []\n", "just text", b"\xff\xfe", "triggers:\n  Not A Name: 5\n"],
)
def test_a_missing_or_broken_manifest_offers_no_names(project: Sandbox, manifest: str | bytes | None) -> None:
    """And says nothing: an error in the middle of what one types helps nobody."""
    path = project.folder / "triggers.yaml"
    if manifest is None:
        path.unlink()
    else:
        path.write_bytes(manifest.encode() if isinstance(manifest, str) else manifest)
    for line in ("evfn dlq show ", "evfn emit ", "evfn invoke "):
        assert bash(project, line) == []
    assert bash(project, "evfn sch") == ["schema"]


def test_a_manifest_with_mistakes_still_offers_its_names(project: Sandbox) -> None:
    """It is edited while one types."""
    (project.folder / "triggers.yaml").write_text(MANIFEST + "    tiemout: soon\n")
    assert bash(project, "evfn dlq show ") == ["heat-alert", "store"]


def test_names_cannot_do_anything_to_the_terminal(project: Sandbox) -> None:
    """What is no name of a trigger, a topic or a function is not offered."""
    (project.folder / "triggers.yaml").write_text(
        'triggers:\n  "a\\e[31m": {topic: ["t\\e[31m", "evfn:x", fine], function: "f\\e[31m"}\n'
    )
    assert bash(project, "evfn dlq show ") == []
    assert bash(project, "evfn invoke ") == []
    assert bash(project, "evfn emit ") == ["fine"]


@pytest.mark.parametrize(
    ("shell", "variables", "answer"),
    [
        ("zsh", {"COMP_WORDS": "evfn dlq show ", "COMP_CWORD": "3"}, "plain\nheat-alert\n_\nplain\nstore\n_\n"),
        ("zsh", {"COMP_WORDS": "evfn emit sens", "COMP_CWORD": "2"}, "plain\nsensors:north\n_\n"),
        ("zsh", {"COMP_WORDS": "evfn emit x --file ", "COMP_CWORD": "4"}, "file\n\n_\n"),
        ("fish", {"COMP_WORDS": "evfn dlq show ", "COMP_CWORD": ""}, "plain,heat-alert\nplain,store\n"),
        ("fish", {"COMP_WORDS": "evfn emit sens", "COMP_CWORD": "sens"}, "plain,sensors:north\n"),
    ],
)
def test_other_shells_get_their_answer(project: Sandbox, shell: str, variables: dict[str, str], answer: str) -> None:
    """As their scripts ask for it."""
    done = ask(project, shell, **variables)
    assert (done.stdout, done.stderr, done.returncode) == (answer, "", 0)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(project: Sandbox, shell: str) -> None:
    """Where that shell is installed; all name the function they define."""
    script = project.evfn("completion", shell).stdout
    assert "_evfn_completion" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused_by_name(project: Sandbox) -> None:
    """With those there are."""
    told = project.evfn("completion", "powershell", expect=2).stderr
    assert "'powershell'" in told
    assert "'bash', 'zsh', 'fish'" in told


@pytest.mark.parametrize("asked", ["", "bash", "bash_nonsense", "tcsh_complete", "zsh_complete"])
def test_a_question_that_makes_no_sense_gets_no_error(project: Sandbox, asked: str) -> None:
    """No traceback, no text; a script of another version may ask so."""
    done = ask(project, "any", _EVFN_COMPLETE=asked)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_it_is_quick_and_starts_nothing(project: Sandbox) -> None:
    """The best of five: 200 ms on an otherwise idle machine, with room for a busy one; no server, no state folder."""
    times = []
    question = {"_EVFN_COMPLETE": "fish_complete", "COMP_WORDS": "evfn dlq show ", "COMP_CWORD": ""}
    for _ in range(5):
        asked = subprocess.Popen(
            [sys.executable, "-m", "evfn_cli"],
            cwd=project.folder,
            env={**project.environment, **question},
            stdout=subprocess.DEVNULL,
        )
        times.append(to_its_end(asked))
        assert asked.wait() == 0
    assert min(times) < 0.4
    assert not (project.folder / ".evfn").exists()
    assert project.processes() == []
