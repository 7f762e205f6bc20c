"""A fresh sandbox for every test, and nothing left running after it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, wait_until


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    box = Sandbox(tmp_path)
    yield box
    wait_until(lambda: not box.processes(), description="no process of this test is left")
