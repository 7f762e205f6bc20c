"""The manifest, `triggers.yaml`: read with places, checked as a whole, turned into a project."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evfn.manifest.emit_cycle import emit_cycles
    from evfn.manifest.loading import Loaded, load

__all__ = ["Loaded", "emit_cycles", "load"]


def __getattr__(name: str) -> Any:
    # Checking a manifest takes pydantic, which is slow to import: whoever only wants its outline goes without.
    if name in ("Loaded", "load"):
        from evfn.manifest import loading

        return getattr(loading, name)
    if name == "emit_cycles":
        from evfn.manifest.emit_cycle import emit_cycles

        return emit_cycles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
