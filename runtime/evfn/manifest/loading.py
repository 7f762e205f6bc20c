"""Reading a manifest: every mistake at once, or the project."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evfn.errors import ManifestError
from evfn.filter import Filter
from evfn.manifest import document, mistake, node
from evfn.manifest.assembly import assemble
from evfn.manifest.emit_cycle import emit_cycles
from evfn.manifest.models import ManifestSection
from evfn.manifest.problem import Problem
from evfn.manifest.remainder import without
from evfn.manifest.scalar_place import place_within
from evfn.manifest.surroundings import Surroundings
from evfn.manifest.text import MAX_BYTES, Text, TextError
from evfn.trigger import Project

_MOST_PROBLEMS = 100
"""Problems told of one file; a file of a megabyte could have a hundred thousand."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A manifest without mistakes. `warnings` are ready to print."""

    project: Project
    warnings: tuple[str, ...]


def load(
    path: Path, *, functions_dir: Path, environ: Mapping[str, str], cores: int, check_filters: bool = True
) -> Loaded:
    """Read and check the manifest at `path`. Raises ManifestError with every problem, in the order of the file.

    Functions are looked for below `functions_dir`, but not imported. `environ` is what `${VAR}` in `env` takes values
    from, `cores` the default of `workers.max`. Without `check_filters` filters are taken as they are, for a command
    that evaluates none.
    """
    text = _read(path)
    root, problems = document.read(text)
    if root is None:
        raise ManifestError(_rendered(problems, path))
    around = Surroundings(functions_dir, environ, check_filters)
    data = node.plain(root)
    try:
        manifest = ManifestSection.model_validate(data, context=around)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        found = (mistake.explain(text, root, detail) for detail in mistakes)
        told = {problem.place for problem in problems}
        problems += [problem for problem in found if problem is not None and problem.place not in told]
        # The rules between keys are checked for whatever is left, so that they need no second run to be told.
        try:
            manifest = ManifestSection.model_validate(without(data, mistakes))
        except ValidationError:
            raise ManifestError(_rendered(problems, path)) from None
    project, broken_rules = assemble(manifest, root, path.name, cores)
    problems += broken_rules
    if problems:
        raise ManifestError(_rendered(problems, path))
    warnings = [*_filter_doubts(text, root, project)] if check_filters else []
    warnings += _cycle_warnings(root, project)
    return Loaded(project, tuple(_rendered(warnings, path)))


def _read(path: Path) -> Text:
    try:
        with path.open("rb") as file:
            return Text.decode(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise ManifestError([f"{path}: error: there is no such file; `evfn init` makes a project"]) from None
    except OSError as error:
        raise ManifestError([f"{path}: error: cannot be read: {error.strerror}"]) from None
    except TextError as error:
        raise ManifestError(_rendered([Problem(error.place, error.message)], path)) from None


def _rendered(problems: list[Problem], path: Path) -> list[str]:
    # The same mistake may be met twice on different ways.
    unique = sorted(set(problems))
    rendered = [problem.render(path.name) for problem in unique[:_MOST_PROBLEMS]]
    if len(unique) > _MOST_PROBLEMS:
        rendered.append(f"{path.name}: and {len(unique) - _MOST_PROBLEMS} more")
    return rendered


def _filter_doubts(text: Text, root: node.Mapping, project: Project) -> Iterator[Problem]:
    for trigger in project.triggers:
        if trigger.filter is not None:
            scalar = node.find(root, ("triggers", trigger.name, "filter"))
            assert isinstance(scalar, node.Scalar)  # noqa: S101 - the model has read it as text
            for doubt in Filter.compile(trigger.filter).warnings:
                place = place_within(text, scalar, doubt.offset_line, doubt.offset_column)
                yield Problem(place, f"filter: {doubt.message}", warning=True)


def _cycle_warnings(root: node.Mapping, project: Project) -> Iterator[Problem]:
    for cycle in emit_cycles(project.triggers):
        way = " → ".join((*cycle, cycle[0]))
        place = node.place_of_key(root, ("triggers", cycle[0], "emits"))
        yield Problem(place, f"emit cycle {way}: such events end in the dead letters after 32 hops", warning=True)
