"""What `evfn rq-worker` prints."""

import json
from pathlib import Path

import pytest

from evfn.broker.source import Source
from evfn.jobs.job import Job
from evfn.jobs.told import Began, Noted, Over, Refused, Told
from evfn_cli.job_log import JobLog
from evfn_cli.log_events import EVENTS
from evfn_cli.masks import Masks

JOB = Job(
    project="shop",
    key_prefix="",
    trigger="pack",
    topic="orders",
    source=Source.TOPIC,
    entry="1-0",
    attempt=2,
    lease_ms=10_000,
    revision="a1",
)
TOLD: list[Told] = [
    Began(JOB),
    Over(JOB, True, "succeeded in 0.003 s"),
    Over(JOB, False, "ValueError: \x1b[31mhunter22\nno"),
    Refused("planted", "its content is not JSON"),
    Noted("SIGTERM: finishing what runs", grave=False),
    Noted("the server is away"),
]


def printed(capfdbinary: pytest.CaptureFixture[bytes], *, as_json: bool) -> list[str]:
    log = JobLog(Path("/p"), as_json=as_json)
    log.masks = Masks(["hunter22"])
    log.ready("shop", "redis://db", ["shop", "heavy"], 2)
    for told in TOLD:
        log.tell(told)
    log.stopped(finished=True)
    return capfdbinary.readouterr().out.decode().splitlines()


def test_json_lines_have_the_documented_fields(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """One object a line, secrets masked, nothing that a terminal would obey."""
    lines = printed(capfdbinary, as_json=True)
    assert len(lines) == len(TOLD) + 2
    for raw in lines:
        line = json.loads(raw)
        kind = EVENTS[line["event"]]
        assert line.keys() - {"time", "level", "event"} == {*kind.always}
        assert line["level"] in kind.level.replace("or ", "").split(", ")
        assert "hunter22" not in raw
        assert "\x1b" not in raw
    assert json.loads(lines[3])["text"] == "ValueError: \x1b[31m***\nno"


def test_text_is_for_a_person(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A line each, with the same care."""
    assert printed(capfdbinary, as_json=False) == [
        "2 RQ workers on queue shop, heavy",
        f"pack on orders 1-0, attempt 2: begins ({JOB.id})",
        "pack on orders 1-0, attempt 2: succeeded in 0.003 s",
        "pack on orders 1-0, attempt 2: ValueError: \\x1b[31m***\\nno",
        "job planted is refused: its content is not JSON",
        "SIGTERM: finishing what runs",
        "the server is away",
    ]
