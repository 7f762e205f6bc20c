"""What the template imports for its workers while it has nothing to do: the standard library's, and nobody else's."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from evfn.workers.preloaded import MODULES, Preloaded

preloaded = Preloaded()
while not preloaded.complete:
    preloaded.one_more()
print(all(name in sys.modules for name in MODULES))
preloaded.give_way([sys.argv[1], "/does/not/exist"])
sys.path.insert(0, sys.argv[1])
import fractions, http.client, statistics
print(statistics.own, http.client.__file__.startswith(sys.base_prefix), "fractions" in sys.modules)
"""


def test_a_projects_own_modules_come_first(tmp_path: Path) -> None:
    """As without it: a module beside the manifest hides the standard library's, and one on PYTHONPATH does not run."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        folder.mkdir()
        (folder / "statistics.py").write_text("print('imported')\nown = True\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(project)],
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["True", "imported", "True True True"]
