"""systemd units that run a project on a machine."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from evfn.manifest.duration import render
from evfn_cli.deployment import Deployment, fill

FIRST_PORT = 9464


def units(made: Deployment, directory: PurePosixPath) -> dict[str, str]:
    """The files, by name; `directory` is where the project lies on that machine, its virtual environment in it."""
    name, project = made.name, made.project.name
    # A hyphen in a slice's name makes it a part of another slice.
    slice_name = f"evfn-{name.removeprefix('evfn-').replace('-', '_')}.slice"
    common: dict[str, object] = {
        "project": project,
        "name": name,
        "directory": _escaped(str(directory)),
        "program": _word(str(directory / ".venv" / "bin" / "evfn")),
        "drain": made.drain,
        "stop_seconds": made.stop_seconds,
        "environment": _environment(made.settings),
    }
    files = {f"{name}@.service": _service("serve", common, name, slice_name)}
    wanted = [f"{name}@{FIRST_PORT + number}.service" for number in range(made.instances)]
    if made.has_jobs:
        longer = {"drain": render(made.job_drain), "stop_seconds": made.job_stop_seconds}
        files[f"{name}-rq-worker@.service"] = _service("rq-worker", common | longer, f"{name}-rq-worker", slice_name)
        wanted += [f"{name}-rq-worker@{number + 1}.service" for number in range(made.rq_workers)]
    files[f"{name}.target"] = fill("systemd/project.target", project=project, units=" ".join(wanted))
    files[slice_name] = fill("systemd/project.slice", project=project)
    files["environment"] = fill("systemd/environment", project=project, variables=_variables(made))
    return files


def _service(kind: str, common: Mapping[str, object], state: str, slice_name: str) -> str:
    hardening = fill("systemd/hardening.conf", state=state, slice=slice_name)
    return fill(f"systemd/{kind}.service", **common, hardening=hardening)


def _environment(settings: Mapping[str, str]) -> str:
    return "\n".join(f"Environment={_word(f'{name}={value}')}" for name, value in settings.items())


def _variables(made: Deployment) -> str:
    if not made.variables:
        return "# No env: of the manifest refers to a variable."
    lines = ["# What env: of the manifest refers to:", *(f"#{name}=" for name in made.variables)]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word, as systemd takes lines apart; it would read `%` as a specifier."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if set(escaped) & set(" \t'\"\\;") else escaped
