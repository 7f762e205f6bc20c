"""A worker, from its fork to its end: make itself at home, load the function, say so, run events."""

import asyncio
import faulthandler
import gc
import os
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from evfn import inside
from evfn.errors import LoadError
from evfn.functions import failure
from evfn.functions.exception_names import unknown
from evfn.functions.function import Function
from evfn.functions.loading import ImportFailed
from evfn.functions.pinned import PinnedModules
from evfn.functions.results import Origin
from evfn.functions.revision import imported_modules, imports_begin, read, revision
from evfn.trigger import DataMode
from evfn.workers import leaving, signal_mask
from evfn.workers.channel import Channel
from evfn.workers.late_imports import LateImports
from evfn.workers.ledger import Ledger
from evfn.workers.loaded_template import leave_behind
from evfn.workers.one_by_one import OneByOne
from evfn.workers.output import Capture
from evfn.workers.preloaded import Preloaded
from evfn.workers.protocol import LoadedToo, LoadFailed, Ready, WorkerConfig
from evfn.workers.residue import Residue
from evfn.workers.runs import Runs
from evfn.workers.side_by_side import SideBySide
from evfn.workers.signal_mask import Mask
from evfn.workers.surroundings import NONE, Descriptors, arrange, be_ordinary, leave, move_in

if TYPE_CHECKING:
    from evfn.workers.traced import Traced


COLLECT_AFTER = 10_000
"""So many objects more than were let go of, and the garbage collector looks: at Python's 700 once in 350 events."""


def main(
    config: WorkerConfig, also: list[str], descriptors: Descriptors, template: int, preloaded: Preloaded
) -> NoReturn:
    """Never returns. What goes wrong before the function is loaded ends the process with a traceback in its output."""
    try:
        leave(template)
        be_ordinary()
        descriptors = arrange(descriptors)
        gc.enable()
        _dump_to(descriptors.stack)
        channel = Channel(descriptors.control)
        os.register_at_fork(after_in_child=channel.abandon)
        capture = Capture(channel)
        capture.install()
        sys.breakpointhook = _breakpoint_hook(config.trigger)
        inside.mark_worker()
        residue = Residue(each for each in descriptors if each != NONE)
        function, ready = _load(config, also, channel, capture, preloaded)
        if config.inspected:
            ready = replace(ready, residue=residue.found())
        channel.send(ready)
        if also:
            channel.send(_loaded_too(config, also))
        imports = LateImports(channel, Path(config.project_dir))
        worker = _Worker(config, function, ready, channel, capture, imports, _traced() if config.traced else None)
        if descriptors.home != NONE:
            with socket.socket(fileno=descriptors.home) as home:
                if residue.found():
                    home.shutdown(socket.SHUT_RDWR)  # A process that the import forked may have it, too.
                else:
                    leave_behind(ready.revision, descriptors, home, template, worker.live_again)
        worker.live(descriptors)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


class _Worker:
    """A process with its function loaded, and every process that is forked from it before it runs anything."""

    def __init__(
        self,
        config: WorkerConfig,
        function: Function,
        ready: Ready,
        channel: Channel,
        capture: Capture,
        imports: LateImports,
        traced: "type[Traced] | None",
    ) -> None:
        self._config = config
        self._function = function
        self._ready = ready
        self._channel = channel
        self._capture = capture
        self._imports = imports
        self._traced = traced

    def live_again(self, descriptors: Descriptors, mask: Mask) -> NoReturn:
        """In a process that a loaded template forked: say Ready at once."""
        _dump_to(descriptors.stack)
        signal_mask.restore(mask)
        self._channel.open(descriptors.control)
        self._channel.send(self._ready)
        self.live(descriptors)

    def live(self, descriptors: Descriptors) -> NoReturn:
        """Run events until told to stop."""
        ledger = Ledger(descriptors.ledger, self._config.slots)
        os.close(descriptors.ledger)
        function, channel, capture, imports = self._function, self._channel, self._capture, self._imports
        runs: Runs = function if self._traced is None else self._traced(function, ledger)
        if function.is_async:
            _serve_async(runs, channel, ledger, capture, imports, self._config.concurrency)
        else:
            OneByOne(runs, channel, ledger, capture, imports).serve()
        leaving.stop(capture)


def _traced() -> "type[Traced]":
    # Only when it is needed, for it imports OpenTelemetry.
    from evfn.workers.traced import Traced

    return Traced


def _dump_to(stack: int) -> None:
    """Write there where this process stands: when it crashes, and when it is asked."""
    faulthandler.enable(stack)
    faulthandler.register(signal.SIGUSR1, stack, all_threads=True, chain=False)


def _load(
    config: WorkerConfig, also: list[str], channel: Channel, capture: Capture, preloaded: Preloaded
) -> tuple[Function, Ready]:
    """The function with what there is to say of it; or say LoadFailed and end."""
    pid = os.getpid()
    failed = None
    too: LoadedToo | None = None
    try:
        move_in(config.project_dir, config.env)
        before = config.env.get("PYTHONPATH", "").split(os.pathsep)
        preloaded.give_way({config.project_dir, str(Path(config.functions_dir).parent), *filter(None, before)})
        if config.pinned is not None:
            PinnedModules(config.pinned.modules, config.pinned.contents).install()
        imports_begin()
        function = _imported(config, config.function)
    except ImportFailed as error:
        failed = LoadFailed(str(error), error.traceback)
        # They are of the same module.
        too = LoadedToo(dict.fromkeys(also, failed))
    except LoadError as error:
        failed = LoadFailed(str(error))
        too = _loaded_too(config, also)
    except BaseException as error:
        failed = LoadFailed(f"{config.function}: {failure.full_name(type(error))}: {failure.message(error)}")
    if os.getpid() != pid:
        # The import forked, and the child came back here.
        os._exit(0)
    capture.finish(capture.tally)
    if failed is not None:
        if also and too is not None:
            channel.send(too)
        channel.send(failed)
        os._exit(1)
    # All that the import made stays for good; the collector need not look at it again and again.
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    return function, _ready(config, function)


def _imported(config: WorkerConfig, reference: str) -> Function:
    return Function.load(
        reference,
        Path(config.project_dir),
        Path(config.functions_dir),
        Origin(config.project, config.trigger, tuple(config.emits)),
        attempts=config.attempts,
        timeout=timedelta(milliseconds=config.timeout_ms),
        modes={topic: DataMode(mode) for topic, mode in config.data_modes.items()},
    )


def _ready(config: WorkerConfig, function: Function) -> Ready:
    project = Path(config.project_dir)
    modules = imported_modules(project)
    name = revision(project, read(modules.values())) if config.pinned is None else config.pinned.revision
    found = {module: str(file) for module, file in modules.items()}
    return Ready(name, function.is_async, found, unknown(config.give_up_on))


def _loaded_too(config: WorkerConfig, also: list[str]) -> LoadedToo:
    """Whether these functions load as well, in the module that is imported already."""
    answers: dict[str, Ready | LoadFailed] = {}
    ready: Ready | None = None
    for reference in also:
        try:
            function = _imported(config, reference)
        except LoadError as error:
            answers[reference] = LoadFailed(str(error))
            continue
        # All of them are one module: what is imported is looked at once.
        ready = ready or _ready(config, function)
        answers[reference] = replace(ready, is_async=function.is_async)
    return LoadedToo(answers)


def _serve_async(
    function: Runs, channel: Channel, ledger: Ledger, capture: Capture, imports: LateImports, concurrency: int
) -> None:
    async def serve() -> None:
        await SideBySide(function, channel, ledger, capture, imports, concurrency).serve()

    asyncio.run(serve())


def _breakpoint_hook(trigger: str) -> Any:
    def hook(*args: object, **kwargs: object) -> None:
        sys.stderr.write(f"breakpoint(): a worker has no terminal; evfn invoke {trigger} --debug has one\n")

    return hook
