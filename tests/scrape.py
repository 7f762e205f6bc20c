"""What Prometheus makes of a scrape: its samples, and its own checker's verdict."""

import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

PROMTOOL = Path("/usr/bin/promtool")


def promtool(*arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Prometheus' own checker. Skips the test where it is not installed, or fails it if EVFN_REQUIRE_PROMTOOL is 1."""
    if not PROMTOOL.exists():
        if os.environ.get("EVFN_REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"{PROMTOOL} is required, but missing")
        pytest.skip(f"{PROMTOOL} is not installed")
    return subprocess.run([str(PROMTOOL), *arguments], input=text, capture_output=True, text=True, timeout=60)


class Scrape:
    """The samples of one scrape, by name and labels."""

    def __init__(self, body: bytes) -> None:
        self.text = body.decode()
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parsed(self.text)
            for sample in family.samples
        }
        self.names = {name for name, _ in self._samples}

    def get(self, name: str, **labels: str) -> float | None:
        return self._samples.get((name, tuple(sorted(labels.items()))))
