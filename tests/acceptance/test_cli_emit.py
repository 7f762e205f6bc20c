"""`evfn emit`: what is published, what is said about it, and what is refused."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from servers import RealServer

STREAM_ID = re.compile(r"\d+-\d+\n")


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """One trigger that notes every event it gets, as CloudEvents JSON."""
    sandbox.manifest("""
        store:
          topic: readings.*
          function: store:handle
    """)
    sandbox.function(
        "store",
        """
        import json

        def handle(event):
            data = event.data if not isinstance(event.data, bytes) else {"bytes": event.data.hex()}
            note(json.dumps([data, event.type, event.source, event.subject, event.id, str(event.time),
                             event.datacontenttype, event.extensions]))
        """,
    )
    return sandbox


def noted(project: Sandbox) -> list[list[Any]]:
    project.run()
    return [json.loads(line) for line in project.notes()]


def test_data_arrive_as_they_were_meant(project: Sandbox) -> None:
    """JSON if it begins like it, else text; --as decides otherwise; the stream id is all that stdout gets."""
    cases: list[tuple[list[str], str | None, object]] = [
        (['{"celsius": 31.50}'], None, {"celsius": 31.5}),
        (["[1, 2]"], None, [1, 2]),
        (["007"], None, "007"),
        (["-5"], None, "-5"),
        (["-.5"], None, "-.5"),
        (["--", "--help"], None, "--help"),
        (["-5", "--as", "json"], None, -5),
        (["--as", "text", "{not json"], None, "{not json"),
        (["-"], "hello\n", "hello"),
        (["-", "--as", "text"], "hello\n", "hello\n"),
        (["-"], '{"a": 1}\n', {"a": 1}),
        (["-", "--as", "bytes"], "hi", {"bytes": "6869"}),
        ([], None, None),
        ([""], None, ""),
    ]
    for arguments, stdin, _ in cases:
        done = project.evfn("emit", "readings.t", *arguments, stdin=stdin)
        assert STREAM_ID.fullmatch(done.stdout)
    assert [each[0] for each in noted(project)] == [data for _, _, data in cases]


def test_attributes_are_those_given_else_sensible(project: Sandbox) -> None:
    """Type, source, subject, id, time and extensions."""
    given = ["--type", "t", "--source", "s", "--subject", "x", "--id", "i", "--time", "2026-11-23T10:00:00+01:00"]
    project.evfn("emit", "readings.t", "1", *given, "--ext", "region=north", "--ext", "level=-5")
    project.evfn("emit", "readings.t", "2")
    first, second = noted(project)
    extensions = {name: value for name, value in first[7].items() if name in ("region", "level")}
    assert first[1:6] == ["t", "s", "x", "i", "2026-11-23 10:00:00+01:00"]
    assert extensions == {"region": "north", "level": "-5"}
    assert second[1:4] == ["readings.t", "evfn/cli", None]
    assert len(second[4]) == 36
    assert second[5].startswith("20")


def test_the_same_id_and_source_are_stored_once(project: Sandbox) -> None:
    """The second call prints the first one's stream id and says so."""
    first = project.evfn("emit", "readings.t", "1", "--id", "a")
    second = project.evfn("emit", "readings.t", "1", "--id", "a")
    third = project.evfn("emit", "readings.t", "1", "--id", "a", "--source", "b", "--json")
    assert first.stdout == second.stdout != third.stdout
    assert "had been published before" in second.stderr
    assert json.loads(third.stdout)["repeated"] is False
    assert len(noted(project)) == 2


REFUSED = [
    (["readings.t", "{celsius: 31}"], "did the shell take the quotes? --as text sends it as it is"),
    (["readings.t", "[1,"], "did the shell take the quotes?"),
    (["readings.t", "x", "--as", "json"], "--as json, but the data are not JSON"),
    (["readings.t", "x", "--as", "yaml"], "is not one of 'json', 'text', 'bytes'"),
    (["readings t", "x"], "' '"),
    (["readings.*", "x"], "is a pattern"),
    (["evfn:x", "x"], "kept for evfn itself"),
    (["readings.t", "x", "--time", "yesterday"], "--time 'yesterday' is no RFC 3339 time"),
    (["readings.t", "x", "--ext", "region"], "write --ext name=value"),
    (["readings.t", "x", "--ext", "Region=x"], "no name for an extension"),
    (["readings.t", "x", "--file", "-"], "--file goes with neither DATA"),
    (["readings.t", "--file", "nowhere.ndjson"], "nowhere.ndjson: No such file"),
]


def test_what_cannot_be_an_event_is_refused_with_a_hint(project: Sandbox) -> None:
    """Nothing is published then."""
    for arguments, said in REFUSED:
        done = project.evfn("emit", *arguments, expect=None)
        assert done.returncode in (1, 2)
        assert said in done.stderr
    assert project.status("store")["lag"] == 0


def test_a_file_is_published_in_order_with_whole_cloudevents_in_it(project: Sandbox) -> None:
    """Each line is data, or an event if it has specversion; blank lines and a byte order mark are nothing."""
    event = {"specversion": "1.0", "id": "own", "source": "file", "type": "k", "data": [1], "unit": "c"}
    lines = ['\ufeff{"n": 1}', "", "2", '"three"', json.dumps(event), "null"]
    (project.folder / "events.ndjson").write_text("\n".join(lines), encoding="utf-8")
    done = project.evfn("emit", "readings.t", "--file", "events.ndjson", "--type", "given", "--json")
    assert [json.loads(line)["repeated"] for line in done.stdout.splitlines()] == [False] * 5
    assert "5 events published to readings.t" in done.stderr
    found = noted(project)
    assert [each[0] for each in found] == [{"n": 1}, 2, "three", [1], None]
    assert [each[1] for each in found] == ["given", "given", "given", "k", "given"]
    assert found[3][2] == "file"
    assert found[3][7]["unit"] == "c"


@pytest.mark.parametrize(
    ("line", "place"),
    [('{"a": 1,}', "1002:9"), ("nonsense", "1002:1"), ('{"specversion": "1.0", "time": "noon"}', "1002:1")],
)
def test_a_file_with_a_mistake_is_not_published_at_all(project: Sandbox, line: str, place: str) -> None:
    """However far down it is; the message has its place."""
    text = "1\n" * 1001 + line + "\n2\n"
    done = project.evfn("emit", "readings.t", "--file", "-", stdin=text, expect=2)
    assert f"stdin:{place}: error: " in done.stderr
    assert "nothing was published" in done.stderr
    assert project.status("store")["lag"] == 0


def test_a_large_file_goes_in_batches_and_shows_its_progress_on_a_terminal(project: Sandbox) -> None:
    """Ten thousand events in a second or so; the bar is drawn on stderr, only where somebody watches."""
    (project.folder / "many.ndjson").write_text("".join(f'{{"n": {n}}}\n' for n in range(10_000)))
    arguments = [sys.executable, "-m", "evfn_cli", "emit", "readings.t", "--file", "many.ndjson"]
    ours, theirs = pty.openpty()
    environment = {**project.environment, "TERM": "xterm"}
    process = subprocess.Popen(arguments, cwd=project.folder, env=environment, stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    shown = _drain(ours)
    assert process.wait(60) == 0
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert "to readings.t" in shown
    assert "10,000 events published" in shown
    assert project.status("store")["lag"] == 10_000


def test_nobody_listening_is_said_with_the_nearest_name(sandbox: Sandbox) -> None:
    """A slip in a topic's name is not silent; the event is stored all the same."""
    sandbox.manifest("""
        store:
          topic: readings.temperature
          function: store:handle
    """)
    sandbox.function("store", "def handle(event): pass\n")
    done = sandbox.evfn("emit", "readings.temprature", "1")
    assert STREAM_ID.fullmatch(done.stdout)
    assert "no trigger listens on readings.temprature (nearest: readings.temperature)" in done.stderr
    done = sandbox.evfn("emit", "readings.temperature", "1")
    assert "no trigger listens" not in done.stderr
    assert "no instance is running" in done.stderr


@pytest.mark.parametrize("as_json", ["", "--json"])
def test_where_the_id_cannot_be_written_it_is_said_that_the_event_is_stored(project: Sandbox, as_json: str) -> None:
    """Exit code 1, for a script did not get its id; but emitting again would be wrong. So for the events of a file."""
    evfn = f"{sys.executable} -m evfn_cli emit readings.t {as_json}"
    full = "error: cannot write: No space left on device"
    done = _shell(project, f"{evfn} 1 > /dev/full")
    assert done.returncode == 1
    assert re.search(r"^it is stored: readings\.t \d+-\d+$", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1] == full
    assert project.status("store")["lag"] == 1
    done = _shell(project, f"printf '1\\n2\\n3\\n' | {evfn} --file - > /dev/full")
    assert done.returncode == (1 if as_json else 0)
    if as_json:
        assert re.search(r"^3 of 3 events are stored, up to readings\.t \d+-\d+$", done.stderr, re.MULTILINE)
    assert project.status("store")["lag"] == 4


@pytest.mark.parametrize("ahead", ["99999999999999", "18446744073709551614"])
def test_i20_an_id_of_a_time_to_come_is_said(
    project: Sandbox, tmp_path_factory: pytest.TempPathFactory, ahead: str
) -> None:
    """Somebody wrote an id by hand; the server counts on from there, so evfn cannot know the age of anything there."""
    server = RealServer("valkey", tmp_path_factory.mktemp("s")).start()
    try:
        server.command("XADD", "readings.a", f"{ahead}-0", "n", "1")
        done = project.evfn("emit", "readings.a", "1", "--redis", server.url)
        assert done.stdout.startswith(f"{ahead}-1")
        assert "warning: readings.a holds an entry with the id of a time to come" in done.stderr
        assert "warning" not in project.evfn("emit", "readings.b", "1", "--redis", server.url).stderr
    finally:
        server.stop()


def test_an_edited_manifest_is_read_anew(project: Sandbox) -> None:
    """What was kept of it for speed counts only for the very same file."""
    project.evfn("emit", "readings.t", "1")
    manifest = project.folder / "triggers.yaml"
    manifest.write_text(manifest.read_text().replace("readings.*", "other.*"))
    assert "no trigger listens on readings.t" in project.evfn("emit", "readings.t", "1").stderr
    manifest.write_text("version: 1\n")
    project.evfn("emit", "readings.t", "1", expect=2)
    Path(project.folder / ".evfn" / "routes.json").write_text("{")
    project.evfn("emit", "readings.t", "1", expect=2)


def _shell(project: Sandbox, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=60
    )


def _drain(descriptor: int) -> str:
    shown = b""
    while True:
        try:
            chunk = os.read(descriptor, 65_536)
        except OSError:
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return shown.decode()
        shown += chunk
