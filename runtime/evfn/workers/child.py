"""A worker, from its fork to its end: make itself at home, load the function, say so, run events."""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from msgspec.structs import replace

from evfn import inside
from evfn.errors import LoadError
from evfn.functions import failure
from evfn.functions.exception_names import unknown
from evfn.functions.function import Function
from evfn.functions.loading import ImportFailed
from evfn.functions.pinned import PinnedModules
from evfn.functions.results import Origin
from evfn.functions.revision import imported_modules, read, revision
from evfn.trigger import DataMode
from evfn.workers import leaving, one_by_one
from evfn.workers.channel import Channel
from evfn.workers.late_imports import LateImports
from evfn.workers.ledger import Ledger
from evfn.workers.output import Capture
from evfn.workers.protocol import LoadedToo, LoadFailed, Ready, WorkerConfig
from evfn.workers.runs import Runs
from evfn.workers.side_by_side import SideBySide
from evfn.workers.surroundings import Descriptors, arrange, leave_template, move_in


def main(config: WorkerConfig, also: list[str], descriptors: Descriptors, template: int) -> NoReturn:
    """Never returns. What goes wrong before the function is loaded ends the process with a traceback in its output."""
    try:
        leave_template(template)
        descriptors = arrange(descriptors)
        ledger = Ledger(descriptors.ledger, config.slots)
        os.close(descriptors.ledger)
        gc.enable()
        faulthandler.enable(descriptors.stack)
        faulthandler.register(signal.SIGUSR1, descriptors.stack, all_threads=True, chain=False)
        channel = Channel(descriptors.control)
        os.register_at_fork(after_in_child=channel.abandon)
        capture = Capture(channel)
        capture.install()
        sys.breakpointhook = _breakpoint_hook(config.trigger)
        inside.mark_worker()
        function = _load(config, also, channel, capture)
        if also:
            channel.send(_loaded_too(config, also))
        imports = LateImports(channel, Path(config.project_dir))
        runs: Runs = function
        if config.traced:
            # Only now, for it imports OpenTelemetry.
            from evfn.workers.traced import Traced

            runs = Traced(function, ledger)
        if function.is_async:
            _serve_async(runs, channel, ledger, capture, imports, config.concurrency)
        else:
            one_by_one.serve(runs, channel, ledger, capture, imports)
        leaving.stop(capture)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _load(config: WorkerConfig, also: list[str], channel: Channel, capture: Capture) -> Function:
    """Say Ready and return the function, or say LoadFailed and end."""
    pid = os.getpid()
    failed = None
    too: LoadedToo | None = None
    try:
        move_in(config.project_dir, config.env)
        if config.pinned is not None:
            PinnedModules(config.pinned.modules, config.pinned.contents).install()
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
    channel.send(_ready(config, function))
    return function


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
    threads = len(list(Path("/proc/self/task").iterdir())) - 1
    found = {module: str(file) for module, file in modules.items()}
    return Ready(name, threads, function.is_async, found, unknown(config.give_up_on))


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
