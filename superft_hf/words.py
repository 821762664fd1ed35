"""How numbers are worded, the same on the pages and in the terminal.

Fractions become percent here, for reading only. None stands for what is not known, and becomes a dash.
"""

import re
from datetime import UTC, datetime

from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.records import RunRecord

NOTHING = "–"

METRIC_TITLES = {
    "loss": "loss", "accuracy": "accuracy", "f1_macro": "F1, macro", "f1_weighted": "F1, weighted",
    "precision_macro": "precision, macro", "precision_weighted": "precision, weighted",
    "recall_macro": "recall, macro", "balanced_accuracy": "balanced accuracy",
    "top5_accuracy": "top-5 accuracy", "log_loss": "log loss",
}  # fmt: skip
"""Words of the metrics, by their key without the split."""

VIEWS = {
    "mirror": "each image and its mirror image",
    "crops": "each image, its enlarged centre and the mirror images of both",
}
"""What the logits are averaged over with test-time augmentation, by `augmentation.test_time`."""


def percent(fraction: float | None) -> str:
    """A share with one decimal.

    Example:
        >>> percent(0.9703), percent(None)
        ('97.0 %', '–')
    """
    return NOTHING if fraction is None else f"{100 * fraction:.1f} %"


def points(difference: float | None) -> str:
    """A difference of two shares.

    Example:
        >>> points(0.03), points(-0.0071)
        ('+3.0 points', '−0.7 points')
    """
    if difference is None:
        return NOTHING
    return f"{100 * difference:+.1f} points".replace("-", "−")


def interval(low: float, high: float) -> str:
    """The two ends of an interval of shares.

    Example:
        >>> interval(0.943, 0.985)
        '94.3 – 98.5 %'
    """
    return f"{100 * low:.1f} – {100 * high:.1f} %"


def accuracy_interval(accuracy: float | None, size: int) -> str:
    """The 95 % interval of an accuracy measured on `size` images.

    Example:
        >>> accuracy_interval(0.97, 270)
        '94.3 – 98.5 %'
    """
    if accuracy is None or not size:
        return NOTHING
    return interval(*wilson_interval(round(accuracy * size), size))


def loss(value: float | None) -> str:
    """A loss with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def count(number: int | float | None) -> str:
    """A whole number with separators.

    Example:
        >>> count(1257)
        '1,257'
    """
    return NOTHING if number is None else f"{number:,.0f}"


def epochs(number: float) -> str:
    """Passes over the train split; a run that was finished within one has a part of it.

    Example:
        >>> epochs(3.0), epochs(1.026), epochs(0.004)
        ('3', '1.03', '0.01')
    """
    return f"{max(number, 0.01):.2f}".rstrip("0").rstrip(".")


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "run"), counted(1200, "image"), counted(2, "class", "classes")
        ('1 run', '1,200 images', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def significant(number: float | None) -> str:
    """A number such as a learning rate, as short as it can be said.

    Example:
        >>> significant(0.0002), significant(3e-07), significant(12.0)
        ('0.0002', '3e-7', '12')
    """
    if number is None:
        return NOTHING
    if number and abs(number) < 1e-5:
        return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{number:.3g}")
    return f"{number:.6f}".rstrip("0").rstrip(".") if abs(number) < 1000 else f"{number:,.0f}"


def size(size_bytes: int | None) -> str:
    """A file size.

    Example:
        >>> size(18_600_000), size(900)
        ('18.6 MB', '900 B')
    """
    if size_bytes is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


def duration(seconds: float | None) -> str:
    """A time span in words.

    Example:
        >>> [duration(one) for one in (0.01, 1.52, 42, 192, 7260, 180_000)]
        ['< 0.1 s', '1.5 s', '42 s', '3 min 12 s', '2 h 1 min', '2 d 2 h']
    """
    if seconds is None:
        return NOTHING
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, unit_s, smaller, smaller_s in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // smaller_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def run_duration_s(record: RunRecord, now: datetime | None = None) -> float | None:
    """Seconds that a run has been at work, pauses left out; None before its start."""
    if record.started_at is None:
        return None
    if not record.is_live:
        return record.worked_s
    since = (now or datetime.now(UTC)) - datetime.fromisoformat(record.started_at)
    return record.worked_s + max(0.0, since.total_seconds())
