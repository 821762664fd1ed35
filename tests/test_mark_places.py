"""Real runs without torch: where images stand is compared with the splits that their data have."""

import shutil

import numpy as np
import pytest

from superft_hf.evaluation.example_files import write_examples
from superft_hf.evaluation.prediction_files import read_predictions, write_predictions
from superft_hf.mark_places import find_seen, places_of
from superft_hf.records import RunState
from superft_hf.sources.images import digest, example_ids
from superft_hf.sources.load import load_images
from tests.factories import make_completed_run, make_queued_run, make_running_run


@pytest.fixture
def run(store):
    """A run of an earlier version: it has predictions, and no example files."""
    return without_examples(store, make_completed_run(store, epochs=2))


def without_examples(store, run):
    shutil.rmtree(store.run_paths(run.run_id).examples_file("eval").parent, ignore_errors=True)
    return run


def ids_of(store, run) -> dict[str, list[str]]:
    """Example ids by split, from the images themselves."""
    images = load_images(store.read_config(run.run_id).data, store.home)
    return {
        name: example_ids([digest(split.encoded(row)) for row in range(len(split))])
        for name, split in images.splits.items()
    }


def note_examples(store, run, split: str, ids: list[str]) -> None:
    write_examples(
        store.run_paths(run.run_id).examples_file(split), example_ids=ids,
        sizes=np.full((len(ids), 2), 8), measures=np.zeros((len(ids), 3)), metadata={},
    )  # fmt: skip


def test_places__eval_and_test_are_known_from_the_predictions(store, run):
    ids = ids_of(store, run)
    asked = [ids["train"][0], ids["eval"][5], ids["test"][7], f"{ids['test'][8]}-2"]
    found = places_of(store.run_paths(run.run_id), asked)
    assert found.known == {"eval", "test"}
    assert found.counts == {asked[1]: {"eval": 1}, asked[2]: {"test": 1}, asked[3][:16]: {"test": 1}}


def test_places__train_is_known_once_it_was_noted(store, run):
    ids = ids_of(store, run)
    first = ids["train"][0]
    note_examples(store, run, "train", [*ids["train"], f"{first}-2"])
    found = places_of(store.run_paths(run.run_id), [first, ids["eval"][0], "f" * 16])
    assert found.known == {"train", "eval", "test"}
    assert found.counts == {first: {"train": 2}, ids["eval"][0]: {"eval": 1}}


def test_places__a_run_that_wrote_nothing_and_one_whose_files_are_damaged(store, run):
    queued = make_queued_run(store)
    assert places_of(store.run_paths(queued.run_id), ["a" * 16]).known == frozenset()
    paths = store.run_paths(run.run_id)
    for step in paths.prediction_steps("eval"):
        paths.prediction_file("eval", step).write_bytes(b"PAR1 no")
    assert places_of(paths, ["a" * 16]).known == {"test"}
    assert places_of(store.run_paths(run.run_id), []).counts == {}


def test_places__a_running_run_has_no_test_yet(store):
    run = without_examples(store, make_running_run(store, epochs_done=1))
    assert places_of(store.run_paths(run.run_id), []).known == {"eval"}


def test_seen__own_predictions_say_label_image_and_row(store, run):
    rows = read_predictions(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    test = read_predictions(
        store.run_paths(run.run_id).prediction_file(
            "test", store.run_paths(run.run_id).prediction_steps("test")[0]
        )
    )
    asked = [rows["example_id"][9], rows["example_id"][3], test["example_id"][4]]
    found = find_seen(store, run, asked)
    assert [(found[one].split, found[one].row, found[one].evaluated_as) for one in asked] == [
        ("eval", 9, "eval"), ("eval", 3, "eval"), ("test", 4, "test"),
    ]  # fmt: skip
    assert found[asked[0]].image == rows["image"][9] and found[asked[0]].label == str(rows["label"][9])
    assert found[asked[2]].image == test["image"][4] and found[asked[2]].run_id == run.run_id


def test_seen__an_unknown_id_is_not_found(store, run):
    assert find_seen(store, run, ["f" * 16, ids_of(store, run)["train"][0]]) == {}


def test_seen__a_train_image_in_the_eval_of_another_run(store, run):
    """As in a set of folds: what one run trains on, another evaluates."""
    train = ids_of(store, run)["train"]
    fold = make_queued_run(store, name="fold")
    write_predictions(
        store.run_paths(fold.run_id).prediction_file("eval", 3), example_ids=train[:5],
        images=[f"{number}.png" for number in range(5)], labels=np.array([1, 0, 1, 0, 1]),
        logits=np.eye(5, 2, dtype=np.float32), is_full=True, class_names=["x", "y"],
    )  # fmt: skip
    other_data = make_queued_run(store, name="elsewhere", data="sample:cells")
    write_predictions(
        store.run_paths(other_data.run_id).prediction_file("eval", 3), example_ids=train[5:7],
        images=["a", "b"], labels=np.array([1, 0]), logits=np.eye(2, dtype=np.float32), is_full=True,
        class_names=["x", "y"],
    )  # fmt: skip
    found = find_seen(store, run, train[:8])
    assert set(found) == set(train[:5])
    assert (found[train[2]].run_id, found[train[2]].split, found[train[2]].evaluated_as) == (
        fold.run_id, "train", "eval",
    )  # fmt: skip
    assert (found[train[2]].label, found[train[2]].image, found[train[2]].row) == ("y", "2.png", 2)
    note_examples(store, run, "train", train[1:])
    noted = find_seen(store, run, [train[0], train[1], train[7], "f" * 16])
    assert set(noted) == {train[1], train[7]}, "what train does not hold is no image of the run"
    assert (noted[train[7]].split, noted[train[7]].image, noted[train[7]].row) == ("train", "", -1)


def test_seen__survives_the_deletion_of_a_run(store, run):
    other = make_completed_run(store, name="other", epochs=1, seed=3)
    one = ids_of(store, run)["eval"][0]
    store.delete_run(other.run_id)
    assert find_seen(store, run, [one])[one].run_id == run.run_id
    assert store.get_run(run.run_id).state is RunState.COMPLETED
