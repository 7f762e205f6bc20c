"""What the benchmarks say of what they measured: the report that is committed, and the guard's decision."""

import asyncio
import subprocess
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import guard, number, plot, report, results
from benchmarks.figure import Effort, Figure
from benchmarks.results import Section
from benchmarks.samples import Samples, Taken
from benchmarks.throughput import CASES

RATIO = "× R1"


def section(*figures: Figure, title: str = "Throughput", problem: str | None = None) -> Section:
    return Section(
        title, "How.", "2026-01-01 00:00 UTC", 1.0, {"processor": "Z80"}, {"evfn": "0.1.0"}, figures, problem
    )


def test_the_page_and_its_plots_are_those_of_the_recorded_results() -> None:
    """Nobody edited a figure by hand; `python -m benchmarks --report` writes them anew."""
    recorded = results.load()
    assert report.PAGE.read_text() == report.render(recorded, report.PROFILES.read_text())
    drawn = {path.name: path.read_text() for path in report.PLOTS_FOLDER.iterdir()}
    assert drawn == report.plots(recorded)


@pytest.mark.parametrize(
    ("more_is_better", "samples", "reached", "aim_reached"),
    [
        (True, (1.0, 1.5, 9.0), True, False),
        (True, (1.0, 1.4, 9.0), False, False),
        (True, (2.0,), True, True),
        (False, (1.6,), False, True),
        (False, (1.5,), True, True),
        (True, (), False, False),
    ],
)
def test_a_figure_is_reached_by_its_median(
    more_is_better: bool, samples: tuple[float, ...], reached: bool, aim_reached: bool
) -> None:
    """From above or from below; what could not be measured is not reached."""
    figure = Figure("no-op", RATIO, samples, 1.5, 2.0, more_is_better)
    assert (figure.reached, figure.aim_reached) == (reached, aim_reached)


def test_of_what_nothing_is_asked_nothing_is_said() -> None:
    """It is neither reached nor missed."""
    figure = Figure("CloudEvents", RATIO, (0.1,))
    assert (figure.reached, figure.aim_reached) == (None, None)


@pytest.mark.parametrize(
    ("value", "said"),
    [(134_873.2, "134,900"), (1_016.0, "1,016"), (984.4, "984"), (97.45, "97.5"), (0.9042, "0.90"), (0.0123, "0.012")],
)
def test_a_number_has_as_many_digits_as_it_deserves(value: float, said: str) -> None:
    """A noisy machine is good for three or four."""
    assert number.text(value) == said


def test_a_table_says_what_is_reached_and_what_failed() -> None:
    """One row a figure; a column without content is left out."""
    figures = [
        Figure("no-op", RATIO, (1.6, 1.7, 1.5), 1.5, 2.0, about={"R1": 100_000.0}),
        Figure("filter", RATIO, (0.5,), 1.0),
        Figure("pydantic | model", RATIO, (), 1.0, problem="RuntimeError: 3 of 9\nsettled"),
        Figure("idle", "MB", (3.0,), 4.0, more_is_better=False),
    ]
    assert report.table(figures) == (
        "| figure | median | lowest to highest | must be | aim | reached | beside it |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| no-op | 1.60 × R1 | 1.50 to 1.70 | ≥ 1.50 | ≥ 2.00 | yes | R1 100,000 |\n"
        "| filter | 0.50 × R1 | 0.50 to 0.50 | ≥ 1.00 |  | **no** |  |\n"
        "| pydantic \\| model |  |  | ≥ 1.00 |  | **not measured** | RuntimeError: 3 of 9 settled |\n"
        "| idle | 3.00 MB | 3.00 to 3.00 | ≤ 4.00 |  | yes |  |\n"
    )
    assert report.table([Figure("CloudEvents", RATIO, (0.1,))]).startswith("| figure | median | lowest to highest |\n")


def test_the_page_says_what_is_not_reached_and_shows_its_profile() -> None:
    """Beside the section; a figure without one is named as such, and a section that failed says why."""
    figures = (Figure("no-op", RATIO, (1.0,), 1.5), Figure("filter", RATIO, (0.5,), 1.0), Figure("idle", RATIO, (1.0,)))
    recorded = {"throughput": section(*figures), "scale": section(title="Scale", problem="OSError: no room")}
    page = report.render(recorded, "# Profiles\n\nNot this.\n\n## throughput\n\n`no-op` waits.\n\n## scale\n")
    assert "Of 2 figures that must be reached, 0 are." in page
    assert "- Not reached, Throughput: no-op (1.00 × R1); filter (0.50 × R1)" in page
    assert "### Where the time goes\n\n`no-op` waits.\n" in page
    assert "Not reached, and not yet profiled: filter (0.50 × R1).\n" in page
    assert "## Scale\n" in page
    assert "`OSError: no room`" in page
    assert "Not this" not in page


def test_a_section_measured_elsewhere_says_so() -> None:
    """Its figures may not be read as those of the machine and the versions that the page names."""
    old = Section("Peers", "How.", "2025-12-31 00:00 UTC", 1.0, {"processor": "6502"}, {"evfn": "0.1.0"}, ())
    page = report.render({"throughput": section(), "peers": old}, "")
    assert "Measured on: processor Z80. With: evfn 0.1.0." in page
    assert "Measured 2026-01-01 00:00 UTC.\n" in page
    assert "Measured 2025-12-31 00:00 UTC, with processor 6502.\n" in page


@pytest.mark.parametrize("logarithmic", [False, True])
def test_bars_are_as_long_as_their_figures(logarithmic: bool) -> None:
    """In proportion, or to the logarithm; what could not be measured has none."""
    figures = [
        Figure("a <b>", "×", (40.0,), 25.0, 40.0),
        Figure("ten", "×", (10.0,)),
        Figure("one", "×", (1.0,)),
        Figure("missing", "×", (), 1.0),
    ]
    drawn = ElementTree.fromstring(plot.render("Peers", figures, logarithmic=logarithmic))  # noqa: S314 - our own
    lengths = [float(bar.attrib["width"]) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert lengths == ([360.0, 224.7, 0.0] if logarithmic else [360.0, 90.0, 9.0])
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b>", "40.0 ×", "not measured", "must be reached", "aim"} <= set(texts)


def test_results_are_kept_whole(tmp_path: Path) -> None:
    """What is saved is what is loaded, and where nothing was saved there is nothing."""
    file = tmp_path / "results.json"
    assert results.load(file) == {}
    kept = {"throughput": section(Figure("no-op", RATIO, (1.0, 2.5), 1.5, about={"R1": 3.0}), problem="said")}
    results.save(kept, file)
    assert results.load(file) == kept


def test_a_case_that_fails_is_reported_and_the_others_go_on() -> None:
    """With its error, no samples, and as not reached; it is not tried again, for it may have taken minutes."""
    samples = Samples()
    tries = 0

    def fail() -> Taken:
        nonlocal tries
        tries += 1
        raise RuntimeError("3 of 9 deliveries settled")

    for value in (1.0, 3.0, 2.0):
        samples.take("filter", fail)
        samples.take("no-op", partial(Taken, {RATIO: value}, {"R1": value * 10}))
    failed = Figure("filter", RATIO, (), 1.0, problem="RuntimeError: 3 of 9 deliveries settled")
    assert samples.figure("filter", RATIO, 1.0) == failed
    assert samples.figure("no-op", RATIO, about=True) == Figure("no-op", RATIO, (1.0, 3.0, 2.0), about={"R1": 20.0})
    assert tries == 1


def recorded_at(**ratios: float) -> dict[str, Section]:
    return {"throughput": section(*(Figure(name, RATIO, (ratio,)) for name, ratio in ratios.items()))}


class Looks:
    """Figures for one look after another, and what was asked for in each."""

    def __init__(self, *looks: dict[str, tuple[float, ...]]) -> None:
        self.asked: list[set[str]] = []
        self._looks = list(looks)

    async def measure(self, names: Collection[str], effort: Effort) -> list[Figure]:
        self.asked.append(set(names))
        look = self._looks.pop(0)
        return [Figure(name, RATIO, samples) for name, samples in look.items() if name in names]


@pytest.mark.parametrize(
    ("looks", "code", "said"),
    [
        (({"filter": (0.8, 0.7)},), 0, "none of 1 ratios fell"),
        (({"filter": (0.5, 0.7)}, {"filter": (0.9, 0.1, 1.0)}), 0, "measured again: filter: from 1.00 to 0.60 × R1"),
        (({"filter": (0.5,)}, {"filter": (0.6, 0.7, 1.0)}), 1, "fell by more than 25%: filter: from 1.00 to 0.70 × R1"),
        (({"filter": ()}, {"filter": ()}), 1, "filter: from 1.00 to not to be measured × R1"),
    ],
)
def test_a_ratio_has_fallen_that_is_low_twice(
    looks: tuple[dict[str, tuple[float, ...]], ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A low one is measured again and judged by that; the guard names it, from what and to what."""
    measured = Looks(*looks)
    assert asyncio.run(guard.compare(recorded_at(filter=1.0), measured.measure)) == code
    assert said in capsys.readouterr().err
    assert len(measured.asked) == len(looks)


def test_only_what_looks_fallen_is_measured_again() -> None:
    """The rest costs no more time."""
    measured = Looks({"no-op": (1.9,), "filter": (0.1,)}, {"filter": (1.0,)})
    assert asyncio.run(guard.compare(recorded_at(**{"no-op": 2.0, "filter": 1.0}), measured.measure)) == 0
    assert measured.asked == [set(guard.GUARDED), {"filter"}]


def test_without_recorded_ratios_the_guard_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """It never says that all is well where it compared nothing."""
    assert asyncio.run(guard.compare({}, Looks().measure)) == 1
    assert "`make bench` records them" in capsys.readouterr().err


def test_guarded_cases_exist() -> None:
    """A case that is renamed does not slip out of the guard."""
    assert set(guard.GUARDED) <= {case.name for case in CASES}


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--rounds", "-1"], ["--rounds", "two"], ["--only", "thruput"]]
)
def test_what_would_measure_nothing_is_refused(arguments: list[str]) -> None:
    """It would take the place of what was measured before, and look like it."""
    before = results.FILE.read_bytes()
    refused = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=results.FILE.parents[1], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert arguments[1] in refused.stderr
    assert "Traceback" not in refused.stderr
    assert results.FILE.read_bytes() == before
