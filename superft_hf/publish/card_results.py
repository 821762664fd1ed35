"""The part of a card that measures: figures, matrix, classes, mistakes, and what they do not show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from superft_hf.evaluation.classification import confused_pairs, per_class_table
from superft_hf.paths import BundlePaths
from superft_hf.publish.evidence import Evidence, SplitEvidence
from superft_hf.publish.markdown import plain, table
from superft_hf.vault import Standing
from superft_hf.words import NOTHING, VIEWS, accuracy_interval, counted, interval, percent

FILES = BundlePaths()
MAX_CLASSES = 60
"""Up to so many classes stand in a card; of more, only the worst half of them."""

MAX_PAIRS = 10
PICTURES_A_ROW = 4
FEW_IMAGES = 30

_TITLES = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted", "precision_macro": "Precision, macro", "recall_macro": "Recall, macro",
    "top5_accuracy": "Top-5 accuracy", "loss": "Loss",
}  # fmt: skip
_MATRICES = {"eval": FILES.eval_matrix, "test": FILES.test_matrix}


@dataclass(frozen=True)
class MisclassifiedPicture:
    """A picture that goes into the bundle.

    Attributes:
        path: In the bundle.
        encoded: The file, without the original's metadata.
        label: Its class name.
        prediction: What it was taken for.
        confidence: Of that, a fraction.
    """

    path: str
    encoded: bytes
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Section:
    """One section of a card.

    Attributes:
        title: Heading; empty for a part that belongs to the one before.
        text: Markdown.
        figures: Path in the bundle and description of each, shown below the heading.
        summary: When set, the section is folded behind these words.
        pictures: Shown below the text.
    """

    title: str
    text: str
    figures: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    pictures: tuple[MisclassifiedPicture, ...] = ()

    @property
    def markdown(self) -> str:
        """As it stands in README.md."""
        head = [f"## {self.title}"] if self.title else []
        parts = [*(f"![{alt}]({path})" for path, alt in self.figures), self.text]
        parts += [_pictures_table(self.pictures)] if self.pictures else []
        if not self.summary:
            return "\n\n".join([*head, *parts])
        inner = "\n\n".join(parts)
        return "\n\n".join([*head, f"<details>\n<summary>{self.summary}</summary>\n\n{inner}\n\n</details>"])


def sections(
    evidence: Evidence, shown: Sequence[SplitEvidence], pictures: Sequence[MisclassifiedPicture]
) -> list[Section]:
    """The sections with the figures of these splits.

    Args:
        evidence: The run.
        shown: Eval, and test unless it is sealed.
        pictures: Misclassified ones that go in.
    """
    made = [Section("Results", f"{_figures_table(evidence, shown)}\n\n{_about_splits(evidence, shown)}")]
    main = shown[-1] if shown else None
    for one in reversed(shown):
        if one.rows is None or not evidence.class_names:
            continue
        matrix = (_MATRICES[one.split], f"Confusion matrix of {one.split}")
        has_matrix = 2 <= len(evidence.class_names) <= 1000
        text = _by_class(evidence, one)
        if one is main:
            made.append(Section(f"By class, on {one.split}", text, (matrix,) if has_matrix else ()))
        else:
            summary = f"The same on {one.split}"
            made.append(Section("", text, (matrix,) if has_matrix else (), summary))
    if pictures:
        made.append(_pictures_section(pictures))
    return made


def metric_value(key: str, value: float | None) -> str:
    """A figure as `superft show` words it.

    Example:
        >>> metric_value("accuracy", 0.8924), metric_value("loss", 0.31274)
        ('89.2 %', '0.3127')
    """
    if value is None or not np.isfinite(value):
        return NOTHING
    return f"{value:.4g}" if key in ("loss", "log_loss") else percent(value)


def accuracy_words(one: SplitEvidence) -> str:
    """Such as `89.2 % of 446 eval images (95 % interval 86.0 – 91.8 %)`."""
    accuracy = one.figures.get("accuracy")
    between = accuracy_interval(accuracy, one.num_images)
    images = counted(one.num_images, f"{one.split} image")
    return f"{percent(accuracy)} of {images} (95 % interval {between})"


def caveats(evidence: Evidence, shown: Sequence[SplitEvidence]) -> str:
    """What the figures do not show, as a list; only what follows from this run."""
    names = evidence.class_names
    is_always_sure = evidence.decision is None or evidence.decision.takes_likeliest
    found = [
        f"{'It always answers' if is_always_sure else 'Where it is sure, it answers'} with one of its "
        f"{counted(len(names), 'class', 'classes')}, also for an image that shows none of them.",
        "Its figures hold for images like those it was measured on. Another camera, place, time or way of "
        "choosing images may give others: measure on yours before you rely on it.",
        "The intervals say how far chance in the choice of images reaches, and nothing of the rest.",
        *_confidence_words(evidence, shown),
        *_small_classes(names, shown),
    ]
    if evidence.record.facts.get("is_cut") and not evidence.config.data.group_column:
        found.append(
            "Eval or test was cut from the same images as train at random. Where several pictures show the "
            "same thing, person or place, accuracy on new ones may be lower."
        )
    return "\n".join(f"- {one}" for one in found)


def _figures_table(evidence: Evidence, shown: Sequence[SplitEvidence]) -> str:
    rows = []
    for key, title in _TITLES.items():
        if any(key in one.figures for one in shown):
            rows.append((title, *(_with_interval(evidence, key, one) for one in shown)))
    return table(("", *(f"{one.split}, {one.num_images:,} images" for one in shown)), rows)


def _with_interval(evidence: Evidence, key: str, one: SplitEvidence) -> str:
    value = one.figures.get(key)
    words = metric_value(key, value)
    if key in ("accuracy", "top5_accuracy") and value is not None and one.num_images:
        return f"{words} ({accuracy_interval(value, one.num_images)})"
    found = evidence.headlines.get(one.split)
    figure = found.figures.get(key) if found else None
    if value is None or figure is None or not np.isfinite([figure.low, figure.high]).all():
        return words
    if figure.is_loss:
        return f"{words} ({metric_value(key, figure.low)} – {metric_value(key, figure.high)})"
    return f"{words} ({interval(figure.low, figure.high)})"


def _about_splits(evidence: Evidence, shown: Sequence[SplitEvidence]) -> str:
    text = (
        "In brackets: 95 % intervals, Wilson's for accuracy and top-5 accuracy, by bootstrap over the images "
        "for the others. Eval was watched during training and chose the checkpoint, so its figures are a "
        "little too good."
    )
    views = evidence.config.augmentation.test_time
    if views in VIEWS:
        text += (
            f" All figures are with test-time augmentation: logits averaged over {VIEWS[views]}. `pipeline` "
            "looks at each image once, and was not measured."
        )
    if "test" not in evidence.splits:
        return f"{text} There are no test figures."
    if not any(one.split == "test" for one in shown):
        return f"{text} Test is sealed in this preview."
    return (
        f"{text} Test had no part in training or in that choice, and was evaluated once, at the end. "
        f"{_standing_words(evidence.standing)}"
    )


def _standing_words(found: Standing) -> str:
    among = "this same test set" if found.is_by_split else "these same images"
    if not found.num_earlier:
        return f"No other run had been opened on {among} before."
    return (
        f"{counted(found.num_earlier, 'other run')} had been opened on {among} before: with each it becomes "
        "likelier that the best figures are so by chance."
    )


def _by_class(evidence: Evidence, one: SplitEvidence) -> str:
    names = evidence.class_names
    figures = per_class_table(one.labels, one.predictions, names)
    note = ""
    if len(names) > MAX_CLASSES:
        figures = figures.sort_values("recall", kind="stable").head(MAX_CLASSES // 2)
        note = (
            f"The {MAX_CLASSES // 2} classes with the lowest recall; all {len(names):,} are in "
            f"`{FILES.evaluation}`."
        )
    rows = [
        (
            plain(row.class_name), f"{row.support:,}", _share(row.recall),
            interval(row.recall_low, row.recall_high) if row.support else NOTHING,
            _share(row.precision), _share(row.f1),
        )
        for row in figures.itertuples()
    ]  # fmt: skip
    head = ("Class", "Images", "Recall", "95 % interval", "Precision", "F1")
    return "\n\n".join(filter(None, (table(head, rows), note, _pairs(evidence, one))))


def _pairs(evidence: Evidence, one: SplitEvidence) -> str:
    pairs = confused_pairs(one.labels, one.predictions, evidence.class_names).head(MAX_PAIRS)
    if pairs.empty:
        return f"No image of {one.split} was taken for another class."
    rows = [
        (plain(row.label_name), plain(row.prediction_name), f"{row.times:,}", percent(row.share))
        for row in pairs.itertuples()
    ]
    return "Most often confused:\n\n" + table(("True", "Taken for", "Times", "Of the class"), rows, "llrr")


def _pictures_section(pictures: Sequence[MisclassifiedPicture]) -> Section:
    text = (
        f"{counted(len(pictures), 'eval picture')} that the model took for another class, surest mistakes "
        "first. Their author chose to publish them with the model; they were saved anew, without the "
        "metadata of the originals."
    )
    return Section("Misclassified pictures", text, pictures=tuple(pictures))


def _pictures_table(pictures: Sequence[MisclassifiedPicture]) -> str:
    rows = []
    for start in range(0, len(pictures), PICTURES_A_ROW):
        block = pictures[start : start + PICTURES_A_ROW]
        empty = [""] * (PICTURES_A_ROW - len(block))
        rows.append([f"![{plain(one.label)}]({one.path})" for one in block] + empty)
        rows.append([_caption(one) for one in block] + empty)
    return table([""] * PICTURES_A_ROW, rows, "l" * PICTURES_A_ROW)


def _caption(one: MisclassifiedPicture) -> str:
    return f"taken for **{plain(one.prediction)}**, {100 * one.confidence:.0f} %; is {plain(one.label)}"


def _confidence_words(evidence: Evidence, shown: Sequence[SplitEvidence]) -> list[str]:
    """How far its probabilities are off, measured on the last split shown."""
    found = shown[-1].calibration if shown else None
    if found is None or found.ece is None:
        return []
    gap = 100 * (found.mean_confidence - found.accuracy)
    verdict = (
        "about as sure as it is right" if abs(gap) < 1 else "surer than it is right" if gap > 0
        else "less sure than it is right"
    )  # fmt: skip
    images = counted(found.num_images, f"{shown[-1].split} image")
    words = (
        f"Its confidence is off by {100 * found.ece:.1f} points on average (expected calibration error of "
        f"{images} in {len(found.bins.size)} bins of equal size): it was {percent(found.mean_confidence)} "
        f"sure and right in {percent(found.accuracy)}, so {verdict}."
    )
    decision = evidence.decision
    after = decision.figures.get(shown[-1].split, {}).get("ece") if decision else None
    if decision is None or decision.temperature == 1 or after is None:
        return [words]
    return [f"{words} Divided by the temperature {decision.temperature:.2f}, {100 * after:.1f} points."]


def _small_classes(names: Sequence[str], shown: Sequence[SplitEvidence]) -> list[str]:
    if not shown or shown[-1].rows is None or not names:
        return []
    support = np.bincount(shown[-1].labels, minlength=len(names))
    few = int((support < FEW_IMAGES).sum())
    if not few:
        return []
    least = int(support.argmin())
    return [
        f"{few} of {counted(len(names), 'class', 'classes')} were measured on fewer than {FEW_IMAGES} "
        f"{shown[-1].split} images (the fewest: {plain(names[least])}, {support[least]}): "
        "their figures are rough."
    ]


def _share(value: float) -> str:
    return NOTHING if pd.isna(value) else percent(value)
