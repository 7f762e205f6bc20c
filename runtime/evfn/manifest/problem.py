"""One thing to say about a manifest, with its place."""

from dataclasses import dataclass

from evfn.manifest.text import Place


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake, or with `warning` only something odd. `message` may have further lines that belong to it."""

    place: Place
    message: str
    warning: bool = False

    def render(self, label: str) -> str:
        """The problem ready to print, `triggers.yaml:12:5: error: …`; `label` is how the file is called."""
        severity = "warning" if self.warning else "error"
        return f"{self.place.render(label)}: {severity}: {self.message}"
