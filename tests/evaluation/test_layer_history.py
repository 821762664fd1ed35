"""The layers' history: its file from line to line, thinning, and the sentence about it."""

import json
import math

import numpy as np
import pytest

from superft_hf.evaluation import layer_history
from superft_hf.evaluation.layer_history import (
    Layer,
    LayerFile,
    LayerHistory,
    in_words,
    read_history,
    thinned,
    with_gradients,
)

LAYERS = (Layer("stem", 10), Layer("block", 20), Layer("head", 5, is_head=True))
NAN = math.nan


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layers"


def history(*changes, gradients=None, layers=None):
    """A history of these changes, one list a step."""
    values = np.array(changes, dtype=float)
    size = values.shape[1]
    layers = layers or (*(Layer(f"b{place}", 1) for place in range(size - 1)), Layer("head", 1, is_head=True))
    steps = np.arange(1, 1 + len(values))
    taken = np.full_like(values, NAN) if gradients is None else np.array(gradients, dtype=float)
    return LayerHistory(layers, steps, steps / 2, values, taken, np.ones_like(values))


def write(path, steps, max_steps=100, begin=0):
    file = LayerFile(path, LAYERS)
    file.begin(begin, max_steps)
    for step in steps:
        file.append(step, step / 10, [0.1, 0.0, step], [1.0, NAN, 2.0], [4.0, 2.0, 8.0])
    return file


def test_what_was_written_is_read(path):
    write(path, [1, 2])
    found = read_history(path)
    assert found.layers == LAYERS and found.steps.tolist() == [1, 2] and found.epochs.tolist() == [0.1, 0.2]
    assert found.changes.tolist() == [[0.1, 0.0, 1.0], [0.1, 0.0, 2.0]]
    assert found.final_changes.tolist() == [0.1, 0.0, 2.0]
    np.testing.assert_array_equal(found.relative_gradients[0], [0.25, NAN, 0.25])


def test_no_file_and_a_file_without_steps_are_nothing(path):
    assert read_history(path) is None
    write(path, [])
    assert read_history(path) is None


@pytest.mark.parametrize("text", ["", "no json\n", "[1]\n", '{"step": 1}\n', "\x00\xff"])
def test_a_damaged_file_is_nothing(path, text):
    path.write_text(text, encoding="latin-1")
    assert read_history(path) is None


def test_a_half_written_line_is_passed_over_and_mended_on_going_on(path):
    write(path, [1, 2])
    text = path.read_text()
    path.write_text(text[:-20])
    assert read_history(path).steps.tolist() == [1]
    write(path, [2, 3], begin=1)
    assert read_history(path).steps.tolist() == [1, 2, 3]


def test_going_on_removes_what_is_later_than_the_checkpoint(path):
    write(path, [1, 2, 3, 4])
    write(path, [3], begin=2)
    assert read_history(path).steps.tolist() == [1, 2, 3]
    write(path, [], begin=0)
    assert read_history(path) is None


def test_other_layers_begin_anew(path):
    write(path, [1, 2])
    LayerFile(path, LAYERS[1:]).begin(2, 100)
    assert json.loads(path.read_text())["layers"] == [["block", 20, False], ["head", 5, True]]


def test_a_step_that_is_not_later_is_refused(path):
    file = write(path, [2])
    with pytest.raises(ValueError, match="step 2 is not later than 2"):
        file.append(2, 1.0, [0] * 3, [0] * 3, [0] * 3)


def test_a_long_run_records_fewer_of_its_steps(path):
    file = write(path, [1], max_steps=1280)
    assert not file.wants(10) and file.wants(11)
    assert write(path, [1], max_steps=100).wants(2)


def test_a_file_is_thinned_evenly_and_keeps_its_last_step(path, monkeypatch):
    monkeypatch.setattr(layer_history, "MAX_STEPS", 8)
    file = write(path, range(1, 10))
    assert read_history(path).steps.tolist() == [1, 3, 5, 7, 9]
    assert not file.wants(10) and file.wants(11)
    file = write(path, range(10, 400), begin=9)
    found = read_history(path).steps.tolist()
    assert len(found) <= 8 and found[-1] == 399


def test_a_picture_has_at_most_so_many_steps():
    found = thinned(history(*[[0.1, step] for step in range(1, 101)]), 10)
    assert found.steps.tolist() == list(range(10, 101, 10)) and found.changes[-1, 1] == 100
    few = history([0.1, 0.2])
    assert thinned(few, 10) is few


def test_steps_without_gradients_are_left_out_of_their_picture():
    found = history([1, 1], [2, 2], [3, 3], gradients=[[NAN, NAN], [1, NAN], [NAN, NAN]])
    assert with_gradients(found).steps.tolist() == [2]
    np.testing.assert_array_equal(found.final_gradients, [1, NAN])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            [0.004, 0.01, 0.12, 0.85],
            "b2, the last one before the head, has changed most: by 12 %; the first by 0.40 %, the last by "
            "12 %; the head by 85 %.",
        ),
        (
            [0.5, 0.01, 0.12, 0.2, 0.1, 0.3, 0.85],
            "b0, the first layer, has changed most: by 50 %; the first 2 by 26 % at the median, the last 2 "
            "by 20 % at the median; the head by 85 %.",
        ),
        (
            [0.0, 0.0, 0.12, 0.02, 0.85],
            "b2, layer 3 of 4, has changed most: by 12 %; the first by 0 %, the last by 2.0 %; 2 of 4 are as "
            "they were; the head by 85 %.",
        ),
        (
            [0.02, 0.03, 0.85],
            "All layers of the body have changed about alike: 2.0 % to 3.0 %; the head by 85 %.",
        ),
        ([0.0, 0.0, 0.85], "Only the head trained: it has changed by 85 %, every other layer is as it was."),
        ([0.031, 0.85], "The body has changed by 3.1 %; the head by 85 %."),
        ([0.85], "The head has changed by 85 %."),
        (
            [NAN, NAN],
            "How far the layers moved is not known: there was no memory to keep the first weights.",
        ),
    ],
)  # fmt: skip
def test_the_sentence(changes, words):
    assert in_words(history(changes)) == words


def test_the_sentence_of_a_run_that_goes_on_and_a_name_that_is_escaped():
    found = history([0.004, 0.01, 0.12, 0.85])
    words = in_words(found, lambda name: f"`{name}`", is_going_on=True)
    assert words.startswith("`b2`, the last one before the head, has changed most so far: by 12 %")
