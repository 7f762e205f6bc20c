"""The CEL package, of which only the compiled part is loaded."""

import sys
from functools import cache
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


@cache
def engine() -> Any:
    """What has CEL's `compile`.

    `import cel` takes 0.2 s, nearly all of it for the package's own command line. Its extension module alone takes a
    twentieth. It is registered under its name, so that a whole import later on finds it instead of loading it twice;
    where the package is built in another way, it is imported as a whole.
    """
    extension = None if "cel" in sys.modules else _extension()
    if extension is not None:
        return extension
    import cel

    return cel


def _extension() -> ModuleType | None:
    package = find_spec("cel")
    within = package.submodule_search_locations if package is not None else None
    found = PathFinder.find_spec("cel.cel", within) if within else None
    if found is None or not isinstance(found.loader, ExtensionFileLoader):
        return None
    sys.modules[found.name] = module = module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except ImportError:
        del sys.modules[found.name]
        return None
    return module if hasattr(module, "compile") else None
