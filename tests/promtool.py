"""Prometheus' own checker of metrics and rules."""

import os
import subprocess
from pathlib import Path

import pytest

PROMTOOL = Path("/usr/bin/promtool")


def promtool(*arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Prometheus' own checker. Skips the test where it is not installed, or fails it if EVFN_REQUIRE_PROMTOOL is 1."""
    if not PROMTOOL.exists():
        if os.environ.get("EVFN_REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"{PROMTOOL} is required, but missing")
        pytest.skip(f"{PROMTOOL} is not installed")
    return subprocess.run([str(PROMTOOL), *arguments], input=text, capture_output=True, text=True, timeout=60)
