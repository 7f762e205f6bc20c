"""A project under test: found, its manifest read, its environment made."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from evfn import env_file
from evfn.errors import UsageError
from evfn.manifest import load
from evfn.nearest import did_you_mean
from evfn.project import Choices, OpenedProject, find_manifest
from evfn.trigger import Trigger

if TYPE_CHECKING:
    from evfn.testing.running import RunningProject


class Project:
    """The project of a manifest, or of the folder it lies in; by default of the current folder.

    `functions` is the functions folder, relative to the manifest. `env` is what functions find in `os.environ` besides
    what is there already; it wins over `.env`. EVFN_ variables choose nothing, so that tests are the same anywhere.
    Raises UsageError where there is no manifest, ManifestError with every mistake in it.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str] | None = None,
        *,
        functions: str | os.PathLike[str] = "functions",
        env: Mapping[str, str] | None = None,
    ) -> None:
        named = None if manifest is None else os.fspath(manifest)
        self.manifest: Path = find_manifest(Choices(manifest=named), here=Path.cwd(), environ={})
        self.folder: Path = self.manifest.parent
        self.functions: Path = self.folder / functions
        found = env_file.read(self.folder / ".env")
        extra = {name: value for name, value in found.items() if name not in os.environ} | dict(env or {})
        loaded = load(self.manifest, functions_dir=self.functions, environ={**os.environ, **extra}, cores=1)
        self.opened = OpenedProject(loaded.project, extra, loaded.warnings)

    def trigger(self, name: str) -> Trigger:
        """Raises UsageError, naming the nearest one, for a trigger that the manifest does not have."""
        found = {trigger.name: trigger for trigger in self.opened.project.triggers}
        if name not in found:
            raise UsageError(f"there is no trigger {name!r}{did_you_mean(name, found)}; triggers: {', '.join(found)}")
        return found[name]

    @contextmanager
    def running(self, *, retry_delays: bool = False, show: Callable[[str], None] = print) -> Iterator["RunningProject"]:
        """The project, running on an embedded server of its own in a temporary folder; nothing is left of either.

        Failed attempts run again at once; with `retry_delays` when the manifest says. `show` gets what each emitted
        event caused, as text, and what the functions wrote. Raises LoadError where a function does not load.
        """
        from evfn.testing.running import RunningProject

        opened = self.opened if retry_delays else _impatient(self.opened)
        with RunningProject.start(self, opened, show) as running:
            yield running


def _impatient(opened: OpenedProject) -> OpenedProject:
    triggers = tuple(
        replace(each, retry=replace(each.retry, initial_delay=timedelta(0))) for each in opened.project.triggers
    )
    return replace(opened, project=replace(opened.project, triggers=triggers))
