"""A throw-away project on disk, driven the way a user does: by the command line, against the real embedded server."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 20.0
"""Seconds a test waits for something that takes milliseconds; only a broken build waits so long."""


def wait_until(predicate: Callable[[], object], *, description: str, patience: float = PATIENCE) -> None:
    """Return once the predicate holds; fail with the description where it never does."""
    deadline = time.monotonic() + patience
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain: {description}")
        time.sleep(0.02)


class Sandbox:
    """`journal` is a file that the functions of a test append lines to, one write each: it survives any kill."""

    def __init__(self, folder: Path, *, server: str | None = None) -> None:
        self.folder = folder
        self.journal = folder / "journal.txt"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("EVFN_")},
            "JOURNAL": str(self.journal),
            "XDG_RUNTIME_DIR": str(folder),
        }
        if server is not None:
            self.environment["EVFN_REDIS_URL"] = server
        (folder / "functions").mkdir()

    def manifest(self, triggers: str, *, head: str = "version: 1\nname: sandbox\n") -> None:
        """Write triggers.yaml; `triggers` is the mapping below `triggers:`."""
        body = textwrap.indent(textwrap.dedent(triggers).strip(), "  ")
        (self.folder / "triggers.yaml").write_text(f"{head}triggers:\n{body}\n")

    def function(self, module: str, source: str) -> None:
        """Write functions/<module>.py, with `note(text)` ready for the journal."""
        prelude = """\
            import os

            def note(text):
                with open(os.environ["JOURNAL"], "a", buffering=1) as journal:
                    journal.write(f"{text}\\n")

            """
        text = textwrap.dedent(prelude) + textwrap.dedent(source)
        (self.folder / "functions" / f"{module}.py").write_text(text)

    def notes(self) -> list[str]:
        """What the functions noted, in order."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def evfn(
        self, *arguments: str, stdin: str | bytes | None = None, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; fails where its exit code is another than expected."""
        done = subprocess.run(
            [sys.executable, "-m", "evfn_cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin.decode("latin-1") if isinstance(stdin, bytes) else stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"evfn {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def run(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`evfn run --until-idle`."""
        return self.evfn("run", "--until-idle", *arguments, expect=expect)

    def emit(self, topic: str, *events: object) -> None:
        """Publish these, JSON each, with one command."""
        self.evfn("emit", topic, "--file", "-", stdin="".join(json.dumps(event) + "\n" for event in events))

    def status(self, trigger: str) -> dict[str, Any]:
        """What `status --json` says of one trigger."""
        status: dict[str, Any] = json.loads(self.evfn("status", "--json").stdout)
        found: dict[str, Any] = status["triggers"][trigger]
        return found

    def dead(self, trigger: str) -> list[dict[str, Any]]:
        """The trigger's dead letters, whole."""
        listed = [json.loads(line) for line in self.evfn("dlq", "ls", trigger, "--json").stdout.splitlines()]
        names = [f"{each['topic']}/{each['id']}" for each in listed]
        return [json.loads(self.evfn("dlq", "show", trigger, each, "--json").stdout) for each in names]

    @contextmanager
    def running(
        self, *arguments: str, ready: bool = True, command: str = "run", says: bytes = b"watching"
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """`evfn run` in the background, as a rule ready when the block begins, ended with it."""
        log = self.folder / f"run-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "evfn_cli", command, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log
        try:
            wait_until(
                lambda: not ready or process.poll() is not None or says in log.read_bytes(),
                description=f"evfn {command} says {says!r}",
            )
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise

    def processes(self) -> list[int]:
        """Every living process of this sandbox, found by its environment, whoever its parent is now.

        The server overwrites its environment with its title, which names its socket below the sandbox's folder.
        """
        mark = f"JOURNAL={self.journal}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    title = (entry / "cmdline").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except (OSError, IndexError):
                    continue
                if (mark in environment or (b"valkey" in title and bytes(self.folder) in title)) and state != "Z":
                    found.append(int(entry.name))
        return found
