"""The closer look: what it says of an image, the heat map in its place, the way to images like it."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax

from dashboard import close_look, close_look_heat, computing, state
from dashboard.close_look_charts import class_figure, history_figure
from dashboard.close_look_heat import GRAD_CAM
from dashboard.close_look_picture import encoded, make_large, placed, with_heat
from dashboard.examples import Place
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.prediction_files import read_numbers, read_row, read_texts, write_predictions
from tests.factories import make_completed_run, make_many_classes_run


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=8, epochs=3)


@pytest.fixture
def rows(store, run):
    return read_numbers(store.run_paths(run.run_id).prediction_file("eval", run.best_step))


@pytest.fixture
def look_at(open_page, run):
    """`look_at(3)`: the Errors page with the closer look at this row of the best evaluation."""

    def opened(row, split="eval", step=None, **session):
        place = Place(run.run_id, split, step or run.best_step, row)
        return open_page("errors", session={state.CLOSE_LOOK: (place,), **session}, run=run.run_id)

    return opened


def keep_features(store, run, features, split="eval"):
    paths = store.run_paths(run.run_id)
    step = run.best_step if split == "eval" else paths.prediction_steps("test")[-1]
    path = paths.embeddings_file(split, step)
    path.parent.mkdir(exist_ok=True)
    np.save(path, features.astype(np.float16))


def texts(page):
    return " ".join([*(one.value for one in page.markdown), *(one.value for one in page.subheader)])


# The dialog


def test_it_says_what_is_known_of_a_wrong_prediction(look_at, rows, store, run):
    wrong = int((rows["label"] != rows["prediction"]).to_numpy().nonzero()[0][0])
    row = rows.iloc[wrong]
    page = look_at(wrong)
    assert not page.exception
    label, prediction = int(row["label"]), int(row["prediction"])
    assert f"{label}, taken for {prediction}" in texts(page)
    assert f"{row['loss']:.3f}" in texts(page) and f"{100 * row['confidence']:.1f} %" in texts(page)
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    kept = read_texts(path, [wrong]).iloc[0]
    assert [one.value for one in page.code][-1] == kept["example_id"]
    assert kept["image"].endswith([one.value for one in page.code][0].rpartition("/")[2])
    steps = store.run_paths(run.run_id).prediction_steps("eval")
    assert f":violet[eval] {steps.index(run.best_step) + 1} of 3" in texts(page)
    assert f"probability of {label} · right in" in texts(page)


def test_a_right_one_is_recognised(look_at, rows):
    right = int((rows["label"] == rows["prediction"]).to_numpy().nonzero()[0][0])
    page = look_at(right)
    assert not page.exception
    assert f"{int(rows.iloc[right]['label'])}, recognised" in texts(page)


def test_a_dialog_that_was_dismissed_stays_closed_and_rests_no_polling(look_at):
    page = look_at(0)
    assert page.session_state[state.CLOSE_LOOK]
    del page.session_state[state.CLOSE_LOOK]
    page.run()
    assert not page.exception and not page.code


def test_it_belongs_to_the_pages_that_draw_it(look_at):
    page = look_at(0)
    page.switch_page("app_pages/runs.py").run()
    assert state.CLOSE_LOOK not in page.session_state


def test_test_images_stay_sealed(look_at, store, run):
    step = store.run_paths(run.run_id).prediction_steps("test")[-1]
    page = look_at(0, "test", step)
    assert "Test is sealed." in texts(page) and not page.code
    store.look_at_test(run.run_id, by="test")
    page = look_at(0, "test", step)
    assert not page.exception
    assert len(page.code) == 2 and "Over the epochs" not in texts(page)


def test_what_is_gone_is_said(look_at, open_page, run, store, make_folder):
    page = look_at(10**6)
    assert not page.exception and "there is no row" in texts(page)
    store.run_paths(run.run_id).prediction_file("eval", run.best_step).rename(store.home / "away.parquet")
    steps = store.run_paths(run.run_id).prediction_steps("eval")
    page = look_at(0, step=run.best_step)
    assert steps and "is gone" in texts(page)


def test_logits_that_are_no_numbers_are_said(store, run, look_at):
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    kept, numbers = read_texts(path), read_numbers(path)
    write_predictions(
        path, example_ids=kept["example_id"].tolist(), images=kept["image"].tolist(),
        labels=numbers["label"].to_numpy(), logits=np.full((len(kept), 10), np.nan, np.float32),
        is_full=True, class_names=[str(digit) for digit in range(10)],
    )  # fmt: skip
    page = look_at(0)
    assert not page.exception and "are no numbers" in texts(page)


def test_of_a_thousand_classes_of_which_twenty_are_kept(store, open_page):
    run = make_many_classes_run(store)
    place = Place(run.run_id, "eval", 100, 7)
    page = open_page("errors", session={state.CLOSE_LOOK: (place,)}, run=run.run_id)
    assert not page.exception
    assert "history begins with the second" in texts(page)


@pytest.mark.parametrize("is_full", [True, False])
def test_the_likeliest_are_exact_however_many_logits_are_kept(tmp_path, is_full):
    logits = np.random.default_rng(0).normal(0, 3, (4, 300)).astype(np.float32)
    path = tmp_path / "eval-1.parquet"
    write_predictions(
        path, example_ids=list("abcd"), images=list("abcd"), labels=np.zeros(4, int), logits=logits,
        is_full=is_full, class_names=[f"c{index}" for index in range(300)],
    )  # fmt: skip
    for row in range(4):
        expected = softmax(logits[row].astype(np.float64))
        best = np.argsort(-expected)[:5]
        found = close_look.likeliest(read_row(path, row), 300, 5)
        assert [one for one, _ in found] == best.tolist()
        assert [share for _, share in found] == pytest.approx(expected[best], rel=1e-5)


def test_two_classes_have_two_bars(tmp_path):
    path = tmp_path / "eval-1.parquet"
    write_predictions(
        path, example_ids=["a"], images=["a"], labels=np.array([1]), is_full=True, class_names=["no", "yes"],
        logits=np.array([[0.0, math.log(3)]], np.float32),
    )  # fmt: skip
    assert close_look.likeliest(read_row(path, 0), 2, 5) == [
        (1, pytest.approx(0.75)), (0, pytest.approx(0.25)),
    ]  # fmt: skip


# Images like it


def test_the_nearest_images_are_named_and_a_click_goes_there_and_back(look_at, rows, store, run):
    features = np.random.default_rng(0).normal(size=(len(rows), 16))
    features[[5, 9]] = features[3] + 0.1 * features[[5, 9]] * [[1], [4]]
    keep_features(store, run, features / np.linalg.norm(features, axis=1, keepdims=True))
    page = look_at(3)
    assert not page.exception
    buttons = [one for one in page.button if (one.key or "").startswith("close_look_like_")]
    assert [one.key for one in buttons[:2]] == ["close_look_like_eval_5", "close_look_like_eval_9"]
    assert len(buttons) == 8
    places = [int(one.key.rpartition("_")[2]) for one in buttons]
    same = int((rows["label"].to_numpy()[places] == rows["label"].iloc[3]).sum())
    assert f"{same} of 8 are labelled {rows['label'].iloc[3]}" in texts(page)
    buttons[0].click().run()
    assert not page.exception
    assert [one.row for one in page.session_state[state.CLOSE_LOOK]] == [3, 5]
    page.button(key="close_look_back").click().run()
    assert [one.row for one in page.session_state[state.CLOSE_LOOK]] == [3]


def test_runs_without_features_say_so(look_at):
    assert "kept no features of its images" in texts(look_at(0))


def test_a_test_image_is_compared_with_eval_unless_test_is_asked_for(look_at, rows, store, run):
    store.look_at_test(run.run_id, by="test")
    paths = store.run_paths(run.run_id)
    step = paths.prediction_steps("test")[-1]
    size = len(read_numbers(paths.prediction_file("test", step)))
    generator = np.random.default_rng(0)
    for split, count in (("eval", len(rows)), ("test", size)):
        keep_features(store, run, generator.normal(size=(count, 4)), split)
    page = look_at(0, "test", step)
    assert "Nearest images in eval" in texts(page)
    page = look_at(0, "test", step, close_look_likes_split="test")
    assert not page.exception and "Nearest images in test" in texts(page)
    keys = [one.key for one in page.button if (one.key or "").startswith("close_look_like_")]
    assert len(keys) == 8 and "close_look_like_test_0" not in keys


def test_features_that_cannot_be_read_are_no_end_of_the_page(look_at, store, run):
    keep_features(store, run, np.ones((3, 2)))
    assert "cannot be shown" in texts(look_at(7))


# Heat maps


class Answering:
    """Stands in for the child: remembers what it was asked, and answers with a spot in the middle."""

    def __init__(self, *, has_rollout=False, error=None):
        self.asked, self._has_rollout, self._error = [], has_rollout, error

    def call(self, function, model, image, class_id, method):
        self.asked.append((function, class_id, method))
        if self._error:
            raise self._error
        values = np.zeros((8, 8), np.float32)
        values[3:5, 3:5] = 1
        is_rollout = self._has_rollout and method is None
        return {
            "values": values, "box": (0.1, 0.0, 0.9, 1.0), "note": "",
            "method": "attention rollout" if is_rollout else GRAD_CAM,
            "class_id": None if is_rollout else class_id, "prediction": 3, "confidence": 0.5,
            "has_rollout": self._has_rollout,
        }  # fmt: skip


@pytest.fixture
def answering(monkeypatch, store, run):
    def made(**options):
        store.run_paths(run.run_id).model.mkdir(exist_ok=True)
        child = Answering(**options)
        monkeypatch.setattr(computing, "child", lambda: child)
        close_look_heat._asked.clear()
        return child

    return made


def test_without_a_model_there_is_no_heat_map(look_at):
    assert look_at(0).toggle(key="close_look_heat").disabled


def test_the_heat_map_explains_the_class_that_is_chosen(look_at, answering, rows, run):
    child = answering()
    wrong = int((rows["label"] != rows["prediction"]).to_numpy().nonzero()[0][0])
    label, prediction = (int(rows.iloc[wrong][name]) for name in ("label", "prediction"))
    page = look_at(wrong, close_look_heat=True)
    assert not page.exception
    assert child.asked == [(close_look_heat.HEAT_MAP, prediction, None)]
    assert f"speaks for {prediction}" in texts(page) and "cut off" in texts(page)
    key = f"close_look_class_eval_{run.best_step}_{wrong}"
    page.selectbox(key=key).set_value("true").run()
    assert child.asked[1:] == [(close_look_heat.HEAT_MAP, label, None)]
    other = next(digit for digit in range(10) if digit not in (label, prediction))
    page.selectbox(key=key).set_value(other).run()
    assert child.asked[2:] == [(close_look_heat.HEAT_MAP, other, None)]
    page.slider(key="close_look_strength").set_value(20).run()
    assert len(child.asked) == 3, "the strength is a matter of drawing"


def test_a_transformer_shows_attention_first_and_a_class_when_asked(look_at, answering, rows):
    child = answering(has_rollout=True)
    page = look_at(0, close_look_heat=True)
    assert not page.exception and "for whatever class" in texts(page)
    page = look_at(0, close_look_heat=True, close_look_method=GRAD_CAM)
    assert child.asked[-1] == (close_look_heat.HEAT_MAP, int(rows.iloc[0]["prediction"]), GRAD_CAM)
    assert "speaks for" in texts(page)


def test_a_model_that_cannot_be_asked_is_a_sentence(look_at, answering):
    answering(error=SuperFTError("The model is broken.", hint="Train again."))
    page = look_at(0, close_look_heat=True)
    assert not page.exception and "The model is broken" in texts(page)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_heat_lies_where_the_network_looked_even_when_it_saw_the_middle_only():
    values = np.zeros((10, 10), np.float32)
    values[0, 0] = 1  # upper left of what was seen: the middle half of the picture
    heat, is_seen = placed(values, (0.25, 0.0, 0.75, 1.0), (200, 100))
    assert is_seen[:, 50:150].all() and not is_seen[:, :49].any() and not is_seen[:, 151:].any()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 50 <= column < 60 and row < 10 and heat.max() == 1
    assert heat[:, 75:].max() == 0 and heat[25:].max() == 0


def test_heat_of_a_padded_picture_is_cut_to_it():
    values = np.zeros((40, 4), np.float32)
    values[:10] = 1  # only padding
    heat, is_seen = placed(values, (0.0, -0.5, 1.0, 1.5), (40, 20))
    assert is_seen.all() and heat[1:].max() == 0


def test_a_stretched_picture_has_no_grey_rim():
    _, is_seen = placed(np.ones((8, 8), np.float32), (-0.0004, 0.0004, 1.0004, 0.9997), (640, 480))
    assert is_seen.all()


def test_strength_nought_is_the_picture_and_the_unseen_is_greyed():
    image = Image.fromarray(np.full((20, 40, 3), (200, 30, 30), np.uint8))
    hot = np.ones((4, 4), np.float32)
    assert np.array_equal(np.asarray(with_heat(image, hot, (0, 0, 1, 1), 0.0)), np.asarray(image))
    shown = np.asarray(with_heat(image, hot, (0, 0, 0.5, 1), 1.0)).astype(int)
    assert shown[:, :19].min() > 150, "the hottest is bright"
    assert np.ptp(shown[0, 30]) < 70 < np.ptp(np.array([200, 30, 30]))


def test_pictures_are_large_upright_and_crisp_when_tiny():
    tiny = make_large(png(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    assert tiny.is_small and tiny.size == (8, 8) and tiny.image.size == (768, 768)
    pixels = np.asarray(tiny.image)[..., 0].reshape(8, 96, 8, 96)
    assert (pixels == np.arange(64).reshape(8, 1, 8, 1)).all(), "each pixel is one square"
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3000, 1500)).save(out, "JPEG", exif=exif)
    large = make_large(out.getvalue())
    assert (large.is_small, large.size, large.image.size) == (False, (1500, 3000), (512, 1024))
    assert encoded(large.image, is_small=False)[:2] == b"\xff\xd8"
    assert encoded(tiny.image, is_small=True)[:4] == b"\x89PNG"


# Figures


def test_bars_are_marked_by_more_than_colour():
    figure = class_figure(
        [("eight", 0.9, "wrong"), ("three", 0.06, "true"), ("five", 0.04, "")], is_dark=False
    )
    assert list(figure.data[0].text) == ["90.0 %  ✗ predicted", "6.0 %  ✓ true", "4.0 %"]
    assert len(set(figure.data[0].marker.color)) == 3


def test_the_history_has_the_probability_of_the_true_class_and_a_mark_for_each_answer():
    answers = pd.DataFrame(
        {
            "number": [1, 2, 3], "name": ["a", "b", "a"], "confidence": [0.6, 0.7, 0.9],
            "loss": -np.log([0.6, 0.2, 0.9]), "is_right": [True, False, True],
        }
    )  # fmt: skip
    line, right, wrong, ring = history_figure(answers, 2, 5, is_dark=True).data
    assert list(line.y) == pytest.approx([60, 20, 90])
    assert (list(right.x), list(wrong.x), list(ring.x)) == ([1, 3], [2], [2])
    assert wrong.marker.symbol != right.marker.symbol
    assert wrong.customdata[0][0] == "b"
