import numpy as np
import pytest

from superft_hf import label_review
from superft_hf.evaluation import prediction_files
from superft_hf.evaluation.prediction_files import read_numbers, read_predictions
from tests.factories import make_completed_run, make_run_of


def test_doubtful_labels_of_an_evaluation_have_their_images(store):
    run = make_completed_run(store, hidden=4, epochs=3)
    paths = store.run_paths(run.run_id)
    review = label_review.of_evaluation(paths, run.run_id, "eval", run.best_step)
    rows = read_predictions(paths.prediction_file("eval", run.best_step))
    wrong = rows[rows["label"] != rows["prediction"]]
    assert review.num_images == len(rows) and review.accuracy == pytest.approx(run.accuracy)
    assert set(review.listed["example_id"]) == set(wrong["example_id"]) and len(review.listed) == len(wrong)
    for one in review.listed.to_dict("records"):
        row = rows.iloc[one["row"]]
        assert (one["image"], one["label"]) == (row["image"], review.class_names[row["label"]])
        assert one["suggested"] == review.class_names[row["prediction"]]
        assert (one["run_id"], one["split"], one["step"]) == (run.run_id, "eval", run.best_step)
    assert review.listed["is_issue"].sum() == review.found.num_issues
    assert (np.diff(review.listed["quality"]) >= 0).all()


def test_where_all_are_right_nothing_is_listed(store):
    labels = np.tile(np.arange(3), 20)
    logits = 6 * np.eye(3, dtype=np.float32)[labels]
    run = make_run_of(store, "right", class_names=("a", "b", "c"), labels=labels, logits=[logits])
    review = label_review.of_evaluation(store.run_paths(run.run_id), run.run_id, "eval", run.best_step)
    assert review.listed.empty and review.found.num_issues == 0 and review.accuracy == 1


def test_a_list_has_an_end(store, monkeypatch):
    monkeypatch.setattr(label_review, "MAX_LISTED", 7)
    labels = np.tile(np.arange(3), 20)
    logits = 6 * np.eye(3, dtype=np.float32)[(labels + 1) % 3]
    run = make_run_of(store, "wrong", class_names=("a", "b", "c"), labels=labels, logits=[logits])
    review = label_review.of_evaluation(store.run_paths(run.run_id), run.run_id, "eval", run.best_step)
    assert len(review.listed) == 7


def test_logits_are_read_of_files_of_earlier_versions_only(store, monkeypatch):
    run = make_completed_run(store, hidden=4, epochs=3)
    paths, read = store.run_paths(run.run_id), []
    monkeypatch.setattr(
        prediction_files,
        "read_logits",
        lambda path, real=prediction_files.read_logits: read.append(path) or real(path),
    )
    new = label_review.of_evaluation(paths, run.run_id, "eval", run.best_step)
    assert not read
    monkeypatch.setattr(
        prediction_files, "read_numbers", lambda path: read_numbers(path).assign(margin=np.nan)
    )
    old = label_review.of_evaluation(paths, run.run_id, "eval", run.best_step)
    assert len(read) == 1 and old.found.num_issues == new.found.num_issues
    assert old.listed["suggested"].tolist() == new.listed["suggested"].tolist()
    assert old.listed["example_id"].tolist() == new.listed["example_id"].tolist()
    assert old.listed["reason"].tolist() == new.listed["reason"].tolist()
