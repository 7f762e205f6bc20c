"""The image and its compose file: what other tools know of these formats finds nothing wrong."""

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from deployments import ALERT, BLANKS, deployment
from evfn.errors import UsageError
from evfn_cli.containers import containers
from evfn_cli.deployment import Deployment

ODD = deployment("3d-a--b-", settings=BLANKS, functions="my [code] $HOME", manifest="other one.yaml")


def files(made: Deployment, tmp_path: Path, *, requirements: bool = True) -> dict[str, str]:
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    if requirements:
        (project / "requirements.txt").write_text("evfn\n")
    return containers(made, project, project / "deploy", "3.12")


def composed(made: Deployment, tmp_path: Path) -> dict[str, Any]:
    """The compose file, merged and checked against the Compose Specification: no unknown key, no wrong value."""
    loaded: dict[str, Any] = yaml.safe_load(files(made, tmp_path)["compose.yaml"])
    PyCompose.from_json(json.dumps(loaded)).to_spec()
    return loaded


@pytest.mark.parametrize("requirements", [True, False])
@pytest.mark.parametrize("made", [deployment(), ODD], ids=["plain", "odd"])
def test_hadolint_finds_nothing_wrong(made: Deployment, tmp_path: Path, requirements: bool) -> None:
    """Not even a matter of style."""
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None
    text = files(made, tmp_path, requirements=requirements)["Dockerfile"]
    done = subprocess.run([program, "--no-color", "-"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_runs_as_nobody_in_particular_and_ends_by_draining(tmp_path: Path) -> None:
    """A number that policies can check, no shell around the process, a signal that it knows."""
    text = files(deployment(), tmp_path)["Dockerfile"]
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert '\nENTRYPOINT ["evfn"]\nCMD ["serve"]\n' in last
    assert "\nSTOPSIGNAL SIGTERM\n" in last
    assert "EVFN_DRAIN_TIMEOUT=1m30s" in last
    assert "--requirement requirements.txt" in text
    assert text.count("\nFROM ") == 2
    assert "latest" not in text


def test_the_health_check_tells_a_healthy_instance_from_others(tmp_path: Path) -> None:
    """The command as it stands in the image: 0 for an answer of 200, else 1; it needs no curl."""
    check = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", files(deployment(), tmp_path)["Dockerfile"], re.DOTALL)
    assert check is not None
    program, *arguments = json.loads(check[1])
    assert program == "python"

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" and healthy else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Endpoint) as endpoint:
        command = [sys.executable, *(each.replace("9464", str(endpoint.server_port)) for each in arguments)]
        serving = threading.Thread(target=endpoint.serve_forever)
        serving.start()
        for healthy in (True, False):
            assert subprocess.run(command, capture_output=True, timeout=30).returncode == (not healthy)
        endpoint.shutdown()
        serving.join()
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 1, "nobody listens any more"


def test_nothing_reaches_the_builder_but_what_is_copied(tmp_path: Path) -> None:
    """So no .env, no key and no event can end up in a layer."""
    ignore = files(ODD, tmp_path)["Dockerfile.dockerignore"].splitlines()
    lines = [line for line in ignore if line and not line.startswith("#")]
    assert lines[0] == "*"
    kept = [line for line in lines if line.startswith("!")]
    assert kept == ["!other one.yaml", r"!my \[code\] $HOME", "!requirements.txt"]


def test_every_container_is_locked_up_and_bounded(tmp_path: Path) -> None:
    """Valkey's as well as evfn's."""
    loaded = composed(deployment(), tmp_path)
    assert set(loaded["services"]) == {"serve", "rq-worker", "valkey"}
    for service in loaded["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert service["restart"] == "unless-stopped"
        assert "ports" not in service


def test_services_wait_for_valkey_drain_and_get_their_url_as_a_file(tmp_path: Path) -> None:
    """RQ workers that of their own user; the number of each is the one that was asked for."""
    services = composed(deployment(), tmp_path)["services"]
    for name, replicas, stop in (("serve", 2, "105s"), ("rq-worker", 3, "1215s")):
        service = services[name]
        assert service["depends_on"] == {"valkey": {"condition": "service_healthy"}}
        assert service["deploy"]["replicas"] == replicas
        assert service["stop_grace_period"] == stop
        url = Path(service["environment"]["EVFN_REDIS_URL_FILE"])
        assert [url.name] == service["secrets"]
    assert services["rq-worker"]["command"][0] == "rq-worker"
    assert services["rq-worker"]["healthcheck"] == {"disable": True}
    assert "rq-worker" not in composed(deployment("climate", ALERT), tmp_path)["services"]


def test_valkey_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """An append-only file on a volume, nothing thrown away when it is full, nobody in without a password."""
    loaded = composed(deployment(), tmp_path)
    command = loaded["services"]["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] in ("everysec", "always")
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--aclfile"] == "/run/secrets/users.acl"
    (volume,) = loaded["services"]["valkey"]["volumes"]
    assert volume.partition(":")[0] in loaded["volumes"]


def test_valkey_takes_the_options_and_users_that_it_is_given(tmp_path: Path) -> None:
    """The command line as it stands, on a real server, with the generated ACL file."""
    from evfn.broker import acl
    from servers import RealServer

    made = deployment()
    command = composed(made, tmp_path)["services"]["valkey"]["command"]
    users = tmp_path / "users.acl"
    users.write_text("\n".join([acl.OFF, *(acl.user(role, made.project).line("right") for role in acl.Role)]))
    options = [str(users) if each == "/run/secrets/users.acl" else each for each in command[1:]]
    server = RealServer("valkey", tmp_path / "s", options=options)
    try:
        server.start()
        assert server.command("PING").startswith(b"-NOAUTH")
        assert server.command("AUTH", "climate-producer", "right") == b"+OK"
    finally:
        server.stop()


def test_paths_lead_to_the_project_from_wherever_the_files_are(tmp_path: Path) -> None:
    """The builder's context is the project's folder, and the Dockerfile is named as seen from there."""
    build = composed(deployment(), tmp_path)["services"]["serve"]["build"]
    assert build == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_functions_outside_of_the_project_are_refused(tmp_path: Path) -> None:
    """The builder sees nothing above its context."""
    with pytest.raises(UsageError, match="lies outside of"):
        files(deployment(functions="../shared"), tmp_path)
