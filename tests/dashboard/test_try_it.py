"""Try it, and the child process that answers for it."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dashboard.child import Child, ChildDiedError
from superft_hf.config_file import dump_config
from superft_hf.errors import SuperFTError
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.recipe.rules import with_values
from superft_hf.samples import fetch_images
from tests.factories import make_completed_run, make_failed_run, make_running_run


@pytest.fixture
def child():
    started = Child()
    yield started
    started.close()


@pytest.fixture
def run(store):
    made = make_completed_run(store)
    store.run_paths(made.run_id).model.mkdir()
    return made


@pytest.fixture
def answers(monkeypatch):
    """Stands in for the child's answer: torch has no place in these tests. Gives the views asked for."""
    asked = []

    def call(self, function, model, encoded, test_time):
        assert function == "superft_hf.training.inference:predict"
        asked.append(test_time)
        shares = [0.001, 0.05, 0.01, 0.001, 0.01, 0.001, 0.001, 0.91, 0.001, 0.015]
        return list("0123456789"), np.log(np.array([shares] * len(encoded), dtype=np.float32))

    monkeypatch.setattr(Child, "call", call)
    return asked


def decide_by(store, run, **values):
    """Saves an operating point."""
    made = Decision(tuple("0123456789"), ChosenOn(run.run_id, "eval", run.best_step, 270), **values)
    decisions.write(store.run_paths(run.run_id).decision, made)


def upload(app, *names):
    for name in names:
        app.file_uploader(key="try_files").upload(name, digit(), "image/png")
    return app.run()


def words(app):
    return " ".join(markdown.value for markdown in app.main.markdown).replace("\\", "")


def digit():
    return next(fetch_images("sample:digits").glob("7/*.png")).read_bytes()


def test_try_page__asks_for_an_image(open_page, run):
    app = open_page("try_it", run=run.run_id)
    assert "give it an image" in app.title[0].value and not app.exception


def test_try_page__one_image(open_page, run, answers):
    app = open_page("try_it", run=run.run_id)
    app.file_uploader(key="try_files").upload("seven.png", digit(), "image/png").run()
    assert app.title[0].value.replace("\\", "") == "digits-mlp takes seven.png for 7: 91.0 %."
    assert not app.exception


def test_try_page__answers_by_the_operating_point_and_the_plain_model_at_a_switch(
    open_page, store, run, answers
):
    limits = [0.1] * 10
    limits[1] = 0.001  # taken for 1 at the slightest sign of it
    decide_by(store, run, thresholds=tuple(limits))
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert app.title[0].value.replace("\\", "") == "digits-mlp takes seven.png for 1: 5.0 %."
    assert "Thresholds: 1 at 0.001, 0.1 for the others." in words(app) and "**1**" in words(app)
    app.segmented_control(key="try_answers_by").set_value("Plain model").run()
    assert app.title[0].value.replace("\\", "") == "digits-mlp takes seven.png for 7: 91.0 %."
    assert "Thresholds" not in words(app) and not app.exception


def test_try_page__is_not_sure_below_the_threshold(open_page, store, run, answers):
    decide_by(store, run, thresholds=(0.95,) * 10)
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert app.title[0].value.replace("\\", "") == "digits-mlp is not sure about seven.png."
    assert "**not sure**" in words(app) and not app.exception


def test_try_page__several_images_and_calibrated_probabilities(open_page, store, run, answers):
    decide_by(store, run, temperature=2.0)
    app = upload(open_page("try_it", run=run.run_id), "a.png", "b.png")
    assert app.title[0].value.replace("\\", "") == "digits-mlp answers 2 of 2 images, and is sure of all."
    assert "calibrated by temperature 2.00" in words(app)
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    root = np.sqrt([0.001, 0.05, 0.01, 0.001, 0.01, 0.001, 0.001, 0.91, 0.001, 0.015])
    assert f"for 7: {100 * root[7] / root.sum():.1f} %" in app.title[0].value.replace("\\", "")


def test_try_page__without_an_operating_point_there_is_no_switch(open_page, run, answers):
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert not app.segmented_control and "not sure" not in words(app)


def test_try_page__looks_at_images_as_the_run_did(open_page, store, run, answers):
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert answers == ["none"] and "averaged" not in "".join(one.value for one in app.caption)
    values = {"augmentation.test_time": "mirror"}
    changed = with_values(store.read_config(run.run_id), values)
    store.run_paths(run.run_id).resolved.write_text(dump_config(changed))
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert answers == ["none", "mirror"] and not app.exception
    assert "averaged over each image and its mirror image" in "".join(one.value for one in app.caption)


def test_try_page__a_damaged_operating_point_is_a_sentence_and_the_plain_model_answers(
    open_page, store, run, answers
):
    store.run_paths(run.run_id).decision.write_text("{}")
    app = upload(open_page("try_it", run=run.run_id), "seven.png")
    assert "operating point in decision.json cannot be used" in words(app)
    assert "for 7: 91.0 %" in app.title[0].value.replace("\\", "") and not app.exception


def test_try_page__a_text_named_png_is_a_sentence(open_page, run, answers):
    app = open_page("try_it", run=run.run_id)
    app.file_uploader(key="try_files").upload("note.png", b"no image", "image/png").run()
    shown = " ".join(markdown.value for markdown in app.main.markdown).replace("\\", "")
    assert "note.png is not a readable image: no known image format." in shown and not app.exception


def test_try_page__a_model_that_fails_is_a_sentence(open_page, run, monkeypatch):
    def refuse(self, *args):
        raise SuperFTError("The model folder is damaged.", hint="Repeat the run.")

    monkeypatch.setattr(Child, "call", refuse)
    app = open_page("try_it", run=run.run_id)
    app.file_uploader(key="try_files").upload("seven.png", digit() + b" ", "image/png").run()
    shown = " ".join(markdown.value for markdown in app.main.markdown).replace("\\", "")
    assert "The model folder is damaged." in shown and not app.exception


def test_try_page__a_run_that_is_not_finished(open_page, store):
    app = open_page("try_it", run=make_running_run(store).run_id)
    assert "cannot be tried yet" in app.title[0].value


def test_try_page__a_failed_run(open_page, store):
    app = open_page("try_it", run=make_failed_run(store).run_id)
    assert "has no model to try" in app.title[0].value


def test_child__one_process_niced_with_one_thread(child):
    assert child.call("os:getpid") == child.call("os:getpid") != os.getpid()
    assert child.call("os:getenv", "OMP_NUM_THREADS") == "1"
    assert child.call("os:nice", 0) - os.nice(0) == 10


def test_child__is_replaced_when_killed(child):
    first = child.call("os:getpid")
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    assert child.call("os:getpid") != first


def test_child__that_dies_of_its_work_is_an_error_and_comes_back(child):
    with pytest.raises(ChildDiedError):
        child.call("os:_exit", 3)
    assert child.call("operator:add", 2, 3) == 5


def test_child__hands_on_errors_with_their_hint(child):
    with pytest.raises(SuperFTError, match="no folder /nowhere/at-all") as caught:
        child.call("superft_hf.sources.load:local_place", _data("/nowhere/at-all"), None)
    assert caught.value.hint


def test_child__leaves_with_the_web_server():
    script = (
        "import time; from dashboard.child import Child; "
        "print(Child().call('os:getpid'), flush=True); time.sleep(60)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    pid = int(server.stdout.readline())
    server.kill()
    server.wait()
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_alive(pid)


def test_pages__import_neither_torch_nor_transformers(open_page, run):
    open_page("errors", run=run.run_id)
    open_page("compare", runs=run.run_id)
    script = (
        "import sys; from dashboard import charts, child, examples, findings, gallery, headlines; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _data(name):
    from superft_hf.config import DataConfig

    return DataConfig(name_or_path=name)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
