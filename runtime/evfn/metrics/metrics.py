"""Metrics in the formats of Prometheus: a listener that counts, rendered when somebody scrapes."""

import asyncio
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from evfn.broker.status import GroupStatus
from evfn.clock import Clock, SystemClock
from evfn.listener import Happening, LeaseLost, ReloadEnded, Started, TriggersChanged
from evfn.metrics import catalogue
from evfn.metrics.catalogue import CATALOGUE, Kind, Metric
from evfn.metrics.readings import Reading, Readings
from evfn.metrics.tally import Tally, Told
from evfn.trigger import Project
from evfn.vitals import Patient, Vitals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What is rendered for a client that accepts anything."""

Samples = Iterable[tuple[tuple[str, ...], float]]


class Metrics:
    """`project` and `server` (its URL) are those of the instance; `watch` names the instance, once there is one.
    `ready` says whether it serves all that it should.

    Only triggers of the manifest have series: those of a trigger that leaves it are gone with the next scrape.
    """

    def __init__(
        self, project: Project, server: str, clock: Clock | None = None, *, ready: Callable[[], bool] | None = None
    ) -> None:
        self._project = project.name
        self._clock: Clock = clock or SystemClock()
        self._readings = Readings(project, server, self._clock)
        self._patient: Patient | None = None
        self._tallies = {trigger.name: Tally() for trigger in project.triggers}
        self._leases_lost = 0
        self._reloaded = True
        self._ready = ready
        self._renderings: dict[str, asyncio.Task[bytes]] = {}

    def watch(self, patient: Patient) -> None:
        """Tell of this instance's workers and states, and go by its clock, which is the server's."""
        self._patient = patient
        self._clock = patient.clock

    def tell(self, happening: Happening) -> None:
        """Count what is counted."""
        if isinstance(happening, Told):
            tally = self._tallies.get(happening.trigger)
            if tally is not None:
                tally.add(happening, self._clock.now())
            return
        match happening:
            case Started(watched=watched):
                self._serve(each.trigger for each in watched)
            case TriggersChanged(added, removed):
                for name in removed:
                    self._tallies.pop(name, None)
                self._serve(each.trigger for each in added)
            case LeaseLost():
                self._leases_lost += 1
            case ReloadEnded(refused):
                self._reloaded = not refused

    async def render(self, accept: str) -> tuple[str, bytes]:
        """The content type and all metrics in it: OpenMetrics where `accept`, the request's header, asks for it.

        A server that is away delays it by two seconds at most, and then its numbers are missing.
        """
        encode, content_type = choose_encoder(accept)
        rendering = self._renderings.get(content_type)
        if rendering is None:
            rendering = self._renderings[content_type] = asyncio.create_task(self._render(encode))
            rendering.add_done_callback(lambda _: self._renderings.pop(content_type))
        # Made once for all that ask meanwhile; one who gives up must not take it from the others.
        return content_type, await asyncio.shield(rendering)

    async def close(self) -> None:
        """Let go of the connection to the server."""
        renderings = list(self._renderings.values())
        for each in renderings:
            each.cancel()
        await asyncio.gather(*renderings, return_exceptions=True)
        await self._readings.close()

    def _serve(self, names: Iterable[str]) -> None:
        for name in names:
            self._tallies.setdefault(name, Tally())

    async def _render(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        vitals = Vitals() if self._patient is None else self._patient.vitals
        topics = {name: vitals.triggers[name].topics for name in self._tallies if name in vitals.triggers}
        reading = await self._readings.read(topics)
        tallies = dict(self._tallies)
        ready = None if self._ready is None else self._ready()

        def text() -> bytes:
            families = [_family(each, samples) for each, samples in self._samples(tallies, vitals, reading, ready)]
            families += [_histogram(each, tallies) for each in CATALOGUE if each.kind is Kind.HISTOGRAM]
            return encode(_registry(families))

        # Of a thousand triggers it is a hundred thousand lines: not on the loop that moves events. What is counted
        # meanwhile may be among them, or not.
        return await asyncio.to_thread(text)

    def _samples(
        self, tallies: Mapping[str, Tally], vitals: Vitals, reading: Reading, ready: bool | None
    ) -> Iterable[tuple[Metric, Samples]]:
        """All but the histograms. What cannot be known now has no sample."""
        found: dict[Metric, list[tuple[tuple[str, ...], float]]] = {
            metric: [] for metric in CATALOGUE if metric.kind is not Kind.HISTOGRAM
        }
        for name, tally in tallies.items():
            for metric, samples in found.items():
                if metric.kind is Kind.COUNTER and metric.labels[:1] == ("trigger",):
                    if metric.values:
                        samples += [((name, each), tally.labelled[metric, each]) for each in metric.values]
                    else:
                        samples.append(((name,), tally.plain[metric]))
        for name, each in vitals.triggers.items():
            if name in tallies:
                found[catalogue.WORKERS].append(((name,), each.workers))
                found[catalogue.RUNNING].append(((name,), each.running))
                found[catalogue.STATE] += [((name, one), one == each.state.value) for one in catalogue.STATES]
        for name, parts in reading.triggers.items():
            if name in tallies and parts:
                for metric, value in _of_server(parts).items():
                    found[metric].append(((name,), value))
        build = (version("evfn"), platform.python_version(), self._project)
        if ready is not None:
            found[catalogue.READY].append(((), ready))
        found[catalogue.SERVER_UP].append(((), reading.complete))
        found[catalogue.LEASES_LOST].append(((), self._leases_lost))
        found[catalogue.RELOADED].append(((), self._reloaded))
        found[catalogue.RECONNECTS].append(((), vitals.sockets_lost))
        found[catalogue.BUILD].append((build, 1))
        return found.items()


def _histogram(metric: Metric, tallies: Mapping[str, Tally]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for name, tally in tallies.items():
        histogram = tally.histograms[metric]
        family.add_metric((name,), histogram.cumulative(), histogram.sum)
    return family


def _of_server(parts: list[GroupStatus]) -> dict[Metric, float]:
    """One trigger's numbers over all its topics, as `evfn status` counts them."""
    found: dict[Metric, float] = {
        catalogue.PENDING: sum(part.pending for part in parts),
        catalogue.DUE: sum(part.due for part in parts),
        catalogue.DEAD: sum(part.dead for part in parts),
        catalogue.OLDEST: max((part.oldest.total_seconds() for part in parts if part.oldest is not None), default=0.0),
    }
    lags = [part.lag for part in parts]
    if None not in lags:
        found[catalogue.LAG] = sum(lag or 0 for lag in lags) + sum(part.inbox for part in parts)
    return found


def _family(metric: Metric, samples: Samples) -> Family:
    # A counter's family is named without the `_total` of its samples.
    family = (
        CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
        if metric.kind is Kind.COUNTER
        else GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    )
    for labels, value in samples:
        family.add_metric(labels, float(value))
    return family


class _Collected(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _registry(families: list[Family]) -> CollectorRegistry:
    """One of our own for every scrape: there is no global one that somebody else could add to."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    ProcessCollector(registry=registry)
    return registry
