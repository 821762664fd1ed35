"""Several runs side by side as the body of a report: is one really better, and in what do they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from superft_hf import vault
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.comparison import (
    PairedComparison,
    compare,
    holm,
    in_words,
    join,
    relabelled_in_words,
)
from superft_hf.reports.collect import RunReport
from superft_hf.reports.frame import Figures, card, folded, table, text
from superft_hf.reports.palette import run_colour
from superft_hf.reports.run_part import (
    body,
    context,
    curves_part,
    flat,
    metric_ends,
    metric_title,
    metric_value,
    sentence,
    shown,
)
from superft_hf.run_pairs import kept_step, read_side
from superft_hf.store import RunStore
from superft_hf.words import count

METRICS = ("accuracy", "f1_macro", "balanced_accuracy", "loss")


@dataclass(frozen=True)
class Pair:
    """The first run against another, on one split.

    Attributes:
        split: eval or test.
        second: The other run.
        found: The comparison; None when the two cannot be compared.
        p_value: Of McNemar's exact test, corrected (Holm) for the number of runs.
        problem: Why they cannot be compared, or on what part of the images; empty when all is well.
    """

    split: str
    second: RunReport
    found: PairedComparison | None
    p_value: float
    problem: str = ""


def compare_with_first(store: RunStore, reports: Sequence[RunReport], split: str) -> list[Pair]:
    """Compares every other run with the first, on the images that both evaluated."""
    first = reports[0]
    made = [_pair(store, first, other, split) for other in reports[1:]]
    known = [one.found.p_value for one in made if one.found is not None]
    corrected = iter(holm(known))
    return [
        Pair(one.split, one.second, one.found, next(corrected) if one.found else 1.0, one.problem)
        for one in made
    ]


def headline(reports: Sequence[RunReport], pairs: Sequence[Pair]) -> str:
    """The answer in one sentence; for more than two runs, how many are shown to differ."""
    if len(pairs) == 1 and pairs[0].found is not None:
        return in_words(
            pairs[0].found, reports[0].record.name, reports[1].record.name, "of eval accuracy",
            pairs[0].p_value,
        )  # fmt: skip
    return f"{len(reports)} runs against {reports[0].record.name}"


def comparison_body(
    store: RunStore, reports: Sequence[RunReport], pairs: Sequence[Pair], figures: Figures
) -> str:
    """The whole comparison, then each run folded; HTML."""
    first = reports[0].record.name
    parts = [_figures_card(reports, "eval"), _pairs_card(first, pairs, "eval")]
    opened = [one for one in reports if one.split(vault.TEST) is not None]
    if opened:
        parts.append(_test_part(store, reports, opened))
    parts.append("<h2>Training</h2>")
    parts.append(curves_part([(run_colour(place), one) for place, one in enumerate(reports)], figures))
    parts.append(_settings_card(reports))
    parts.append("<h2>The runs</h2>")
    for one in reports:
        line = f'<p class="quiet">{text(context(one))}</p>'
        parts.append(folded(sentence(one), line, body(one, figures, level=3)))
    return "".join(parts)


def _pair(store: RunStore, first: RunReport, second: RunReport, split: str) -> Pair:
    sides = []
    for one in (first, second):
        paths = store.run_paths(one.record.run_id)
        step = kept_step(one.record, paths, split)
        if step is None:
            return Pair(split, second, None, 1.0, f"{one.record.name} was not evaluated on {split}.")
        try:
            sides.append(read_side(paths.prediction_file(split, step)))
        except DataNotFoundError as error:
            return Pair(split, second, None, 1.0, error.message)
    joined = join(*sides)
    if not len(joined.labels):
        return Pair(split, second, None, 1.0, "The two runs were evaluated on different images.")
    problem = relabelled_in_words(joined.num_relabelled)
    if not joined.has_all:
        sizes = f"{count(joined.sizes[0])} and {count(joined.sizes[1])}"
        both = f"Only the {count(len(joined.labels))} images that both evaluated, of {sizes}."
        problem = f"{both} {problem}".strip()
    return Pair(split, second, compare(joined, sides[0].example_ids), 1.0, problem)


def _figures_card(reports: Sequence[RunReport], split: str) -> str:
    """The metrics of every run, one row a run."""
    rows = []
    for one in reports:
        found = one.split(split)
        row = [one.record.name]
        for key in METRICS:
            figure = found.headline.figures.get(key) if found else None
            row += [metric_value(figure), metric_ends(figure)] if figure else ["–", "–"]
        rows.append([*row, count(found.headline.num_images) if found else "–"])
    head = ["Run"]
    for key in METRICS:
        head += [metric_title(key), "95 % interval"]
    return card(f"Figures on {split}", table([*head, "Images"], rows, range(1, 2 + 2 * len(METRICS))))


def _pairs_card(first: str, pairs: Sequence[Pair], split: str) -> str:
    """In words, with counts and test."""
    sentences, rows = [], []
    for pair in pairs:
        name = pair.second.record.name
        if pair.found is None:
            sentences.append(f'<p class="know">{text(f"{name} is not compared: {pair.problem}")}</p>')
            continue
        words = in_words(pair.found, first, name, f"of {split} accuracy", pair.p_value)
        sentences.append(f"<p>{text(words)}.</p>")
        if pair.problem:
            sentences.append(f'<p class="know">{text(pair.problem)}</p>')
        rows.append(
            [
                name, count(pair.found.num_examples), count(len(pair.found.fixed)),
                count(len(pair.found.broken)), count(len(pair.found.both_wrong)), _p_words(pair.p_value),
            ]
        )  # fmt: skip
    head = ["Run", "Images", f"Right, where {first} is wrong", "Wrong, where it is right", "Both wrong", "p"]
    note = "Intervals by paired bootstrap; p by McNemar's exact test"
    note += ", corrected for several runs (Holm)" if len(pairs) > 1 else ""
    made = [table(head, rows, range(1, 6))] if rows else []
    return card(f"Against {first}", *sentences, *made, note=note)


def _test_part(store: RunStore, reports: Sequence[RunReport], opened: Sequence[RunReport]) -> str:
    sealed = [one.record.name for one in reports if one not in opened]
    lines = [
        f'<p class="test">{text(f"{one.record.name}: {vault.words(one.standing)}.")}</p>'
        for one in opened
        if one.standing is not None
    ]
    warning = (
        '<p class="know">Choose between runs on eval. Whoever chooses by these figures makes the test set '
        "part of the choice, and the best of them is better here than on new images.</p>"
    )
    left_out = f'<p class="quiet">Sealed, and left out: {text(", ".join(sealed))}.</p>' if sealed else ""
    parts = ['<h2>On <span class="test">test</span></h2>', *lines, warning, left_out]
    parts.append(_figures_card(opened, vault.TEST))
    if len(opened) > 1:
        pairs = compare_with_first(store, opened, vault.TEST)
        parts.append(_pairs_card(opened[0].record.name, pairs, vault.TEST))
    return "".join(parts)


def _settings_card(reports: Sequence[RunReport]) -> str:
    values = [flat(one.settings) for one in reports]
    keys = dict.fromkeys(key for one in values for key in one if key != "name")
    differing = [key for key in keys if len({shown(one.get(key)) for one in values}) > 1]
    rows = [[key, *(shown(one.get(key)) for one in values)] for key in differing]
    note = f"{count(len(keys) - len(differing))} others are equal"
    if not rows:
        return card("Settings that differ", '<p class="quiet">None.</p>', note=note)
    head = ["Setting", *(one.record.name for one in reports)]
    return card("Settings that differ", table(head, rows), note=note)


def _p_words(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
