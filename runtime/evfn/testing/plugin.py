"""The pytest fixtures. Imported in every run of pytest beside which evfn is installed, so it imports nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from evfn.testing.running import RunningProject


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("evfn_manifest", "the manifest that evfn_project runs, relative to the rootdir (nearest by default)")


@pytest.fixture
def evfn_manifest(request: pytest.FixtureRequest) -> Path:
    """The manifest that `evfn_project` runs: that of the ini option, else the nearest above the test's file.

    Override it to run another one.
    """
    from evfn.project import MANIFEST, enclosing

    named = request.config.getini("evfn_manifest")
    if named:
        return Path(request.config.rootpath / named)
    folder = enclosing(request.path.parent)
    if folder is None:
        pytest.fail(
            f"no {MANIFEST} in {request.path.parent} or a folder above it: name one with evfn_manifest in pytest's ini"
            " file, or override the fixture evfn_manifest",
            pytrace=False,
        )
    return folder / MANIFEST


@pytest.fixture
def evfn_project(request: pytest.FixtureRequest, evfn_manifest: Path) -> Iterator["RunningProject"]:
    """The project, running on an embedded server of its own, with nothing in it; gone after the test.

    Failed attempts run again at once.
    """
    from contextlib import ExitStack

    from evfn.errors import EvfnError
    from evfn.testing.project import Project

    def show(text: str) -> None:
        request.node.add_report_section("call", "evfn", text)

    with ExitStack() as stack:
        running, problem = None, ""
        try:
            running = stack.enter_context(Project(evfn_manifest).running(show=show))
        except EvfnError as error:
            problem = str(error)
        if running is None:
            pytest.fail(problem, pytrace=False)
        yield running
