"""The headline: every figure with its interval, what it is held against, and when the split is too small."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from superft_hf.evaluation.baselines import Baseline, majority
from superft_hf.evaluation.headline import class_figures, figures_table, images_needed, of_evaluation
from superft_hf.evaluation.intervals import wilson_interval


def rows(labels: np.ndarray, predictions: np.ndarray, losses: np.ndarray | None = None) -> pd.DataFrame:
    found = np.linspace(0, 2, len(labels)) if losses is None else losses
    return pd.DataFrame({"label": labels, "prediction": predictions, "loss": found.astype(np.float32)})


def some(total: int, num_classes: int, accuracy: float, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.arange(total) % num_classes
    other = (labels + generator.integers(1, max(num_classes, 2), total)) % num_classes
    return rows(labels, np.where(generator.random(total) < accuracy, labels, other))


def test_every_figure_is_scikit_learns_and_lies_in_its_interval():
    table = some(600, 4, 0.8)
    found = of_evaluation(table, list("abcd"), "eval")
    labels, predictions = table["label"], table["prediction"]
    expected = {
        "accuracy": sk.accuracy_score(labels, predictions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predictions),
        "f1_macro": sk.f1_score(labels, predictions, average="macro"),
        "f1_weighted": sk.f1_score(labels, predictions, average="weighted"),
        "precision_macro": sk.precision_score(labels, predictions, average="macro"),
        "precision_weighted": sk.precision_score(labels, predictions, average="weighted"),
        "recall_macro": sk.recall_score(labels, predictions, average="macro"),
        "loss": table["loss"].mean(),
    }
    assert {key: one.value for key, one in found.figures.items()} == pytest.approx(expected)
    assert all(one.low < one.value < one.high for one in found.figures.values())
    right = int((labels == predictions).sum())
    accuracy = found.figures["accuracy"]
    assert (accuracy.low, accuracy.high) == wilson_interval(right, 600) and accuracy.method == "Wilson"
    assert found.figures["f1_macro"].method == "bootstrap"
    assert (found.num_images, found.num_classes, found.warnings) == (600, 4, ())


def test_top5_comes_from_the_run_and_has_wilsons_interval():
    table = some(200, 10, 0.5)
    names = [str(one) for one in range(10)]
    top5 = of_evaluation(table, names, "eval", top5_accuracy=0.9).figures["top5_accuracy"]
    assert (top5.low, top5.high) == wilson_interval(180, 200)
    assert (
        "top5_accuracy"
        not in of_evaluation(some(200, 4, 0.5), list("abcd"), "eval", top5_accuracy=1.0).figures
    )


def test_baselines_stand_beside_the_figures_with_a_paired_difference():
    table = some(400, 4, 0.9)
    frozen_rows = some(400, 4, 0.7, seed=1)
    guess = majority({"a": 7, "b": 1, "c": 1, "d": 1}, table["label"].to_numpy(), list("abcd"))
    frozen = Baseline("frozen", {"accuracy": 0.7}, "run")
    found = of_evaluation(table, list("abcd"), "eval", guess=guess, frozen=frozen, frozen_rows=frozen_rows)
    assert found.figures["accuracy"].baselines == (0.25, 0.7)
    assert found.figures["f1_macro"].baselines == (pytest.approx(0.1), None)
    mine = (table["label"] == table["prediction"]).to_numpy()
    other = (frozen_rows["label"] == frozen_rows["prediction"]).to_numpy()
    assert found.over_frozen.value == pytest.approx(mine.mean() - other.mean())
    assert 0 < found.over_frozen.low < found.over_frozen.value < found.over_frozen.high
    # Other images cannot be joined.
    assert of_evaluation(table, list("abcd"), "eval", frozen=frozen).over_frozen is None
    head = figures_table(found)
    assert list(head.columns) == ["metric", "value", "low", "high", "method", "always “a”", "frozen"]
    assert head.set_index("metric").loc["accuracy", "frozen"] == 0.7


def test_a_split_that_is_too_small_to_tell_is_warned_of():
    table = some(40, 2, 0.6)
    guess = Baseline("always “a”", {"accuracy": float((table["label"] == table["prediction"]).mean()) - 0.1})
    first, second = of_evaluation(table, ["a", "b"], "eval", guess=guess).warnings
    assert first.startswith("Too few images to tell it from always “a”: the gain of +10.0 points")
    assert second.startswith("With 40 images accuracy is known to ±")
    better = Baseline("always “a”", {"accuracy": 0.99})
    assert "No better than always “a”" in of_evaluation(table, ["a", "b"], "eval", guess=better).warnings[0]


def test_classes_with_few_images_or_none_are_warned_of():
    labels = np.array([0] * 300 + [1] * 300 + [2] * 9)
    found = of_evaluation(rows(labels, labels), list("abcd"), "eval").warnings
    assert found == (
        "1 of 4 classes has fewer than 10 images here: the recall of one says little.",
        "1 class has no image here, and no recall.",
    )


def test_averages_that_lie_beside_their_interval_are_explained():
    table = some(1000, 500, 0.7)
    found = of_evaluation(table, [str(one) for one in range(500)], "eval")
    figure = found.figures["f1_macro"]
    assert not figure.low <= figure.value <= figure.high
    assert "off to one side" in found.warnings[0]


def test_losses_that_are_no_numbers_are_told_and_the_rest_is_there():
    table = some(300, 3, 0.9)
    table.loc[:4, "loss"] = math.nan
    found = of_evaluation(table, list("abc"), "eval")
    assert math.isnan(found.figures["loss"].value) and math.isnan(found.figures["loss"].low)
    assert found.figures["accuracy"].value > 0.8
    assert found.warnings[0] == "The loss of 5 images is no number: training diverged; there is no mean."


def test_a_split_without_images():
    found = of_evaluation(rows(np.array([], dtype=int), np.array([], dtype=int)), ["a", "b"], "test")
    assert found.warnings == ("There is no image in this split.",)
    assert all(math.isnan(one.value) for one in found.figures.values())


@pytest.mark.parametrize("is_right", [True, False])
def test_all_right_and_all_wrong(is_right):
    labels = np.arange(200) % 2
    found = of_evaluation(rows(labels, labels if is_right else 1 - labels), ["a", "b"], "eval")
    assert found.figures["f1_macro"].value == float(is_right)
    low, high = found.figures["accuracy"].low, found.figures["accuracy"].high
    assert (low > 0.98 and high == 1) if is_right else (low == 0 and high < 0.02)


def test_images_needed_is_that_of_the_normal_approximation():
    assert images_needed(0.5, 0.05) == 385  # as in every textbook
    assert images_needed(1.0) == images_needed(0.95)


def test_class_figures_have_wilsons_intervals_and_no_figure_without_images():
    table = class_figures(rows(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])), ["a", "b", "c"]).set_index(
        "class_name"
    )
    assert table.loc["a", ["support", "predicted", "right"]].tolist() == [2, 1, 1]
    assert (table.loc["a", "recall_low"], table.loc["a", "recall_high"]) == wilson_interval(1, 2)
    assert (table.loc["b", "precision_low"], table.loc["b", "precision_high"]) == wilson_interval(2, 3)
    assert table.loc["a", "f1"] == pytest.approx(2 / 3)
    assert table.loc["c", ["recall", "recall_low", "precision", "f1"]].isna().all()
