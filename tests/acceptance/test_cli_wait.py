"""`evfn emit --wait`: everything an event causes, followed to its end, and how it ended."""

import json
import re
import subprocess
from itertools import pairwise
from typing import Any

import pytest

from sandbox import Sandbox, wait_until

NOW = "retry: {attempts: 3, initial_delay: 20ms, backoff: constant, jitter: none}"


@pytest.fixture
def chain(sandbox: Sandbox) -> Sandbox:
    """Three functions in a row beside one that is skipped, one that fails twice, and one that always fails."""
    sandbox.manifest(f"""
        double: {{topic: numbers, function: "f:double", emits: doubled, filter: event.data.n < 100}}
        negative: {{topic: numbers, function: "f:double", filter: event.data.n < 0}}
        text: {{topic: doubled, function: "f:text", emits: [texts, log]}}
        keep: {{topic: texts, function: "f:keep"}}
        flaky: {{topic: flaky, function: "f:flaky", {NOW}}}
        fatal: {{topic: fatal, function: "f:fatal", {NOW}}}
        slow: {{topic: slow, function: "f:slow"}}
        three: {{topic: three, function: "f:three", emits: texts}}
        loop: {{topic: loop, function: "f:loop", emits: loop}}
    """)
    sandbox.function(
        "f",
        """
        import time
        from pathlib import Path

        def double(event):
            return {"n": event.data["n"] * 2}

        def text(event, context):
            context.emit("texts", "number %d" % event.data["n"])

        def keep(event):
            note(event.data)

        def flaky(event, context):
            if context.attempt < 3:
                raise ConnectionError("not yet")
            return 1

        def fatal(event):
            if event.data["n"] % 10 == 0:
                raise KeyError(event.data["key"])

        def slow(event):
            while not Path("go").exists():
                time.sleep(0.01)

        def three(event):
            yield "a"
            yield "b"
            yield "c"

        def loop(event):
            return event
        """,
    )
    return sandbox


def wait(project: Sandbox, *arguments: str, expect: int = 0) -> list[str]:
    """The tree, with the numbers that differ from run to run made the same."""
    done = project.evfn("emit", *arguments, "--wait", expect=expect)
    text = re.sub(r"\d{13}-\d+", "ID", done.stdout)
    text = re.sub(r"\bok [\d.]+ m?s", "ok", text)
    return re.sub(r"(?<=[^ \n│├└]) {2,}", "  ", text).splitlines()


def outcomes(done: "subprocess.CompletedProcess[str]") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
    return lines, summary


def test_a_chain_is_followed_to_its_end(chain: Sandbox) -> None:
    """With the events emitted on the way, and the trigger that skipped it with its reason."""
    with chain.running():
        assert wait(chain, "numbers", '{"n": 4}') == [
            "numbers ID",
            "├─ double  ok  → doubled ID",
            "│  └─ text  ok  → texts ID",
            "│     └─ keep  ok",
            "└─ negative  skipped: event.data.n < 0 is false (event.data.n is 4)",
        ]
        assert chain.notes() == ["number 8"]
        assert wait(chain, "numbers", '{"n": 200}')[1].endswith("event.data.n < 100 is false (event.data.n is 200)")
        assert wait(chain, "numbers", "{}")[1].endswith("filter error: no field 'n' (has: none)")


def test_every_attempt_is_told(chain: Sandbox) -> None:
    """As it ends, with its error and its place in the project; the last one succeeds, so all is well."""
    with chain.running():
        done = chain.evfn("emit", "flaky", "{}", "--wait", "--json")
        tree = wait(chain, "flaky", "{}")
    lines, summary = outcomes(done)
    assert [(each["outcome"], each["attempt"], each["attempts"]) for each in lines] == [
        ("failed", 1, 3), ("failed", 2, 3), ("succeeded", 3, 3)
    ]  # fmt: skip
    error = lines[0]["error"]
    assert (error["type"], error["message"]) == ("ConnectionError", "not yet")
    assert re.fullmatch(r"functions/f\.py:\d+", error["place"])
    assert (summary["done"], summary["exit"], summary["succeeded"], summary["open"]) == (True, 0, 1, [])
    assert tree[1] == "└─ flaky  ok, attempt 3 of 3  its value is dropped: the trigger has no `emits`"


def test_a_dead_letter_ends_with_3_and_the_command_to_look_at_it(chain: Sandbox) -> None:
    """Once per trigger, below the tree."""
    with chain.running():
        done = chain.evfn("emit", "fatal", '{"n": 0}', "--wait", expect=3)
        (dead,) = chain.dead("fatal")
        lines, summary = outcomes(chain.evfn("emit", "fatal", '{"n": 0}', "--wait", "--json", expect=3))
    assert "dead letter (failed) after attempt 3 of 3   KeyError: 'key'   functions/f.py:" in done.stdout
    assert done.stderr.count("evfn dlq show fatal") == 1
    assert dead["reason"] == "failed"
    assert (lines[-1]["outcome"], lines[-1]["reason"]) == ("dead_lettered", "failed")
    assert re.fullmatch(r"\d+-\d+", lines[-1]["dead_letter"])
    assert (summary["exit"], summary["dead_lettered"]) == (3, 1)


def test_when_the_time_is_up_it_says_what_is_outstanding(chain: Sandbox) -> None:
    """With 1, and the event goes on."""
    with chain.running():
        done = chain.evfn("emit", "slow", "1", "--wait", "--timeout", "500ms", expect=1)
        _, summary = outcomes(chain.evfn("emit", "slow", "1", "--wait", "--timeout", "500ms", "--json", expect=1))
        (chain.folder / "go").touch()
        wait_until(lambda: chain.status("slow")["succeeded"] == 2, description="both went on")
    assert done.stdout.endswith("└─ slow   waiting\n")
    assert re.search(r"time is up after 500 ms; outstanding: slow on slow \d+-\d+\nnothing is lost", done.stderr)
    assert (summary["done"], summary["waiting"], summary["open"][0]["state"]) == (False, 1, "waiting")


def test_several_emits_are_followed_each(chain: Sandbox) -> None:
    """Three yields, three events, three ends."""
    with chain.running():
        tree = wait(chain, "three", "1")
    assert tree[:2] == ["three ID", "└─ three  ok  → texts (3)"]
    assert tree[2:] == [
        "   ├─ texts ID", "   │  └─ keep  ok", "   ├─ texts ID", "   │  └─ keep  ok", "   └─ texts ID",
        "      └─ keep  ok",
    ]  # fmt: skip
    assert sorted(chain.notes()) == ["a", "b", "c"]


def test_a_loop_of_emits_ends_as_a_dead_letter(chain: Sandbox) -> None:
    """After 32 hops, each of which is told with its cause."""
    with chain.running():
        lines, summary = outcomes(chain.evfn("emit", "loop", "{}", "--wait", "--json", expect=3))
    assert [each["outcome"] for each in lines] == ["succeeded"] * 32 + ["dead_lettered"]
    assert lines[-1]["reason"] == "loop"
    assert lines[0]["caused_by"] is None
    for before, after in pairwise(lines):
        (emit,) = before["emits"]
        assert (after["event"]["topic"], after["event"]["stream_id"]) == (emit["topic"], emit["stream_id"])
        assert after["caused_by"] == {
            "topic": "loop", "stream_id": before["event"]["stream_id"], "trigger": "loop"
        }  # fmt: skip
    assert (summary["succeeded"], summary["dead_lettered"], summary["events"]) == (32, 1, 33)


def test_an_outcome_is_a_flat_object(chain: Sandbox) -> None:
    """With every member that the documentation names."""
    with chain.running():
        done = chain.evfn("emit", "numbers", '{"n": 4}', "--id", "mine", "--wait", "--json")
    lines, summary = outcomes(done)
    first = next(each for each in lines if each["trigger"] == "double")
    assert first.pop("seconds") >= 0
    place = first["emits"][0].pop("stream_id")
    root = first["event"].pop("stream_id")
    assert first == {
        "version": 1, "event": {"topic": "numbers", "id": "mine"}, "caused_by": None, "trigger": "double",
        "project": "sandbox", "outcome": "succeeded", "attempt": 1, "attempts": 5, "error": None,
        "emits": [{"topic": "doubled"}], "reason": None, "dead_letter": None, "due_ms": None,
    }  # fmt: skip
    second = next(each for each in lines if each["trigger"] == "text")
    assert second["event"]["stream_id"] == place
    assert second["caused_by"] == {"topic": "numbers", "stream_id": root, "trigger": "double"}
    assert summary == {
        "version": 1, "done": True, "exit": 0, "events": 3, "succeeded": 3, "skipped": 1, "filter_errors": 0,
        "dead_lettered": 0, "waiting": 0, "broken": 0, "absent": 0, "open": [],
    }  # fmt: skip


def test_a_file_is_followed_as_a_whole(chain: Sandbox) -> None:
    """Counted per trigger, its errors by their place, the first dead letters by name."""
    (chain.folder / "many.ndjson").write_text("".join(f'{{"n": {n}}}\n' for n in range(5_000)))
    with chain.running():
        done = chain.evfn("emit", "fatal", "--file", "many.ndjson", "--wait", "--timeout", "50s", expect=3)
        assert chain.status("fatal")["dead"] == 500
    lines = done.stdout.splitlines()
    assert lines[:2] == ["fatal  5,000 events", "└─ fatal   4,500 ok, 500 dead letters"]
    assert re.fullmatch(r" +1,500 times KeyError: 'key'   functions/f\.py:\d+", lines[2])
    assert [line.split()[:2] for line in lines[3:8]] == [["dead", "letter"]] * 5
    assert lines[8].strip() == "… 495 more dead letters"
    assert "5,000 events published" in done.stderr
    assert done.stderr.count("evfn dlq show fatal") == 1


def test_what_follows_from_a_file_is_counted_too(chain: Sandbox) -> None:
    """Down to the last function, in order of the topics."""
    with chain.running():
        done = chain.evfn("emit", "numbers", "--file", "-", "--wait", stdin='{"n": 1}\n' * 300)
    assert done.stdout.splitlines() == [
        "numbers  300 events", "├─ double     300 ok", "└─ negative   300 skipped", "doubled  300 events",
        "└─ text   300 ok", "texts  300 events", "└─ keep   300 ok",
    ]  # fmt: skip
    assert len(chain.notes()) == 300


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--wait", "--timeout", "0"], "--timeout: '0' is no duration"),
        (["--wait", "--timeout", "0s"], "leave out --wait"),
        (["--wait", "--timeout", "30 seconds"], "did you mean 30s?"),
        (["--timeout", "30s"], "--timeout says how long to --wait"),
    ],
)
def test_a_time_to_wait_that_is_none(chain: Sandbox, arguments: list[str], said: str) -> None:
    """Nothing is published then."""
    assert said in chain.evfn("emit", "numbers", "1", *arguments, expect=2).stderr
    assert chain.status("double")["lag"] == 0


def test_an_event_that_was_published_before_is_not_followed(chain: Sandbox) -> None:
    """It says so at once instead of waiting for what is not told."""
    with chain.running():
        chain.evfn("emit", "numbers", '{"n": 1}', "--id", "a")
        wait_until(lambda: chain.notes() == ["number 2"], description="it ran")
        done = chain.evfn("emit", "numbers", '{"n": 1}', "--id", "a", "--wait", expect=1)
        assert "had been published before" in done.stderr
        assert done.stdout == ""
        lines = [json.dumps({"specversion": "1.0", "id": str(n), "source": "s", "data": {"n": n}}) for n in range(10)]
        again = "\n".join(lines)
        chain.evfn("emit", "numbers", "--file", "-", stdin="\n".join(lines[:4]))
        done = chain.evfn("emit", "numbers", "--file", "-", "--wait", stdin=again, expect=1)
    assert "4 of 10 had been published before" in done.stderr
    assert done.stdout.startswith("numbers  6 events\n├─ double     6 ok\n")
