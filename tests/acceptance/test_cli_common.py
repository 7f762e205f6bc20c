"""What every command shares: finding the project and its server, exit codes, and a terminal in any condition."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evfn_cli.main import COMMANDS
from sandbox import Sandbox

TRIGGER = """
    store:
      topic: readings
      function: store:handle
"""


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.manifest(TRIGGER)
    sandbox.function("store", "def handle(event):\n    note(event.data)\n")
    return sandbox


def shell(project: Sandbox, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in the project; `evfn` in it is ours."""
    return subprocess.run(
        ["/bin/bash", "-c", f'evfn() {{ "{sys.executable}" -m evfn_cli "$@"; }}\n{command}'],
        cwd=project.folder,
        env={**project.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command_in_its_group(project: Sandbox) -> None:
    """Each with a line on what it does."""
    said = project.evfn("--help").stdout
    for command in ("init", "check", "run", "emit", "invoke", "tail", "status", "dlq", "schema", "completion"):
        assert re.search(rf"^  {command} ", said, re.MULTILINE)
    for group in ("Start:", "Events:", "Look:", "What failed, what is left:", "Editor and shell:"):
        assert f"\n{group}\n" in said


def test_every_command_knows_the_common_options_and_says_what_the_list_says(project: Sandbox) -> None:
    """The line in the list of commands is the first of the command's own help, which ends with examples."""
    listed = project.evfn("--help").stdout.partition("Options:")[0]
    lines = re.findall(r"^  ([a-z-]+) {2,}(.+)$", listed, re.MULTILINE)
    assert [command for command, _ in lines] == list(COMMANDS)
    for command, text in lines:
        said = project.evfn(command, "--help").stdout
        assert text.strip().split(":")[0].rstrip(".") in said
        assert re.search(r"\n  Examples:\n(    .+\n)+$", said)
        # What makes a project, and what needs none, knows fewer.
        known = {"init": ("--name",), "completion": ()}
        for option in known.get(command, ("--manifest", "--functions", "--name", "--redis", "--state")):
            assert option in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "there is no command 'chek'; did you mean check?"),
        (["status", "--jsom"], "No such option"),
        (["emit"], "Missing argument 'TOPIC'"),
        (["dlq", "redrive", "store"], "name dead letters, or write --all"),
        (["dlq", "ls", "stor"], "there is no trigger 'stor' (did you mean store?)"),
        (["invoke", "stor"], "there is no trigger and no function 'stor' (did you mean store?)"),
        (["--manifest", "nowhere.yaml", "status"], "no manifest at"),
        (["--name", "Not A Name", "status"], "cannot be a project's name"),
        (["--redis", "redis:/slip", "status"], "redis:/slip is no server URL; write redis://"),
        (["--redis", "http://host", "status"], "is no server URL"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(project: Sandbox, arguments: list[str], said: str) -> None:
    """It names what is wrong and what is near; no usage text, no traceback."""
    done = project.evfn(*arguments, expect=2)
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert len([line for line in done.stderr.splitlines() if not line.startswith("server: ")]) == 1
    assert done.stdout == ""


def test_options_may_stand_before_or_after_the_verb_and_the_later_one_wins(project: Sandbox) -> None:
    """Also over their variables, and from a folder below the project."""
    (project.folder / "other.yaml").write_text(
        (project.folder / "triggers.yaml").read_text().replace("sandbox", "other")
    )
    assert '"project": "other"' in project.evfn("--manifest", "other.yaml", "status", "--json").stdout
    assert '"project": "other"' in project.evfn("status", "--manifest", "other.yaml", "--json").stdout
    assert '"project": "c"' in project.evfn("--name", "b", "status", "--json", "--name", "c").stdout
    project.environment["EVFN_NAME"] = "a"
    assert '"project": "a"' in project.evfn("status", "--json").stdout
    assert '"project": "b"' in project.evfn("--name", "b", "status", "--json").stdout
    project.environment["EVFN_STATUS_JSON"] = "1"
    assert '"project": "a"' in project.evfn("status").stdout
    below = shell(project, "mkdir -p some/where && cd some/where && evfn status")
    assert '"project": "a"' in below.stdout


def test_outside_of_a_project_it_says_what_it_looked_for(tmp_path: Path) -> None:
    """Exit code 2 and the option that names one."""
    done = subprocess.run(
        [sys.executable, "-m", "evfn_cli", "status"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    said = r"error: no triggers\.yaml in .* or a folder above it; name one with --manifest, or make .* with evfn init\n"
    assert re.fullmatch(said, done.stderr)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:sesame@127.0.0.1:1/0", "127.0.0.1:1"),
        ("redis://:sesame@no-such-host.invalid/0", "no-such-host.invalid"),
        ("unix:///nowhere/redis.sock?password=sesame", "/nowhere/redis.sock"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_without_its_password(project: Sandbox, url: str, said: str) -> None:
    """One line soon and one at the end say which and why, after the one that says where the URL came from (I29)."""
    done = project.evfn("status", "--redis", url, expect=1)
    assert "sesame" not in done.stdout + done.stderr
    first, soon, last = done.stderr.splitlines()
    assert first.startswith("server: ")
    assert first.endswith("(from --redis)")
    assert last.startswith("error: ")
    assert said in last
    assert said in soon
    assert soon.endswith("; trying again for 2 s")


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_standard_streams_do_no_harm(project: Sandbox, closed: str) -> None:
    """What would have been printed goes nowhere, and into no socket or file that took the number (I35)."""
    done = shell(project, f"evfn emit readings hello {closed}; echo code $? >&2; true")
    assert "Traceback" not in done.stdout + done.stderr
    assert project.status("store")["lag"] == 1


def test_a_full_disk_is_said_and_a_broken_pipe_is_silent(project: Sandbox) -> None:
    """Never a traceback from a print (I35)."""
    done = shell(project, "evfn schema >/dev/full; echo code $?")
    assert done.stdout == "code 1\n"
    assert done.stderr == "error: cannot write: No space left on device\n"
    done = shell(project, "evfn schema | head -1; echo code ${PIPESTATUS[0]}")
    assert done.stdout.startswith("{\ncode ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONIOENCODING": "ascii"},
        {"HOME": ""},
        {"TERM": "dumb"},
    ],
    ids="-".join,
)
def test_odd_environments_work(project: Sandbox, environment: dict[str, str]) -> None:
    """An ASCII terminal, Python without assertions, no home (I35)."""
    project.environment.update(environment)
    project.evfn("emit", "readings", "é漢")
    project.run()
    assert project.notes() == ["é漢"]
    assert "store" in project.evfn("status").stdout


def test_a_state_folder_anywhere_keeps_its_own_events(project: Sandbox, tmp_path: Path) -> None:
    """`--state` and EVFN_STATE choose it; each folder has its own server."""
    project.evfn("emit", "readings", "1", "--state", str(tmp_path / "elsewhere"))
    assert project.status("store")["lag"] == 0
    project.environment["EVFN_STATE"] = str(tmp_path / "elsewhere")
    assert project.status("store")["lag"] == 1
    assert (tmp_path / "elsewhere" / "data").is_dir()


@pytest.mark.parametrize("command", ["status", "dlq ls", "emit readings 1", "run --until-idle"])
def test_a_new_store_is_said_where_its_folder_was_named(project: Sandbox, command: str) -> None:
    """A slip in `--state` or EVFN_STATE would otherwise look as if all events were gone; the default needs no word."""
    said = "made a new, empty store in evfm"
    assert said in project.evfn(*command.split(), "--state", "evfm").stderr.splitlines()
    assert "made a new" not in project.evfn(*command.split(), "--state", "evfm").stderr
    assert "made a new" not in project.evfn(*command.split()).stderr
    project.environment["EVFN_STATE"] = "other"
    assert said.replace("evfm", "other") in project.evfn(*command.split()).stderr.splitlines()


def test_commands_at_the_same_time_share_the_server_and_lose_nothing(project: Sandbox) -> None:
    """Whoever started it may end first: the others go on with the next one's."""
    line = "for n in 1 2 3 4 5 6 7 8; do evfn emit readings $n & done; wait"
    done = shell(project, line)
    assert len(done.stdout.splitlines()) == 8, done.stderr
    assert project.status("store")["lag"] == 8


def test_the_embedded_server_ends_with_the_command(project: Sandbox) -> None:
    """Nothing is left running between commands, so nothing has to be stopped."""
    project.evfn("emit", "readings", "1")
    assert project.processes() == []


def test_variables_win_over_the_settings_of_the_manifest(sandbox: Sandbox) -> None:
    """EVFN_KEY_PREFIX keeps two stages on one server apart; a value that is none is refused by its variable's name."""
    sandbox.manifest("any: {topic: work, function: 'any:run'}")
    sandbox.function("any", "\ndef run(event):\n    note(event.data)\n")
    sandbox.environment["EVFN_KEY_PREFIX"] = "staging:"
    sandbox.emit("work", 1)
    sandbox.environment["EVFN_KEY_PREFIX"] = "production:"
    sandbox.run()
    assert sandbox.notes() == []
    sandbox.environment["EVFN_KEY_PREFIX"] = "staging:"
    sandbox.run()
    assert sandbox.notes() == ["1"]
    sandbox.environment["EVFN_LEASE"] = "banana"
    assert "EVFN_LEASE: 'banana' is no duration" in sandbox.evfn("status", expect=2).stderr


def test_tables_need_no_standard_output(sandbox: Sandbox) -> None:
    """I35: with standard output closed, status and dlq end without a traceback."""
    sandbox.manifest("any: {topic: work, function: 'any:run'}")
    sandbox.function("any", "\ndef run(event):\n    pass\n")
    for verb in ("status", "dlq ls"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m evfn_cli {verb} >&-"],
            cwd=sandbox.folder,
            env=sandbox.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "Traceback" not in done.stderr
