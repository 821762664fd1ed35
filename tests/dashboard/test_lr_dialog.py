"""The dialog that finds a learning rate, and the figure in it."""

import threading
import time

import numpy as np
import pytest

from dashboard import charts, lr_finding, state
from dashboard.lr_chart import RateMark, lr_figure
from superft_hf.config_file import make_config
from superft_hf.errors import OutOfMemoryError
from superft_hf.preflight.lr_find import LrRange
from superft_hf.recipe.lr_range import rate_at

RATE = "training.learning_rate"


def range_of(**changes) -> LrRange:
    rates = tuple(rate_at(step, 60) for step in range(50))
    values = {
        "learning_rates": rates, "losses": (2.0,) * 50,
        "smoothed": tuple(2.0 - step / 50 for step in range(50)), "is_diverged": True,
        "steepest": 0.00231, "valley": 0.000316, "family": "convnet", "batch_size": 8,
        "learning_rate": 0.001, "device": "2 CPU cores", "duration_s": 12.0,
    }  # fmt: skip
    return LrRange(**{**values, **changes})


@pytest.fixture
def open_start(open_page, make_folder):
    """`open_start()`: the Start page with images, and these settings chosen."""
    images = make_folder({"train/cat": 14, "train/dog": 14, "test/cat": 4, "test/dog": 4})

    def opened(**changes):
        draft = {
            "model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": str(images),
            "model.image_size": 32, "hardware.devices": "cpu", "training.seed": next(SEEDS), **changes,
        }  # fmt: skip
        return open_page("start", session={state.START_DRAFT: draft})

    return opened


SEEDS = iter(range(1000, 2000))
"""Each test has settings of its own: tests that were begun are kept by the server."""


@pytest.fixture
def child(monkeypatch):
    """Stands in for the child process: says one update, waits where it is told to, answers."""
    go_on = threading.Event()
    go_on.set()
    answers = [range_of()]
    asked = []

    def find(config, home, hear, stop):
        asked.append(config)
        hear({"step": 12, "steps": 50, "learning_rate": 3.2e-6, "loss": 2.1})
        while not go_on.wait(0.05):
            if stop.is_set():
                raise OutOfMemoryError(8, "cpu")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    monkeypatch.setattr(lr_finding, "find", find)
    return go_on, answers, asked


def words(test) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind).replace(
        "\\", ""
    )


def keys(test) -> list[str]:
    return [button.key for button in test.button]


def found(test):
    """The page once the test is done."""
    test.get_by_key("start_lr_find").click().run()
    for _ in range(100):
        if "lr_find_stop" not in keys(test):
            return test
        time.sleep(0.1)
        test.run()
    raise AssertionError("the test does not end")


def draft(test) -> dict:
    return test.session_state[state.START_DRAFT]


def test_the_suggestion_is_taken_by_one_click(open_start, child):
    test = found(open_start())
    assert not test.exception
    assert "Suggested: 0.00032, the middle of the fall of the loss." in words(test)
    assert "50 updates of 8 images on 2 CPU cores, until the loss diverged, in 12 s." in words(test)
    assert test.get_by_key("lr_find_take").label == "Take 0.00032"
    test.get_by_key("lr_find_take").click().run()
    assert not test.exception
    assert draft(test)[RATE] == 0.00032 and state.START_DIALOG not in test.session_state
    assert test.number_input(key="start_training_learning_rate").value == 0.00032


def test_the_steepest_rate_may_be_taken_as_well(open_start, child):
    test = found(open_start())
    assert test.get_by_key("lr_find_take_steepest").label == "Take 0.0023, where it falls fastest"
    test.get_by_key("lr_find_take_steepest").click().run()
    assert draft(test)[RATE] == 0.0023


def test_a_test_is_found_again_when_its_rate_was_taken_and_not_for_another_batch(open_start, child):
    _, _, asked = child
    test = found(open_start())
    test.get_by_key("lr_find_take").click().run()
    test = found(test)
    assert len(asked) == 1 and "lr_find_take" not in keys(test), "the form has that rate already"
    test.session_state[state.START_DIALOG] = None
    test.get_by_key("start_training_per_device_train_batch_size").set_value(4).run()
    found(test)
    assert len(asked) == 2 and asked[1].training.per_device_train_batch_size == 4


def test_a_transformer_gets_a_hint_and_no_button_to_press_first(open_start, child):
    child[1][0] = range_of(family="transformer")
    test = found(open_start())
    assert "A hint only: the loss falls well around 0.00032." in words(test) and "warm-up" in words(test)
    assert test.get_by_key("lr_find_take").label == "Take 0.00032 all the same"
    assert "lr_find_take_steepest" not in keys(test)


def test_it_can_be_stopped_and_begun_again(open_start, child):
    go_on, _, asked = child
    go_on.clear()
    test = open_start()
    test.get_by_key("start_lr_find").click().run()
    assert "lr_find_stop" in keys(test) and "no run is made of it" in words(test)
    test.get_by_key("lr_find_stop").click().run()
    assert "Stopped: nothing was found" in words(test) and draft(test).get(RATE) is None
    go_on.set()
    test.get_by_key("lr_find_begin").click().run()
    for _ in range(50):
        if "lr_find_take" in keys(test):
            break
        time.sleep(0.1)
        test.run()
    assert "lr_find_take" in keys(test) and len(asked) == 2


def test_what_goes_wrong_is_a_sentence(open_start, child):
    child[1][0] = OutOfMemoryError(8, "cpu")
    test = found(open_start())
    assert "Out of memory on cpu with 8 images a step." in words(test) and not test.exception
    child[1][0] = range_of()
    test.get_by_key("lr_find_begin").click().run()
    test = found(test)
    assert "lr_find_take" in keys(test)


def test_settings_that_are_refused_are_told_in_the_dialog(open_start, child):
    test = open_start(**{"training.nesterov": True})
    test.get_by_key("start_lr_find").click().run()
    assert "training.nesterov needs training.optim sgd" in words(test) and not child[2]


def test_a_loss_that_never_fell_offers_nothing(open_start, child):
    child[1][0] = range_of(valley=None, steepest=None, is_diverged=False)
    test = found(open_start())
    assert "this test cannot suggest one" in words(test) and "up to the highest rate" in words(test)
    assert not {"lr_find_take", "lr_find_take_steepest"} & set(keys(test))


@pytest.mark.parametrize(
    ("key", "value", "is_same"),
    [
        ("learning_rate", 0.5, True), ("num_train_epochs", 9, True), ("warmup_steps", 5.0, True),
        ("per_device_train_batch_size", 4, False), ("optim", "sgd", False), ("l1", 0.1, False),
        ("label_smoothing_factor", 0.2, False),
    ],
)  # fmt: skip
def test_a_test_belongs_to_what_acts_within_an_update(key, value, is_same):
    values = {"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}}
    keys = [lr_finding._key(make_config({**values, "training": part})) for part in ({}, {key: value})]
    assert (keys[0] == keys[1]) is is_same


@pytest.mark.parametrize("is_dark", [True, False])
def test_figure__a_logarithmic_axis_with_the_suggestion_on_the_curve(is_dark):
    rates = [rate_at(step, 100) for step in range(80)]
    smooth = [2.0 - step / 80 for step in range(79)] + [50.0]
    marks = [RateMark(1e-3, "the rule's"), RateMark(3.2e-4, "suggested", is_strong=True)]
    figure = lr_figure(rates, [1.0] * 80, smooth, marks=marks, is_dark=is_dark)
    assert figure.layout.xaxis.type == "log" and tuple(figure.layout.xaxis.range) == (-7, 1)
    raw, line, ring = figure.data
    assert list(line.x) == rates and list(line.y) == smooth and list(raw.y) == [1.0] * 80
    nearest = int(np.argmin(np.abs(np.log10(rates) - np.log10(3.2e-4))))
    assert (ring.x[0], ring.y[0]) == (3.2e-4, smooth[nearest])
    assert [one.x0 for one in figure.layout.shapes] == [1e-3, 3.2e-4]
    assert [one.text for one in figure.layout.annotations] == ["the rule's 0.001", "<b>suggested 0.00032</b>"]
    assert figure.layout.annotations[1].x == pytest.approx(np.log10(3.2e-4)), "annotations stand in decades"
    low, high = figure.layout.yaxis.range
    assert low < min(smooth) and smooth[0] < high < 50, "what diverges leaves the chart"
    assert line.line.color == charts.palette(is_dark).train


def test_figure__before_the_first_update():
    figure = lr_figure([], [], [], marks=[RateMark(1e-3, "the rule's")], is_dark=False)
    assert tuple(figure.layout.xaxis.range) == (-7, 1) and len(figure.data) == 1
