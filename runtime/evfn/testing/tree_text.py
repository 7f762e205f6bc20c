"""What an event caused as a tree of text, as `evfn emit --wait` shows it, for the report of a test that fails."""

from collections.abc import Callable, Iterator

from evfn.trace.report import Place
from evfn.trace.tree import Branch, Tree


def lines(tree: Tree, say: Callable[[Branch], str]) -> Iterator[str]:
    """One string a line; `say` tells what came of an event at a trigger."""
    if tree.root is not None:
        yield f"{tree.root.topic} {tree.root.stream_id}"
        yield from _below(tree, tree.root, "", say)


def _below(tree: Tree, place: Place, indent: str, say: Callable[[Branch], str]) -> Iterator[str]:
    branches = tree.branches(place)
    width = max((len(branch.trigger) for branch in branches), default=0)
    for branch in branches:
        last = branch is branches[-1]
        emitted = () if branch.told is None else branch.told.emitted
        arrow = "".join(f"   → {each.topic}" for each in emitted[:1])
        arrow += f" and {len(emitted) - 1} more" if len(emitted) > 1 else ""
        yield f"{indent}{'└─' if last else '├─'} {branch.trigger:{width}}   {say(branch)}{arrow}"
        for each in emitted:
            yield from _below(tree, each, indent + ("   " if last else "│  "), say)
