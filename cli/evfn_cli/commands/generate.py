"""`evfn generate`: the files that run a project on servers, and the users its server needs."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from evfn.errors import UsageError
from evfn_cli.options import common
from evfn_cli.render import escape, out, say

if TYPE_CHECKING:
    from evfn_cli.deployment import Deployment

_Command = TypeVar("_Command", bound=Callable[..., Any])
ROLES = ("instance", "rq-worker", "producer", "read-only")


def _for_files(command: _Command) -> _Command:
    """The options of every command that writes files."""
    for option in (
        click.option("--force", is_flag=True, help="Overwrite files that were edited since they were made."),
        click.option(
            "--drain-timeout",
            metavar="TIME",
            default="30s",
            show_default=True,
            help="How long running functions get to finish at the end.",
        ),
        click.option(
            "--rq-workers",
            metavar="N",
            type=click.IntRange(1, 100),
            default=2,
            show_default=True,
            help="How many of evfn rq-worker, if a trigger has isolation: job.",
        ),
        click.option(
            "--instances",
            metavar="N",
            type=click.IntRange(1, 100),
            default=2,
            show_default=True,
            help="How many of evfn serve; with two none is a single point of failure.",
        ),
        click.option(
            "--out",
            "folder",
            metavar="DIR",
            required=True,
            type=click.Path(file_okay=False),
            help="The folder to write to; made where it is not there.",
        ),
    ):
        command = option(command)
    return common(command)


@click.group("generate")
@common
def command() -> None:
    """Make the files that run the project on servers.

    They are yours to edit. What was edited is never overwritten without --force; a file that is as it was made is
    brought up to date. No secret is read or written: passwords go where the files say.
    """


@command.command("systemd")
@_for_files
@click.option("--directory", metavar="DIR", help="The project on the server.  [default: /srv/PROJECT/current]")
@click.pass_context
def systemd(
    context: click.Context,
    *,
    directory: str | None,
    folder: str,
    force: bool,
    drain_timeout: str,
    instances: int,
    rq_workers: int,
) -> None:
    """Units for machines with systemd: hardened, watched, drained.

    The virtual environment is expected in .venv of the project's folder there.
    """
    from evfn_cli.units import units

    made = _deployment(context, drain_timeout, instances, rq_workers)
    place = PurePosixPath(directory or f"/srv/{made.project.name}/current")
    if not place.is_absolute():
        raise UsageError(f"--directory {escape(str(place))} must be a whole path: that of the project on the server")
    files = units(made, place)
    _write(folder, files, force=force)
    where = f"/etc/evfn/{made.project.name}"
    shown = escape(folder.rstrip("/"))
    _next(
        made,
        f"install -d -m 700 {where} && install -m 600 {shown}/environment {where}/",
        f"install -m 600 /dev/stdin {where}/redis-url    # then type the URL and Ctrl-D",
        *([f"install -m 600 /dev/stdin {where}/redis-url-rq-worker"] if made.has_jobs else []),
        f"cp {shown}/{made.name}* /etc/systemd/system/ && systemctl daemon-reload",
        f"systemctl enable --now {made.name}.target",
    )


@command.command("docker")
@_for_files
@click.option("--python", metavar="VERSION", default="3.12", show_default=True, help="Of the image.")
@click.pass_context
def docker(
    context: click.Context,
    *,
    python: str,
    folder: str,
    force: bool,
    drain_timeout: str,
    instances: int,
    rq_workers: int,
) -> None:
    """A Dockerfile, and a compose file with a Valkey of its own.

    The image is built from the project's folder, and runs as a user without rights on a file system it cannot write.
    """
    from evfn_cli.containers import containers

    made = _deployment(context, drain_timeout, instances, rq_workers)
    if not python.replace(".", "").isdigit():
        raise UsageError(f"--python {escape(python)!r} is no version; write one such as 3.12")
    files = containers(made, _folder(context), Path(folder).absolute(), python)
    _write(folder, files, force=force)
    shown = escape(folder.rstrip("/"))
    rq = ", redis-url-rq-worker" if made.has_jobs else ""
    _next(
        made,
        f"mkdir -m 700 {shown}/secrets    # users.acl, redis-url{rq}: see docs/deploy.md",
        f"docker compose --file {shown}/compose.yaml up --build --detach",
    )


@command.command("kubernetes")
@_for_files
@click.option("--image", metavar="NAME[:TAG]", help="The image.  [default: registry.example.com/PROJECT:1]")
@click.option("--namespace", metavar="NAME", help="Its namespace.  [default: evfn-PROJECT]")
@click.pass_context
def kubernetes(
    context: click.Context,
    *,
    image: str | None,
    namespace: str | None,
    folder: str,
    force: bool,
    drain_timeout: str,
    instances: int,
    rq_workers: int,
) -> None:
    """Manifests for a Kubernetes cluster.

    Locked up, spread over its nodes, scaled by KEDA if it is there. They are for kubectl apply -k. The
    Secret with the server's URL is named, not made.
    """
    from evfn.name import is_name
    from evfn_cli.cluster import cluster

    made = _deployment(context, drain_timeout, instances, rq_workers)
    named, _, tag = (image or f"registry.example.com/{made.name}:1").rpartition(":")
    if not named or "/" in tag:
        named, tag = (image or "", "latest")
    if re.fullmatch(r"[a-z0-9][a-z0-9._:/-]*", named) is None or re.fullmatch(r"\w[\w.-]{0,127}", tag) is None:
        raise UsageError(
            f"--image {escape(image or '')!r} is no image; write one such as registry.example.com/climate:1"
        )
    space = namespace or made.name
    if not is_name(space) or space.endswith("-"):
        raise UsageError(f"--namespace {escape(space)!r} cannot be a namespace: write a-z, 0-9 and -")
    _write(folder, cluster(made, space, named, tag), force=force)
    shown = escape(folder.rstrip("/"))
    _next(
        made,
        f"kubectl apply --filename {shown}/namespace.yaml",
        *(
            f"kubectl --namespace {space} create secret generic {name} --from-file=redis-url"
            for name in (f"{made.name}-redis", *([f"{made.name}-redis-rq-worker"] if made.has_jobs else []))
        ),
        f"kubectl apply --kustomize {shown}    # with KEDA: {shown}/keda",
    )


@command.command("acl")
@click.argument("roles", metavar="[ROLE…]", nargs=-1, type=click.Choice(ROLES))
@click.option("--format", "form", type=click.Choice(["commands", "aclfile"]), default="commands", show_default=True)
@click.option("--password-file", metavar="FILE", help="Lines ROLE=PASSWORD; only their hashes are printed. - is stdin.")
@common
@click.pass_context
def acl(context: click.Context, *, roles: tuple[str, ...], form: str, password_file: str | None) -> None:
    """Users of the Redis server, with few rights each.

    Roles: instance, rq-worker, producer, read-only; without a ROLE all that the project has. Printed are commands for
    redis-cli, or the lines of an ACL file, which also shuts out whoever has no password. Where there is no password
    stands what no server accepts: nobody gets a user by mistake.
    """
    from evfn.broker import acl as users
    from evfn_cli.opened import open_elsewhere
    from evfn_cli.passwords import read

    opened, _ = open_elsewhere(context)
    passwords = {} if password_file is None else read(password_file, ROLES)
    chosen = [users.Role(each) for each in roles] or users.roles(opened.project)
    lines = []
    for role in chosen:
        user, password = users.user(role, opened.project), passwords.get(role.value)
        lines.append(user.command(password) if form == "commands" else user.line(password))
    if form == "aclfile":
        lines.insert(0, users.OFF)
    out("\n".join(lines))
    wide = [each for trigger in opened.project.triggers for each in trigger.topics if each.startswith("*")]
    if wide:
        say(f"{', '.join(map(escape, wide))}: a pattern that begins with * allows keys of others, too")
    without = [role.value for role in chosen if role.value not in passwords]
    if without:
        say(
            f"no password for {', '.join(without)}: put its SHA-256 in place of {users.PLACEHOLDER}, "
            "or name a --password-file"
        )


def _folder(context: click.Context) -> Path:
    from evfn.project import find_manifest
    from evfn_cli.options import choices

    return find_manifest(choices(context), here=Path.cwd(), environ=os.environ).parent


def _deployment(context: click.Context, drain_timeout: str, instances: int, rq_workers: int) -> "Deployment":
    from evfn.manifest import duration
    from evfn_cli.deployment import Deployment
    from evfn_cli.opened import open_elsewhere

    try:
        drain = duration.parse(drain_timeout)
    except ValueError as error:
        raise UsageError(f"--drain-timeout: {escape(str(error))}") from error
    opened, variables = open_elsewhere(context)
    place = opened.location
    functions = os.path.relpath(place.functions, place.folder)
    settings = {
        "EVFN_MANIFEST": "" if place.manifest.name == "triggers.yaml" else place.manifest.name,
        "EVFN_FUNCTIONS": "" if functions == "functions" else functions,
        "EVFN_NAME": place.name or "",
        "EVFN_KEY_PREFIX": os.environ.get("EVFN_KEY_PREFIX", ""),
        "EVFN_LEASE": os.environ.get("EVFN_LEASE", ""),
    }
    return Deployment(
        project=opened.project,
        manifest=place.manifest.name,
        functions=functions,
        variables=variables,
        settings={name: value for name, value in settings.items() if value},
        drain=drain_timeout,
        drain_timeout=drain,
        instances=instances,
        rq_workers=rq_workers,
    )


def _write(folder: str, files: Mapping[str, str], *, force: bool) -> None:
    from evfn_cli.generated import write

    written = write(Path(folder), files, force=force)
    for name in sorted(files):
        what = "made" if name in written.made else "renewed" if name in written.renewed else "unchanged"
        out(f"{what:10} {escape(str(Path(folder) / name))}")


def _next(made: "Deployment", *commands: str) -> None:
    say("\nRead them, then:\n")
    for each in commands:
        say(f"  {each}")
    if made.variables:
        say(f"\nThe functions' environment needs {', '.join(made.variables)}: the files say where.")
