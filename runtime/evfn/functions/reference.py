"""Naming a function: `module:name`, below the functions folder."""

import keyword
from dataclasses import dataclass

from evfn.errors import LoadError

DEFAULT_NAME = "handle"


@dataclass(frozen=True, slots=True)
class Reference:
    """A function's module, dotted where it lies in a subfolder, and its name in it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    @property
    def path(self) -> str:
        """The module's file, relative to the functions folder."""
        return self.module.replace(".", "/") + ".py"


def parse(text: str) -> Reference:
    """`climate:alert`, `alerts.climate:alert`, or `climate` alone for `climate:handle`.

    Raises LoadError that says what to write.
    """
    module, colon, name = text.partition(":")
    if not colon:
        name = DEFAULT_NAME
    if module.endswith(".py"):
        better = module.removesuffix(".py").replace("/", ".")
        raise LoadError(f"{text!r}: write the module without .py, {better}:{name}")
    if "/" in module or "\\" in module:
        better = module.replace("\\", "/").strip("./").replace("/", ".")
        hint = f", as {better}:{name}" if _is_dotted(better) else ""
        raise LoadError(f"{text!r}: a module below the functions folder is written with dots{hint}")
    if not _is_dotted(module):
        raise LoadError(f"{text!r}: {module!r} is no module name; write module:function, as climate:alert")
    if not _is_identifier(name):
        raise LoadError(f"{text!r}: {name!r} is no function name; write module:function, as {module}:alert")
    return Reference(module, name)


def _is_dotted(module: str) -> bool:
    return all(_is_identifier(part) for part in module.split("."))


def _is_identifier(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")
