"""Curves against scikit-learn, on random scores with ties, and on real predictions."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from superft_hf.evaluation import curves


def scored(seed, count=400, num_classes=4, digits=None, strength=1.5):
    """Probabilities and labels; with few digits there are many ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, count)
    logits = generator.normal(size=(count, num_classes))
    logits[np.arange(count), labels] += strength
    probabilities = softmax(logits, axis=1)
    return (probabilities if digits is None else np.round(probabilities, digits)), labels


@pytest.fixture(scope="module")
def real():
    data = load_digits()
    model = LogisticRegression(max_iter=200).fit(data.data[:300], data.target[:300])
    return model.predict_proba(data.data[300:]), data.target[300:]


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_one_class__is_what_sklearn_draws(seed, digits):
    probabilities, labels = scored(seed, digits=digits)
    for label in range(4):
        scores, truth = probabilities[:, label], labels == label
        for own, theirs in (
            (curves.roc(scores, truth), sk.roc_curve(truth, scores, drop_intermediate=False)),
            (curves.precision_recall(scores, truth), sk.precision_recall_curve(truth, scores)),
        ):
            for ours, expected in zip(own, theirs, strict=True):
                np.testing.assert_allclose(ours, expected)
        assert curves.auc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores))
        expected = sk.average_precision_score(truth, scores)
        assert curves.average_precision(scores, truth) == pytest.approx(expected)


def test_one_class__on_real_predictions(real):
    probabilities, labels = real
    for label in range(10):
        found = curves.count(probabilities[:, label], labels == label)
        assert found.auc == pytest.approx(sk.roc_auc_score(labels == label, probabilities[:, label]))


@pytest.mark.parametrize("exact_scores", [curves.EXACT_SCORES, 0])
def test_averages__are_those_of_sklearn(real, exact_scores):
    probabilities, labels = real
    found = curves.average(probabilities, labels, exact_scores=exact_scores)
    truth = np.eye(10)[labels]
    assert found.macro_auc == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found.macro_average_precision == pytest.approx(
        sk.average_precision_score(truth, probabilities, average="macro")
    )
    close = {"abs": 1e-3} if found.is_binned else {"rel": 1e-9}
    assert found.is_binned == (exact_scores == 0)
    assert found.micro.auc == pytest.approx(sk.roc_auc_score(truth, probabilities, average="micro"), **close)
    assert found.micro.average_precision == pytest.approx(
        sk.average_precision_score(truth, probabilities, average="micro"), **close
    )


@pytest.mark.parametrize("strength", [0.0, 1.0, 8.0])
def test_averages__binned_scores_are_right_to_a_thousandth(strength):
    probabilities, labels = scored(1, count=20_000, num_classes=30, strength=strength)
    exact = curves.average(probabilities, labels).micro
    binned = curves.average(probabilities, labels, exact_scores=0).micro
    assert binned.auc == pytest.approx(exact.auc, abs=1e-3)
    assert binned.average_precision == pytest.approx(exact.average_precision, abs=1e-3)
    assert (binned.num_positives, binned.num_negatives) == (20_000, 580_000)
    assert len(binned.thresholds) < len(exact.thresholds) / 4


def test_averages__the_macro_curve_is_the_mean_of_interpolated_curves():
    """As scikit-learn's example of multiclass ROC draws it."""
    probabilities, labels = scored(7, count=300, num_classes=3)
    found = curves.average(probabilities, labels)
    inside = curves.GRID[5:-5]
    expected = np.zeros(len(inside))
    for label in range(3):
        rate, recall, _ = sk.roc_curve(labels == label, probabilities[:, label], drop_intermediate=False)
        # At a rate where the curve is vertical, the upper end counts, as between the points of the grid.
        expected += np.interp(inside + 1e-9, rate, recall) / 3
    np.testing.assert_allclose(found.macro_recall[5:-5], expected, atol=1e-6)
    assert found.macro_precision[0] >= found.macro_precision[-1] > 0
    assert np.all(np.diff(found.macro_recall) >= -1e-12)


def test_a_class_without_positives_or_negatives_has_no_curve():
    scores = np.array([0.1, 0.4, 0.8])
    for truth in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert curves.count(scores, truth) is None and curves.roc(scores, truth) is None
        assert curves.precision_recall(scores, truth) is None
        assert curves.auc(scores, truth) is None and curves.average_precision(scores, truth) is None
    probabilities, labels = scored(3)
    labels[labels == 2] = 1
    found = curves.average(probabilities, labels)
    assert np.isnan(found.auc[2]) and found.num_defined == 3
    assert found.macro_auc == pytest.approx(np.nanmean(found.auc))
    rows = curves.class_rows(found, ["a", "b", "c", "d"], labels)
    assert rows[2] == {"class": "c", "images": 0, "auc": None, "average_precision": None}


def test_averages__of_one_class_alone_are_not_defined():
    found = curves.average(np.full((4, 2), 0.5), np.zeros(4, dtype=int))
    assert found.num_defined == 0 and found.macro_auc is None and found.macro_average_precision is None


def test_scores_that_are_no_numbers_are_left_out_and_counted():
    probabilities, labels = scored(5)
    broken = probabilities.copy()
    broken[::7] = np.nan
    kept = ~np.isnan(broken[:, 0])
    found = curves.count(broken[:, 1], labels == 1)
    assert found.num_dropped == int((~kept).sum())
    assert found.auc == pytest.approx(sk.roc_auc_score((labels == 1)[kept], probabilities[kept, 1]))
    whole = curves.average(broken, labels)
    assert whole.num_dropped == int((~kept).sum()) and whole.num_defined == 4
    assert curves.count(np.full(3, np.nan), np.array([True, False, True])) is None


def test_at__counts_what_reaches_a_threshold():
    found = curves.count(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, False]))
    assert [found.at(one) for one in (1.0, 0.9, 0.6, 0.5, 0.2, 0.0)] == [
        (0, 0), (1, 0), (1, 0), (2, 1), (2, 1), (2, 2)
    ]  # fmt: skip


def test_thinned__keeps_ends_and_shape():
    probabilities, labels = scored(2, count=50_000, num_classes=2)
    rate, recall, _ = curves.roc(probabilities[:, 1], labels == 1)
    x, y = curves.thinned(rate, recall, 500)
    assert len(x) <= 502 and (x[0], y[0]) == (rate[0], recall[0]) and (x[-1], y[-1]) == (1, 1)
    assert np.trapezoid(y, x) == pytest.approx(np.trapezoid(recall, rate), abs=1e-4)
    short = curves.thinned(rate[:9], recall[:9])
    assert short[0].tolist() == rate[:9].tolist() and short[1].tolist() == recall[:9].tolist()
