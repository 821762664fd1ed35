"""Marks through a real run: what was left out never reaches the network, what was corrected is trained on."""

import pytest
import torch

from superft_hf.cli_again import changed
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.mark_places import find_seen, places_of
from superft_hf.marks import plan
from superft_hf.records import Mark, MarkKind, RunState
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training.image_classification.pixels import eval_pixels
from superft_hf.training.image_classification.task import ImageClassification
from superft_hf.training.preview import augmented_batch
from superft_hf.training.trainer import RunTrainer


@pytest.fixture
def watched(monkeypatch):
    """Every image that a training step saw, as (pixel_values, label), since the list was last cleared."""
    seen: list[tuple[torch.Tensor, int]] = []
    step = RunTrainer.training_step

    def watch(self, model, inputs, *rest):
        seen.extend(zip(inputs["pixel_values"].clone(), inputs["labels"].tolist(), strict=True))
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(RunTrainer, "training_step", watch)
    return seen


def scanned(config, home):
    return scan_images(load_images(config.data, home), config.data)


def labels_seen(watched, scan, pixels_of, example_id) -> list[int]:
    """The labels under which a train image was trained on, one a time it was."""
    wanted = pixels_of(scan, "train", scan.example_ids["train"].index(example_id))
    return [label for pixels, label in watched if torch.equal(pixels, wanted)]


def eval_rows(store, run):
    step = store.run_paths(run.run_id).prediction_steps("eval")[-1]
    return read_predictions(store.run_paths(run.run_id).prediction_file("eval", step)).set_index("example_id")


def test_train_again__without_bad_images_and_with_corrected_labels(tiny_config, train, store, home, watched):
    config = tiny_config("vit", augmentation={"preset": "none"})
    before = scanned(config, home)
    task = ImageClassification(config, before)

    def pixels_of(scan, split, index):
        return eval_pixels(task.processor, open_rgb(scan.images.splits[split].encoded(index)))

    first = train(config)
    bad, wrong = before.example_ids["train"][4], before.example_ids["train"][9]
    wrong_eval, bad_test = before.example_ids["eval"][0], before.example_ids["test"][0]
    old = int(before.images.splits["train"].labels[9])
    new = (old + 1) % 3
    assert len(labels_seen(watched, before, pixels_of, bad)) == 2, "two epochs"
    assert labels_seen(watched, before, pixels_of, wrong) == [old, old]

    seen = find_seen(store, first, [wrong_eval, bad_test])
    label_of_eval = seen[wrong_eval].label
    other = next(name for name in "abc" if name != label_of_eval)
    for one, kind, corrected, split in (
        (bad, MarkKind.BAD_IMAGE, None, "train"), (wrong, MarkKind.WRONG_LABEL, "abc"[new], "train"),
        (wrong_eval, MarkKind.WRONG_LABEL, other, "eval"), (bad_test, MarkKind.EXCLUDE, None, "test"),
    ):  # fmt: skip
        store.set_mark(Mark(first.data, one, kind, corrected, "", split, "", first.run_id))
    marks = store.read_marks(first.data)
    places = places_of(store.run_paths(first.run_id), [mark.example_id for mark in marks])
    found = plan(store.read_config(first.run_id), marks, with_corrections=True, places=places)
    again = changed(store.read_config(first.run_id), found.changes)
    assert (found.left_out, found.relabelled) == ({"train": 1}, {"train": 1, "eval": 1})

    watched.clear()
    second = train(again)
    assert second.state is RunState.COMPLETED
    assert labels_seen(watched, before, pixels_of, bad) == []
    assert labels_seen(watched, before, pixels_of, wrong) == [new, new]
    assert len(watched) == 2 * (len(before.example_ids["train"]) - 1)
    after = scanned(again, home)
    assert set(before.example_ids["train"]) - set(after.example_ids["train"]) == {bad}
    assert eval_rows(store, second).loc[wrong_eval, "label"] == "abc".index(other)
    assert eval_rows(store, first).loc[wrong_eval, "label"] == "abc".index(label_of_eval)
    fingerprints = [run.facts["split_fingerprints"] for run in (first, second)]
    same = [name for name in fingerprints[0] if fingerprints[0][name] == fingerprints[1][name]]
    assert same == ["test"], "the test set is the same, so that the two can be compared on it"


def test_preview__shows_the_corrected_label(tiny_config, home):
    plain = tiny_config("vit", augmentation={"preset": "none"})
    shown = augmented_batch(plain.model_dump_json(), str(home))
    before = scanned(plain, home)
    names = dict(zip(before.example_ids["train"], before.images.splits["train"].labels.tolist(), strict=True))
    relabel = {one: "abc"[(label + 1) % 3] for one, label in names.items()}
    corrected = tiny_config("vit", augmentation={"preset": "none"}, data={"relabel": relabel})
    again = augmented_batch(corrected.model_dump_json(), str(home))
    assert [encoded for encoded, _ in again] == [encoded for encoded, _ in shown]
    assert [name for _, name in again] == ["abc"[("abc".index(name) + 1) % 3] for _, name in shown]


def test_the_log_says_what_was_changed(tiny_config, train, store, caplog):
    caplog.set_level("INFO", "superft_hf")
    scan = scanned(tiny_config(), store.home)
    one = scan.example_ids["train"][0]
    name = "abc"[(int(scan.images.splits["train"].labels[0]) + 1) % 3]
    train(tiny_config(data={"relabel": {one: name, "0" * 16: "a"}}))
    assert "data.relabel gives 1 image another label" in caplog.messages
    assert any(
        message.startswith("no image answers to 1 entry of data.relabel") for message in caplog.messages
    )
