"""Manifests without mistakes: what every key becomes, defaults, merging, variables, warnings."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from textwrap import dedent

import pytest

from evfn.errors import ManifestError
from evfn.manifest import Loaded, load
from evfn.manifest.models import DeliverySection, InstanceSection, ManifestSection, TopicSection
from evfn.retry import Backoff, Jitter, RetryPolicy
from evfn.trigger import DataMode, Isolation, Project, Settings, StartAt, TopicRules, Trigger, Workers, Written

LEAST = """\
version: 1
name: climate
triggers:
  heat-alert:
    topic: readings.temperature
    function: climate:alert
"""


class Folder:
    """A project folder in a temporary place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.functions = path / "functions"
        for module in ("climate.py", "images.py", "sensors/wind.py"):
            file = self.functions / module
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def load(
        self, text: str, *, environ: Mapping[str, str] | None = None, cores: int = 4, filters: bool = True
    ) -> Loaded:
        """Write the manifest and load it."""
        manifest = self.path / "triggers.yaml"
        manifest.write_text(text)
        return load(manifest, functions_dir=self.functions, environ=environ or {}, cores=cores, check_filters=filters)

    def trigger(self, settings: str, *, environ: Mapping[str, str] | None = None) -> Trigger:
        """The one trigger of the least manifest with more settings, one a line."""
        return self.load(LEAST + _indented(settings, 4), environ=environ).project.triggers[0]


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in dedent(text).strip().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A project folder with functions/climate.py, images.py and sensors/wind.py."""
    return Folder(tmp_path)


def test_the_least_that_works_has_the_runtimes_own_defaults(folder: Folder) -> None:
    """What the models default to is what Trigger and its parts default to; workers.max is the number of cores."""
    loaded = folder.load(LEAST, cores=6)
    trigger = Trigger("heat-alert", ("readings.temperature",), "climate:alert", workers=Workers(max=6))
    assert loaded.project == Project("climate", (trigger,))
    assert loaded.project.triggers[0].written == Written("triggers.yaml:6:5")
    assert loaded.warnings == ()


def test_every_key_becomes_what_it_says(folder: Folder) -> None:
    """The whole manifest of the design, value by value."""
    loaded = folder.load(
        dedent("""\
        version: 1
        name: climate                       # prefixes this project's consumer groups
        settings:
          key_prefix: "staging:"
          lease: 20s
        topics:
          readings.temperature:
            retention: 7d
            max_events: 1000000
            data: json
        triggers:
          heat-alert:
            topic: [readings.*, "**.raised"]
            function: sensors.wind
            filter: >-
              event.data.celsius > 30
            start: 2026-11-01
            timeout: 1m30s
            retry:
              attempts: 3
              backoff: linear
              initial_delay: 0s
              max_delay: 2h
              jitter: none
              give_up_on: [ValueError, requests.HTTPError]
              give_up_after: 1d
            emits: [alerts.raised, alerts.log, alerts.raised]
            isolation: process
            workers: {min: 1, max: 2, concurrency: 8, idle: 5m, recycle_after: 10, memory: 512MiB}
            env:
              LOG_LEVEL: info
            enabled: false
        """)
    )
    assert loaded.project.settings == Settings("staging:", timedelta(seconds=20))
    assert loaded.project.topics == (("readings.temperature", TopicRules(DataMode.JSON, timedelta(days=7), 1_000_000)),)
    assert loaded.project.triggers == (
        Trigger(
            name="heat-alert",
            topics=("readings.*", "**.raised"),
            function="sensors.wind:handle",
            filter="event.data.celsius > 30",
            start=datetime(2026, 11, 1, tzinfo=UTC),
            timeout=timedelta(seconds=90),
            retry=RetryPolicy(
                attempts=3,
                backoff=Backoff.LINEAR,
                initial_delay=timedelta(),
                max_delay=timedelta(hours=2),
                jitter=Jitter.NONE,
                give_up_on=("ValueError", "requests.HTTPError"),
                give_up_after=timedelta(days=1),
            ),
            emits=("alerts.raised", "alerts.log"),
            isolation=Isolation.PROCESS,
            workers=Workers(1, 2, 8, timedelta(minutes=5), 10, 512 * 2**20),
            env=(("LOG_LEVEL", "info"),),
            enabled=False,
        ),
    )


def test_the_models_defaults_are_those_of_the_values() -> None:
    """Two places hold defaults, the runtime's values and the manifest's models; they never drift apart."""
    manifest = ManifestSection.model_validate(
        {"version": "1", "name": "x", "triggers": {"x": {"topic": "x", "function": "x"}}, "topics": {"x": {}}}
    )
    assert RetryPolicy(**dict(manifest.defaults.retry)) == RetryPolicy()
    assert Workers(**{**dict(manifest.defaults.workers), "max": Workers().max}) == Workers()
    assert Settings(**dict(InstanceSection())) == Settings()
    assert TopicRules(**dict(TopicSection())) == TopicRules()
    delivery, trigger = DeliverySection(), Trigger("x", ("x",), "x:handle")
    for name in ("start", "timeout", "isolation", "enabled"):
        assert getattr(delivery, name) == getattr(trigger, name)


def test_defaults_are_merged_key_by_key(folder: Folder) -> None:
    """A trigger that sets one key of retry, workers or env keeps the other keys of defaults."""
    loaded = folder.load(
        dedent("""\
        version: 1
        name: climate
        defaults:
          timeout: 5s
          enabled: false
          retry: {attempts: 9, max_delay: 1h}
          workers: {min: 2, concurrency: 3}
          env: {A: 1, B: 2}
        triggers:
          one:
            topic: a
            function: climate
          two:
            topic: a
            function: climate
            timeout: 6s
            enabled: true
            retry: {attempts: 1}
            workers: {min: 0}
            env: {B: 3, C: 4}
        """)
    )
    one, two = loaded.project.triggers
    assert (one.timeout, one.enabled) == (timedelta(seconds=5), False)
    assert one.retry == RetryPolicy(attempts=9, max_delay=timedelta(hours=1))
    assert one.workers == Workers(min=2, max=4, concurrency=3)
    assert one.env == (("A", "1"), ("B", "2"))
    assert (two.timeout, two.enabled) == (timedelta(seconds=6), True)
    assert two.retry == RetryPolicy(attempts=1, max_delay=timedelta(hours=1))
    assert two.workers == Workers(min=0, max=4, concurrency=3)
    assert dict(two.env) == {"A": "1", "B": "3", "C": "4"}


def test_more_workers_than_cores_may_be_kept(folder: Folder) -> None:
    """A manifest must not be valid on one machine and a mistake on a smaller one."""
    assert folder.trigger("workers: {min: 16}").workers == Workers(min=16, max=16)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("new", StartAt.NEW),
        ("earliest", StartAt.EARLIEST),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:20:30Z", datetime(2026, 11, 1, 10, 20, 30, tzinfo=UTC)),
        ("2026-11-01 10:20:30.5+02:00", datetime(2026, 11, 1, 10, 20, 30, 500_000, timezone(timedelta(hours=2)))),
        ("1763881200000-0", "1763881200000-0"),
        ("0-1", "0-1"),
    ],
)
def test_every_form_of_start(folder: Folder, text: str, start: object) -> None:
    """A word, a date, a time of any zone or a stream id, none of them quoted."""
    assert folder.trigger(f"start: {text}").start == start


def test_variables_are_replaced_in_env_values_only(folder: Folder) -> None:
    """Set, default, message and the dollar itself; what a variable holds is taken as it is."""
    trigger = folder.trigger(
        """
        env:
          KEY: ${KEY}
          URL: https://${HOST:-localhost}:${PORT:?say which port}/
          EMPTY: "${NOTHING:-}"
          PRICE: 5$$
          RAW: ${RAW}
          LITERAL: $${KEY}
        """,
        environ={"KEY": "k", "PORT": "80", "RAW": "${KEY}: $x"},
    )
    assert dict(trigger.env) == {
        "KEY": "k",
        "URL": "https://localhost:80/",
        "EMPTY": "",
        "PRICE": "5$",
        "RAW": "${KEY}: $x",
        "LITERAL": "${KEY}",
    }
    assert "KEY" not in repr(trigger)


def test_emit_cycles_are_warnings(folder: Folder) -> None:
    """A cycle may be meant, so it is told once, with the way it takes, and nothing is refused."""
    loaded = folder.load(
        dedent("""\
        version: 1
        name: climate
        triggers:
          a: {topic: one, function: climate, emits: two}
          b: {topic: two, function: climate, emits: [three, four.x]}
          c:
            topic: [four.*]
            function: climate
            emits: [one]
          d: {topic: five, function: climate, emits: five}
          e: {topic: six, function: climate, emits: seven}
          f: {topic: seven, function: climate, emits: six, enabled: false}
        """)
    )
    assert loaded.warnings == (
        "triggers.yaml:4:38: warning: emit cycle a → b → c → a: such events end in the dead letters after 32 hops",
        "triggers.yaml:10:39: warning: emit cycle d → d: such events end in the dead letters after 32 hops",
    )


def test_a_doubtful_filter_is_a_warning_at_its_place(folder: Folder) -> None:
    """An attribute that only an extension can be is pointed at within the block it stands in."""
    loaded = folder.load(LEAST + "    filter: >-\n      true ||\n      event.celsius > 3\n")
    (warning,) = loaded.warnings
    assert warning.startswith("triggers.yaml:9:7: warning: filter: event.celsius reads the extension attribute")
    assert folder.load(LEAST + "    filter: event.celsius > 3\n", filters=False).warnings == ()


def test_without_filters_they_are_taken_as_they_are(folder: Folder) -> None:
    """A command that evaluates no filter is spared the 0.2 s that CEL takes to import."""
    loaded = folder.load(LEAST + "    filter: event.data.x and y\n", filters=False)
    assert loaded.project.triggers[0].filter == "event.data.x and y"
    with pytest.raises(ManifestError):
        folder.load(LEAST + "    filter: event.data.x and y\n")


def test_json_is_yaml_too(folder: Folder) -> None:
    """A manifest written by a program may be JSON."""
    text = (
        '{"version": 1, "name": "climate", "triggers": {"a": {"topic": "x", "function": "climate", "enabled": true}}}'
    )
    assert folder.load(text).project.triggers[0].name == "a"


def test_a_package_is_a_module_and_a_link_within_the_folder_may_be_followed(folder: Folder) -> None:
    """Whatever Python would import from below the folder may be named."""
    package = folder.functions / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (folder.functions / "linked.py").symlink_to(folder.functions / "climate.py")
    assert folder.load(LEAST.replace("climate:alert", "pack:run")).project.triggers[0].function == "pack:run"
    assert folder.load(LEAST.replace("climate:alert", "linked:run")).project.triggers[0].function == "linked:run"
