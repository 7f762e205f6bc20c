"""The manifest, `triggers.yaml`: read with places, checked as a whole, turned into a project."""

from evfn.manifest.emit_cycle import emit_cycles
from evfn.manifest.loading import Loaded, load

__all__ = ["Loaded", "emit_cycles", "load"]
