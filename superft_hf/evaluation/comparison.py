"""Whether one classifier is better than another on the same examples.

What stays true: two predictions are compared only where both were asked the same: the same image with the
same class as its label. Classes are joined by name, so their order in the two runs does not matter.

M is the number of examples compared, C the number of classes of both runs together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import binomtest

from superft_hf.evaluation.intervals import corrected_percentiles

SIGNIFICANT = 0.05
"""Below this p-value a difference is said to be shown."""

NUM_RESAMPLES = 5000
NUM_F1_RESAMPLES = 1000
_MOST_DRAWS = 3 * 10**7
_BLOCK = 2**22


@dataclass(frozen=True)
class Side:
    """What one run said about a split, by position in its prediction file.

    Attributes:
        example_ids: One an example.
        labels: Class ids.
        predictions: Class ids.
        class_names: Names by class id; None where the ids of both runs are known to mean the same.
    """

    example_ids: Sequence[str]
    labels: np.ndarray
    predictions: np.ndarray
    class_names: Sequence[str] | None = None


@dataclass(frozen=True)
class Joined:
    """The examples that two runs can be compared on.

    Attributes:
        rows_a: Their positions on side A, shape (M,); likewise rows_b.
        labels: Class ids of `class_names`, shape (M,); likewise predictions_a and predictions_b.
        class_names: C names: A's, then those that only B has.
        num_common: Examples that both predicted, relabelled ones included.
        num_relabelled: Examples that both predicted and that are left out, since their labels differ.
        sizes: Examples of A and of B.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    labels: np.ndarray
    predictions_a: np.ndarray
    predictions_b: np.ndarray
    class_names: tuple[str, ...]
    num_common: int
    num_relabelled: int
    sizes: tuple[int, int]

    @property
    def right_a(self) -> np.ndarray:
        """Whether A is right, shape (M,)."""
        return self.labels == self.predictions_a

    @property
    def right_b(self) -> np.ndarray:
        """Whether B is right, shape (M,)."""
        return self.labels == self.predictions_b

    @property
    def has_all(self) -> bool:
        """Whether both sides predicted the same examples."""
        return self.sizes == (self.num_common, self.num_common)


@dataclass(frozen=True)
class Difference:
    """A figure of B less the same of A, a fraction, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """Two sets of predictions for the same examples.

    Attributes:
        num_examples: Examples that both predicted, those with differing labels left out.
        fixed: Ids that B has right and A wrong.
        broken: Ids that A has right and B wrong.
        both_wrong: Ids that both have wrong.
        difference: Accuracy of B less accuracy of A, a fraction.
        low: Lower end of its 95 % interval, by paired bootstrap.
        high: Upper end.
        p_value: McNemar's exact test of "equally good".
        num_relabelled: Examples that were left out, since their labels differ between the runs.
    """

    num_examples: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    both_wrong: tuple[str, ...]
    difference: float
    low: float
    high: float
    p_value: float
    num_relabelled: int = 0


def compare_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    seed: int = 0,
    class_names: tuple[Sequence[str], Sequence[str]] | None = None,
) -> PairedComparison:
    """Compares prediction files of two runs, joined by `example_id`.

    Args:
        first: Run A: columns example_id, label, prediction.
        second: Run B.
        seed: Of the bootstrap.
        class_names: Of A and of B, by class id; None where the ids of both mean the same.

    Raises:
        ValueError: If the two have no example in common.
    """
    sides = [
        Side(one["example_id"].to_numpy(), one["label"].to_numpy(), one["prediction"].to_numpy(), names)
        for one, names in zip((first, second), class_names or (None, None), strict=True)
    ]
    joined = join(*sides)
    return compare(joined, sides[0].example_ids, seed)


def join(first: Side, second: Side) -> Joined:
    """Pairs two runs' predictions of the same images; where the labels differ, the image is left out."""
    rows_a, rows_b = _common_rows(first.example_ids, second.example_ids)
    names, new_id = _class_space(first, second)
    labels_a, labels_b = first.labels[rows_a].astype(np.int64), new_id[second.labels[rows_b]]
    kept = labels_a == labels_b
    return Joined(
        rows_a[kept], rows_b[kept], labels_a[kept], first.predictions[rows_a[kept]].astype(np.int64),
        new_id[second.predictions[rows_b[kept]]], names, len(rows_a), int((~kept).sum()),
        (len(first.labels), len(second.labels)),
    )  # fmt: skip


def compare(joined: Joined, example_ids: Sequence[str], seed: int = 0) -> PairedComparison:
    """Compares two runs image by image.

    The interval is the 2.5 to 97.5 percentile of 5,000 paired resamples of the examples; the test is
    McNemar's in its exact binomial form (McNemar 1947, Psychometrika 12, 153-157).

    Args:
        joined: The two runs.
        example_ids: Of side A, by position.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the two have no example in common.
    """
    total = len(joined.labels)
    if not total:
        raise ValueError("the two runs have no image in common")
    right_a, right_b = joined.right_a, joined.right_b
    ids = np.asarray(example_ids, dtype=object)[joined.rows_a]
    gained, lost = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    difference = accuracy_difference(gained, lost, total, seed)
    return PairedComparison(
        total, tuple(ids[right_b & ~right_a]), tuple(ids[right_a & ~right_b]),
        tuple(ids[~right_a & ~right_b]), difference.value, difference.low, difference.high,
        mcnemar(gained, lost), joined.num_relabelled,
    )  # fmt: skip


def accuracy_difference(gained: int, lost: int, total: int, seed: int = 0) -> Difference:
    """The difference of two accuracies on the same examples, with its interval by paired bootstrap.

    Args:
        gained: Examples that only B has right.
        lost: Examples that only A has right.
        total: All examples, at least 1.
        seed: Of the bootstrap.
    """
    # Resampling examples with replacement draws the two discordant counts from a multinomial.
    shares = np.array([gained, lost, total - gained - lost]) / total
    draws = np.random.default_rng(seed).multinomial(total, shares, size=NUM_RESAMPLES)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / total, [2.5, 97.5])
    return Difference((gained - lost) / total, float(low), float(high))


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test from the two discordant counts; 1 when both are 0."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def f1_difference(joined: Joined, seed: int = 0, num_resamples: int = NUM_F1_RESAMPLES) -> Difference:
    """The difference of two macro F1s on the same examples, with its 95 % interval by paired bootstrap.

    Macro F1 is the mean over the classes that occur as label or prediction, as scikit-learn has it. Examples
    with the same label and the same two predictions are alike, so that only their counts are drawn. The
    percentiles are corrected for bias, see `intervals`.

    Args:
        joined: The two runs; at least one example.
        seed: Of the bootstrap.
        num_resamples: How often the examples are drawn; fewer where there are more than 30,000.
    """
    total, count = len(joined.labels), len(joined.class_names)
    keys = (joined.labels * count + joined.predictions_a) * count + joined.predictions_b
    cells, cell_of, counts = np.unique(keys, return_inverse=True, return_counts=True)
    labels, first, second = cells // count**2, cells // count % count, cells % count
    sums = [_sums_by_class(ids, labels, count) for ids in (first, second)]

    def differences(weights: np.ndarray) -> np.ndarray:
        """Of draws of shape (R, K), the difference of each, shape (R,)."""
        f1_a, f1_b = (_macro_f1(one, weights) for one in sums)
        return f1_b - f1_a

    generator = np.random.default_rng(seed)
    num_draws = max(200, min(num_resamples, _MOST_DRAWS // total))
    size = max(1, _BLOCK // len(cells))
    drawn = [
        differences(_draws(generator, min(size, num_draws - start), cell_of, counts))
        for start in range(0, num_draws, size)
    ]
    value = float(differences(counts[None])[0])
    return Difference(value, *corrected_percentiles(np.concatenate(drawn), value))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being several, by the step-down method of Holm (1979, Scand. J. Stat. 6, 65-70).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    stepped = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0) if len(values) else values
    corrected = np.empty_like(values)
    corrected[order] = stepped
    return [float(one) for one in corrected]


def delta_matrix(joined: Joined) -> tuple[np.ndarray, np.ndarray]:
    """How the confusion matrix changes from A to B on the common examples.

    Returns:
        Counts of B less counts of A, shape (C, C), int64, rows are labels; and how many examples came into
        the cell or left it, likewise: three that came and three that left are no change of the count.
    """
    count = len(joined.class_names)
    has_moved = joined.predictions_a != joined.predictions_b
    rows = joined.labels[has_moved] * count
    came = np.bincount(rows + joined.predictions_b[has_moved], minlength=count**2)
    left = np.bincount(rows + joined.predictions_a[has_moved], minlength=count**2)
    return (came - left).reshape(count, count), (came + left).reshape(count, count)


def moved_examples(joined: Joined, label: int, prediction: int) -> tuple[np.ndarray, np.ndarray]:
    """Which examples came into a cell of the matrix and which left it, as indices into `joined`."""
    has_label = joined.labels == label
    is_a, is_b = joined.predictions_a == prediction, joined.predictions_b == prediction
    return np.flatnonzero(has_label & is_b & ~is_a), np.flatnonzero(has_label & is_a & ~is_b)


def is_shown(found: PairedComparison | Difference, p_value: float) -> bool:
    """Whether a difference is shown: its test says so, and its interval leaves out 0."""
    return p_value < SIGNIFICANT and (found.low > 0 or found.high < 0)


def in_words(
    found: PairedComparison,
    first: str = "",
    second: str = "B",
    what: str = "",
    p_value: float | None = None,
) -> str:
    """Whether B is better, in words without a full stop.

    Args:
        found: The comparison.
        first: Name of A; empty leaves it out.
        second: Name of B.
        what: Follows the points, such as `of eval accuracy`.
        p_value: Instead of its own, such as one corrected by `holm`.

    Example:
        >>> in_words(PairedComparison(1000, (), ("a",), (), 0.004, -0.003, 0.011, 0.3))
        'B is not shown to be better: +0.4 points, 95 % interval −0.3 to +1.1'
    """
    if not found.fixed and not found.broken:
        return f"{second} and {first or 'A'} are right on the same images: no difference in accuracy"
    better = "better" if found.difference >= 0 else "worse"
    is_sure = is_shown(found, found.p_value if p_value is None else p_value)
    verb = "is" if is_sure else "is not shown to be"
    than = f" than {first}" if first else ""
    size = f"{signed(found.difference)} points{f' {what}' if what else ''}"
    return f"{second} {verb} {better}{than}: {size}, 95 % interval {ends_in_words(found)}"


def ends_in_words(found: PairedComparison | Difference) -> str:
    """The ends of an interval of a difference, in points: `−0.3 to +1.1`."""
    return f"{signed(found.low)} to {signed(found.high)}"


def signed(share: float) -> str:
    """A difference of shares in points, always with its sign, but for 0.

    Example:
        >>> signed(0.0041), signed(-0.03), signed(-0.0001)
        ('+0.4', '−3.0', '0.0')
    """
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def relabelled_in_words(num_relabelled: int) -> str:
    """Says that images were left out; empty when none were."""
    if not num_relabelled:
        return ""
    what = "1 image has" if num_relabelled == 1 else f"{num_relabelled:,} images have"
    return f"{what} another label in B than in A, and {'is' if num_relabelled == 1 else 'are'} left out."


def _common_rows(first: Sequence[str], second: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the examples that both have, in the order of the first."""
    if len(first) == len(second) and np.array_equal(first, second):
        rows = np.arange(len(first))
        return rows, rows
    frames = [pd.DataFrame({"id": ids, "row": np.arange(len(ids))}) for ids in (first, second)]
    pairs = frames[0].merge(frames[1], on="id", suffixes=("_a", "_b"))
    return pairs["row_a"].to_numpy(dtype=np.int64), pairs["row_b"].to_numpy(dtype=np.int64)


def _class_space(first: Side, second: Side) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes of both runs, A's first, and where each of B's stands among them, shape (C_b,)."""
    if first.class_names is None or second.class_names is None:
        arrays = (first.labels, first.predictions, second.labels, second.predictions)
        count = 1 + max((int(one.max()) for one in arrays if len(one)), default=-1)
        return tuple(str(one) for one in range(count)), np.arange(count, dtype=np.int64)
    names = dict.fromkeys([*first.class_names, *second.class_names])
    places = {name: place for place, name in enumerate(names)}
    return tuple(names), np.array([places[name] for name in second.class_names], dtype=np.int64)


Sums = tuple[sparse.csr_array, sparse.csr_array]


def _sums_by_class(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> Sums:
    """Of K cells: what adds up the right ones by class, and labels plus predictions, shape (C, K) each."""
    columns = np.arange(len(labels))
    shape = (num_classes, len(labels))
    right = np.flatnonzero(labels == predictions)
    hits = sparse.csr_array((np.ones(len(right)), (labels[right], columns[right])), shape=shape)
    both = (np.concatenate([labels, predictions]), np.concatenate([columns, columns]))
    return hits, sparse.csr_array((np.ones(2 * len(labels)), both), shape=shape)


def _macro_f1(sums: Sums, weights: np.ndarray) -> np.ndarray:
    """Macro F1 of each of R draws, shape (R,), from counts by cell, shape (R, K)."""
    hits, occurs = (one @ weights.T.astype(float) for one in sums)
    f1 = 2 * hits / np.maximum(occurs, 1)
    return f1.sum(axis=0) / (occurs > 0).sum(axis=0)


def _draws(generator: np.random.Generator, size: int, cell_of: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Counts by cell of `size` resamples of the examples, shape (size, K).

    Args:
        generator: Draws.
        size: R.
        cell_of: The cell of each example, shape (M,).
        counts: Examples by cell, shape (K,).
    """
    total = len(cell_of)
    if 8 * len(counts) <= total:
        return generator.multinomial(total, counts / total, size=size)
    # With many cells a multinomial costs more than to draw the examples themselves.
    return np.stack(
        [
            np.bincount(cell_of[generator.integers(0, total, total)], minlength=len(counts))
            for _ in range(size)
        ]
    )
