"""Runs of folds made by the factories' network; that a worker obeys the settings is tested under training."""

import numpy as np
import pytest

from superft_hf import folds, label_review
from superft_hf.config import DataConfig
from superft_hf.engine import control
from superft_hf.errors import ConfigError, DataError, DataNotFoundError, StateError
from superft_hf.evaluation.prediction_files import read_logits, read_predictions
from superft_hf.paths import cache_dir
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from tests.factories import make_completed_run, make_queued_run, make_running_run


@pytest.fixture
def queue(store, monkeypatch):
    """Submits without looking at model and images, and starts no supervisor."""
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)
    monkeypatch.setattr(control, "ensure_supervisor", lambda home: None)
    return store


def make_fold(store, num_folds, fold, make=make_completed_run, **changes):
    settings = {"num_folds": num_folds, "fold": fold}
    return make(store, f"base, fold {fold + 1}", data_settings=settings, epochs=2, **changes)


def base_of(store, **changes):
    return make_completed_run(store, "base", epochs=2, **changes)


def test_a_run_is_queued_for_each_fold_with_its_settings(queue):
    base = base_of(queue)
    made = folds.start(queue, base.run_id, 3, by="test")
    assert [run.name for run in made] == [f"base, fold {number} of 3" for number in (1, 2, 3)]
    assert {run.state for run in made} == {RunState.QUEUED}
    asked = queue.read_config(base.run_id)
    for fold, run in enumerate(made):
        config = queue.read_config(run.run_id)
        assert (config.data.num_folds, config.data.fold) == (3, fold)
        data = config.data.model_copy(update={"num_folds": None, "fold": 0})
        assert config.model_copy(update={"name": asked.name, "data": data}) == asked


def test_folds_that_exist_are_not_queued_again(queue):
    base = base_of(queue)
    first = folds.start(queue, base.run_id, 2, by="test")
    assert folds.start(queue, base.run_id, 2, by="test") == []
    found = folds.fold_runs(queue, base.run_id)
    assert [run.run_id for run in found.by_fold] == [run.run_id for run in first]
    assert found.states() == ["queued", "queued"] and not found.is_complete and found.missing == []
    queue.change_state(first[1].run_id, [RunState.QUEUED], RunState.DISCARDED, by="test")
    again = folds.start(queue, base.run_id, 2, by="test")
    assert [queue.read_config(run.run_id).data.fold for run in again] == [1]
    assert folds.fold_runs(queue, base.run_id).by_fold[1].run_id == again[0].run_id


def test_folds_are_found_from_one_of_them_and_named_once(queue):
    base = base_of(queue)
    made = folds.start(queue, base.run_id, 2, by="test")
    assert folds.fold_runs(queue, made[1].run_id) == folds.fold_runs(queue, base.run_id)
    more = folds.start(queue, made[1].run_id, 3, by="test")
    assert more[0].name == "base, fold 1 of 3"


def test_runs_of_other_settings_are_no_folds_of_this_one(queue):
    base = base_of(queue)
    make_fold(queue, 2, 0, seed=7)
    make_fold(queue, 2, 1, learning_rate=0.01)
    assert folds.fold_runs(queue, base.run_id) == folds.FoldRuns(0, ())


def test_of_two_numbers_of_folds_the_one_that_got_further_counts(queue):
    base = base_of(queue)
    for fold in range(3):
        make_queued_run(queue, "later", data_settings={"num_folds": 3, "fold": fold}, epochs=2)
    assert folds.fold_runs(queue, base.run_id).num_folds == 3
    for fold in range(2):
        make_fold(queue, 2, fold)
    found = folds.fold_runs(queue, base.run_id)
    assert found.num_folds == 2 and found.is_complete
    assert folds.fold_runs(queue, base.run_id, 3).states() == ["queued"] * 3
    assert folds.fold_runs(queue, base.run_id, 4).states() == ["not asked for"] * 4


@pytest.mark.parametrize("number", [-1, 0, 1, 101])
def test_a_number_of_folds_that_cannot_be_is_refused(queue, number):
    base = base_of(queue)
    with pytest.raises(ConfigError, match="num_folds"):
        folds.start(queue, base.run_id, number, by="test")
    assert len(queue.list_runs()) == 1


def test_a_long_name_keeps_the_number_of_its_fold(queue):
    base = make_queued_run(queue, "n" * 120)
    names = [run.name for run in folds.start(queue, base.run_id, 12, by="test")]
    assert names[11].endswith(", fold 12 of 12") and max(map(len, names)) == 120


def test_out_of_sample_predictions_are_joined_with_their_places(store):
    base = base_of(store)
    runs = [make_fold(store, 3, fold) for fold in range(3)]
    whole = folds.out_of_sample(store, folds.fold_runs(store, base.run_id))
    train = load_images(DataConfig(name_or_path="sample:digits"), cache_dir()).splits["train"]
    assert whole.is_complete and whole.run_ids == tuple(run.run_id for run in runs)
    probabilities = whole.read_probabilities()
    assert len(whole.labels) == len(train) and probabilities.shape == (len(train), 10)
    assert np.allclose(probabilities.whole().sum(axis=1), 1, atol=1e-4)
    assert np.array_equal(probabilities.whole().argmax(axis=1), whole.predictions)
    picked = np.array([0, len(train) - 1, len(train) // 2, 5])
    texts, origins = whole.texts(store, picked), whole.origins(picked)
    for number, position in enumerate(picked):
        origin = origins.iloc[number]
        path = store.run_paths(origin["run_id"]).prediction_file("eval", int(origin["step"]))
        row = read_predictions(path).iloc[int(origin["row"])]
        assert (row["example_id"], row["image"]) == tuple(texts.iloc[number])
        assert row["label"] == whole.labels[position]
        logits = read_logits(path)
        assert np.allclose(
            np.exp(logits.log_probabilities[int(origin["row"])]), probabilities.whole()[position]
        )
    references = set(whole.texts(store, np.arange(len(train)))["image"])
    assert references == {train.reference(index) for index in range(len(train))}


def test_it_works_with_the_folds_that_are_done_so_far(store):
    base = base_of(store)
    done = make_fold(store, 3, 1)
    make_fold(store, 3, 0, make=make_running_run, epochs_done=1)
    found = folds.fold_runs(store, base.run_id)
    assert found.states() == ["running", "completed", "not asked for"]
    assert found.missing == [2] and len(found.unfinished) == 1
    whole = folds.out_of_sample(store, found)
    assert not whole.is_complete and whole.run_ids == (done.run_id,)
    assert len(whole.labels) == done.facts["counts"]["eval"]
    review = label_review.of_folds(store, found)
    assert (review.num_done, review.num_folds, review.num_images) == (1, 3, len(whole.labels))


def test_without_a_fold_that_is_done_it_says_so(store):
    base = base_of(store)
    with pytest.raises(StateError, match="No fold has completed"):
        folds.out_of_sample(store, folds.fold_runs(store, base.run_id))


def test_lost_predictions_are_a_sentence(store):
    base = base_of(store)
    run = make_fold(store, 2, 0)
    for path in store.run_paths(run.run_id).predictions.iterdir():
        path.unlink()
    with pytest.raises(DataNotFoundError, match="are gone"):
        folds.out_of_sample(store, folds.fold_runs(store, base.run_id))


def test_the_cost_is_told_once_the_run_has_ended(store):
    base = base_of(store)
    store.update_run(base.run_id, worked_s=100.0)
    assert folds.expected_seconds(store.get_run(base.run_id), 5) == pytest.approx(400.0)
    assert folds.expected_seconds(make_running_run(store, epochs_done=1, epochs=2), 5) is None


def test_a_start_that_is_blocked_makes_no_run(store, monkeypatch):
    base = base_of(store)

    def refuse(*arguments, **options):
        raise DataError("The class lone stands in one fold only.")

    monkeypatch.setattr(control, "prepare", refuse)
    with pytest.raises(DataError, match="lone"):
        folds.start(store, base.run_id, 5, by="test")
    assert len(store.list_runs()) == 1
