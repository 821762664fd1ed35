"""Each setting is read: one change of it is seen in the arguments, the images, the model, the loss, the
splits or the launch of a run. A setting without a line here fails `test_every_setting_has_a_case`."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import TrainerControl, TrainerState, set_seed

from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, parse_config
from superft_hf.engine.devices import find_devices
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.watching import Watch
from superft_hf.errors import BadImageError, DataError, DeviceError, ModelError, SuperFTError
from superft_hf.paths import RunPaths
from superft_hf.preflight.report import require
from superft_hf.settings import all_settings
from superft_hf.sources import hub_data
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.store import RunStore
from superft_hf.training.arguments import training_arguments
from superft_hf.training.budget import Pace, fitting_epochs
from superft_hf.training.image_classification.model import load_model, output_layers
from superft_hf.training.image_classification.pixels import (
    augmentation_steps,
    make_augmentation,
    read_pixel_map,
)
from superft_hf.training.image_classification.task import ImageClassification
from superft_hf.training.resolve import decide_devices, shrink_batch
from superft_hf.training.run import RunContext, _wishes, make_trainer
from superft_hf.training.sampling import EpochSampler, seeded
from superft_hf.training.stopping import ShutdownSignal, StopCallback, Wishes
from superft_hf.training.strategy import Strategy


def argument(name: str) -> Callable[[RunConfig, Path], Any]:
    """Reads one of TrainingArguments."""
    return lambda config, home: getattr(training_arguments(decide_devices(config), home / "out"), name)


def splits(config: RunConfig, home: Path) -> Any:
    """Which images are in which split."""
    images = load_images(config.data, home)
    return {
        name: [split.reference(index) for index in range(len(split))] for name, split in images.splits.items()
    }


def class_counts(config: RunConfig, home: Path) -> Any:
    """Images by class, by split."""
    return load_images(config.data, home).counts()


def opened(config: RunConfig, home: Path) -> Any:
    """Which images are left once all are opened."""
    return scan_images(load_images(config.data, home), config.data).example_ids


def augmented(config: RunConfig, home: Path) -> Any:
    """One picture, augmented 20 times."""
    _, processor = load_model(config.model, ["a", "b"])
    augment = make_augmentation(config.augmentation, read_pixel_map(processor))
    picture = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3))
    if augment is None:
        return "plain"
    made = []
    for number in range(20):
        with seeded(1, number):
            made.append(augment(picture).sum(dim=(1, 2)).tolist())
    return made, augmentation_steps(config.augmentation)


def loss(config: RunConfig, home: Path) -> float:
    """The training loss of one batch."""
    trainer = trainer_of(config, home)
    batch = trainer.data_collator([trainer.train_dataset[(index, 0)] for index in range(8)])
    trainer.model.train()
    torch.manual_seed(0)
    return trainer.compute_loss(trainer.model, batch).item()


def trainer_of(config: RunConfig, home: Path) -> Any:

    config = decide_devices(config)
    scan = scan_images(load_images(config.data, home), config.data)
    set_seed(config.training.seed)
    task = ImageClassification(config, scan)
    args = training_arguments(config, home / "out")
    strategy = Strategy(task.model, task.heads, config.model)
    return make_trainer(config, task, args, strategy, RunPaths(home).prediction_file, [])


def trainable(config: RunConfig, home: Path) -> list[int]:
    """Trainable parameters in the first three epochs."""
    model, _ = load_model(config.model, ["a", "b"])
    from superft_hf.training.image_classification.model import head_modules

    strategy = Strategy(model, head_modules(model), config.model)
    found = []
    for epoch in range(3):
        strategy.begin_epoch(epoch)
        found.append(sum(one.numel() for one in model.parameters() if one.requires_grad))
    return found


def head_with_dropout(config: RunConfig, home: Path) -> Any:
    """What the output layer makes of ones while training."""
    set_seed(0)
    model, _ = load_model(config.model, ["a", "b"])
    layer = output_layers(model)[0].train()
    return layer(torch.ones(4, layer.in_features)).tolist()


def steps_saved(config: RunConfig, home: Path) -> list[int]:
    """Steps within an epoch of ten at which a checkpoint is written."""
    wishes, found = Wishes(None, "run", ShutdownSignal()), []
    stop = StopCallback(wishes, ShutdownSignal(), config.training.save_steps)
    for step in range(1, 11):
        control = TrainerControl()
        stop.on_step_end(None, TrainerState(epoch=step / 10, global_step=step), control)
        found += [step] if control.should_save else []
    return found


def smaller_batch(config: RunConfig, home: Path) -> Any:
    """What is trained with after memory ran out."""
    smaller = shrink_batch(config)
    return smaller and smaller.training.per_device_train_batch_size


def hang_limit(config: RunConfig, home: Path) -> float:
    """Seconds without progress after which the supervisor gives a run up."""
    store = RunStore(home)
    return Watch(store, "test")._timeout_s(store.create_run(config, by="test"))


def memory_limit(config: RunConfig, home: Path) -> int | None:
    """Bytes that the worker of one process may take."""
    store, args = RunStore(home), SimpleNamespace(world_size=1, process_index=1, device=torch.device("cpu"))
    context = RunContext(store, store.create_run(config, by="test").run_id)
    return _wishes(context, config, None, args, ShutdownSignal())._memory_limit


def outcome(config: RunConfig, home: Path) -> str:
    """The kind of error that stands before a start, or `fine`."""
    try:
        require(config, home)
    except SuperFTError as error:
        return error.kind
    return "fine"


def pixel_size(config: RunConfig, home: Path) -> int:
    return read_pixel_map(load_model(config.model, ["a", "b"])[1]).height


def order(config: RunConfig, home: Path) -> list[int]:
    return [
        key.index for key in EpochSampler(10, training_arguments(decide_devices(config), home / "out").seed)
    ]


def batch_format(config: RunConfig, home: Path) -> bool:
    trainer = trainer_of(config, home)
    batch = trainer.data_collator([trainer.train_dataset[(index, 0)] for index in range(4)])
    return batch["pixel_values"].is_contiguous(memory_format=torch.channels_last)


def stopping(config: RunConfig, home: Path) -> Any:
    handlers = trainer_of(config, home).callback_handler.callbacks
    return [one.early_stopping_patience for one in handlers if type(one).__name__ == "EarlyStoppingCallback"]


def class_loss_weights(config: RunConfig, home: Path) -> Any:
    scan = scan_images(load_images(config.data, home), config.data)
    weights = ImageClassification(config, scan)._class_weights
    return None if weights is None else weights.tolist()


def labels_trained_on(config: RunConfig, home: Path) -> Any:
    """The labels of the training batches, in order."""
    dataset = ImageClassification(
        config, scan_images(load_images(config.data, home), config.data)
    ).train_dataset()
    return [dataset[key]["labels"] for key in EpochSampler(len(dataset), config.training.seed)]


def launch(config: RunConfig, home: Path) -> Any:
    devices, launcher = find_devices(config.hardware), Launcher()
    command = launcher.command(RunPaths(home / "20260101-0000-abcd"), devices)
    return command, launcher.environment(home, config, devices)["OMP_NUM_THREADS"]


def hub_load_arguments(config: RunConfig, home: Path) -> Any:
    """What the datasets library is asked for; the stand-in Hub of the tests serves it in test_hub_data."""
    import datasets

    columns = {
        "image": [None] * 8, "picture": [None] * 8, "label": [0, 1] * 4, "kind": [1, 0] * 4,
    }  # fmt: skip
    kind = datasets.ClassLabel(names=["a", "b"])
    features = {"image": datasets.Image(), "picture": datasets.Image(), "label": kind, "kind": kind}
    rows = datasets.DatasetDict(train=datasets.Dataset.from_dict(columns, datasets.Features(features)))
    asked = []

    def load_dataset_builder(*args: Any, **options: Any) -> Any:
        asked.append((args, options["revision"]))
        return SimpleNamespace(
            hash=options["revision"], download_and_prepare=lambda: None, as_dataset=lambda: rows
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
        info = SimpleNamespace(sha=f"commit of {config.data.revision}", siblings=[], card_data=None)
        patch.setattr(hub_data, "hub_info", lambda data, *args, **options: info)
        patch.setattr(hub_data, "note_revision", lambda data: None)
        train = hub_data.read_hub(config.data)["train"]
    return asked, train.images._column, train.labels.tolist()


CASES: dict[str, tuple[Callable[[RunConfig, Path], Any], Any]] = {
    "name": (argument("run_name"), "a name"),
    "model.name_or_path": (pixel_size, "other model"),
    "model.strategy": (trainable, "head"),
    "model.head_epochs": (trainable, 2),
    "model.dropout": (head_with_dropout, 0.5),
    "model.image_size": (pixel_size, 48),
    "data.name_or_path": (splits, "other images"),
    "data.revision": (hub_load_arguments, "v2"),
    "data.config_name": (hub_load_arguments, "special"),
    "data.image_column": (hub_load_arguments, "picture"),
    "data.label_column": (hub_load_arguments, "kind"),
    "data.train_split": (outcome, "elsewhere"),
    "data.eval_split": (splits, "test"),
    "data.test_split": (splits, None),
    "data.eval_fraction": (splits, 0.3),
    "data.test_fraction": (splits, 0.3),
    "data.split_seed": (splits, 7),
    "data.split_by": (splits, "cut"),
    "data.split_column": (splits, "fold"),
    "data.group_column": (splits, "site"),
    "data.exclude": (opened, "one of them"),
    "data.relabel": (labels_trained_on, "one of them"),
    "data.merge_classes": (class_counts, {"c": "b"}),
    "data.exclude_classes": (class_counts, ["c"]),
    "data.num_folds": (splits, 3),
    "data.fold": (splits, 2),
    "data.max_train_samples": (splits, 12),
    "data.on_bad_image": (outcome, "skip"),
    "augmentation.preset": (augmented, "strong"),
    "augmentation.crop_scale": (augmented, 0.2),
    "augmentation.horizontal_flip": (augmented, 0.0),
    "augmentation.vertical_flip": (augmented, 1.0),
    "augmentation.rotation": (augmented, 45.0),
    "augmentation.color_jitter": (augmented, 0.5),
    "augmentation.random_erasing": (augmented, 1.0),
    "training.num_train_epochs": (argument("num_train_epochs"), 9),
    "training.time_budget_s": (
        lambda config, home: (
            config.training.time_budget_s
            and fitting_epochs(Pace(1.0, 1.0), config.training.time_budget_s, 10, 1, 1)
        ),
        100.0,
    ),
    "training.per_device_train_batch_size": (argument("per_device_train_batch_size"), 5),
    "training.per_device_eval_batch_size": (argument("per_device_eval_batch_size"), 5),
    "training.gradient_accumulation_steps": (argument("gradient_accumulation_steps"), 2),
    "training.learning_rate": (argument("learning_rate"), 0.5),
    "training.optim": (argument("optim"), "sgd"),
    "training.momentum": (argument("optim_args"), 0.5),
    "training.lr_scheduler_type": (argument("lr_scheduler_type"), "linear"),
    "training.warmup_steps": (argument("warmup_steps"), 10.0),
    "training.weight_decay": (argument("weight_decay"), 0.5),
    "training.max_grad_norm": (argument("max_grad_norm"), 0.0),
    "training.l1": (loss, 0.01),
    "training.l2": (loss, 0.01),
    "training.label_smoothing_factor": (loss, 0.3),
    "training.class_weights": (class_loss_weights, "balanced"),
    "training.seed": (order, 7),
    "training.logging_steps": (argument("logging_steps"), 3),
    "training.save_steps": (steps_saved, 2),
    "training.auto_find_batch_size": (smaller_batch, True),
    "training.hang_timeout_s": (hang_limit, 60.0),
    "training.dataloader_num_workers": (argument("dataloader_num_workers"), 2),
    "training.report_to": (argument("report_to"), ["tensorboard"]),
    "early_stopping.patience": (stopping, None),
    "early_stopping.metric": (argument("metric_for_best_model"), "eval_accuracy"),
    "hardware.devices": (lambda config, home: device_outcome(config), "7"),
    "hardware.num_processes": (launch, 2),
    "hardware.mixed_precision": (argument("bf16"), "bf16"),
    "hardware.memory_format": (batch_format, "channels_last"),
    "hardware.threads": (launch, 3),
    "hardware.memory_limit_gb": (memory_limit, 2.0),
}
NEEDS = {  # settings that show only beside another
    "model.head_epochs": {"model": {"strategy": "head-then-full"}},
    "training.momentum": {"training": {"optim": "sgd"}},
    "data.eval_split": {"data": {"test_split": None}},
    "data.fold": {"data": {"num_folds": 3}},
    "hardware.memory_format": {"hardware": {"memory_format": "contiguous"}},
}
WITH_BROKEN_IMAGE = {"data.on_bad_image"}
FROM_TABLE = {"data.split_column", "data.group_column"}
ONE_VALUE_SO_FAR = {"task"}
"""The task is chosen in `superft_hf.training.tasks`; there is one so far."""
PASSED_TO_LOADER = {"model.revision"}
"""See test_the_model_revision_is_passed_on."""


def device_outcome(config: RunConfig) -> str:
    try:
        return find_devices(config.hardware).kind
    except DeviceError as error:
        return error.kind


@pytest.fixture
def split_images(make_folder):
    """A folder with train and test folders, so that both kinds of split setting show."""
    layout = {"train/a": 20, "train/b": 30, "train/c": 10, "test/a": 5, "test/b": 5, "test/c": 5}
    return make_folder(layout, name="split-images")


def write_table(root: Path) -> Path:
    """The same images as rows of a CSV."""
    lines = ["path,label,fold,site"]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        split, label = path.relative_to(root).parts[:2]
        lines.append(f"{path.relative_to(root)},{label},{split},site {number % 7}")
    (root / "table.csv").write_text("\n".join(lines))
    return root / "table.csv"


@pytest.mark.parametrize("key", CASES)
def test_a_change_of_this_setting_is_seen(key, tiny_config, split_images, models, make_folder, home):
    read, value = CASES[key]
    values = {"other model": None, "other images": str(make_folder({"x": 9, "y": 9}, name="other"))}
    group, _, name = key.rpartition(".")
    base = {"data": {"name_or_path": "acme/cells" if read is hub_load_arguments else str(split_images)}}
    if key in ("data.test_fraction",):
        base["data"] |= {"test_split": None}
    for needed, settings in NEEDS.get(key, {}).items():
        base[needed] = {**base.get(needed, {}), **settings}
    if key in WITH_BROKEN_IMAGE:
        (split_images / "train" / "a" / "broken.png").write_bytes(b"no image")
    if key in FROM_TABLE:
        base["data"]["name_or_path"] = str(write_table(split_images))
    before = tiny_config("resnet", **base)
    if key == "data.exclude":
        value = opened(before, home)["train"][:1]
    if key == "data.relabel":
        value = {opened(before, home)["train"][0]: "c"}
    if key == "model.name_or_path":
        value = larger_model(models["vit"], home)
    text = parse_config(dump_config(before)).model_dump(mode="json")
    (text[group] if group else text)[name] = values.get(value, value) if isinstance(value, str) else value
    after = RunConfig.model_validate(text)
    assert read(before, home) != read(after, home)


def larger_model(folder: str, home: Path) -> str:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    target = home.parent / "larger"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    ViTForImageClassification(ViTConfig(image_size=64, patch_size=16, num_labels=3, **sizes)).save_pretrained(
        target
    )
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(target)
    return str(target)


def test_every_setting_has_a_case():
    assert {one.key for one in all_settings()} == CASES.keys() | ONE_VALUE_SO_FAR | PASSED_TO_LOADER


def test_the_model_revision_is_passed_on(tiny_config, monkeypatch):
    from superft_hf.training.image_classification import model as models

    asked = []

    def from_pretrained(name: str, **options: Any) -> Any:
        asked.append(options["revision"])
        raise OSError("enough")

    monkeypatch.setattr(models.AutoModelForImageClassification, "from_pretrained", from_pretrained)
    with pytest.raises(ModelError):
        load_model(tiny_config(model={"revision": "v2"}).model, ["a", "b"])
    assert asked == ["v2"]


def test_a_bad_image_is_an_error_unless_it_may_be_skipped(tiny_config, images, home):
    (images / "a" / "broken.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"broken\.png"):
        require(tiny_config(), home)


def test_an_unknown_train_split_is_named(tiny_config, split_images, home):
    with pytest.raises(DataError, match="elsewhere"):
        require(tiny_config(data={"name_or_path": str(split_images), "train_split": "elsewhere"}), home)
