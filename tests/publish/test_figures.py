"""The still figures: a PNG from two classes to a thousand, in the colours of their meanings."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from superft_hf.publish.figures import MAX_CLASSES, confusion_figure, curves_figure


def colors(png: bytes) -> set[tuple[int, int, int]]:
    return set(Image.open(io.BytesIO(png)).convert("RGB").get_flattened_data())


def curves(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(key, epoch, value) for key, line in values.items() for epoch, value in enumerate(line, start=1)]
    return pd.DataFrame(rows, columns=["key", "epoch", "value"])


@pytest.mark.parametrize("count", [2, 30, 61, 1000])
def test_a_matrix_of_any_size_shows_its_wrong_cells(count):
    matrix = np.eye(count, dtype=int) * 20
    matrix[0, 1] = 5
    names = [f"class {index}" for index in range(count)]
    png = confusion_figure(matrix, names, "test")
    image = Image.open(io.BytesIO(png))
    assert 500 < image.width < 2000 and len(png) < 600_000
    found = colors(png)
    assert (0xB9, 0x3A, 0x08) in found and (0x7F, 0xB2, 0xFA) in found  # wrong, right


def test_few_mistakes_stay_pale():
    matrix = np.array([[20, 1], [0, 20]])
    found = colors(confusion_figure(matrix, ["a", "b"], "eval"))
    assert (0xFA, 0xDC, 0xCB) in found and (0xB9, 0x3A, 0x08) not in found


@pytest.mark.parametrize("matrix", [np.zeros((1, 1)), np.zeros((3, 3)), np.zeros((MAX_CLASSES + 1,) * 2)])
def test_what_has_no_matrix_is_left_out(matrix):
    assert confusion_figure(matrix.astype(int), ["x"] * len(matrix), "eval") is None


def test_odd_class_names_are_drawn_as_they_are():
    names = ["$x^2$", "a very long name of a class that nobody reads", "_"]
    assert confusion_figure(np.eye(3, dtype=int), names, "eval")


def test_curves_have_train_eval_and_a_ring():
    png = curves_figure(
        curves({"loss": [2.0, 1.0, 0.5], "eval_loss": [1.8, 1.1, 1.2], "eval_accuracy": [0.5, 0.7, 0.7]}), 2.0
    )
    found = colors(png)
    assert (0x70, 0x48, 0xE8) in found and (0x7A, 0x84, 0x94) in found
    other = curves_figure(
        curves({"loss": [2.0, 1.0, 0.5], "eval_loss": [1.8, 1.1, 1.2], "eval_accuracy": [0.5, 0.7, 0.7]}),
        None,
    )
    assert png != other


def test_a_run_of_one_epoch_and_one_with_gaps_are_drawn():
    assert curves_figure(curves({"loss": [1.0], "eval_loss": [1.0], "eval_accuracy": [0.5]}), 1.0)
    assert curves_figure(curves({"loss": [1.0, float("nan"), 0.5]}), None)
    assert curves_figure(curves({}), None) is None
