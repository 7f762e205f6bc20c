"""What two looks at a project say that one does not."""

from typing import Any

from evfn_cli.trend import Trends, sparkline

NOTHING = {"succeeded": 0, "filtered": 0, "dead_lettered": 0, "dropped": 0, "failed": 0}


def looked(**counters: int) -> dict[str, dict[str, Any]]:
    return {"t": {**NOTHING, **counters}}


def test_a_rate_is_what_was_done_with_per_second_since_the_last_look() -> None:
    """Skipped, dropped and dead-lettered events are done with too; the first look has no rate."""
    trends = Trends()
    assert trends.add(looked(succeeded=100), 10.0)["t"].rate is None
    assert trends.add(looked(succeeded=110, filtered=4, dead_lettered=1, dropped=1), 12.0)["t"].rate == 8.0
    trend = trends.add(looked(succeeded=110, filtered=4, dead_lettered=1, dropped=1), 13.0)["t"]
    assert trend.rates == (8.0, 0.0)


def test_errors_and_rates_are_those_of_the_last_minute() -> None:
    """What was before the first look is not counted, and what is older than the window goes."""
    trends = Trends()
    trends.add(looked(failed=1000), 0.0)
    assert trends.add(looked(failed=1003), 30.0)["t"].errors == 3
    assert trends.add(looked(failed=1004), 61.0)["t"].errors == 1
    assert trends.add(looked(failed=1004), 200.0)["t"].errors == 0


def test_a_server_that_lost_its_data_begins_anew() -> None:
    """No negative rate; a trigger that is new, or gone, neither."""
    trends = Trends()
    trends.add(looked(succeeded=100, failed=5), 0.0)
    assert trends.add(looked(succeeded=3), 1.0)["t"].rate is None
    assert trends.add({}, 2.0) == {}
    assert trends.add(looked(succeeded=50), 3.0)["t"].rate is None


def test_a_sparkline_shows_the_newest_rates_and_never_hides_a_small_one() -> None:
    """The highest is full, nothing is the lowest bar."""
    assert sparkline((0.0, 100.0, 50.0, 0.01), 10) == "▁█▅▂"
    assert sparkline((100.0, 1.0, 1.0), 2) == "██"
    assert sparkline((0.0, 0.0), 5) == "▁▁"
    assert sparkline((), 5) == ""
