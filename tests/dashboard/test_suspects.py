from dataclasses import replace

import numpy as np
import pytest

from dashboard import state
from dashboard.error_views.suspects_folds import cost_words, share_done
from superft_hf import folds, label_review
from superft_hf.engine import control
from superft_hf.errors import DataError
from superft_hf.records import MarkKind, RunState
from tests.factories import make_completed_run, make_queued_run, make_run_of, make_running_run

TAB = {"errors_view": ":material/rule: Label errors"}
BY_FOLDS = {**TAB, "suspects_source_eval": "train"}


def texts(page) -> str:
    return "\n".join([one.value for one in page.markdown] + [one.value for one in page.subheader])


def keys(page, end: str) -> list[str]:
    return [one.key for one in page.button if (one.key or "").endswith(end)]


@pytest.fixture
def weak_run(store):
    """A run that is wrong often enough to doubt labels."""
    return make_completed_run(store, "weak", hidden=4, epochs=3)


@pytest.fixture
def review(store, weak_run):
    return label_review.of_evaluation(
        store.run_paths(weak_run.run_id), weak_run.run_id, "eval", weak_run.best_step
    )


def test_the_most_doubtful_labels_are_shown_with_their_number(open_page, weak_run, review):
    page = open_page("errors", session={**TAB, "suspects_shown": "All that differ"}, run=weak_run.run_id)
    assert not page.exception
    number = review.found.num_issues
    words = f"About {number} label" if number else "No label of 270 is estimated to be wrong"
    assert words in texts(page) and "Doubt is no proof" in texts(page)
    assert len(keys(page, "_wrong")) == 12 and len(keys(page, "_right")) == 12
    first = review.listed.iloc[0]
    assert f"labelled **{first['label']}**" in texts(page)


def test_one_press_marks_the_label_as_wrong_with_the_suggestion(open_page, store, weak_run, review):
    page = open_page("errors", session={**TAB, "suspects_shown": "All that differ"}, run=weak_run.run_id)
    page.button(key=keys(page, "_wrong")[0]).click().run()
    first = review.listed.iloc[0]
    (mark,) = store.read_marks(weak_run.data)
    assert (mark.example_id, mark.kind, mark.corrected, mark.label, mark.split) == (
        first["example_id"], MarkKind.WRONG_LABEL, first["suggested"], first["label"], "eval",
    )  # fmt: skip
    page.button(key=keys(page, "_undo")[0]).click().run()
    assert store.read_marks(weak_run.data) == [] and not page.exception


def test_keep_hides_a_picture_until_all_are_asked_for_again(open_page, store, weak_run, review):
    page = open_page("errors", session={**TAB, "suspects_shown": "All that differ"}, run=weak_run.run_id)
    kept = keys(page, "_right")[0]
    page.button(key=kept).click().run()
    assert kept not in keys(page, "_right") and store.read_marks(weak_run.data) == []
    assert page.session_state[state.JUDGED_RIGHT][weak_run.data] == {review.listed["example_id"].iloc[0]}
    page.button(key="suspects_eval_show_all").click().run()
    assert kept in keys(page, "_right")


def test_where_all_are_right_it_says_so(open_page, store):
    labels = np.tile(np.arange(3), 30)
    logits = 6 * np.eye(3, dtype=np.float32)[labels]
    run = make_run_of(store, "right", class_names=("a", "b", "c"), labels=labels, logits=[logits])
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "there is nothing to doubt" in texts(page)


def test_a_poor_model_is_warned_of(open_page, store):
    labels = np.tile(np.arange(3), 30)
    logits = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    run = make_run_of(store, "poor", class_names=("a", "b", "c"), labels=labels, logits=[logits])
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "of the labels only" in texts(page)


def test_logits_that_are_no_numbers_are_counted(open_page, store):
    labels = np.tile(np.arange(2), 30)
    logits = (4 * np.eye(2)[labels]).astype(np.float32)
    logits[5] = np.nan
    run = make_run_of(store, "nan", class_names=("a", "b"), labels=labels, logits=[logits])
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "1 image without finite probabilities" in texts(page)


# Folds


def test_folds_are_offered_with_their_cost_and_started_by_one_press(open_page, store, weak_run, monkeypatch):
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)
    page = open_page("errors", session=BY_FOLDS, run=weak_run.run_id)
    assert not page.exception and "5 runs, each on 4 of 5 parts of train" in texts(page)
    page.number_input(key="suspects_num_folds").set_value(3).run()
    page.button(key="suspects_start_folds").click().run()
    assert not page.exception
    found = folds.fold_runs(store, weak_run.run_id)
    assert found.num_folds == 3 and found.states() == ["queued"] * 3
    assert any("0 of 3 folds done" in one.text for one in page.get("progress"))
    assert "Fold 1, 2, 3 queued" in texts(page)


def test_a_start_that_is_blocked_says_why(open_page, store, weak_run, monkeypatch):
    def refuse(*arguments, **options):
        raise DataError("The class lone stands in one fold only.", hint="Leave it out.")

    monkeypatch.setattr(control, "prepare", refuse)
    page = open_page("errors", session=BY_FOLDS, run=weak_run.run_id)
    page.button(key="suspects_start_folds").click().run()
    assert not page.exception and "lone stands in one fold only" in texts(page)
    assert len(store.list_runs()) == 1


def test_folds_so_far_are_shown_and_said_to_be_a_part(open_page, store, weak_run):
    settings = {"num_folds": 3, "fold": 0}
    done = make_completed_run(store, "one", hidden=4, epochs=3, data_settings=settings)
    page = open_page("errors", session=BY_FOLDS, run=weak_run.run_id)
    assert not page.exception and "So far from 1 of 3 folds" in texts(page)
    assert "Start the missing 2 folds" in [one.label for one in page.button]
    press = keys(page, "_wrong")
    if not press:
        page.segmented_control(key="suspects_shown").set_value("All that differ").run()
        press = keys(page, "_wrong")
    assert all(done.run_id in key for key in press)
    page.button(key=press[0]).click().run()
    (mark,) = store.read_marks(weak_run.data)
    assert mark.split == "train"  # the fold's eval is a part of train


def test_complete_folds_are_read_and_nothing_is_offered(open_page, store, weak_run):
    for fold in range(2):
        settings = {"num_folds": 2, "fold": fold}
        make_completed_run(store, "fold", hidden=4, epochs=3, data_settings=settings)
    page = open_page("errors", session=BY_FOLDS, run=weak_run.run_id)
    assert not page.exception and "all of train, from 2 folds" in texts(page)
    assert "1,257" in texts(page) and "suspects_start_folds" not in [one.key for one in page.button]


def test_the_share_of_work_counts_what_runs_have_done(store):
    done = make_completed_run(store, epochs=2)
    half = replace(make_running_run(store, epochs=2, epochs_done=1), state=RunState.RUNNING)
    found = folds.FoldRuns(4, (done, half, make_queued_run(store), None))
    assert share_done(found) == pytest.approx((1 + 0.5) / 4)
    assert share_done(folds.FoldRuns(0, ())) == 0


def test_the_cost_of_a_run_that_has_not_ended_is_not_invented(store):
    run = make_running_run(store, epochs=2, epochs_done=1)
    assert "once this run has completed" in cost_words(run, 5)
    done = replace(run, state=RunState.COMPLETED, worked_s=60.0)
    assert "about 4 min of work in all, since this run took 1 min" in cost_words(done, 5)


def test_a_picture_of_a_fold_can_be_looked_at_closely(open_page, store, weak_run):
    settings = {"num_folds": 2, "fold": 0}
    fold = make_completed_run(store, "one", hidden=4, epochs=3, data_settings=settings)
    page = open_page("errors", session={**BY_FOLDS, "suspects_shown": "All that differ"}, run=weak_run.run_id)
    (press, *_) = [one for one in page.button if "suspects_train" in (one.key or "") and "look" in one.key]
    press.click().run()
    assert not page.exception
    (place,) = page.session_state[state.CLOSE_LOOK]
    assert (place.run_id, place.split, place.step) == (fold.run_id, "eval", fold.best_step)
