"""A project's status as it is drawn on a terminal of any size."""

from datetime import UTC, datetime
from typing import Any

import pytest

from evfn_cli.status_screen import Screen
from evfn_cli.trend import Trend

NOW = datetime(2026, 11, 24, 10, 0, 10, tzinfo=UTC)


def trigger(state: str = "ok", problem: str | None = None, **numbers: int | None) -> dict[str, Any]:
    return {"state": state, "problem": problem, "lag": 0, "pending": 0, "due": 0, "dead": 0, **numbers}


def found(**triggers: dict[str, Any]) -> dict[str, Any]:
    return {
        "project": "shop",
        "server": "unix:///run/s",
        "triggers": triggers,
        "topics": {
            "readings": {"events": 1_234_567, "last_at": "2026-11-24T10:00:08+00:00"},
            "alerts": {"events": 0, "last_at": None},
        },
        "instances": {
            "a": {"pid": 12, "workers": [13, 14]},
            "b": {"pid": None, "workers": None, "host": "berlin", "silent": False},
            "c": {"pid": None, "workers": None, "host": None, "silent": True},
        },
        "leftovers": [{"trigger": "old"}],
    }


def drawn(status: dict[str, Any], width: int = 80, height: int = 24, *, away: str = "", bars: bool = True) -> list[str]:
    trends = {name: Trend(12.4, tuple(float(n) for n in range(60)), 3) for name in status["triggers"]}
    screen = Screen(status, trends, NOW, 1.0, away=away, bars=bars, now=NOW)
    return [line.plain.rstrip() for line in screen.lines(width, height)]


def test_a_terminal_of_80_columns_shows_everything() -> None:
    """State, rate, what waits, errors and the sparkline; topics; instances with their workers; leftovers."""
    heat = trigger(lag=120_400, pending=3, due=1, dead=2)
    lines = drawn(found(**{"heat-alert": heat, "store": trigger("broken", "ImportError: no x\nmore", lag=None)}))
    assert lines[0] == "evfn shop  10:00:10, every 1 s  unix:///run/s"
    assert lines[2].split() == ["trigger", "state", "per", "s", "lag", "pending", "due", "dead", "errors"]
    assert lines[3].split()[:8] == ["heat-alert", "ok", "12", "120k", "3", "1", "2", "3"]
    assert lines[3].endswith("█")
    assert lines[4].split()[:4] == ["store", "broken", "12", "?"]
    assert lines[5] == "store is broken: ImportError: no x"
    assert lines[8].split() == ["readings", "1.2M", "2", "s", "ago"]
    assert lines[-3:] == [
        "running here: pid 12, 2 workers (13, 14)",
        "running elsewhere: 2 (berlin), 1 of them silent",
        "no longer in the manifest, but still on the server: old",
    ]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [3, 6, 10, 24])
def test_it_never_leaves_its_terminal(width: int, height: int) -> None:
    """Columns are left out and names shortened; what does not fit below is counted."""
    many = {f"trigger-with-a-long-name-{n}": trigger("disabled", "x" * 300, lag=10**n) for n in range(12)}
    lines = drawn(found(**many), width, height, away="nothing listens at unix:///run/s")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_does_not_fit_below_is_said() -> None:
    """First the topics go, then triggers; who runs stays."""
    lines = drawn(found(**{f"t{n}": trigger() for n in range(40)}), height=12)
    assert [line.split()[0] for line in lines[2:7]] == ["trigger", "t0", "t1", "t2", "t3"]
    assert lines[7] == "… 36 more triggers: a taller terminal shows them"
    assert lines[9].startswith("running here")


def test_narrow_terminals_keep_what_matters_most() -> None:
    """The name and the lag."""
    assert drawn(found(heat=trigger(lag=7)), width=13)[2].split() == ["trigger", "lag"]


def test_a_server_that_is_away_is_a_line_and_bars_are_only_where_they_can_be_shown() -> None:
    """The numbers say of when they are."""
    lines = drawn(found(heat=trigger()), away="no answer", bars=False)
    assert lines[1] == "no answer; the numbers are of 10:00:10"
    assert "".join(lines).isascii()


def test_nothing_from_outside_reaches_the_terminal_raw() -> None:
    """A problem's text and a topic's name are escaped."""
    status = found(heat=trigger("blocked", "\x1b[2Jevil"))
    status["topics"]["\x1b]0;x"] = {"events": 1, "last_at": None}
    assert "\x1b" not in "".join(drawn(status))


def test_who_runs_is_told_where_nobody_does() -> None:
    """And how to start one."""
    status = found(heat=trigger())
    status["instances"] = {}
    assert "no instance is running: start one with evfn run or evfn serve" in drawn(status)
