"""Runs one invocation in a process of its own that has the terminal, with a debugger where the function fails.

Run as `python -m evfn_cli.debugger FD`: what to run is read from that descriptor. User code never runs in the process
of the command itself.
"""

import bdb
import functools
import inspect
import os
import pdb  # noqa: T100 - this is the debugger
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from evfn.errors import LoadError
from evfn.functions.function import Function
from evfn.functions.loading import ImportFailed, load
from evfn.functions.reference import parse
from evfn.functions.results import Origin
from evfn.outcome import Crashed, Failed, Interrupted, Outcome, Succeeded
from evfn.trigger import DataMode, Trigger
from evfn.workers.config import worker_config
from evfn.workers.delivery import Delivery
from evfn.workers.protocol import WorkerConfig
from evfn_cli.opened import Opened
from evfn_cli.render import escape_lines, say
from evfn_cli.verdict import show

_NOT_LOADED = 2


class _Task(msgspec.Struct):
    """What the process is told."""

    config: WorkerConfig
    delivery: Delivery


def start(opened: Opened, trigger: Trigger, delivery: Delivery) -> bool:
    """Run it; whether it succeeded. Raises LoadError where the function does not load (why was printed)."""
    config = worker_config(
        opened.project,
        trigger,
        folder=opened.location.folder,
        functions=opened.location.functions,
        environ=os.environ,
        env_file=opened.env_file,
    )
    reading, writing = os.pipe()
    with ExitStack() as stack:
        # The event may have come through stdin; the debugger talks to the terminal all the same.
        terminal = None
        if sys.stdin is None or not sys.stdin.isatty():
            try:
                terminal = stack.enter_context(Path("/dev/tty").open("rb"))
            except OSError:
                say("there is no terminal: the debugger reads its commands from stdin")
        process = subprocess.Popen(
            [sys.executable, "-m", "evfn_cli.debugger", str(reading)],
            cwd=opened.location.folder,
            env=config.env,
            stdin=terminal,
            pass_fds=[reading],
        )
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(_Task(config, delivery)))
        # Ctrl-C is for the debugger alone to act on: without us it would be left with a terminal it may not read.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    if code == _NOT_LOADED:
        raise LoadError(f"{trigger.function} does not load")
    return code == 0


def main() -> int:
    """The process: returns its exit code."""
    with os.fdopen(int(sys.argv[1]), "rb") as pipe:
        task = msgspec.msgpack.decode(pipe.read(), type=_Task)
    config, delivery = task.config, task.delivery
    project, functions = Path(config.project_dir), Path(config.functions_dir)
    sys.argv[:] = ["evfn"]
    try:
        found = load(parse(config.function), project, functions)
        function = Function(
            _Watched(found),
            Origin(config.project, config.trigger, tuple(config.emits)),
            attempts=config.attempts,
            timeout=timedelta(milliseconds=config.timeout_ms),
            modes={topic: DataMode(mode) for topic, mode in config.data_modes.items()},
        )
    except LoadError as error:
        say(escape_lines(error.traceback if isinstance(error, ImportFailed) else str(error)))
        return _NOT_LOADED
    began = time.monotonic()
    try:
        outcome = _as_without_us(function.run(delivery))
    except KeyboardInterrupt:
        outcome = Interrupted("Ctrl-C")
    except SystemExit as error:
        outcome = Crashed(f"the function called sys.exit({error.code!r})")
    trigger = Trigger(config.trigger, (), config.function, emits=tuple(config.emits))
    show(project, trigger, outcome, timedelta(seconds=time.monotonic() - began))
    return 0 if isinstance(outcome, Succeeded) else 1


def _as_without_us(outcome: Outcome) -> Outcome:
    """What a worker would have told: no frame of this module; `q` at a breakpoint() is no failure of the function."""
    if not isinstance(outcome, Failed):
        return outcome
    if outcome.failure.type == "bdb.BdbQuit":
        return Interrupted("the debugger was left before the function ended")
    frames = tuple(frame for frame in outcome.failure.frames if frame.file != __file__)
    return structs.replace(outcome, failure=structs.replace(outcome.failure, frames=frames))


class _Watched(functools.partial[Any]):
    """The function itself to whoever asks for its signature; a debugger opens where it, or what it gave, fails."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            value = super().__call__(*args, **kwargs)
        except Exception:
            _look()
            raise
        if isinstance(value, Generator):
            return _generated(value)
        if isinstance(value, AsyncGenerator):
            return _generated_async(value)
        return _awaited(value) if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except Exception:
        _look()
        raise


def _generated(value: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    try:
        return (yield from value)
    except Exception:
        _look()
        raise


async def _generated_async(value: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    try:
        async for item in value:
            yield item
    except Exception:
        _look()
        raise


def _look() -> None:
    error = sys.exc_info()[1]
    # Who left a debugger that breakpoint() opened does not want the next one.
    if error is not None and error.__traceback__ is not None and not isinstance(error, bdb.BdbQuit):
        say(escape_lines(f"{type(error).__name__}: {error}"))
        pdb.post_mortem(error.__traceback__.tb_next or error.__traceback__)


if __name__ == "__main__":
    raise SystemExit(main())
