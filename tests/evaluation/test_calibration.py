"""Calibration against scikit-learn, scipy, and examples computed by hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn import metrics as sk

from superft_hf.evaluation import calibration, calibration_rows
from superft_hf.evaluation.calibration import (
    bin_equally,
    ece,
    ece_classwise,
    fit_passes,
    fit_temperature,
    judge_passes,
    judge_temperature,
    measure,
    measure_confidence,
    measure_passes,
)
from superft_hf.evaluation.calibration_rows import Passes, blocks_of


def drawn(seed, count=600, num_classes=5, sharpness=1.0):
    """Logits whose labels are drawn from them: calibrated at temperature `sharpness`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, num_classes)) * 1.5
    uniform = generator.random((count, 1))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < uniform).sum(axis=1).clip(0, num_classes - 1)
    return (sharpness * logits).astype(np.float32), labels


def log_losses(logits, labels, temperature=1.0):
    scaled = log_softmax(logits.astype(float) / temperature, axis=1)
    return -scaled[np.arange(len(labels)), labels]


def test_ece__a_published_example():
    """Pavlovic, "Expected Calibration Error (ECE): a step-by-step visual explanation", 2023, Towards Data
    Science: nine samples, three bins, ECE 0.23778. Bins of equal mass hold .15 .22 .37 | .42 .51 .64 |
    .70 .83 .92, two of three right in each: (|.24667 - .66667| + |.52333 - .66667| + |.81667 - .66667|) / 3,
    which is the same number.
    """
    samples = np.array([0.22, 0.64, 0.92, 0.42, 0.51, 0.15, 0.70, 0.37, 0.83])
    is_right = (samples > 0.5) == np.array([0, 1, 0, 0, 0, 1, 1, 0, 1])
    assert ece(samples, is_right, num_bins=3) == pytest.approx(0.23778, abs=5e-6)
    bins = bin_equally(samples, is_right, 3)
    assert bins.size.tolist() == [3, 3, 3]
    assert bins.confidence == pytest.approx([0.74 / 3, 1.57 / 3, 2.45 / 3])
    assert bins.accuracy == pytest.approx([2 / 3] * 3)


def test_ece__the_example_of_torchmetrics():
    """Documentation of BinaryCalibrationError(n_bins=2, norm="l1"): 0.2900; both kinds of bins agree here."""
    samples, truth = np.array([0.25, 0.25, 0.55, 0.75, 0.75]), np.array([0, 0, 1, 1, 1])
    assert ece(samples, truth, num_bins=2) == pytest.approx(0.29)


def test_bins__equal_confidences_share_one_whatever_the_order():
    confidence = np.array([1.0] * 6 + [0.5] * 3 + [0.7])
    is_right = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 1], dtype=bool)
    order = np.random.default_rng(0).permutation(10)
    assert ece(confidence, is_right) == ece(confidence[order], is_right[order])
    assert bin_equally(confidence, is_right).size.tolist() == [3, 1, 6]
    # 3 x |1/3 - .5| + 1 x |1 - .7| + 6 x |4/6 - 1|, over 10
    assert ece(confidence, is_right) == pytest.approx((0.5 + 0.3 + 2.0) / 10)


@pytest.mark.parametrize("count", [1, 7, 15, 100, 1003])
def test_bins__hold_equally_many(count):
    confidence = np.random.default_rng(count).random(count)
    sizes = bin_equally(confidence, confidence > 0.4).size
    assert sizes.sum() == count and len(sizes) == min(count, 15) and sizes.max() - sizes.min() <= 1


def test_ece__of_a_calibrated_model_is_small_and_of_a_sure_one_is_its_gap():
    logits, labels = drawn(1, count=20_000)
    assert measure(logits, labels).ece < 0.02
    sure = measure(20 * logits, labels)
    assert sure.ece == pytest.approx(sure.mean_confidence - sure.accuracy, abs=0.01)


def test_ece__classwise_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    labels = np.array([0, 1, 1, 1])
    # Class 0 in two bins: {.1, .3}, none of it, and {.6, .8}, half of it: (.2 + .2) / 2; class 1 likewise.
    assert ece_classwise(probabilities, labels, num_bins=2) == pytest.approx(0.2)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_brier_and_log_loss__are_those_of_sklearn(num_classes):
    logits, labels = drawn(2, num_classes=num_classes)
    probabilities = softmax(logits.astype(float), axis=1)
    found, names = measure(logits, labels), np.arange(num_classes)
    expected = sk.brier_score_loss(labels, probabilities, labels=names, scale_by_half=False)
    assert found.brier == pytest.approx(expected)
    assert found.log_loss == pytest.approx(sk.log_loss(labels, probabilities, labels=names))
    assert found.accuracy == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels))
    if num_classes == 2:
        assert found.brier == pytest.approx(2 * sk.brier_score_loss(labels, probabilities[:, 1]))


def test_measure__blocks_and_temperature_change_nothing_else(monkeypatch):
    logits, labels = drawn(3)
    whole = measure(logits, labels, 1.7)
    monkeypatch.setattr(calibration_rows, "_VALUES_A_BLOCK", 64)
    parts = measure(logits, labels, 1.7)
    assert parts.brier == pytest.approx(whole.brier) and parts.ece == pytest.approx(whole.ece)
    rows = Passes(blocks_of(logits), labels, 5).at(1.7)
    np.testing.assert_allclose(rows.log_loss, log_losses(logits, labels, 1.7))
    assert parts.log_loss == pytest.approx(rows.log_loss.mean()) and rows.is_finite.all()
    monkeypatch.setattr(calibration, "CLASSWISE_VALUES", 10)
    assert measure(logits, labels).ece_classwise is None


def test_measure__rows_that_hold_a_nan_are_left_out_and_counted():
    logits, labels = drawn(4)
    broken = logits.copy()
    broken[::3, 2] = np.nan
    broken[1, 0] = np.inf
    kept = np.isfinite(broken).all(axis=1)
    found, expected = measure(broken, labels), measure(logits[kept], labels[kept])
    assert found.num_dropped == int((~kept).sum()) and found.num_images == int(kept.sum())
    assert (found.ece, found.brier, found.log_loss) == (expected.ece, expected.brier, expected.log_loss)


def test_measure__without_examples_knows_nothing():
    for logits in (np.zeros((0, 3)), np.full((4, 3), np.nan)):
        found = measure(logits, np.zeros(len(logits), dtype=int))
        assert (found.ece, found.ece_classwise, found.brier, found.log_loss) == (None,) * 4
        assert found.num_images == 0


def test_measure_confidence__is_measure_where_both_know():
    logits, labels = drawn(5)
    whole = measure(logits, labels)
    probabilities = softmax(logits.astype(float), axis=1)
    confidence, answers = probabilities.max(axis=1), probabilities.argmax(axis=1)
    found = measure_confidence(confidence, answers == labels, log_losses(logits, labels))
    assert (found.ece, found.log_loss) == pytest.approx((whole.ece, whole.log_loss))
    assert found.brier is None


@pytest.mark.parametrize("sharpness", [0.3, 0.9, 2.5, 6.0])
def test_temperature__is_found_and_is_the_best(sharpness):
    logits, labels = drawn(6, count=4000, sharpness=sharpness)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(sharpness, rel=0.08) and not found.reason
    assert found.log_loss_after <= found.log_loss_before

    def nll(inverse):  # another parameter and another optimiser
        scaled = log_softmax(logits.astype(float) * inverse, axis=1)
        return -scaled[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(nll, bracket=(0.5 / sharpness, 2 / sharpness), method="brent")
    assert found.value == pytest.approx(1 / best.x, rel=1e-3)
    assert found.log_loss_after == pytest.approx(best.fun, abs=1e-8)


@pytest.mark.parametrize("seed", range(60))
def test_temperature__never_lowers_the_likelihood_of_eval(seed):
    generator = np.random.default_rng(seed)
    count, num_classes = int(generator.integers(1, 60)), int(generator.integers(2, 8))
    logits = generator.normal(size=(count, num_classes)) * 10 ** generator.uniform(-2, 2)
    labels = generator.integers(0, num_classes, count)
    if seed % 3:
        logits[np.arange(count), labels] += generator.uniform(0, 8)
    found = fit_temperature(logits, labels)
    before, after = (log_losses(logits, labels, one).mean() for one in (1.0, found.value))
    assert after <= before + 1e-12
    assert found.log_loss_after == pytest.approx(after) and found.log_loss_before == pytest.approx(before)
    assert (found.value == 1) == bool(found.reason)


def test_temperature__a_part_of_many_rows_is_enough(monkeypatch):
    logits, labels = drawn(7, count=20_000, sharpness=2.0)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(calibration, "FIT_VALUES", 20_000)
    part = fit_temperature(logits, labels)
    assert part.value == pytest.approx(whole.value, rel=0.05) and part.value != whole.value
    assert part == fit_temperature(logits, labels)  # seeded
    assert part.log_loss_after < part.log_loss_before == whole.log_loss_before


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (np.zeros((0, 3)), [], "no images"),
        (np.full((3, 2), np.nan), [0, 1, 0], "no images"),
        (np.ones((3, 1)), [0, 0, 0], "two classes"),
        (np.array([[3.0, 0], [0, 2]]), [0, 1], "every image is recognised"),
        (np.array([[3.0, 0], [0, 2]]), [1, 0], "no temperature from"),  # all wrong: never unsure enough
        (np.zeros((4, 2)), [0, 1, 1, 0], "no other temperature|no temperature from"),
    ],
)
def test_temperature__what_cannot_be_fitted_stays_1_and_says_why(logits, labels, reason):
    found = fit_temperature(logits, np.array(labels, dtype=int))
    assert found.value == 1
    assert any(part in found.reason for part in reason.split("|"))
    assert found.log_loss_before == found.log_loss_after


def test_judgement__on_other_images():
    fitted = fit_temperature(*drawn(8, count=2000, sharpness=3.0))
    logits, labels = drawn(9, count=2000, sharpness=3.0)
    found = judge_temperature(logits, labels, fitted.value)
    differences = log_losses(logits, labels, fitted.value) - log_losses(logits, labels)
    assert found.difference == pytest.approx(differences.mean()) and found.high < 0
    standard = differences.std() / np.sqrt(len(differences))
    assert found.low == pytest.approx(found.difference - 1.96 * standard, abs=0.5 * standard)
    assert found == judge_temperature(logits, labels, fitted.value)
    assert judge_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int), 2.0) is None
    unchanged = judge_temperature(logits, labels, 1.0)
    assert (unchanged.low, unchanged.difference, unchanged.high) == (0, 0, 0)


def counted(logits, labels):
    """Passes, and how often they went through the logits; the blocks come backwards."""
    gone: list[int] = []

    def hand_out(take):
        gone.append(1)
        for start in reversed(range(0, len(logits), 7)):
            rows = slice(start, min(start + 7, len(logits)))
            take(rows, logits[rows])

    return Passes(hand_out, labels, logits.shape[1]), gone


def test_passes__give_the_same_in_any_order_and_nothing_is_made_twice(monkeypatch):
    logits, labels = drawn(10, count=2000, sharpness=2.0)
    monkeypatch.setattr(calibration, "FIT_VALUES", 1000)
    monkeypatch.setattr(calibration, "CLASSWISE_VALUES", 1000)
    passes, gone = counted(logits, labels)
    fitted = fit_passes(passes)
    assert fitted == fit_temperature(logits, labels) and len(gone) == 2  # at 1, and at the one found
    for temperature in (1.0, fitted.value):
        found, expected = measure_passes(passes, temperature), measure(logits, labels, temperature)
        assert (found.ece, found.brier, found.log_loss) == (expected.ece, expected.brier, expected.log_loss)
    assert judge_passes(passes, fitted.value) == judge_temperature(logits, labels, fitted.value)
    assert fit_passes(passes) == fitted and len(gone) == 2


def test_passes__rows_with_a_nan_cost_one_more(monkeypatch):
    logits, labels = drawn(11, count=2000, sharpness=2.0)
    logits[::9, 1] = np.nan
    monkeypatch.setattr(calibration, "FIT_VALUES", 1000)
    passes, gone = counted(logits, labels)
    kept = np.isfinite(logits).all(axis=1)
    assert fit_passes(passes) == fit_temperature(logits[kept], labels[kept]) and len(gone) == 3


def test_passes__two_who_ask_at_once_share_one_pass():
    logits, labels = drawn(12)
    passes, gone = counted(logits, labels)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: passes.at(1.3), range(8)))
    assert len(gone) == 1 and all(one is found[0] for one in found)


def test_passes__few_temperatures_are_remembered_and_an_error_is_not():
    logits, labels = drawn(13)
    passes, gone = counted(logits, labels)
    for temperature in (1.0, 2.0, 3.0, 4.0):
        passes.at(temperature)
    passes.at(1.0), passes.at(4.0)
    assert len(gone) == 4
    passes.at(2.0)
    assert len(gone) == 5

    def fail(take):
        raise OSError("gone")

    broken = Passes(fail, labels, 5)
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            broken.at(1.0)
