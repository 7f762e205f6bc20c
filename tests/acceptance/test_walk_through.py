"""The first five minutes, in two real terminals: what `docs/first-five-minutes.md` shows is what they show.

`EVFN_RECORD=1` writes what the terminals showed into the page; otherwise the two are compared, less times and ids.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "first-five-minutes.md"
SCREEN = re.compile(r"(<!-- screen: (?P<name>[^\n]+?) -->\n```text\n)(?P<text>.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"<!-- edit: (?P<name>[^\n]+?) -->\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "TIME"),
    (re.compile(r"\d{13}-\d+"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b"), "UUID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "TRACE"),
    (re.compile(r"unix://\S+"), "SERVER"),
    (re.compile(r"\bpid \d+, \d workers? \([\d, ]+\)"), "PROCESSES"),
    # One that took no time at all, or was counted with others, says nothing of it.
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min)\b"), ""),
    (re.compile(r"[ \t]+"), " "),
]

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None and not os.environ.get("EVFN_REQUIRE_TMUX"), reason="needs tmux"
)


class Terminals:
    """A tmux server of this test's own; each terminal is a session with a shell in the same folder."""

    def __init__(self, folder: Path) -> None:
        self._command = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._folder = folder / "work"
        self._folder.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("EVFN_", "TMUX"))},
            "PATH": path,
            "PS1": "$ ",
            "XDG_RUNTIME_DIR": str(folder),
            "LANG": "C.UTF-8",
        }

    def open(self, name: str) -> None:
        shell = ["/bin/bash", "--norc", "--noprofile", "-i"]
        self._tmux("new-session", "-d", "-s", name, "-x", "100", "-y", "50", *shell)
        wait_until(lambda: self.show(name).endswith("$"), description=f"a prompt in {name}")

    def type(self, name: str, line: str) -> None:
        self._tmux("send-keys", "-t", name, "-l", line)
        self._tmux("send-keys", "-t", name, "Enter")

    def interrupt(self, name: str) -> None:
        self._tmux("send-keys", "-t", name, "C-c")

    def show(self, name: str) -> str:
        """What a person sees there now."""
        lines = self._tmux("capture-pane", "-p", "-J", "-t", name).split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    def run(self, name: str, line: str) -> str:
        """Type a command into a clean terminal and wait for the prompt; what is seen then, less that prompt."""
        self._tmux("send-keys", "-t", name, "clear", "Enter")
        wait_until(lambda: self.show(name) == "$", description="a clean terminal")
        self.type(name, line)
        wait_until(lambda: self.show(name).endswith("\n$"), description=f"{line} ends; there is:\n{self.show(name)}")
        return self.show(name).removesuffix("\n$") + "\n"

    def expect(self, name: str, text: str) -> str:
        wait_until(lambda: text in self.show(name), description=f"{text!r} is seen in {name}")
        return self.show(name)

    def close(self) -> None:
        subprocess.run([*self._command, "kill-server"], capture_output=True, env=self._environment)

    @property
    def folder(self) -> Path:
        return self._folder

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], cwd=self._folder, env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    opened = Terminals(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def since(text: str, line: str) -> str:
    """The screen from the last line that begins so."""
    return text[text.rindex(line) :] + "\n"


def test_the_first_five_minutes(terminals: Terminals) -> None:
    """Init, run, emit and see; break the function and see; mend it, redrive, all green."""
    edits = {match["name"]: match["text"] for match in FILE.finditer(PAGE.read_text())}
    shown: dict[str, str] = {}
    terminals.open("one")
    shown["init"] = terminals.run("one", "evfn init shop")
    project = terminals.folder / "shop"
    greet = project / "functions" / "greet.py"
    good = greet.read_text()
    terminals.open("two")
    for name in ("one", "two"):
        terminals.run(name, "cd shop")
    terminals.type("one", "clear; evfn run")
    shown["run"] = terminals.expect("one", "greet  ready") + "\n"
    shown["emit"] = terminals.run("two", """evfn emit people.arrived '{"name": "Ada"}' --wait""")
    assert "ok" in shown["emit"]

    greet.write_text(edits["functions/greet.py: a slip"])
    shown["slip"] = since(terminals.expect("one", "the code before goes on"), "greet  not reloaded")
    assert "ok" in terminals.run("two", """evfn emit people.arrived '{"name": "Grace"}' --wait""")

    greet.write_text(edits["functions/greet.py: a mistake"])
    terminals.expect("one", "greet  reloaded")
    manifest = project / "triggers.yaml"
    manifest.write_text(manifest.read_text().rstrip("\n") + "\n" + edits["triggers.yaml: below greet"])
    wait_until(lambda: terminals.show("one").count("greet  reloaded") == 2, description="the manifest is taken over")
    shown["failed"] = terminals.run("two", """evfn emit people.arrived '{"name": "Alan"}' --wait; echo "exit $?" """)
    assert "exit 3" in shown["failed"]
    shown["dead letter"] = terminals.run("two", "evfn dlq show greet")

    greet.write_text(good)
    shown["mended"] = since(terminals.expect("one", "evfn dlq redrive greet --all"), "greet  reloaded")
    shown["redrive"] = terminals.run("two", "evfn dlq redrive greet --all")
    terminals.expect("one", "hello Alan")
    shown["status"] = terminals.run("two", "evfn status")
    assert "ok" in shown["status"]
    terminals.interrupt("one")
    wait_until(lambda: terminals.show("one").endswith("\n$"), description="Ctrl-C ends it")
    compare(shown)


def compare(shown: dict[str, str]) -> None:
    page = PAGE.read_text()
    if os.environ.get("EVFN_RECORD"):
        PAGE.write_text(SCREEN.sub(lambda match: match[1] + shown[match["name"]], page))
    recorded = {match["name"]: match["text"] for match in SCREEN.finditer(page)}
    assert set(recorded) == set(shown)
    if not os.environ.get("EVFN_RECORD"):
        assert {name: less_variable(text) for name, text in shown.items()} == {
            name: less_variable(text) for name, text in recorded.items()
        }


def less_variable(text: str) -> list[str]:
    for pattern, word in VARIABLE:
        text = pattern.sub(word, text)
    return text.strip().splitlines()
