"""Whether a classifier is as sure as it is right, and the one number that can mend it: the temperature.

N is the number of examples, C of classes, B of bins. Probabilities are softmax(logits / temperature). Rows
that hold a NaN are left out and counted. Large arrays are gone through in blocks of rows, so that nothing of
their size is made beside them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from superft_hf.evaluation.calibration_rows import Passes, blocks_of
from superft_hf.evaluation.intervals import mean_interval

NUM_BINS = 15
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
FIT_VALUES = 2_000_000
"""Of more logits, a temperature is fitted on a random part of the rows: it is one number."""

CLASSWISE_VALUES = 4_000_000
"""Of more logits, the calibration error is not computed class by class."""

_VALUES_A_BLOCK = 2**17


@dataclass(frozen=True)
class Bins:
    """A reliability diagram: groups of about equally many examples, from the least to the most sure.

    Attributes:
        confidence: Mean confidence in each bin, shape (B,); bins that would be empty are left out.
        accuracy: Share that is right, shape (B,).
        size: Examples, shape (B,).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    size: np.ndarray

    @property
    def error(self) -> float | None:
        """Expected calibration error: the gaps' mean, weighted by size; None without examples."""
        if not self.size.sum():
            return None
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.size))


@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of one evaluation are calibrated.

    Attributes:
        bins: Of the likeliest class.
        ece: Expected calibration error of the likeliest class; None without examples.
        ece_classwise: Mean over the classes of the error of each class's own probability; None where it was
            not computed.
        brier: Mean over the examples of the sum over the classes of (probability - truth) squared, in [0, 2];
            None where not every class has its logit.
        log_loss: Mean -ln(probability of the true class).
        mean_confidence: Of the likeliest class.
        accuracy: Share in which the likeliest class is right.
        num_images: Examples that count.
        num_dropped: Examples with a NaN.
    """

    bins: Bins
    ece: float | None
    ece_classwise: float | None
    brier: float | None
    log_loss: float | None
    mean_confidence: float | None
    accuracy: float | None
    num_images: int
    num_dropped: int


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: 1 when none could be fitted.
        reason: Why none could be fitted; empty when one was.
        log_loss_before: On the examples it was fitted on, at temperature 1; None without examples.
        log_loss_after: At `value`; never above `log_loss_before`.
        num_images: Examples that count.
    """

    value: float
    reason: str
    log_loss_before: float | None
    log_loss_after: float | None
    num_images: int


@dataclass(frozen=True)
class Change:
    """What a temperature does to the log loss of examples that it was not fitted on.

    Attributes:
        difference: Mean log loss with it less without it: negative is better.
        low: Lower end of the 95 % interval, by bootstrap over the examples.
        high: Upper end.
    """

    difference: float
    low: float
    high: float


def bin_equally(confidence: np.ndarray, is_right: np.ndarray, num_bins: int = NUM_BINS) -> Bins:
    """Bins of equal mass; equal confidences share one, so that the order of the examples has no say.

    After Nguyen & O'Connor (2015, EMNLP, "Posterior calibration and exploratory analysis for natural language
    processing models", section 3).

    Args:
        confidence: Shape (N,), without NaN.
        is_right: Shape (N,), bool.
        num_bins: At most so many.
    """
    values, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    if not len(values):
        return Bins(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    centre = np.cumsum(sizes) - sizes / 2
    places = np.minimum((centre * num_bins / len(confidence)).astype(np.int64), num_bins - 1)[group]
    size = np.bincount(places, minlength=num_bins)
    used = size > 0
    sure = np.bincount(places, weights=confidence, minlength=num_bins)[used] / size[used]
    right = np.bincount(places, weights=is_right, minlength=num_bins)[used] / size[used]
    return Bins(sure, right, size[used])


def ece(confidence: np.ndarray, is_right: np.ndarray, num_bins: int = NUM_BINS) -> float | None:
    """Expected calibration error over bins of equal mass, a fraction; None without examples.

    Example:
        >>> round(ece(np.array([0.6, 0.6, 0.9, 0.9]), np.array([1, 0, 1, 1]), num_bins=2), 3)
        0.1
    """
    kept = np.isfinite(confidence)
    return bin_equally(confidence[kept], np.asarray(is_right)[kept], num_bins).error


def ece_classwise(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> float | None:
    """Mean over the classes of the calibration error of the class's own probability, in bins of equal mass.

    The adaptive calibration error of Nixon et al. (2019, CVPR workshops, "Measuring calibration in deep
    learning").

    Args:
        probabilities: Shape (N, C).
        labels: Shape (N,).
        num_bins: Of each class.
    """
    if not len(labels):
        return None
    errors = [
        bin_equally(probabilities[:, label], labels == label, num_bins).error
        for label in range(probabilities.shape[1])
    ]
    return float(np.mean(errors))


def measure(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> Calibration:
    """Measures probabilities at a temperature.

    Args:
        logits: Shape (N, C), every class.
        labels: Shape (N,).
        temperature: Divides the logits.
    """
    return measure_passes(Passes(blocks_of(logits), labels, logits.shape[1]), temperature)


def measure_passes(passes: Passes, temperature: float = 1.0) -> Calibration:
    """The same of logits that are gone through in blocks."""
    count = len(passes.labels)
    keep = np.arange(count) if count * passes.num_classes <= CLASSWISE_VALUES else None
    rows = passes.at(temperature, keep)
    kept = rows.is_finite
    confidence, is_right = rows.confidence[kept], rows.is_right[kept]
    bins, count = bin_equally(confidence, is_right), int(kept.sum())
    return Calibration(
        bins=bins,
        ece=bins.error,
        ece_classwise=_classwise(passes, np.flatnonzero(kept), temperature),
        brier=_mean(rows.brier[kept]),
        log_loss=_mean(rows.log_loss[kept]),
        mean_confidence=_mean(confidence),
        accuracy=_mean(is_right),
        num_images=count,
        num_dropped=len(kept) - count,
    )


def _classwise(passes: Passes, rows: np.ndarray, temperature: float) -> float | None:
    if not len(rows) or len(rows) * passes.num_classes > CLASSWISE_VALUES:
        return None
    scaled = passes.logits(rows) / temperature
    return ece_classwise(np.exp(scaled - log_sum_exp(scaled)[:, None]), passes.labels[rows])


def measure_confidence(confidence: np.ndarray, is_right: np.ndarray, losses: np.ndarray) -> Calibration:
    """What can be said without all logits, at temperature 1: no Brier score, and nothing class by class.

    Args:
        confidence: Shape (N,).
        is_right: Shape (N,), bool.
        losses: -ln of the true class's probability, shape (N,).
    """
    kept = np.isfinite(confidence)
    bins = bin_equally(confidence[kept], is_right[kept])
    return Calibration(
        bins, bins.error, None, None, _mean(losses[kept]), _mean(confidence[kept]), _mean(is_right[kept]),
        int(kept.sum()), int((~kept).sum()),
    )  # fmt: skip


def fit_temperature(logits: np.ndarray, labels: np.ndarray, seed: int = 0) -> Temperature:
    """Finds the temperature with the least log loss, by a bounded search over its logarithm.

    After Guo et al. (2017, ICML, "On calibration of modern neural networks", section 4.2). It changes no
    answer, only how sure the model is of it.

    Args:
        logits: Shape (N, C), of images that had no part in training.
        labels: Shape (N,).
        seed: Of the rows it is fitted on, when there are more than `FIT_VALUES` logits.

    Returns:
        The temperature; 1 with a reason when the data do not determine one.
    """
    return fit_passes(Passes(blocks_of(logits), labels, logits.shape[1]), seed)


def fit_passes(passes: Passes, seed: int = 0) -> Temperature:
    """The same of logits that are gone through in blocks: twice, at temperature 1 and at the one found."""
    first = passes.at(1.0, keep=_fitted_on(np.arange(len(passes.labels)), passes.num_classes, seed))
    kept = np.flatnonzero(first.is_finite)
    if not len(kept) or passes.num_classes < 2:
        return Temperature(1.0, "there are no images with two classes to fit it on", None, None, len(kept))
    before = float(first.log_loss[kept].mean())
    if first.is_right[kept].all():
        reason = "every image is recognised, so that no temperature is too low"
        return Temperature(1.0, reason, before, before, len(kept))
    rows = _fitted_on(kept, passes.num_classes, seed)
    low, high = np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)
    found = minimize_scalar(
        _mean_loss(passes.logits(rows), passes.labels[rows]), bounds=(low, high), method="bounded",
        options={"xatol": 1e-5},
    )  # fmt: skip
    value = float(np.exp(found.x))
    after = float(passes.at(value).log_loss[kept].mean())
    if not np.isfinite(after) or min(found.x - low, high - found.x) < 1e-3:
        reason = f"no temperature from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g} is best"
        return Temperature(1.0, reason, before, before, len(kept))
    if after >= before:
        return Temperature(1.0, "no other temperature has a lower log loss", before, before, len(kept))
    return Temperature(value, "", before, after, len(kept))


def _fitted_on(rows: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """All of these rows, or as many of them as have `FIT_VALUES` logits."""
    if len(rows) * num_classes <= FIT_VALUES:
        return rows
    number = max(FIT_VALUES // num_classes, 1)
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), number, replace=False))]


def _mean_loss(logits: np.ndarray, labels: np.ndarray) -> Callable[[float], float]:
    """The mean log loss by the logarithm of a temperature; one exponential a logit, in memory made once."""
    values = logits - logits.max(axis=1, keepdims=True)
    own = values[np.arange(len(values)), labels]
    size = max(1, _VALUES_A_BLOCK // values.shape[1])
    scaled = np.empty((min(size, len(values)), values.shape[1]))

    def mean_loss(log_temperature: float) -> float:
        factor, sums = float(np.exp(-log_temperature)), []
        for start in range(0, len(values), size):
            part = values[start : start + size]
            made = np.multiply(part, factor, out=scaled[: len(part)])
            sums.append(np.exp(made, out=made).sum(axis=1))
        return float((np.log(np.concatenate(sums)) - own * factor).mean())

    return mean_loss


def judge_temperature(
    logits: np.ndarray, labels: np.ndarray, temperature: float, seed: int = 0
) -> Change | None:
    """What a temperature does to the log loss; None without examples.

    The interval is a bootstrap over the examples, which keeps each example's two losses together.

    Args:
        logits: Shape (N, C), of images that the temperature was not fitted on.
        labels: Shape (N,).
        temperature: The fitted one.
        seed: Of the bootstrap.
    """
    return judge_passes(Passes(blocks_of(logits), labels, logits.shape[1]), temperature, seed)


def judge_passes(passes: Passes, temperature: float, seed: int = 0) -> Change | None:
    """The same of logits that are gone through in blocks."""
    before, after = passes.at(1.0), passes.at(temperature)
    kept = before.is_finite
    if not kept.any():
        return None
    differences = after.log_loss[kept] - before.log_loss[kept]
    low, high = mean_interval(differences, seed=seed)
    return Change(float(differences.mean()), low, high)


def scaled_blocks(logits: np.ndarray, temperature: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows of logits / temperature, dtype float64, with their places."""
    rows = max(1, _VALUES_A_BLOCK // max(logits.shape[1] if logits.ndim == 2 else 1, 1))
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        scaled = logits[part].astype(np.float64)
        if temperature != 1:
            scaled /= temperature
        yield part, scaled


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exponentials of each row of (N, C), shape (N,); faster than scipy's."""
    with np.errstate(invalid="ignore"):  # a row that holds a NaN or an infinity becomes NaN
        highest = values.max(axis=1, initial=-np.inf)
        return highest + np.log(np.exp(values - highest[:, None]).sum(axis=1))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
