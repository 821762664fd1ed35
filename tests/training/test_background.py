"""Files that are written while training goes on: in order, and whole before a checkpoint counts."""

import threading

import pytest

from superft_hf import checkpoints
from superft_hf.evaluation import prediction_files
from superft_hf.records import RunState
from superft_hf.training.background import Background
from superft_hf.training.image_classification.task import ImageClassification


def test_begin__does_not_wait_and_keeps_the_order():
    background, done, gate = Background(), [], threading.Event()
    background.begin(lambda: (gate.wait(10), done.append(1)))
    background.begin(lambda: done.append(2))
    assert done == []
    gate.set()
    background.join()
    assert done == [1, 2]


def test_join__raises_what_went_wrong_once():
    background = Background()
    background.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        background.join()
    background.join()


def test_a_checkpoint_counts_only_when_the_predictions_of_its_step_are_written(
    tiny_config, train, monkeypatch
):
    """The writing is held up until the checkpoint is about to be sealed."""
    written, sealed, threads = [], [], set()
    seal, write = checkpoints.seal, prediction_files.write_predictions

    def watched_seal(aside, target):
        sealed.append((target.name, list(written)))
        seal(aside, target)

    def slow_write(path, **columns):
        threads.add(threading.current_thread() is threading.main_thread())
        threading.Event().wait(0.3)
        write(path, **columns)
        written.append(path.name)

    monkeypatch.setattr(checkpoints, "seal", watched_seal)
    monkeypatch.setattr(prediction_files, "write_predictions", slow_write)
    record = train(tiny_config())
    assert record.state == RunState.COMPLETED
    assert threads == {False}
    assert sealed == [
        ("checkpoint-6", ["eval-6.parquet"]),
        ("checkpoint-12", ["eval-6.parquet", "eval-12.parquet"]),
    ]
    assert written[-1] == "test-12.parquet"


@pytest.mark.parametrize("split", ["eval", "test"])
def test_a_prediction_file_that_cannot_be_written_fails_the_run(tiny_config, train, monkeypatch, split):
    write = ImageClassification.write_predictions

    def refuse(self, path, which, logits, labels, *, is_full):
        if which == split:
            raise RuntimeError("the gathered labels are not those of the split")
        write(self, path, which, logits, labels, is_full=is_full)

    monkeypatch.setattr(ImageClassification, "write_predictions", refuse)
    with pytest.raises(RuntimeError, match="gathered labels"):
        train(tiny_config())
