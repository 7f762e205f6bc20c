"""From the sections as written to the project the runtime knows: defaults merged, rules between keys checked."""

from collections.abc import Iterator

from evfn.manifest import duration
from evfn.manifest.models import DeliverySection, ManifestSection, RetrySection, TriggerSection, WorkersSection
from evfn.manifest.node import Mapping, Path, find, has, place_of_key
from evfn.manifest.problem import Problem
from evfn.retry import RetryPolicy
from evfn.trigger import Isolation, Project, Settings, TopicRules, Trigger, Workers, Written

JOBS = 100
"""How many of a trigger's jobs an instance has queued or running, where the manifest does not say."""


def assemble(manifest: ManifestSection, root: Mapping, label: str, cores: int) -> tuple[Project, list[Problem]]:
    """The project, and every rule between two keys that is broken.

    `label` is how the file is called, `cores` the default of `workers.max`.
    """
    problems = list(_rules(manifest.defaults, root, ("defaults",), manifest.defaults))
    triggers = []
    for name, section in manifest.triggers.items():
        merged = _merge(manifest.defaults, section)
        path = ("triggers", name)
        problems += _rules(section, root, path, merged)
        triggers.append(_trigger(name, section, merged, _written(name, root, label, merged), cores))
    project = Project(
        name=manifest.name,
        triggers=tuple(triggers),
        topics=tuple(
            (name, TopicRules(data=rules.data, retention=rules.retention, max_events=rules.max_events))
            for name, rules in manifest.topics.items()
        ),
        settings=Settings(key_prefix=manifest.settings.key_prefix, lease=manifest.settings.lease),
    )
    return project, problems


def _merge(defaults: DeliverySection, section: TriggerSection) -> DeliverySection:
    written = {name: getattr(section, name) for name in section.model_fields_set & set(DeliverySection.model_fields)}
    if "retry" in written:
        retry = section.retry
        written["retry"] = defaults.retry.model_copy(
            update={name: getattr(retry, name) for name in retry.model_fields_set}
        )
    if "workers" in written:
        workers = section.workers
        written["workers"] = defaults.workers.model_copy(
            update={name: getattr(workers, name) for name in workers.model_fields_set}
        )
    if "env" in written:
        written["env"] = {**defaults.env, **section.env}
    return defaults.model_copy(update=written)


def _rules(written: DeliverySection, root: Mapping, path: Path, merged: DeliverySection) -> Iterator[Problem]:
    # Each section answers only for keys of its own, so a mistake in `defaults` is not told again for every trigger.
    retry: RetrySection = merged.retry
    delays = [name for name in ("initial_delay", "max_delay") if name in written.retry.model_fields_set]
    if delays and retry.initial_delay > retry.max_delay:
        first, most = duration.render(retry.initial_delay), duration.render(retry.max_delay)
        place = find(root, (*path, "retry", delays[0])).place
        yield Problem(
            place, f"initial_delay ({first}) is longer than max_delay ({most}): raise max_delay or lower the other"
        )
    workers: WorkersSection = merged.workers
    counts = [name for name in ("min", "max") if name in written.workers.model_fields_set]
    if counts and workers.max is not None and workers.min > workers.max:
        place = find(root, (*path, "workers", counts[0])).place
        yield Problem(place, f"workers.min ({workers.min}) is more than workers.max ({workers.max})")


def _written(name: str, root: Mapping, label: str, merged: DeliverySection) -> Written:
    own: Path = ("triggers", name, "retry", "give_up_on")
    shared: Path = ("defaults", "retry", "give_up_on")
    names = own if has(root, own) else shared
    return Written(
        function=place_of_key(root, ("triggers", name, "function")).render(label),
        give_up_on=tuple(
            find(root, (*names, number)).place.render(label) for number in range(len(merged.retry.give_up_on))
        ),
    )


def _trigger(name: str, section: TriggerSection, merged: DeliverySection, written: Written, cores: int) -> Trigger:
    retry, workers = merged.retry, merged.workers
    most = cores if merged.isolation is Isolation.PROCESS else JOBS
    return Trigger(
        name=name,
        topics=section.topic,
        function=section.function,
        filter=section.filter,
        start=merged.start,
        timeout=merged.timeout,
        retry=RetryPolicy(**dict(retry)),
        emits=section.emits,
        isolation=merged.isolation,
        workers=Workers(**{**dict(workers), "max": workers.max or max(most, workers.min)}),
        env=tuple(merged.env.items()),
        enabled=merged.enabled,
        written=written,
    )
