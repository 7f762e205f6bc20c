"""All that a worker of a trigger must be told, put together in one place for `run`, `check` and `invoke`."""

from collections.abc import Mapping
from pathlib import Path

from evfn.trigger import Project, Trigger
from evfn.workers.frame import SLOTS
from evfn.workers.protocol import WorkerConfig


def worker_config(
    project: Project,
    trigger: Trigger,
    *,
    folder: Path,
    functions: Path,
    environ: Mapping[str, str],
    env_file: Mapping[str, str],
    traced: bool = False,
) -> WorkerConfig:
    """`environ` is the instance's own environment; its EVFN_ variables may hold secrets and stay behind."""
    inherited = {name: value for name, value in environ.items() if not name.startswith("EVFN_")}
    return WorkerConfig(
        project=project.name,
        project_dir=str(folder),
        functions_dir=str(functions),
        trigger=trigger.name,
        function=trigger.function,
        emits=list(trigger.emits),
        data_modes={topic: rules.data.value for topic, rules in project.topics},
        concurrency=trigger.workers.concurrency,
        timeout_ms=int(trigger.timeout.total_seconds() * 1000),
        slots=SLOTS,
        env={**inherited, **env_file, **dict(trigger.env)},
        attempts=trigger.retry.attempts,
        traced=traced,
    )
