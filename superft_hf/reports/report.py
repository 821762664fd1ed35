"""Reports: one run, or several compared, as one HTML file that needs nothing else; their tables as CSV."""

import contextlib
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from superft_hf import vault
from superft_hf.errors import StateError, StoreError, is_disk_full
from superft_hf.evaluation.headline import figures_table
from superft_hf.reports import comparison_part, run_part
from superft_hf.reports.collect import RunReport, collect
from superft_hf.reports.frame import Figures, document, text
from superft_hf.store import RunStore

MAX_RUNS = 8


def make_report(store: RunStore, run_ids: Sequence[str], *, num_pictures: int = 0) -> str:
    """The report of a run, or of several compared with the first.

    Test figures are in it where they were opened: open them before, see `superft_hf.vault`.

    Args:
        store: Where the runs are.
        run_ids: One to MAX_RUNS runs.
        num_pictures: How many of each run's worst eval mistakes are embedded as pictures.

    Returns:
        The HTML.

    Raises:
        StateError: If there are too many runs, or one is named twice.
        RunNotFoundError: If there is no such run.
        DataNotFoundError: If a run has no evaluation, or its prediction file is damaged.
    """
    reports = _collect(store, run_ids, num_pictures)
    figures = Figures()
    if len(reports) == 1:
        title, line = run_part.sentence(reports[0]), run_part.context(reports[0])
        body = run_part.body(reports[0], figures)
    else:
        pairs = comparison_part.compare_with_first(store, reports, "eval")
        title = comparison_part.headline(reports, pairs)
        line = " · ".join(one.record.name for one in reports)
        body = comparison_part.comparison_body(store, reports, pairs, figures)
    head = f'<header><h1>{text(title)}.</h1><p class="quiet">{text(line)}</p></header>'
    scriptless = "<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>"
    return document(title, head + scriptless + body, figures)


def write_report(path: Path, page: str) -> None:
    """Writes a report, aside and then renamed. Raises StoreError."""
    _write(path, lambda aside: aside.write_text(page, encoding="utf-8"))


def report_name(run_ids: Sequence[str]) -> str:
    """The file name of a report, when none is asked for."""
    return f"report-{'-and-'.join(run_ids[:2])}{'-and-more' if len(run_ids) > 2 else ''}.html"


def write_tables(store: RunStore, run_ids: Sequence[str], folder: Path) -> list[Path]:
    """Writes the tables of a report as CSV: figures, classes and confusions by split, curves, settings.

    Args:
        store: Where the runs are.
        run_ids: The runs.
        folder: Created when missing; files of the same name are replaced.

    Returns:
        The files.

    Raises:
        StoreError: If the folder cannot be written to; otherwise as make_report.
    """
    written = []
    for one in _collect(store, run_ids, 0):
        for name, frame in tables(one).items():
            path = folder / f"{one.record.run_id}-{name}.csv"
            _write(
                path,
                lambda aside, frame=frame: frame.to_csv(aside, index=False, quoting=csv.QUOTE_MINIMAL),
            )
            written.append(path)
    return written


def tables(report: RunReport) -> dict[str, pd.DataFrame]:
    """The tables of a run by name, as they are written: shares are fractions, nothing is rounded."""
    made = {}
    for one in report.splits:
        made[f"{one.split}-figures"] = figures_table(one.headline)
        made[f"{one.split}-classes"] = one.classes
        made[f"{one.split}-confusions"] = one.pairs
    made["curves"] = report.curves.sort_values(["key", "step"], ignore_index=True)
    values = run_part.flat(report.settings)
    made["settings"] = pd.DataFrame(
        {"setting": list(values), "value": [run_part.shown(value) for value in values.values()]}
    )
    return made


def open_tests(store: RunStore, run_ids: Sequence[str], by: str, detail: str = "") -> None:
    """Opens the test figures of runs for a report; each is a look, which is noted."""
    for run_id in run_ids:
        vault.open_test(store, store.get_run(run_id), by=by, detail=detail)


def _collect(store: RunStore, run_ids: Sequence[str], num_pictures: int) -> list[RunReport]:
    if not 1 <= len(run_ids) <= MAX_RUNS:
        raise StateError(
            f"A report of {len(run_ids)} runs cannot be made.", hint=f"Choose 1 to {MAX_RUNS} runs."
        )
    if len(set(run_ids)) < len(run_ids):
        raise StateError("A run is named twice.", hint="Name each run once.")
    records = store.list_runs()
    return [collect(store, run_id, num_pictures, records) for run_id in run_ids]


def _write(path: Path, write: Callable[[Path], object]) -> None:
    aside = path.with_name(f"{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        why = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise StoreError(
            f"{path} cannot be written: {why}.", hint="Choose another place with -o or --csv."
        ) from error
