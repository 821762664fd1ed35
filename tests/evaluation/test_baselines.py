"""What figures are held against."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score, log_loss

from superft_hf.evaluation.baselines import frozen_runs, majority


def values(strategy: str, **changes: object) -> dict:
    return {
        "name": changes.pop("name", None),
        "model": {"name_or_path": "m", "strategy": strategy, "head_epochs": changes.pop("head_epochs", 1)},
        "training": {"seed": 1, **changes},
    }


def test_majority_is_what_scikit_learns_dummy_does():
    train, names = {"a": 5, "b": 30, "c": 15}, ["a", "b", "c"]
    labels = np.array([0] * 10 + [1] * 25 + [2] * 15)
    found = majority(train, labels, names)
    fitted = DummyClassifier(strategy="most_frequent").fit(
        np.zeros((50, 1)), np.repeat([0, 1, 2], [5, 30, 15])
    )
    predictions = fitted.predict(np.zeros((50, 1)))
    assert found.name == "always “b”" and found.run_id is None
    assert found.figures["accuracy"] == pytest.approx(0.5)
    assert found.figures["f1_macro"] == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert found.figures["loss"] == pytest.approx(log_loss(labels, np.tile([0.1, 0.6, 0.3], (50, 1))))


def test_majority_of_train_need_not_be_that_of_the_split():
    assert majority({"a": 9, "b": 1}, np.array([1, 1, 1]), ["a", "b"]).figures["accuracy"] == 0


def test_without_counts_or_labels_there_is_no_guess():
    assert majority({}, np.array([0]), ["a"]) is None
    assert majority({"a": 1}, np.array([], dtype=int), ["a"]) is None
    # A class that train lacks has no share there, and so the guess no loss.
    assert "loss" not in majority({"a": 3}, np.array([0, 1]), ["a", "b"]).figures


def test_a_frozen_baseline_differs_in_the_layers_that_are_trained_alone():
    all_values = {
        "full": values("full"),
        "frozen": values("head", name="another name"),
        "frozen, other head epochs": values("head", head_epochs=3),
        "other seed": values("head", seed=2),
        "first the head": values("head-then-full"),
    }
    assert frozen_runs("full", all_values) == ["frozen", "frozen, other head epochs"]
    assert frozen_runs("frozen", all_values) == ["frozen, other head epochs"]
    assert frozen_runs("gone", all_values) == []
