"""Takes edits over while events flow: what loads serves the next event, what does not leaves everything as it was."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from evfn.clock import Clock
from evfn.errors import BrokerError, UsageError
from evfn.functions.unbound import suggestion, unused
from evfn.listener import (
    Listener,
    NotReloaded,
    Reloaded,
    ReloadEnded,
    Reloading,
    TriggerState,
    Unbound,
    Warned,
)
from evfn.project import MANIFEST, Reopen
from evfn.services.dispatcher import Dispatcher
from evfn.services.file_watch import FileWatch
from evfn.services.loads import PATIENCE
from evfn.services.project_files import Changes, ProjectFiles
from evfn.services.reload_batch import Batch
from evfn.services.roster import Roster
from evfn.services.served_triggers import ServedTriggers
from evfn.trigger import Project, Trigger
from evfn.workers.protocol import LoadFailed


class Reloader:
    """`definition` are the files that define the project, manifest first; `on_added` is told when a trigger begins.

    Without `watch` no file is looked at before `ask`.
    """

    def __init__(
        self,
        roster: Roster,
        reopen: Reopen,
        definition: tuple[Path, ...],
        functions_dir: Path,
        listener: Listener,
        clock: Clock,
        on_added: Callable[[], None],
        *,
        watch: bool,
    ) -> None:
        self._roster = roster
        self._reopen = reopen
        self._definition = definition
        self._functions_dir = functions_dir
        self._listener = listener
        self._changed = asyncio.Event()
        self._files = ProjectFiles(functions_dir, definition)
        self._watch = (
            FileWatch(functions_dir, self._changed.set, lambda text: listener.tell(Warned(text)), clock)
            if watch
            else None
        )
        self._loading: dict[Dispatcher, asyncio.Task[None]] = {}
        self._served = ServedTriggers(roster, listener, on_added, on_leaving=self._forget, on_left=self._ended)
        self._failed: dict[str, str] = {}
        self._refused: str | None = None
        self._problem: BaseException | None = None
        self._asked = ""
        self._reading = ""
        self._kept = False

    @property
    def asked(self) -> str:
        """Who asked for everything to be read anew, and has not been told that it is; empty for nobody."""
        return self._asked or self._reading

    def ask(self, cause: str) -> None:
        """Read everything anew, whether its files changed or not: what is installed beside them may have."""
        self._asked = cause
        self._changed.set()

    async def run(self, loads: asyncio.Task[None]) -> None:
        """Take edits over until cancelled; `loads` ends when every function has once been loaded, or failed to."""
        self._look()
        watching = asyncio.create_task(_for_ever() if self._watch is None else self._watch.run())
        try:
            await asyncio.wait([loads, watching], return_when=asyncio.FIRST_COMPLETED)
            while True:
                if self._watch is not None:
                    self._watch.watch({path.parent for path in (*self._definition, *self._imported())})
                waiting = asyncio.create_task(self._changed.wait())
                await asyncio.wait([waiting, watching], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if watching.done():
                    watching.result()
                if self._problem is not None:
                    raise self._problem
                self._changed.clear()
                if self._served.outdated:
                    await self._served.bring_in_line()
                if self._asked:
                    await self._read_anew()
                elif self._watch is not None:
                    await self.run_once()
                if self._reading and not self._loading:
                    self._reading = ""
                    self._listener.tell(ReloadEnded(self._kept))
        finally:
            for task in [watching, *self._loading.values()]:
                task.cancel()
            await asyncio.gather(watching, *self._loading.values(), return_exceptions=True)
            await self._served.close()

    async def run_once(self) -> None:
        """Look at all files once, and act on what changed."""
        changes = self._look()
        if not changes:
            return
        if changes.changed & set(self._definition):
            await self._redefine()
        code = any(path.suffix == ".py" for path in changes.changed)
        await self._revise(lambda each, now: self._is_concerned(each, now, changes.changed, code=code))
        self._name_unbound(changes)

    async def _read_anew(self) -> None:
        self._reading, self._asked, self._kept = self._asked, "", False
        self._listener.tell(Reloading(self._reading))
        # Whoever asks wants to hear all that is wrong, also what was said before.
        self._failed.clear()
        self._refused = None
        changes = self._look()
        present = set(self._roster.dispatchers)
        if await self._redefine():
            await self._revise(lambda dispatcher, _: dispatcher in present)
            self._name_unbound(changes)
        else:
            self._kept = True  # New functions might not fit the manifest before.

    def _look(self) -> Changes:
        return self._files.look(self._imported())

    def _imported(self) -> set[Path]:
        return {path for dispatcher in self._roster.dispatchers for path in dispatcher.serving.files}

    # --- the manifest and .env -----------------------------------------------------------------------------------

    async def _redefine(self) -> bool:
        """Serve what the manifest says now; False where it cannot be used."""
        try:
            opened = await asyncio.to_thread(self._reopen)
        except UsageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._listener.tell(NotReloaded(str(error)))
            return False
        if self._refused is not None:
            self._refused = None
            self._listener.tell(Reloaded((), {}))
        for warning in opened.warnings:
            self._listener.tell(Warned(warning))
        self._roster.define(self._within_the_lease(self._roster.project, opened.project), opened.env_file)
        await self._served.bring_in_line()
        return True

    def _within_the_lease(self, before: Project, project: Project) -> Project:
        """What only a new instance can change stays as it is, and is said."""
        if (project.name, project.settings) != (before.name, before.settings):
            self._listener.tell(
                Warned(f"{MANIFEST}: a changed `name` or `settings` takes effect when this instance is started again")
            )
        return replace(project, name=before.name, settings=before.settings)

    # --- functions -----------------------------------------------------------------------------------------------

    async def _revise(self, concerns: Callable[[Dispatcher, Trigger], bool]) -> None:
        """Load anew what it `concerns`, each on its own; one that takes its time delays no other."""
        wanted = {trigger.name: trigger for trigger in self._roster.project.triggers}
        concerned = [
            (dispatcher, wanted[dispatcher.trigger.name])
            for dispatcher in self._served.staying
            if dispatcher.trigger.enabled and concerns(dispatcher, wanted[dispatcher.trigger.name])
        ]
        batch = Batch(self._listener)
        for dispatcher, trigger in concerned:
            self._cancel(dispatcher)
            task = self._loading[dispatcher] = asyncio.create_task(self._exchange(dispatcher, trigger, batch))
            task.add_done_callback(partial(self._loaded, dispatcher))
            await asyncio.wait([task], timeout=PATIENCE)
        batch.close()

    def _is_concerned(self, dispatcher: Dispatcher, trigger: Trigger, changed: frozenset[Path], *, code: bool) -> bool:
        serving = dispatcher.serving
        if trigger != serving.trigger or self._roster.config(trigger) != serving.config:
            return True
        if serving.files & changed:
            return True
        # What it lacks may be in any file, and what an edit broke may have been undone in any.
        if trigger.name in self._failed:
            return True
        return code and (dispatcher.state is TriggerState.BROKEN or dispatcher in self._loading)

    async def _exchange(self, dispatcher: Dispatcher, trigger: Trigger, batch: Batch) -> None:
        batch.begin()
        revision = self._roster.revise(dispatcher, trigger)
        adopted = False
        try:
            answer = await revision.load()
            name = trigger.name
            if isinstance(answer, LoadFailed):
                said = self._failed.get(name) == answer.message
                self._failed[name] = answer.message
                self._kept = True
                served = dispatcher.state is not TriggerState.BROKEN
                dispatcher.refuse(answer)
                if served and not said:
                    batch.refused(name, answer)
                return
            served = dispatcher.state in (TriggerState.OK, TriggerState.BLOCKED)
            self._failed.pop(name, None)
            adopted = True
            await self._roster.adopt(dispatcher, revision)
            if served:
                batch.reloaded(name, await _dead(dispatcher))
        finally:
            if not adopted:
                await revision.discard()
            batch.end()

    def _forget(self, dispatcher: Dispatcher) -> None:
        """It leaves: nothing is loaded for it any more."""
        self._cancel(dispatcher)
        self._failed.pop(dispatcher.trigger.name, None)

    def _cancel(self, dispatcher: Dispatcher) -> None:
        task = self._loading.pop(dispatcher, None)
        if task is not None:
            task.cancel()

    def _loaded(self, dispatcher: Dispatcher, done: "asyncio.Task[None]") -> None:
        if self._loading.get(dispatcher) is done:
            del self._loading[dispatcher]
        self._ended(done)

    def _ended(self, done: "asyncio.Task[None]") -> None:
        self._changed.set()  # What new code imports has to be watched from now on, and a name may be free.
        if not done.cancelled() and (error := done.exception()) is not None:
            self._problem = error

    # --- files that no trigger uses ------------------------------------------------------------------------------

    def _name_unbound(self, changes: Changes) -> None:
        new = {path for path in changes.new if path.suffix == ".py"}
        if not new:
            return
        names = [trigger.name for trigger in self._roster.project.triggers]
        bound = {trigger.function.partition(":")[0] for trigger in self._roster.project.triggers}
        for path in unused(self._functions_dir, self._imported()):
            module = ".".join(path.relative_to(self._functions_dir).with_suffix("").parts)
            if path in new and module not in bound:
                lines = suggestion(path, self._functions_dir, names)
                if lines is not None:
                    self._listener.tell(Unbound(path, lines))


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _dead(dispatcher: Dispatcher) -> int:
    try:
        return sum([(await each.group.status()).dead for each in list(dispatcher.subscriptions.values())])
    except BrokerError:
        return 0
