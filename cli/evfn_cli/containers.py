"""An image of a project, and a compose file that runs it with a server of its own."""

import os
import re
from pathlib import Path

from evfn.errors import UsageError
from evfn.manifest.duration import render
from evfn_cli.deployment import Deployment, fill, mapping, quoted, release


def containers(made: Deployment, project: Path, out: Path, python: str) -> dict[str, str]:
    """The files, by name. Raises UsageError where what the image needs lies outside of the project's folder."""
    for path in (made.manifest, made.functions):
        if path.startswith(("..", "/")):
            raise UsageError(f"{path} lies outside of {project}, and an image is built from that folder alone")
    has_requirements = (project / "requirements.txt").is_file()
    kept = [made.manifest, made.functions, *(["requirements.txt"] if has_requirements else [])]
    settings = "".join(f" \\\n    {name}={_variable(value)}" for name, value in made.settings.items())
    return {
        "Dockerfile": fill(
            "docker/Dockerfile",
            project=made.project.name,
            python=python,
            drain=made.drain,
            stop_seconds=made.stop_seconds,
            environment=settings,
            copy_requirements="COPY requirements.txt ./\n" if has_requirements else "",
            requirements="--requirement requirements.txt" if has_requirements else f"evfn=={release()}",
            manifest=quoted(made.manifest),
            functions=quoted(made.functions),
            functions_target=quoted(f"{made.functions}/"),
        ),
        "Dockerfile.dockerignore": fill("docker/Dockerfile.dockerignore", kept="\n".join(map(_kept, kept))),
        "compose.yaml": _compose(made, project, out),
    }


def _compose(made: Deployment, project: Path, out: Path) -> str:
    rq_worker = _rq_worker(made) if made.has_jobs else ""
    context = os.path.relpath(project, out)
    # Read from the project's folder: on from there, wherever this file is.
    dockerfile = os.path.relpath(out / "Dockerfile", project)
    variables = {each: f"${{{each}:-}}" for each in made.variables}
    return fill(
        "docker/compose.yaml",
        project=made.project.name,
        name=made.name,
        context=quoted(_literal(context)),
        dockerfile=quoted(_literal(dockerfile)),
        drain=made.drain,
        stop_seconds=made.stop_seconds,
        instances=made.instances,
        environment=mapping(variables, 4).lstrip("\n"),
        rq_worker=rq_worker,
        rq_secret="  redis-url-rq-worker: {file: ./secrets/redis-url-rq-worker}" if made.has_jobs else "",
        rq_secret_named=" and redis-url-rq-worker" if made.has_jobs else "",
    )


def _rq_worker(made: Deployment) -> str:
    drain, stop = render(made.job_drain), made.job_stop_seconds
    return fill("docker/rq-worker.yaml", drain=drain, stop_seconds=stop, rq_workers=made.rq_workers)


def _literal(text: str) -> str:
    """As compose takes it: `$` begins a variable there."""
    return text.replace("$", "$$")


def _variable(value: str) -> str:
    """As a Dockerfile's ENV takes it: `$` begins a variable there."""
    return quoted(value).replace("$", "\\$")


def _kept(path: str) -> str:
    return "!" + re.sub(r"([\\*?\[\]])", r"\\\1", path)
