"""Intervals against statsmodels, scipy, and simulations of what they promise."""

import math
import time

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score

from superft_hf.evaluation import intervals
from superft_hf.evaluation.intervals import (
    bootstrap_interval,
    confusion_intervals,
    mean_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (398, 446, 0.8602, 0.9179),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_known_intervals(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=1e-4)


def test_of_nothing_nothing_is_known():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_an_interval_stays_within_0_and_1():
    for total in (1, 2, 3, 1000):
        for successes in (0, total):
            low, high = wilson_interval(successes, total)
            assert 0 <= low <= successes / total <= high <= 1


@pytest.mark.parametrize("total", [1, 7, 50, 446, 50_000])
def test_wilson_is_that_of_statsmodels(total):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for successes in {0, 1, total // 3, total - 1, total}:
        expected = proportion.proportion_confint(successes, total, method="wilson")
        assert wilson_interval(successes, total) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("share", "total"), [(0.6, 200), (0.75, 250), (0.9, 446), (0.95, 1000)])
def test_wilson_holds_the_true_share_as_often_as_it_says(share, total):
    draws = np.random.default_rng(0).binomial(total, share, size=2000)
    ends = [wilson_interval(int(one), total) for one in draws]
    assert 0.93 <= np.mean([low <= share <= high for low, high in ends]) <= 0.97


# The bootstrap


def joint(num_classes: int, accuracy: float, seed: int = 0) -> np.ndarray:
    """Probabilities of label and prediction, shape (C, C): classes of unequal size and difficulty."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(num_classes, 5.0))
    made = np.zeros((num_classes, num_classes))
    for label in range(num_classes):
        right = float(np.clip(accuracy + 0.05 * generator.normal(), 0.3, 0.98))
        wrong = (1 - right) * generator.dirichlet(np.ones(num_classes - 1))
        made[label] = shares[label] * np.insert(wrong, label, right)
    return made


def truth(probabilities: np.ndarray) -> dict[str, float]:
    """The figures that an endless split would show, by hand."""
    right, support, predicted = (
        probabilities.diagonal(), probabilities.sum(axis=1), probabilities.sum(axis=0)
    )  # fmt: skip
    return {
        "accuracy": right.sum(),
        "balanced_accuracy": np.mean(right / support),
        "f1_macro": np.mean(2 * right / (support + predicted)),
        "precision_macro": np.mean(right / predicted),
        "recall_macro": np.mean(right / support),
    }


@pytest.mark.parametrize(
    ("total", "num_classes", "accuracy"),
    [
        (300, 3, 0.8),
        pytest.param(300, 2, 0.9, marks=pytest.mark.slow),
        pytest.param(500, 5, 0.7, marks=pytest.mark.slow),
    ],
)
def test_intervals_of_the_matrix_hold_the_true_figures_as_often_as_they_say(total, num_classes, accuracy):
    probabilities = joint(num_classes, accuracy)
    expected, generator = truth(probabilities), np.random.default_rng(1)
    held = dict.fromkeys(expected, 0)
    for seed in range(2000):
        cells = generator.choice(num_classes**2, size=total, p=probabilities.ravel())
        labels, predictions = np.divmod(cells, num_classes)
        found = confusion_intervals(labels, predictions, num_classes, seed=seed, resamples=300)
        for key, value in expected.items():
            held[key] += found[key][0] <= value <= found[key][1]
    assert {key: 0.93 <= times / 2000 <= 0.97 for key, times in held.items()} == dict.fromkeys(held, True)


@pytest.mark.parametrize(("total", "times"), [(300, 2000), pytest.param(5000, 2000, marks=pytest.mark.slow)])
def test_the_interval_of_a_mean_loss_holds_the_true_mean_as_often_as_it_says(total, times):
    generator, held = np.random.default_rng(2), 0
    for seed in range(times):
        losses = generator.gamma(0.8, 1.0, size=total)  # as skewed as losses are
        low, high = mean_interval(losses, seed=seed, resamples=500)
        held += low <= 0.8 <= high
    assert 0.93 <= held / times <= 0.97


def test_averages_over_many_small_classes_are_not_held_to_be_lower_than_they_are():
    """Every resample has a lower macro F1 than the split: plain percentiles would nearly always miss."""
    probabilities = joint(200, 0.7)
    expected, generator, held = truth(probabilities)["f1_macro"], np.random.default_rng(3), 0
    for seed in range(40):
        cells = generator.choice(200**2, size=3000, p=probabilities.ravel())
        labels, predictions = np.divmod(cells, 200)
        low, high = confusion_intervals(labels, predictions, 200, seed=seed, resamples=400)["f1_macro"]
        held += low <= expected <= high
    assert held >= 34


def test_any_figure_has_the_interval_of_the_fast_form():
    generator = np.random.default_rng(4)
    labels, predictions = generator.integers(0, 3, 400), generator.integers(0, 3, 400)
    predictions = np.where(generator.random(400) < 0.8, labels, predictions)
    slow = bootstrap_interval(
        lambda rows: f1_score(labels[rows], predictions[rows], average="macro"), 400, resamples=600
    )
    assert slow == pytest.approx(confusion_intervals(labels, predictions, 3)["f1_macro"], abs=0.01)
    values = generator.exponential(size=400)
    slow = bootstrap_interval(lambda rows: float(values[rows].mean()), 400)
    assert slow == pytest.approx(mean_interval(values), abs=0.02)
    reference = bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0))
    assert mean_interval(values) == pytest.approx(tuple(reference.confidence_interval), abs=0.02)


def test_mistakes_are_drawn_one_by_one_as_they_are_drawn_by_cell(monkeypatch):
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 6, 2000)
    predictions = np.where(generator.random(2000) < 0.7, labels, generator.integers(0, 6, 2000))
    by_cell = confusion_intervals(labels, predictions, 6)
    monkeypatch.setattr(intervals, "_FEW_CELLS", 0)
    one_by_one = confusion_intervals(labels, predictions, 6)
    for key, ends in by_cell.items():
        assert one_by_one[key] == pytest.approx(ends, abs=0.004)


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_the_same():
    values = np.random.default_rng(6).exponential(size=5000)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)
    assert mean_interval(values, seed=1) == pytest.approx(mean_interval(values, seed=2), abs=0.01)
    labels = np.repeat([0, 1], 200)
    predictions = np.where(np.arange(400) % 7, labels, 1 - labels)
    assert confusion_intervals(labels, predictions, 2, 3) == confusion_intervals(labels, predictions, 2, 3)


def test_what_cannot_be_told_has_no_interval():
    assert all(math.isnan(end) for end in mean_interval(np.array([])))
    assert all(math.isnan(end) for end in mean_interval(np.array([0.1, math.nan])))
    assert all(math.isnan(end) for end in bootstrap_interval(lambda rows: 0.0, 0))
    empty = confusion_intervals(np.array([], dtype=int), np.array([], dtype=int), 3)
    assert all(math.isnan(end) for ends in empty.values() for end in ends)
    assert mean_interval(np.full(10, 0.5)) == (0.5, 0.5)


def test_all_right_and_all_wrong():
    labels = np.repeat([0, 1, 2], 20)
    right = confusion_intervals(labels, labels, 3)
    assert right["f1_macro"] == right["balanced_accuracy"] == (1.0, 1.0)
    wrong = confusion_intervals(labels, (labels + 1) % 3, 3)
    assert wrong["f1_macro"] == wrong["accuracy"] == (0.0, 0.0)


def test_fifty_thousand_images_of_a_thousand_classes_are_quick():
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 1000, 50_000)
    predictions = np.where(generator.random(50_000) < 0.8, labels, generator.integers(0, 1000, 50_000))
    begin = time.process_time()
    confusion_intervals(labels, predictions, 1000)
    mean_interval(generator.exponential(size=50_000))
    assert time.process_time() - begin < 1.0  # 0.15 s on a quiet machine
