"""One run as the body of a report: answer first, then figures, curves, mistakes, then how it was made."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from superft_hf import vault
from superft_hf.evaluation.headline import BOOTSTRAP, METHODS, WILSON, Figure, Headline
from superft_hf.reports.collect import RunReport, SplitReport, place_title
from superft_hf.reports.figures import class_figure, curve_figure, matrix_figure, reliability_figure
from superft_hf.reports.frame import Figures, card, folded, side_by_side, table, text
from superft_hf.reports.palette import colour
from superft_hf.train_loss import train_loss_key
from superft_hf.words import (
    METRIC_TITLES,
    NOTHING,
    count,
    counted,
    duration,
    interval,
    loss,
    percent,
    points,
    run_duration_s,
)

MAX_PAIRS = 20
OPEN_CLASSES = 60
"""Of more classes, the table is folded."""


def sentence(report: RunReport) -> str:
    """The answer: how good the run is on eval, and on test where it was opened."""
    return f"{report.record.name}: {'; '.join(_split_words(one) for one in report.splits)}"


def context(report: RunReport) -> str:
    """State, images, model and device in one line."""
    record = report.record
    took = run_duration_s(record)
    parts = [
        str(record.state),
        place_title(record.data),
        place_title(record.model),
        record.facts.get("device", ""),
        f"took {duration(took)}" if took else "",
        f"made {vault.day(record.created_at)}",
        record.run_id,
    ]
    return " · ".join(part for part in parts if part)


def body(report: RunReport, figures: Figures, level: int = 2) -> str:
    """Everything about a run below its head.

    Args:
        report: The run.
        figures: Where its figures go.
        level: Of its headings.

    Returns:
        HTML.
    """
    parts = []
    for one in report.splits:
        parts.append(_heading(f"On {one.split}", level))
        parts += [_standing_words(report) if one.split == vault.TEST else "", _split_part(one, figures)]
    if vault.has_test(report.record) and report.split(vault.TEST) is None and report.standing is not None:
        parts.append(
            card("On test", note=f"{_upper(vault.words(report.standing))}: not part of this report.")
        )
    parts += [_heading("Training", level), curves_part([("", report)], figures)]
    if report.mistakes or report.num_lost:
        parts += [_heading("Mistakes", level), _mistakes_part(report)]
    parts += [_heading("How it was made", level), _made_part(report)]
    return "".join(parts)


def curves_part(reports: list[tuple[str, RunReport]], figures: Figures) -> str:
    """Loss and accuracy by epoch.

    Args:
        reports: Runs with their colour; of a single run without one, by split.
        figures: Where they go.
    """
    losses, accuracies = [], []
    best = _best_epoch(reports[0][1]) if len(reports) == 1 else None
    for paint, one in reports:
        points_of = dict(tuple(one.curves.groupby("key")))
        empty = pd.DataFrame({"epoch": [], "value": []})
        if not paint:
            losses.append(("train", points_of.get(train_loss_key(points_of), empty), colour("train")))
        name = one.record.name if paint else "eval"
        losses.append((name, points_of.get("eval_loss", empty), paint or colour("eval")))
        accuracies.append((name, points_of.get("eval_accuracy", empty), paint or colour("eval")))
    cards = []
    for title, lines, factor, unit in (
        ("Loss", losses, 1.0, ""), ("Accuracy on eval", accuracies, 100.0, " %"),
    ):  # fmt: skip
        spec = curve_figure(
            lines,
            f"{title.split()[0].lower()}{', %' if unit else ''}",
            factor=factor,
            unit=unit,
            best_epoch=best,
        )
        drawn = figures.place(spec, f"{title} by epoch") if spec else _quiet("It was not logged.")
        note = "by epoch" if best is None else "by epoch; dotted: the checkpoint that was kept"
        cards.append(card(title, drawn, note=note))
    return side_by_side(*cards)


def _best_epoch(report: RunReport) -> float | None:
    found = report.curves[report.curves["step"] == report.record.best_step]["epoch"]
    return float(found.iloc[0]) if len(found) else None


def figures_part(found: Headline) -> str:
    """Every metric with its interval and what it is held against; HTML."""
    head = ["Metric", "Value", "95 % interval", "By"]
    for one in found.baselines:
        head += [one.name, "Gain"]
    rows = []
    for figure in found.figures.values():
        row = [metric_title(figure.key), metric_value(figure), metric_ends(figure), figure.method]
        for value in figure.baselines:
            row += [_value(figure.key, value), _gain(figure, value)]
        rows.append(row)
    numbers = [1, 2, *range(4, 4 + 2 * len(found.baselines))]
    warnings = "".join(f'<p class="know">{text(one)}</p>' for one in found.warnings)
    note = (
        f"{counted(found.num_images, 'image')} in {counted(found.num_classes, 'class', 'classes')}. Macro "
        f"counts every class alike, weighted every image alike. Wilson: {METHODS[WILSON]}. Bootstrap: "
        f"{METHODS[BOOTSTRAP]}."
    )
    over = ""
    if found.over_frozen is not None:
        over = _quiet(
            f"Accuracy over the frozen backbone, on the same images: {points(found.over_frozen.value)}, "
            f"95 % interval {points(found.over_frozen.low)} to {points(found.over_frozen.high)}, by paired "
            "bootstrap."
        )
    return card("Figures", warnings, table(head, rows, numbers), over, _quiet(note))


def metric_title(key: str) -> str:
    """A metric's key in words."""
    return _upper(METRIC_TITLES.get(key, key.replace("_", " ")))


def metric_value(figure: Figure) -> str:
    """Its value for a reader; a dash where it cannot be told."""
    return _value(figure.key, figure.value)


def metric_ends(figure: Figure) -> str:
    """Its interval for a reader; a dash where it cannot be told."""
    if math.isnan(figure.low) or math.isnan(figure.value):
        return NOTHING
    if figure.is_loss:
        return f"{loss(figure.low)} – {loss(figure.high)}"
    return interval(figure.low, figure.high)


def _split_words(one: SplitReport) -> str:
    accuracy = one.headline.figures["accuracy"]
    wrong = one.headline.num_images - int(one.matrix.diagonal().sum())
    return (
        f"{metric_value(accuracy)} on {one.split} (95 % interval {metric_ends(accuracy)}), "
        f"{count(wrong)} of {count(one.headline.num_images)} wrong"
    )


def _standing_words(report: RunReport) -> str:
    if report.standing is None:
        return ""
    return f'<p class="test">{text(_upper(vault.words(report.standing)))}.</p>'


def _split_part(one: SplitReport, figures: Figures) -> str:
    parts = [figures_part(one.headline)]
    if one.headline.num_images:
        parts.append(side_by_side(_matrix_card(one, figures), _pairs_card(one)))
        parts.append(side_by_side(_bars_card(one, figures), _reliability_card(one, figures)))
        parts.append(_classes_card(one))
    return "".join(parts)


def _matrix_card(one: SplitReport, figures: Figures) -> str:
    spec, shown = matrix_figure(one.matrix, list(one.classes["class_name"]))
    total = len(one.matrix)
    note = "colour: share of the row; blue is right, orange is wrong"
    if shown < total:
        note = f"the {shown} of {count(total)} classes with the most mistakes; {note}"
    return card("Confusion matrix", figures.place(spec, f"Confusion matrix of {one.split}"), note=note)


def _pairs_card(one: SplitReport) -> str:
    rows = [
        [row.label_name, row.prediction_name, count(row.times), percent(row.share)]
        for row in one.pairs.head(MAX_PAIRS).itertuples()
    ]
    if not rows:
        return card("Most confused pairs", _quiet("None: no class was taken for another."))
    more = len(one.pairs) - len(rows)
    note = f"the first {len(rows)} of {count(len(one.pairs))}" if more else ""
    head = ["True", "Predicted", "Times", "Share of class"]
    return card("Most confused pairs", table(head, rows, [2, 3]), note=note)


def _bars_card(one: SplitReport, figures: Figures) -> str:
    spec, shown = class_figure(one.classes)
    if spec is None:
        return card("Recall by class", _quiet("No class has an image here."))
    note = "worst first, with its 95 % interval"
    if shown < len(one.classes):
        note = f"the {shown} worst of {count(len(one.classes))} classes, with their 95 % intervals"
    return card("Recall by class", figures.place(spec, f"Recall by class on {one.split}"), note=note)


def _reliability_card(one: SplitReport, figures: Figures) -> str:
    spec = reliability_figure(one.bins, one.split)
    if spec is None:
        return card("Reliability", _quiet("No confidence is a number."))
    error = one.bins.error
    note = f"calibration error {percent(error)}; on the dashed line, confidence tells how often it is right"
    return card("Reliability", figures.place(spec, f"Reliability on {one.split}"), note=note)


def _classes_card(one: SplitReport) -> str:
    worst = one.classes.sort_values("recall", kind="stable")
    rows = [
        [
            row.class_name, count(row.support), _share(row.recall), _ends(row.recall_low, row.recall_high),
            _share(row.precision), _ends(row.precision_low, row.precision_high), _share(row.f1),
        ]
        for row in worst.itertuples()
    ]  # fmt: skip
    head = ["Class", "Images", "Recall", "95 % interval", "Precision", "95 % interval", "F1"]
    made = table(head, rows, range(1, 7))
    if len(rows) <= OPEN_CLASSES:
        return card("By class", made, note="worst recall first; intervals by Wilson")
    return folded(f"By class: all {count(len(rows))} classes", f'<div class="tall">{made}</div>')


def _mistakes_part(report: RunReport) -> str:
    pictures = "".join(
        f'<figure><img src="{one.address}"{_crisp(one.is_small)} alt="{text(one.label)}">'
        f'<span class="wrong">✕ {text(one.prediction)}</span> {percent(one.confidence)}<br>'
        f'<span class="quiet">true {text(one.label)}</span></figure>'
        for one in report.mistakes
    )
    lost = f"; {counted(report.num_lost, 'picture')} gone or unreadable" if report.num_lost else ""
    note = f"on eval, highest loss first: surest where wrong{lost}"
    return card("Worst mistakes", f'<div class="pictures">{pictures}</div>', note=note)


def _crisp(is_small: bool) -> str:
    return ' class="small"' if is_small else ""


def _made_part(report: RunReport) -> str:
    record = report.record
    counts = record.facts.get("counts", {})
    prints = record.facts.get("split_fingerprints") or {}
    rows = [[split, count(size), prints.get(split, NOTHING)] for split, size in counts.items()]
    data = [table(["Split", "Images", "Fingerprint"], rows, [1], wrapped=2)] if rows else []
    if record.facts.get("fingerprint"):
        data.append(_quiet(f"Fingerprint of all images and their classes: {record.facts['fingerprint']}"))
    settings = [[key, shown(value)] for key, value in flat(report.settings).items()]
    environment = [[key.replace("_", " "), shown(value)] for key, value in report.environment.items()]
    parts = [card("Images", *data)] if data else []
    if settings:
        parts.append(folded("Settings", table(["Setting", "Value"], settings, wrapped=1)))
    if environment:
        parts.append(folded("Environment", table(["What", "Value"], environment, wrapped=1)))
    return "".join(parts)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted key.

    Example:
        >>> flat({"name": "a", "model": {"dropout": None}})
        {'name': 'a', 'model.dropout': None}
    """
    made: dict[str, Any] = {}
    for group, value in values.items():
        if isinstance(value, Mapping):
            made |= {f"{group}.{name}": inner for name, inner in value.items()}
        else:
            made[group] = value
    return made


def shown(value: Any) -> str:
    """A setting's value for a reader.

    Example:
        >>> shown(None), shown("full"), shown([1, 2]), shown({})
        ('–', 'full', '[1, 2]', 'none')
    """
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict) and not value:
        return "none"
    if isinstance(value, list | dict) and len(value) > 20:
        return counted(len(value), "value")
    return json.dumps(value, ensure_ascii=False)


def _value(key: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return loss(value) if key == "loss" else percent(value)


def _gain(figure: Figure, baseline: float | None) -> str:
    if baseline is None or math.isnan(figure.value) or math.isnan(baseline):
        return NOTHING
    gain = figure.value - baseline
    return f"{gain:+.3f}".replace("-", "−") if figure.is_loss else points(gain)


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else percent(value)


def _ends(low: float, high: float) -> str:
    return NOTHING if math.isnan(low) else interval(low, high)


def _quiet(sentence: str) -> str:
    return f'<p class="quiet">{text(sentence)}</p>'


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _heading(words: str, level: int) -> str:
    return f"<h{level}>{text(words)}</h{level}>"
