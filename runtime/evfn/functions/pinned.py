"""Loading a revision that the disk may not hold any more: while an edit is broken, the code before it goes on.

Its modules come from the contents that were kept of them, under the names and files they had; everything else is
imported as ever.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


class PinnedModules(MetaPathFinder):
    """Finds the kept modules before any other finder does. `modules` maps names to files, `contents` files to text."""

    def __init__(self, modules: Mapping[str, str], contents: Mapping[str, bytes]) -> None:
        # What is no source (an extension module) cannot be kept; it is loaded from where it lies.
        self._modules = {name: file for name, file in modules.items() if file.endswith(".py") and file in contents}
        self._contents = contents

    def install(self) -> None:
        """Take part in every import from now on."""
        sys.meta_path.insert(0, self)

    def holds(self, module: str) -> bool:
        """Whether this module is imported from here."""
        return module in self._modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._modules.get(fullname)
        if file is None:
            return None
        package = [str(Path(file).parent)] if Path(file).name == "__init__.py" else None
        loader = _Kept(fullname, file, self._contents[file])
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=package)


def is_pinned(module: str) -> bool:
    """Whether this process imports the module from what was kept of it, so that it need not lie on the disk."""
    return any(isinstance(finder, PinnedModules) and finder.holds(module) for finder in sys.meta_path)


class _Kept(SourceFileLoader):
    def __init__(self, fullname: str, file: str, content: bytes) -> None:
        super().__init__(fullname, file)
        self._content = content

    def get_data(self, path: str) -> bytes:
        return self._content if path == self.path else super().get_data(path)

    def path_stats(self, path: str) -> Mapping[str, float]:
        # The import system then looks for no compiled file: one that lies there is of what the disk holds now.
        raise OSError(f"{path} is kept in memory")
