"""The examples at the end of every command's help. They work as they stand in evfn's own example project."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("evfn init my-project", "evfn init --name climate"),
    "check": ("evfn check",),
    "run": ("evfn run", "evfn run --until-idle", "evfn run --redis redis://localhost:6379"),
    "serve": (
        "evfn serve --redis redis://localhost:6379",
        "evfn serve --redis redis://localhost:6379 --drain-timeout 2m",
    ),
    "rq-worker": ("evfn rq-worker --count 4", "evfn rq-worker --redis redis://localhost:6379 --queue evfn:climate"),
    "emit": (
        """evfn emit readings.temperature '{"station":"x","celsius":31,"at":"now"}'""",
        "evfn emit readings.temperature --file events/sf-temps-2010.ndjson",
        """evfn emit notes 'two words' --wait --timeout 10s""",
    ),
    "invoke": (
        """evfn invoke heat-alert --data '{"station":"x","celsius":31,"at":"now"}'""",
        "evfn dlq show quality --json | evfn invoke quality --event - --debug",
    ),
    "replay": (
        "evfn replay heat-alert --from 2h --dry-run",
        "evfn replay heat-alert --from 2026-11-01 --to 2026-11-02 --rate 100/s",
        "evfn replay heat-alert --from earliest --filter 'event.data.celsius >= 45.0'",
    ),
    "tail": ("evfn tail readings.temperature --no-follow", "evfn tail 'readings.*' --from 10m"),
    "status": ("evfn status", "evfn status --watch", "evfn status --json"),
    "doctor": ("evfn doctor", "evfn doctor --json"),
    "dlq": ("evfn dlq ls", "evfn dlq show quality"),
    "dlq ls": ("evfn dlq ls", "evfn dlq ls quality --limit 10"),
    "dlq show": ("evfn dlq show quality", "evfn dlq show quality 1763881200000-0 --json"),
    "dlq redrive": (
        "evfn dlq redrive quality --all --dry-run",
        "evfn dlq redrive quality --reason timed_out --rate 10/s",
        "evfn dlq redrive quality --all",
    ),
    "dlq purge": ("evfn dlq purge quality --yes",),
    "forget": ("evfn forget --all --yes", "evfn forget old-trigger", "evfn forget --project old-name --all"),
    "generate": ("evfn generate systemd --out deploy/systemd",),
    "generate systemd": ("evfn generate systemd --out deploy/systemd",),
    "generate docker": ("evfn generate docker --out deploy/docker --instances 3",),
    "generate kubernetes": ("evfn generate kubernetes --out deploy/kubernetes",),
    "generate acl": ("evfn generate acl producer --format aclfile",),
    "schema": ("evfn schema > triggers.schema.json",),
    "completion": ("""eval "$(evfn completion bash)\"""",),
}
"""By the command, as it is typed behind `evfn`."""


def epilog(command: str) -> str | None:
    """The end of a command's help; None where the command has no examples."""
    lines = EXAMPLES.get(command)
    # The control character keeps click from filling the lines.
    return None if lines is None else "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
