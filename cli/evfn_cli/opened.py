"""The project a command works on: found, its manifest read, its warnings said."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from evfn import env_file
from evfn.errors import UsageError
from evfn.name import is_name
from evfn.project import Location, OpenedProject, locate
from evfn.trigger import Project, Settings, Trigger
from evfn_cli import route_cache
from evfn_cli.options import choices
from evfn_cli.render import escape, escape_lines, say


@dataclass(frozen=True, slots=True)
class Opened:
    """`env_file` holds the variables of `.env` that the environment does not have itself."""

    location: Location
    project: Project
    env_file: Mapping[str, str]

    @property
    def definition(self) -> OpenedProject:
        """What an instance is built from."""
        return OpenedProject(self.project, self.env_file)

    def trigger(self, name: str) -> Trigger:
        """Raises UsageError, naming the nearest one, for a trigger that the manifest does not have."""
        from evfn.nearest import did_you_mean

        found = {trigger.name: trigger for trigger in self.project.triggers}
        if name not in found:
            hint = did_you_mean(name, found)
            raise UsageError(f"there is no trigger {escape(name)!r}{hint}; triggers: {', '.join(found)}")
        return found[name]


def open_project(
    context: click.Context, *, filters: bool = True, tell: Callable[[str], None] = lambda text: say(escape_lines(text))
) -> Opened:
    """Find the project and read its manifest. Raises UsageError, ManifestError with every mistake, EnvFileError.

    A command that runs no filter goes without `filters`, and without warnings, of which `tell` gets each.
    """
    return _open(locate(choices(context), here=Path.cwd(), environ=os.environ), filters, tell if filters else None)


def open_routes(context: click.Context) -> Opened:
    """The same for a command that only publishes: its triggers know which events they take, and not how they run.

    No warnings: they would be said only when the manifest was edited.
    """
    location = locate(choices(context), here=Path.cwd(), environ=os.environ)
    project = route_cache.read(location, os.environ)
    if project is not None:
        return Opened(location, project, {})
    opened = _open(location, True, None)
    route_cache.write(location, os.environ, opened.project)
    return opened


def reopen(location: Location) -> OpenedProject:
    """The same project again, as it is defined by now. Raises as `open_project`; warns in what it returns."""
    return _read(location, filters=True)


def open_elsewhere(context: click.Context) -> tuple[Opened, tuple[str, ...]]:
    """A project that is to run on another machine, and the variables that its `env` refers to: none needs a value."""
    location = locate(choices(context), here=Path.cwd(), environ=os.environ)
    asked = _Asked(os.environ)
    read = _read(location, filters=True, environ=asked)
    return Opened(location, read.project, read.env_file), tuple(asked.names)


class _Asked(Mapping[str, str]):
    """An environment in which every variable is set, and which knows what it was asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return self._environ.get(name) or "unset"

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def _open(location: Location, filters: bool, tell: Callable[[str], None] | None) -> Opened:
    read = _read(location, filters=filters)
    if tell is not None:
        for warning in read.warnings:
            tell(warning)
    return Opened(location, read.project, read.env_file)


def _read(location: Location, *, filters: bool, environ: Mapping[str, str] | None = None) -> OpenedProject:
    from evfn.manifest import load

    found = env_file.read(location.env_file)
    # What the shell says wins over the file, as everywhere else.
    extra = {name: value for name, value in found.items() if name not in os.environ}
    loaded = load(
        location.manifest,
        functions_dir=location.functions,
        environ={**extra, **os.environ} if environ is None else environ,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        check_filters=filters,
    )
    project = loaded.project
    if location.name is not None:
        if not is_name(location.name):
            raise UsageError(f"{location.name!r} cannot be a project's name: write a-z, 0-9 and -, at most 63 of them")
        project = replace(project, name=location.name)
    return OpenedProject(
        replace(project, settings=_settings(project.settings)), extra, tuple(map(str, loaded.warnings))
    )


def _settings(settings: Settings) -> Settings:
    """The manifest's settings, where no variable wins over them. Raises UsageError for a value that is none."""
    from evfn.manifest import duration

    prefix, lease = os.environ.get("EVFN_KEY_PREFIX"), os.environ.get("EVFN_LEASE")
    if prefix is not None:
        settings = replace(settings, key_prefix=prefix)
    if lease is not None:
        try:
            settings = replace(settings, lease=duration.parse(lease))
        except ValueError as error:
            raise UsageError(f"EVFN_LEASE: {error}") from error
    return settings
