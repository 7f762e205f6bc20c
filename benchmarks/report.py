"""`docs/performance.md` and its plots, written from the results: nothing in it is written by hand but the profiles."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plot
from benchmarks.figure import Figure
from benchmarks.number import text
from benchmarks.results import Results, Section

_ROOT = Path(__file__).parent.parent
PAGE = _ROOT / "docs" / "performance.md"
PLOTS_FOLDER = _ROOT / "docs" / "performance"
PROFILES = Path(__file__).parent / "profiles.md"
SEVERAL = 3

INTRODUCTION = """\
# Performance

<!-- Written by `make bench`; a profile beside a figure comes from benchmarks/profiles.md. -->

How fast evfn is on one machine, beside what a person would write by hand and beside others. `make bench` measures all
of it anew and writes this page.

- Everything shares the machine: the server, evfn, its functions, and who watches. The server is the embedded one, its
  append-only file synced every second, reached over its Unix socket. evfn is `evfn run` as a user starts it, with its
  defaults except where a figure says otherwise, and everything is on: isolation, retries, leases, counters, captured
  output.
- **R1** and **R2** are loops written by hand with redis-py: fetch 1,000 entries, decode each with `json.loads` (R1) or
  `msgspec.json` (R2), acknowledge them in one call. They retry nothing, isolate nothing and count nothing.
- A figure is the median of some rounds; lowest and highest are beside it. What is compared is measured by turns, and a
  ratio is taken within its round: rates say something about this machine only, ratios, roughly, about others too.
- µs are CPU time for one event: of evfn's dispatcher, of its workers together with the process that forks them, and of
  the server.
"""


@dataclass(frozen=True)
class Chart:
    """A plot of a section's figures whose unit begins like this."""

    section: str
    unit: str
    title: str
    logarithmic: bool = False

    @property
    def file(self) -> str:
        """Its name in PLOTS_FOLDER."""
        return f"{self.section}.svg"


CHARTS = (
    Chart("throughput", "× R1", "Throughput, beside R1"),
    Chart("latency", "× bare loop", "Latency, beside a bare blocking loop: less is better"),
    Chart("cold_start", "ms", "Cold start: less is better"),
    Chart("peers", "×", "evfn beside its peers", logarithmic=True),
)


def write(results: Results) -> None:
    """The page and its plots."""
    PAGE.write_text(render(results, PROFILES.read_text()))
    PLOTS_FOLDER.mkdir(exist_ok=True)
    for name, drawn in plots(results).items():
        (PLOTS_FOLDER / name).write_text(drawn)


def plots(results: Results) -> dict[str, str]:
    """The plots, by file name."""
    return {
        chart.file: plot.render(chart.title, figures, logarithmic=chart.logarithmic)
        for chart in CHARTS
        if (figures := _charted(chart, results))
    }


def render(results: Results, profiles: str) -> str:
    """The page. `profiles` has, below `## NAME`, what is known of why figures of that section are not reached."""
    found = _by_heading(profiles)
    parts = [INTRODUCTION, _surroundings(results), _summary(results)]
    parts += [_section(name, section, results, found.get(name, "")) for name, section in results.items()]
    return "\n".join(parts)


def tables(figures: Sequence[Figure]) -> str:
    """A table for each unit that several figures have, and one for all the others."""
    units = [each.unit for each in figures]
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.unit if units.count(figure.unit) >= SEVERAL else "", []).append(figure)
    return "\n".join(map(table, groups.values()))


def table(figures: Iterable[Figure]) -> str:
    """One row a figure. A column in which nothing stands is left out."""
    rows = list(map(_cells, figures))
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cells(figure: Figure) -> dict[str, str]:
    sign = "≥" if figure.more_is_better else "≤"
    measured = bool(figure.samples)
    return {
        "figure": figure.name,
        "median": f"{text(figure.value)} {figure.unit}" if measured else "",
        "lowest to highest": f"{text(min(figure.samples))} to {text(max(figure.samples))}" if measured else "",
        "must be": "" if figure.least is None else f"{sign} {text(figure.least)}",
        "aim": "" if figure.aim is None else f"{sign} {text(figure.aim)}",
        "reached": _verdict(figure),
        "beside it": figure.problem or " · ".join(f"{what} {text(value)}" for what, value in figure.about.items()),
    }


def _cell(content: str) -> str:
    return content.replace("|", "\\|").replace("\n", " ")


def _verdict(figure: Figure) -> str:
    if not figure.samples:
        return "**not measured**"
    if figure.reached is None and figure.aim is None:
        return ""
    if figure.reached is False:
        return "**no**"
    return "yes, the aim" if figure.aim_reached else "yes"


def _section(name: str, section: Section, results: Results, profile: str) -> str:
    parts = [
        f"## {section.title}\n",
        f"{section.how}\n",
        f"Measured {section.measured_at}{_elsewhere(section, results)}.\n",
    ]
    if section.problem is not None:
        parts.append(f"**It failed**: `{section.problem}`\n")
    parts += [
        f"![{chart.title}]({PLOTS_FOLDER.name}/{chart.file})\n"
        for chart in CHARTS
        if chart.section == name and _charted(chart, results)
    ]
    if section.figures:
        parts.append(tables(section.figures))
    if profile:
        parts.append(f"### Where the time goes\n\n{profile}\n")
    if unexplained := [each for each in missed(section) if f"`{each.name}`" not in profile]:
        parts.append(f"Not reached, and not yet profiled: {_list(unexplained)}.\n")
    return "\n".join(parts)


def missed(section: Section) -> list[Figure]:
    """What had to be reached and is not."""
    return [each for each in section.figures if each.reached is False]


def _summary(results: Results) -> str:
    asked = [each for section in results.values() for each in section.figures if each.least is not None]
    said = f"Of {len(asked)} figures that must be reached, {sum(each.reached is True for each in asked)} are."
    not_reached = [f"{section.title}: {_list(found)}" for section in results.values() if (found := missed(section))]
    return said + "\n" + "".join(f"\n- Not reached, {each}" for each in not_reached) + ("\n" if not_reached else "")


def _list(figures: Iterable[Figure]) -> str:
    return "; ".join(
        f"{each.name} ({text(each.value) if each.samples else 'not measured'} {each.unit})" for each in figures
    )


def _surroundings(results: Results) -> str:
    newest = max(results.values(), key=lambda section: section.measured_at, default=None)
    if newest is None:
        return "Nothing has been measured yet.\n"
    return f"Measured on: {_pairs(newest.machine)}. With: {_pairs(newest.versions)}.\n"


def _elsewhere(section: Section, results: Results) -> str:
    """Where this section was measured on or with something else than the newest, that."""
    newest = max(results.values(), key=lambda section: section.measured_at)
    ours, theirs = section.machine | section.versions, newest.machine | newest.versions
    other = {name: value for name, value in ours.items() if theirs.get(name) != value}
    return f", with {_pairs(other)}" if other else ""


def _pairs(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _charted(chart: Chart, results: Results) -> list[Figure]:
    section = results.get(chart.section)
    return [each for each in section.figures if each.unit.startswith(chart.unit)] if section else []


def _by_heading(profiles: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", profiles, flags=re.MULTILINE)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
