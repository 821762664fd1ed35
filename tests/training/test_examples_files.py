"""What a worker notes of its images, once, and that it obeys the folds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from superft_hf import folds
from superft_hf.engine import control
from superft_hf.evaluation.example_files import read_examples
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.sources.measures import measure_image
from superft_hf.training.run import RunContext, train_run


def write_metadata(root) -> None:
    lines = ["file_name,site"]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        lines.append(f"{path.relative_to(root)},{['Ulm', 'Bonn'][number % 2]}")
    (root / "metadata.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("split", ["eval", "test"])
def test_the_examples_fit_the_predictions_row_for_row(tiny_config, train, store, images, split):
    write_metadata(images)
    run = train(tiny_config(data={"on_bad_image": "skip"}))
    paths = store.run_paths(run.run_id)
    rows = read_predictions(paths.prediction_file(split, paths.prediction_steps(split)[-1]))
    found = read_examples(paths.examples_file(split), rows["example_id"])
    assert found is not None and len(found) == len(rows)
    sites = pd.read_csv(images / "metadata.csv").set_index("file_name")["site"]
    for one, reference in zip(found.to_dict("records"), rows["image"], strict=True):
        expected = measure_image(Path(reference).read_bytes())
        assert (one["brightness"], one["contrast"], one["sharpness"]) == pytest.approx(expected, rel=1e-5)
        assert (one["width"], one["height"]) == (8, 8)
        assert one["meta:site"] == sites["/".join(reference.split("/")[-2:])]


def test_of_train_nothing_is_written(tiny_config, train, store):
    paths = store.run_paths(train(tiny_config()).run_id)
    names = sorted(one.name for one in paths.examples_file("eval").parent.iterdir())
    assert names == ["eval.parquet", "test.parquet"]


def test_a_run_that_goes_on_does_not_write_them_again(tiny_config, train, store):
    run = train(tiny_config())
    paths = store.run_paths(run.run_id)
    before = [paths.examples_file(split).stat() for split in ("eval", "test")]
    store.change_state(run.run_id, [RunState.COMPLETED], RunState.STARTING, by="test")
    train_run(RunContext(store, run.run_id))
    after = [paths.examples_file(split).stat() for split in ("eval", "test")]
    assert [(one.st_mtime_ns, one.st_ino) for one in before] == [
        (one.st_mtime_ns, one.st_ino) for one in after
    ]


def test_real_folds_predict_every_training_image_once(tiny_config, train, store, monkeypatch):
    monkeypatch.setattr(control, "ensure_supervisor", lambda home: None)
    base = train(tiny_config())
    queued = folds.start(store, base.run_id, 2, by="test")
    for run in queued:
        store.change_state(run.run_id, [RunState.QUEUED], RunState.STARTING, by="test")
        train_run(RunContext(store, run.run_id))
    found = folds.fold_runs(store, base.run_id)
    assert found.is_complete
    whole = folds.out_of_sample(store, found)
    assert len(whole.labels) == base.facts["counts"]["train"]
    images = whole.texts(store, np.arange(len(whole.labels)))["image"]
    assert images.is_unique
    for run in found.done:
        assert run.facts["is_cut"] == ["eval", "test"]
        assert run.facts["split_fingerprints"]["test"] == base.facts["split_fingerprints"]["test"]
        assert run.facts["split_fingerprints"]["eval"] != base.facts["split_fingerprints"]["eval"]
