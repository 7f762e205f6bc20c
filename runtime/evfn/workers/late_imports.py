"""Modules of the project that a function imports only while it runs: an edit of them concerns it, too."""

import sys
from pathlib import Path

from evfn.functions.revision import imported_modules
from evfn.workers.channel import Channel
from evfn.workers.protocol import Imported


class LateImports:
    """Tells the dispatcher of them, after the frame in which they were imported."""

    def __init__(self, channel: Channel, project_dir: Path) -> None:
        self._channel = channel
        self._project_dir = project_dir
        self._count = len(sys.modules)
        self._told = imported_modules(project_dir).keys()

    def look(self) -> None:
        """Look whether there is more than before. Costs next to nothing where there is not."""
        if len(sys.modules) == self._count:
            return
        self._count = len(sys.modules)
        modules = imported_modules(self._project_dir)
        if modules.keys() != self._told:
            self._told = modules.keys()
            self._channel.send(Imported({name: str(file) for name, file in modules.items()}))
