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
from evfn.workers import leaving
from evfn.workers.channel import Channel
from evfn.workers.late_imports import LateImports
from evfn.workers.ledger import Ledger
from evfn.workers.one_by_one import OneByOne
from evfn.workers.output import Capture
from evfn.workers.protocol import LoadFailed, Ready, WorkerConfig
from evfn.workers.runs import Runs
from evfn.workers.side_by_side import SideBySide
from evfn.workers.surroundings import Descriptors, arrange, leave_template, move_in


def main(config: WorkerConfig, descriptors: Descriptors, template: int) -> NoReturn:
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
        function = _load(config, channel, capture)
        imports = LateImports(channel, Path(config.project_dir))
        runs: Runs = function
        if config.traced:
            # Only now, for it imports OpenTelemetry.
            from evfn.workers.traced import Traced

            runs = Traced(function, ledger)
        if function.is_async:
            _serve_async(runs, channel, ledger, capture, imports, config.concurrency)
        else:
            OneByOne(runs, channel, ledger, capture, imports).serve()
        leaving.stop(capture)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _load(config: WorkerConfig, channel: Channel, capture: Capture) -> Function:
    """Say Ready and return the function, or say LoadFailed and end."""
    pid = os.getpid()
    failed = None
    try:
        move_in(config.project_dir, config.env)
        if config.pinned is not None:
            PinnedModules(config.pinned.modules, config.pinned.contents).install()
        function = Function.load(
            config.function,
            Path(config.project_dir),
            Path(config.functions_dir),
            Origin(config.project, config.trigger, tuple(config.emits)),
            attempts=config.attempts,
            timeout=timedelta(milliseconds=config.timeout_ms),
            modes={topic: DataMode(mode) for topic, mode in config.data_modes.items()},
        )
    except ImportFailed as error:
        failed = LoadFailed(str(error), error.traceback)
    except LoadError as error:
        failed = LoadFailed(str(error))
    except BaseException as error:
        failed = LoadFailed(f"{config.function}: {failure.full_name(type(error))}: {failure.message(error)}")
    if os.getpid() != pid:
        # The import forked, and the child came back here.
        os._exit(0)
    capture.finish(capture.tally)
    if failed is not None:
        channel.send(failed)
        os._exit(1)
    # All that the import made stays for good; the collector need not look at it again and again.
    gc.freeze()
    project = Path(config.project_dir)
    modules = imported_modules(project)
    name = revision(project, read(modules.values())) if config.pinned is None else config.pinned.revision
    threads = len(list(Path("/proc/self/task").iterdir())) - 1
    found = {module: str(file) for module, file in modules.items()}
    channel.send(Ready(name, threads, function.is_async, found, unknown(config.give_up_on)))
    return function


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
