"""Real records without torch: a small network of scikit-learn trains on real images.

What goes into the store is what a worker writes: splits, logits, prediction files, metrics, facts, log.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image
from sklearn.neural_network import MLPClassifier

from superft_hf import schema
from superft_hf.config import DataConfig, RunConfig
from superft_hf.config_file import dump_config, make_config
from superft_hf.errors import DivergedError
from superft_hf.evaluation.classification import classification_metrics, example_losses
from superft_hf.evaluation.example_files import write_examples
from superft_hf.evaluation.layer_history import Layer, LayerFile
from superft_hf.evaluation.prediction_files import write_predictions
from superft_hf.paths import cache_dir
from superft_hf.recipe.decided import roughly
from superft_hf.records import Failure, ProcessRecord, RunRecord, RunState
from superft_hf.sources.images import digest, example_ids, open_rgb
from superft_hf.sources.load import ImageSet, ImageSplit, load_images
from superft_hf.sources.measures import measure_split
from superft_hf.store import RunStore

SIDE = 8
LOGS_PER_EPOCH = 4


def make_config_values(**changes: Any) -> dict[str, Any]:
    """A small complete configuration as nested values; `data` and `model` are names, the rest group dicts."""
    return {
        "name": changes.get("name"),
        "model": {
            "name_or_path": changes.get("model", "sample:efficientnet-lite0"),
            "strategy": changes.get("strategy", "full"),
            "pretrained": changes.get("pretrained", True),
        },
        "data": {"name_or_path": changes.get("data", "sample:digits"), **changes.get("data_settings", {})},
        "training": {
            "num_train_epochs": changes.get("epochs", 8),
            "learning_rate": changes.get("learning_rate", 0.003),
            "seed": changes.get("seed", 42),
        },
    }


def make_queued_run(store: RunStore, name: str | None = "digits-next", **changes: Any) -> RunRecord:
    """A run that waits for the supervisor."""
    return store.create_run(make_config(make_config_values(name=name, **changes)), by="page")


def make_completed_run(
    store: RunStore, name: str | None = "digits-mlp", *, hidden: int = 32, **changes: Any
) -> RunRecord:
    """A run that went through all its epochs and was evaluated on test.

    Args:
        store: Where it goes.
        name: Of the run.
        hidden: Units of the network's hidden layer: fewer make more mistakes.
        changes: See make_config_values.
    """
    run, config = _started(store, name, changes)
    images = _images(config.data)
    best = None
    for epoch in _train_epochs(config, hidden):
        best = _write_epoch(store, run.run_id, config, images, epoch, best)
    evaluation = {
        "eval": classification_metrics(best.logits["eval"], images.splits["eval"].labels),
        "test": classification_metrics(best.logits["test"], images.splits["test"].labels),
    }
    _write_file(store, run.run_id, images, "test", best)
    last_step = store.get_run(run.run_id).global_step
    store.log_metrics(
        run.run_id,
        last_step,
        float(roughly(config).training.num_train_epochs),
        {f"test_{key}": value for key, value in evaluation["test"].items()},
    )
    store.update_run(run.run_id, evaluation=evaluation)
    store.change_state(run.run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    return store.get_run(run.run_id)


def make_running_run(
    store: RunStore,
    name: str | None = "digits-live",
    *,
    epochs_done: int = 3,
    hidden: int = 32,
    **changes: Any,
) -> RunRecord:
    """A run in the middle of its training; `continue_run` takes it further."""
    run, config = _started(store, name, changes)
    images = _images(config.data)
    best = None
    for epoch in _train_epochs(config, hidden)[:epochs_done]:
        best = _write_epoch(store, run.run_id, config, images, epoch, best)
    return store.get_run(run.run_id)


def continue_run(store: RunStore, run_id: str, *, hidden: int = 32) -> Iterator[int]:
    """Writes one more epoch of a running run at each step and yields its number; the last completes it."""
    config = store.read_config(run_id)
    images = _images(config.data)
    epochs = _train_epochs(config, hidden)
    run = store.get_run(run_id)
    done = round(run.epoch)
    best = next((epoch for epoch in epochs if epoch.step == run.best_step), None)
    for epoch in epochs[done:]:
        best = _write_epoch(store, run_id, config, images, epoch, best)
        yield epoch.number
    evaluation = {
        split: classification_metrics(best.logits[split], images.splits[split].labels)
        for split in ("eval", "test")
    }
    _write_file(store, run_id, images, "test", best)
    store.update_run(run_id, evaluation=evaluation)
    store.change_state(run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")


def make_failed_run(
    store: RunStore,
    name: str | None = "digits-too-fast",
    *,
    failure: Failure | None = None,
    epochs_done: int = 0,
    **changes: Any,
) -> RunRecord:
    """A run that failed, by default because its loss is no longer a number."""
    run = make_running_run(store, name, epochs_done=epochs_done, **changes)
    config = store.read_config(run.run_id)
    failure = failure or Failure.of(DivergedError(4, config.training.learning_rate))
    with store.run_paths(run.run_id).log.open("a", encoding="utf-8") as log:
        log.write(f"Traceback (most recent call last):\n  …\n{failure.kind}: {failure.message}\n")
    store.change_state(run.run_id, [RunState.RUNNING], RunState.FAILED, by="worker", failure=failure)
    return store.get_run(run.run_id)


def write_layers(
    store: RunStore, run_id: str, names: Sequence[str] = ("stem", "block.0", "block.1", "head"), *,
    is_body_frozen: bool = False, num_steps: int = 40,
) -> None:  # fmt: skip
    """Writes the history of a run's layers: each moves further than the one before it, the head by most.

    Args:
        store: Where the run is.
        run_id: The run.
        names: Of its layers; the last is the head.
        is_body_frozen: Whether the head alone trained.
        num_steps: Recorded steps.
    """
    record, size = store.get_run(run_id), len(names)
    layers = [Layer(name, 100 * (place + 1), place == size - 1) for place, name in enumerate(names)]
    file = LayerFile(store.run_paths(run_id).layers, layers)
    file.begin(0, num_steps)
    far = np.geomspace(0.002, 0.2, size)
    is_still = np.array([is_body_frozen and not layer.is_head for layer in layers])
    generator = np.random.default_rng(0)
    for step in range(1, num_steps + 1):
        done = step / num_steps
        gradients = generator.lognormal(0.0, 0.4, size) * far * (1.2 - done)
        file.append(
            step, record.epoch * done, np.where(is_still, 0.0, far * done**0.5),
            np.where(is_still, np.nan, gradients), np.full(size, 3.0),
        )  # fmt: skip


def make_many_classes_run(store: RunStore, name: str = "thousand", *, num_classes: int = 1000) -> RunRecord:
    """A completed run with many classes and five eval images a class; the pictures are digits."""
    run, config = _started(store, name, {"epochs": 1})
    images = _images(config.data)
    names = [f"class number {index:04d}" for index in range(num_classes)]
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(num_classes), 5)
    logits = generator.normal(size=(len(labels), num_classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 3.5
    split = images.splits["train"]
    write_predictions(
        store.run_paths(run.run_id).prediction_file("eval", 100),
        example_ids=[f"{index:016x}" for index in range(len(labels))],
        images=[split.reference(index % len(split)) for index in range(len(labels))],
        labels=labels,
        logits=logits,
        is_full=False,
        class_names=names,
    )
    figures = classification_metrics(logits, labels)
    facts = {**store.get_run(run.run_id).facts, "class_names": names}
    facts["counts"] = {"train": 20 * num_classes, "eval": len(labels), "test": len(labels)}
    store.log_metrics(run.run_id, 100, 1.0, {f"eval_{key}": value for key, value in figures.items()})
    store.update_run(
        run.run_id, facts=facts, global_step=100, max_steps=100, epoch=1.0, best_step=100,
        best_value=figures["loss"], accuracy=figures["accuracy"], evaluation={"eval": figures},
    )  # fmt: skip
    store.change_state(run.run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    return store.get_run(run.run_id)


def make_run_of(
    store: RunStore,
    name: str,
    *,
    class_names: Sequence[str],
    labels: np.ndarray,
    logits: Sequence[np.ndarray],
    is_live: bool = False,
) -> RunRecord:
    """A run whose evaluations on eval are given; its pictures are digits.

    Args:
        store: Where it goes.
        name: Of the run.
        class_names: C names.
        labels: Shape (N,).
        logits: Of each epoch, shape (N, C); the last one counts as the best.
        is_live: Whether it still trains.
    """
    run, config = _started(store, name, {"epochs": len(logits) + is_live})
    split = _images(config.data).splits["train"]
    for number, values in enumerate(logits, start=1):
        write_predictions(
            store.run_paths(run.run_id).prediction_file("eval", 100 * number),
            example_ids=[f"{index:016x}" for index in range(len(labels))],
            images=[split.reference(index % len(split)) for index in range(len(labels))],
            labels=labels, logits=values, is_full=False, class_names=class_names,
        )  # fmt: skip
        accuracy = float((values.argmax(axis=1) == labels).mean())
        store.log_metrics(run.run_id, 100 * number, float(number), {"eval_accuracy": accuracy})
    facts = {**store.get_run(run.run_id).facts, "class_names": list(class_names)}
    facts["counts"] = {"train": len(labels), "eval": len(labels), "test": 0}
    store.update_run(
        run.run_id, facts=facts, global_step=100 * len(logits), max_steps=100 * (len(logits) + is_live),
        epoch=float(len(logits)), best_step=100 * len(logits), best_value=0.5, accuracy=accuracy,
    )  # fmt: skip
    if not is_live:
        store.update_run(run.run_id, evaluation={"eval": {"accuracy": accuracy}})
        store.change_state(run.run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    return store.get_run(run.run_id)


def fill_with_runs(store: RunStore, count: int = 1000, steps: int = 0) -> None:
    """Writes many completed runs at once, straight into the tables, each with `steps` points of `loss`.

    They have a row and a configuration file, but no predictions: for the speed of lists and curves.
    """
    config = make_config(make_config_values(name="filler"))
    text = dump_config(config)
    begin = datetime.now(UTC) - timedelta(days=30)
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        run_id = f"20260101-0000-f{index:04d}"
        paths = store.run_paths(run_id)
        paths.folder.mkdir()
        paths.config.write_text(text, encoding="utf-8")
        made = begin + timedelta(minutes=40 * index)
        rows.append(
            {
                "run_id": run_id, "name": f"filler-{index:04d}", "state": str(RunState.COMPLETED),
                "task": config.task, "model": config.model.name_or_path, "data": config.data.name_or_path,
                "created_at": made.isoformat(timespec="milliseconds"),
                "started_at": made.isoformat(timespec="milliseconds"),
                "ended_at": (made + timedelta(minutes=7)).isoformat(timespec="milliseconds"),
                "global_step": 1000, "max_steps": 1000, "epoch": 8.0, "num_train_epochs": 8.0,
                "best_metric": "eval_loss", "best_value": float(generator.uniform(0.1, 1)), "best_step": 1000,
                "accuracy": float(generator.uniform(0.7, 0.99)),
                "facts": json.dumps({"counts": {"train": 1257, "eval": 270, "test": 270}}),
                "evaluation": json.dumps({}),
            }
        )  # fmt: skip
    engine = schema.open_database(store.paths.database)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.execute(sa.insert(schema.runs), rows)
        for row in rows if steps else []:
            points = [
                (row["run_id"], step, step, step / steps, "loss", 2 / (1 + step / 50), row["created_at"])
                for step in range(1, steps + 1)
            ]
            connection.exec_driver_sql(
                "INSERT INTO metrics (run_id, row, step, epoch, key, value, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                points,
            )
            connection.exec_driver_sql("INSERT INTO metric_rows VALUES (?, ?, 0)", (row["run_id"], steps))
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


@contextmanager
def held_supervisor(store: RunStore) -> Iterator[None]:
    """Stands in for a living supervisor that does nothing, so that no page starts a real one."""
    with store.paths.supervisor_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def make_image_folder(folder: Path, class_names: tuple[str, ...] = ("cat", "dog"), count: int = 12) -> Path:
    """A folder of class folders with small colour pictures that a linear model can tell apart."""
    generator = np.random.default_rng(0)
    for index, name in enumerate(class_names):
        target = folder / name
        target.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 120, size=(24, 32, 3), dtype=np.uint8)
            pixels[..., index % 3] += np.uint8(100)
            Image.fromarray(pixels).save(target / f"{number:03d}.png")
    return folder


@dataclass(frozen=True)
class _Epoch:
    number: int
    step: int
    losses: tuple[float, ...]
    logits: dict[str, np.ndarray]
    images_per_second: float


def _started(store: RunStore, name: str | None, changes: dict[str, Any]) -> tuple[RunRecord, RunConfig]:
    run = make_queued_run(store, name, **changes)
    config = roughly(store.read_config(run.run_id))
    store.change_state(run.run_id, [RunState.QUEUED], RunState.STARTING, by="supervisor")
    images = _images(config.data)
    counts = images.counts()
    train = len(images.splits["train"])
    steps = -(-train // config.training.per_device_train_batch_size)
    facts = {
        "class_names": list(images.class_names),
        "counts": {split: len(found) for split, found in images.splits.items()},
        "counts_by_class": counts,
        "skipped": 0,
        "device": "2 CPU cores",
        "num_parameters": 4_810,
        "num_trained_parameters": 4_810,
        "image_size": SIDE,
        "is_cut": list(images.is_cut),
        "model_revision": None,
        "fingerprint": digest(repr(counts).encode()),
        "split_fingerprints": {
            name: digest(f"{config.data.name_or_path} {name} {counts[name]}".encode()) for name in counts
        },
    }
    _write_examples(store, run.run_id, images)
    epochs = config.training.num_train_epochs
    store.update_run(run.run_id, facts=facts, max_steps=steps * epochs, num_train_epochs=float(epochs))
    store.record_process(run.run_id, ProcessRecord(2**22 - 1, time.time(), "rank 0"))
    store.change_state(run.run_id, [RunState.STARTING], RunState.RUNNING, by="worker")
    store.run_paths(run.run_id).log.write_text(
        f"superft worker for {run.run_id}\n{train:,} train images, {len(images.class_names)} classes\n",
        encoding="utf-8",
    )
    return store.get_run(run.run_id), config


def _write_epoch(
    store: RunStore, run_id: str, config: RunConfig, images: ImageSet, epoch: _Epoch, best: _Epoch | None
) -> _Epoch:
    """Writes what a worker writes in one epoch, and returns the best so far."""
    labels = images.splits["eval"].labels
    total = store.get_run(run_id).max_steps
    previous = epoch.step - epoch.step // epoch.number
    for index, loss in enumerate(epoch.losses, start=1):
        step = previous + round((epoch.step - previous) * index / len(epoch.losses))
        values = {
            "loss": loss,
            "learning_rate": config.training.learning_rate * (1 + np.cos(np.pi * step / total)) / 2,
            "grad_norm": 1 / (1 + step / 40),
            "train_samples_per_second": epoch.images_per_second,
        }
        store.log_metrics(run_id, step, step / epoch.step * epoch.number, values)
    figures = classification_metrics(epoch.logits["eval"], labels)
    store.log_metrics(
        run_id, epoch.step, float(epoch.number), {f"eval_{key}": value for key, value in figures.items()}
    )
    _write_file(store, run_id, images, "eval", epoch)
    store.update_run(run_id, global_step=epoch.step, epoch=float(epoch.number))
    with store.run_paths(run_id).log.open("a", encoding="utf-8") as log:
        log.write(
            f"epoch {epoch.number:2d}  loss {epoch.losses[-1]:.4f}  eval_loss {figures['loss']:.4f}  "
            f"eval_accuracy {figures['accuracy']:.4f}\n"
        )
    if best is not None and example_losses(best.logits["eval"], labels).mean() <= figures["loss"]:
        return best
    store.update_run(run_id, best_value=figures["loss"], best_step=epoch.step, accuracy=figures["accuracy"])
    return epoch


def _write_file(store: RunStore, run_id: str, images: ImageSet, split: str, epoch: _Epoch) -> None:
    found = images.splits[split]
    write_predictions(
        store.run_paths(run_id).prediction_file(split, epoch.step),
        example_ids=_example_ids(found),
        images=[found.reference(row) for row in range(len(found))],
        labels=found.labels,
        logits=epoch.logits[split],
        is_full=True,
        class_names=images.class_names,
    )


def _write_examples(store: RunStore, run_id: str, images: ImageSet) -> None:
    """What a worker writes once: what is known of the images of eval and test."""
    for name in ("eval", "test"):
        split = images.splits[name]
        if id(split) not in _MEASURED:
            sizes = np.array([open_rgb(split.encoded(row)).size for row in range(len(split))])
            _MEASURED[id(split)] = split, sizes, measure_split(split)
        _, sizes, measures = _MEASURED[id(split)]
        write_examples(
            store.run_paths(run_id).examples_file(name), example_ids=_example_ids(split), sizes=sizes,
            measures=measures, metadata=split.metadata(),
        )  # fmt: skip


_MEASURED: dict[int, tuple[ImageSplit, np.ndarray, np.ndarray]] = {}


def _example_ids(split: ImageSplit) -> list[str]:
    if id(split) not in _IDS:
        _IDS[id(split)] = split, example_ids([digest(split.encoded(row)) for row in range(len(split))])
    return _IDS[id(split)][1]


_IDS: dict[int, tuple[ImageSplit, list[str]]] = {}


@lru_cache(maxsize=8)
def _images(data: DataConfig) -> ImageSet:
    return load_images(data, cache_dir())


@lru_cache(maxsize=8)
def _pixels(data: DataConfig) -> dict[str, np.ndarray]:
    """Each split's pictures as grey squares, shape (N, SIDE * SIDE), values in [0, 1]."""
    return {
        name: np.stack([_square(split.encoded(row)) for row in range(len(split))])
        for name, split in _images(data).splits.items()
    }


def _square(encoded: bytes) -> np.ndarray:
    small = open_rgb(encoded).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel() / 255


def _train_epochs(config: RunConfig, hidden: int) -> tuple[_Epoch, ...]:
    training = roughly(config).training
    return _trained(
        config.data, hidden, training.num_train_epochs, training.learning_rate,
        training.seed, training.per_device_train_batch_size,
    )  # fmt: skip


@lru_cache(maxsize=32)
def _trained(
    data: DataConfig, hidden: int, epochs: int, learning_rate: float, seed: int, batch_size: int
) -> tuple[_Epoch, ...]:
    images, pixels = _images(data), _pixels(data)
    labels = images.splits["train"].labels
    classes = np.arange(len(images.class_names))
    network = MLPClassifier((hidden,), learning_rate_init=learning_rate, random_state=seed)
    order = np.random.default_rng(seed)
    done, step = [], 0
    for number in range(1, epochs + 1):
        begin, losses = time.perf_counter(), []
        for batch in _batches(order.permutation(len(labels)), batch_size):
            network.partial_fit(pixels["train"][batch], labels[batch], classes=classes)
            losses.append(network.loss_)
            step += 1
        pace = len(labels) / (time.perf_counter() - begin)
        logits = {name: _logits(network, pixels[name]) for name in ("eval", "test")}
        means = tuple(float(part.mean()) for part in np.array_split(losses, min(LOGS_PER_EPOCH, len(losses))))
        done.append(_Epoch(number, step, means, logits, pace))
    return tuple(done)


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _logits(network: MLPClassifier, pixels: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities: logits up to a constant, shape (N, C), dtype float32."""
    return np.log(np.maximum(network.predict_proba(pixels), 1e-12)).astype(np.float32)
