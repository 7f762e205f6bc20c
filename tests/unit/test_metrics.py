"""Counting for Prometheus: histograms, the life of series, and what the docs and the dashboard say of them."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from evfn.listener import (
    Dropped,
    Interrupted,
    Invoked,
    LeaseLost,
    ReloadEnded,
    Started,
    SucceededMany,
    TriggersChanged,
    Watched,
    stored_ms,
)
from evfn.metrics import Metrics
from evfn.metrics.catalogue import CATALOGUE, Kind, Metric
from evfn.metrics.histogram import Histogram
from evfn.metrics.reference import markdown
from evfn.outcome import Crashed, Failure
from evfn.settlement import DeadLetter, Reason
from evfn.trigger import Project, Trigger
from scrape import promtool

_DOCS = Path(__file__).parents[2] / "docs"
_BOUNDS = (0.1, 1.0, 10.0)


def test_the_reference_in_the_docs_is_the_one_of_the_catalogue() -> None:
    """Write it anew with `python -m evfn.metrics.reference > docs/metrics.md`."""
    assert (_DOCS / "metrics.md").read_text() == markdown()


@given(st.floats(0, 20), st.floats(0, 20), st.integers(1, 500))
def test_a_spread_is_what_its_single_observations_would_be(one: float, other: float, count: int) -> None:
    """Many at a time land in the buckets in which they would land one by one, but for one on a bucket's very bound."""
    low, high = sorted((one, other))
    together, single = Histogram(_BOUNDS), Histogram(_BOUNDS)
    together.observe_spread(low, high, count)
    for index in range(count):
        single.observe(high if count == 1 else low + (high - low) * index / (count - 1))
    expected = [below for _, below in single.cumulative()]
    assert all(abs(got - below) <= 1 for (_, got), below in zip(together.cumulative(), expected, strict=True))
    assert together.cumulative()[-1] == ("+Inf", count)
    if count > 1:
        assert abs(together.sum - single.sum) < 1e-6 * max(1.0, single.sum)


def test_replays_and_ids_written_by_hand_have_no_age() -> None:
    """The latency is of events as they came; a replayed one would tell how far back somebody went."""
    assert stored_ms("1763881200000-0", "t:orders:1763881200000-0") == 1763881200000
    assert stored_ms("1763881200000-0", "t:orders:1763881200000-0:ab12") is None
    assert stored_ms("never", "t:orders:never") is None


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """What is rendered without a server, by name and labels, the trigger first."""

    async def render() -> bytes:
        try:
            return (await metrics.render(""))[1]
        finally:
            await metrics.close()

    return {
        (sample.name, "/".join(value for _, value in sorted(sample.labels.items(), reverse=True))): sample.value
        for family in parsed(asyncio.run(render()).decode())
        for sample in family.samples
    }


def test_series_come_and_go_with_the_manifest() -> None:
    """A new trigger has its series at zero at once; one that is gone has none, whatever is still told of it."""
    metrics = Metrics(Project("shop", (Trigger("old", ("orders",), "shop:run"),)), "redis://127.0.0.1:1")
    metrics.tell(Started("shop", "i", "redis://", (Watched("old", ("orders",), "shop:run"),)))
    metrics.tell(SucceededMany("old", 3, timedelta(seconds=1), emitted=3))
    before = samples(metrics)
    assert before["evfn_attempts_total", "old/succeeded"] == 3
    assert before["evfn_events_emitted_total", "old"] == 3
    assert before["evfn_server_up", ""] == 0
    metrics.tell(TriggersChanged((Watched("new", ("orders",), "shop:run"),), ("old",)))
    metrics.tell(SucceededMany("old", 3))
    metrics.tell(SucceededMany("never-heard-of", 3))
    found = samples(metrics)
    assert {labels.partition("/")[0] for name, labels in found if name.startswith("evfn_attempts")} == {"new"}
    assert found["evfn_dead_letters_total", "new/timed_out"] == 0


def test_a_new_lease_goes_on_counting() -> None:
    """What was counted stays when the instance is fenced and begins anew, and that is counted, too; a reload that was
    refused is seen until one is not."""
    metrics = Metrics(Project("shop", (Trigger("t", ("orders",), "shop:run"),)), "redis://127.0.0.1:1")
    metrics.tell(Dropped("t", 2))
    metrics.tell(Interrupted("t"))
    metrics.tell(LeaseLost("it stood still"))
    metrics.tell(Started("shop", "i", "redis://", (Watched("t", ("orders",), "shop:run"),)))
    # Another instance made this attempt, and died in it: how long it took nobody knows.
    crashed = Crashed("its instance died while it held this event")
    failure = DeadLetter(Reason.CRASHED, Failure("evfn.Crashed", "died"))
    metrics.tell(Invoked("t", "t:orders:1-0:x", "orders", "1-0", 5, 5, crashed, failure, timedelta()))
    found = samples(metrics)
    assert found["evfn_events_dropped_total", "t"] == 2
    assert found["evfn_attempts_total", "t/interrupted"] == 1
    assert found["evfn_leases_lost_total", ""] == 1
    assert found["evfn_last_reload_successful", ""] == 1
    metrics.tell(ReloadEnded(refused=True))
    assert samples(metrics)["evfn_last_reload_successful", ""] == 0
    metrics.tell(ReloadEnded(refused=False))
    assert samples(metrics)["evfn_last_reload_successful", ""] == 1
    assert found["evfn_dead_letters_total", "t/crashed"] == 1
    assert found["evfn_attempt_duration_seconds_count", "t"] == 0
    assert found["evfn_event_latency_seconds_count", "t"] == 0


def scraped_names(metric: Metric) -> set[str]:
    if metric.kind is Kind.HISTOGRAM:
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


NAMES = set().union(*map(scraped_names, CATALOGUE))


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for panel in board["panels"] for each in [panel, *panel.get("panels", [])]]


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    """Every expression names metrics of the catalogue and goes by the chosen data source and triggers, and no metric
    is left out."""
    board = json.loads((_DOCS / "grafana-dashboard.json").read_text())
    shown = [panel for panel in panels(board) if panel["type"] != "row"]
    expressions = [target["expr"] for panel in shown for target in panel["targets"]]
    named = {name for text in expressions for name in re.findall(r"\bevfn_\w+", text)}
    assert named <= NAMES
    assert {each.name for each in CATALOGUE if not scraped_names(each) & named} == set()
    ids = [panel["id"] for panel in panels(board)]
    assert len(ids) == len(set(ids))
    assert {each["name"] for each in board["templating"]["list"]} == {"datasource", "job", "trigger"}
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in shown)
    by_trigger = {name for each in CATALOGUE if "trigger" in each.labels for name in scraped_names(each)}
    for text in expressions:
        for name, selector in re.findall(r"\b(evfn_\w+)(\{[^}]*\})?", text):
            assert 'job=~"$job"' in selector, text
            assert ('trigger=~"$trigger"' in selector) is (name in by_trigger), text
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(places) == len(set(places))


def test_the_alert_rules_are_accepted_and_ask_only_for_metrics_that_there_are() -> None:
    """Prometheus reads the rules that the docs offer."""
    rules = _DOCS / "alerts.yaml"
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))
    assert checked.returncode == 0, checked.stderr
    assert set(re.findall(r"\bevfn_\w+", rules.read_text())) <= NAMES
