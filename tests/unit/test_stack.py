"""Where a worker stood: what the author of a function sees of the fault handler's text."""

import asyncio
from pathlib import Path

import evfn
from evfn.workers.stack import of_the_function

OWN = f'  File "{Path(evfn.__file__).parent}/workers/one_by_one.py", line 40 in _run'
PYTHON = f'  File "{Path(asyncio.__file__).parent}/base_events.py", line 640 in run_until_complete'
RUNPY = '  File "<frozen runpy>", line 88 in _run_code'
USER = '  File "/p/functions/climate.py", line 9 in alert'
LIBRARY = f'  File "{Path(asyncio.__file__).parents[1]}/site-packages/requests/api.py", line 59 in get'
HEAD = "Current thread 0x00007fe91e5ceb80 (most recent call first):"
OTHER = "Thread 0x00007fe91e5ceb81 (most recent call first):"


def text(*lines: str) -> str:
    return "\n".join(lines)


def test_what_evfn_does_below_the_function_is_left_out() -> None:
    """What the function called is kept, Python's own and evfn's included."""
    said = text(HEAD, PYTHON, OWN, LIBRARY, USER, OWN, PYTHON, RUNPY)
    assert of_the_function(said) == text(HEAD, PYTHON, OWN, LIBRARY, USER)


def test_threads_without_a_frame_of_the_function_are_left_out() -> None:
    """A thread that the function started has one."""
    said = text(OTHER, PYTHON, "", OTHER, PYTHON, USER, PYTHON, "", HEAD, USER, OWN)
    assert of_the_function(said) == text(OTHER, PYTHON, USER, "", HEAD, USER)


def test_what_happened_is_kept() -> None:
    """A crash begins with its name."""
    said = text("Fatal Python error: Segmentation fault", "", HEAD, USER, OWN, RUNPY)
    assert of_the_function(said) == text("Fatal Python error: Segmentation fault", "", HEAD, USER)


def test_where_nothing_would_be_left_all_is_kept() -> None:
    """A function that awaits stands in nobody's frame."""
    said = text("Fatal Python error: Aborted", "", HEAD, PYTHON, OWN, RUNPY)
    assert of_the_function(said) == said
    assert of_the_function("") == ""
