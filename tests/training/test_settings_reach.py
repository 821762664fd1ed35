"""Each setting is read: one change of it is seen in the arguments, the images, the model, the loss, the
splits or the launch of a run. A setting without a line here fails `test_every_setting_has_a_case`."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TimmWrapperConfig, TrainerControl, TrainerState, set_seed, training_args

from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, parse_config
from superft_hf.engine.devices import find_devices
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.machines import Machines
from superft_hf.engine.watching import Watch
from superft_hf.errors import BadImageError, DataError, DeviceError, ModelError, SuperFTError
from superft_hf.paths import RunPaths
from superft_hf.preflight.report import require
from superft_hf.recipe.rules import with_linear_rate
from superft_hf.settings import all_settings
from superft_hf.sources import hub_data
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.store import RunStore
from superft_hf.training import arguments
from superft_hf.training.arguments import _options, training_arguments
from superft_hf.training.budget import Amount, Pace, fitting_epochs
from superft_hf.training.image_classification.model import load_model, output_layers
from superft_hf.training.image_classification.pixels import read_pixel_map
from superft_hf.training.image_classification.task import ImageClassification
from superft_hf.training.prepare import prepare
from superft_hf.training.resolve import decide_devices, shrink_batch
from superft_hf.training.run import RunContext, _wishes, make_trainer
from superft_hf.training.sampling import EpochSampler, ExampleKey
from superft_hf.training.shared_statistics import share_statistics
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
    """What the network is given of 20 images in the first step."""
    task = ImageClassification(config, scan_images(load_images(config.data, home), config.data))
    batch = task.train_dataset().__getitems__([ExampleKey(index, 0) for index in range(20)])
    made = task.batch_maker()(batch, step=0, max_steps=9)
    return made["pixel_values"].tolist(), made["labels"].tolist()


def loss(config: RunConfig, home: Path) -> float:
    """The training loss of one batch."""
    trainer = trainer_of(config, home)
    pixels = torch.linspace(-1, 1, 8 * 3 * 32 * 32).reshape(8, 3, 32, 32)
    batch = {"pixel_values": pixels, "labels": torch.tensor([0, 1, 2, 0, 0, 1, 0, 2])}
    trainer.model.train()
    torch.manual_seed(0)
    return trainer.compute_loss(trainer.model, batch).item()


def update_rule(config: RunConfig, home: Path) -> Any:
    """The optimizer, and what it does with how many weights."""
    optimizer = trainer_of(config, home).create_optimizer()
    groups = [
        {**group, "params": sum(one.numel() for one in group["params"])} for group in optimizer.param_groups
    ]
    return type(optimizer).__name__, groups


def rates(config: RunConfig, home: Path) -> list[float]:
    """The learning rate of each of 40 updates."""
    trainer, found = trainer_of(config, home), []
    schedule = trainer.create_scheduler(40, trainer.create_optimizer())
    for _ in range(40):
        found += schedule.get_last_lr()[:1]
        trainer.optimizer.step()
        schedule.step()
    return found


def drawn(config: RunConfig, home: Path) -> list[Any]:
    """The training images of the first epoch, in order."""
    return list(trainer_of(config, home)._get_train_sampler())


def evaluated_weights(config: RunConfig, home: Path) -> float:
    """A sum of the weights that are evaluated, after an update that added 1 to each."""
    trainer = trainer_of(config, home)
    with torch.no_grad():
        for one in trainer.model.parameters():
            one.add_(1.0)
    if trainer.average is not None:
        trainer.average.update(100)
    with trainer._averaged():
        return sum(one.double().sum().item() for one in trainer.model.parameters())


def evaluated_logits(config: RunConfig, home: Path) -> Any:
    """What an evaluation step makes of an image that is dark on one side."""
    trainer = trainer_of(config, home)
    trainer.model.eval()
    pixels = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32).contiguous()
    batch = {"pixel_values": pixels, "labels": torch.zeros(1, dtype=torch.int64)}
    return trainer.prediction_step(trainer.model, batch, prediction_loss_only=False)[1].tolist()


def trainer_of(config: RunConfig, home: Path) -> Any:

    config = decide_devices(config)
    scan = scan_images(load_images(config.data, home), config.data)
    set_seed(config.training.seed)
    task = ImageClassification(config, scan)
    args = training_arguments(config, home / "out")
    strategy = Strategy(task.model, task.heads, config.model, config.training.num_train_epochs)
    return make_trainer(config, task, args, strategy, RunPaths(home).prediction_file, [])


def trainable(config: RunConfig, home: Path) -> list[int]:
    """Trainable parameters in the first three epochs."""
    model, _ = load_model(config.model, ["a", "b"])
    from superft_hf.training.image_classification.model import head_modules

    strategy = Strategy(model, head_modules(model), config.model, num_epochs=8)
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


def first_weights(config: RunConfig, home: Path) -> float:
    """A sum over the body of the network before training."""
    set_seed(0)
    model, _ = load_model(config.model, ["a", "b"])
    return sum(one.double().square().sum().item() for one in model.base_model.parameters())


def skipped_branches(config: RunConfig, home: Path) -> list[float]:
    """Shares of the branches that a network which has such skips while training."""
    folder = home.parent / "with-branches"
    TimmWrapperConfig(architecture="test_resnet", pretrained_cfg={"input_size": [3, 32, 32]}).save_pretrained(
        folder
    )
    changed = config.model.model_copy(update={"name_or_path": str(folder), "pretrained": False})
    model, _ = load_model(changed, ["a", "b"])
    return [one.drop_prob for one in model.modules() if type(one).__name__ == "DropPath"]


def moving_statistics(config: RunConfig, home: Path) -> list[bool]:
    """Which batch-norm layers follow the batches."""
    trainer = trainer_of(config, home)
    trainer.model.train()
    trainer._strategy.set_modes()
    return [one.training for one in trainer.model.modules() if isinstance(one, torch.nn.BatchNorm2d)]


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
    batch = trainer.train_dataset.__getitems__([ExampleKey(index, 0) for index in range(4)])
    return trainer.data_collator(batch)["pixels"].is_contiguous(memory_format=torch.channels_last)


def stopping(config: RunConfig, home: Path) -> Any:
    handlers = trainer_of(config, home).callback_handler.callbacks
    return [one.early_stopping_patience for one in handlers if type(one).__name__ == "EarlyStoppingCallback"]


def labels_trained_on(config: RunConfig, home: Path) -> Any:
    """The labels of the training batches, in order."""
    dataset = ImageClassification(
        config, scan_images(load_images(config.data, home), config.data)
    ).train_dataset()
    return [dataset[key]["labels"] for key in EpochSampler(len(dataset), config.training.seed)]


def has_image_cache(config: RunConfig, home: Path) -> bool:
    """Whether prepared images are kept in the home."""
    home.mkdir(exist_ok=True)
    scan = scan_images(load_images(config.data, home), config.data, home=home)
    return ImageClassification(config, scan).eval_dataset("eval")._seen._kept.cache is not None


def launch(config: RunConfig, home: Path) -> Any:
    devices, launcher, machines = find_devices(config.hardware), Launcher(), Machines.of(config.hardware)
    command = launcher.command(RunPaths(home / "20260101-0000-abcd"), devices, machines)
    return command, launcher.environment(home, config, devices)["OMP_NUM_THREADS"]


def sharded(config: RunConfig, home: Path) -> Any:
    """What Trainer is told of sharding; deepspeed itself would have to be installed."""
    return {key: value for key, value in _options(config).items() if key.startswith(("fsdp", "deepspeed"))}


def shares_statistics(config: RunConfig, home: Path) -> bool:
    """Whether batch-norm layers see the images of both of two GPUs."""
    return share_statistics(torch.nn.Sequential(torch.nn.BatchNorm2d(2)), config.hardware, "cuda", 2)


def scaled_rate(config: RunConfig, home: Path) -> float | None:
    return with_linear_rate(config).training.learning_rate


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


def tf32(config: RunConfig, home: Path) -> list[bool]:
    """What a GPU is told that can multiply so; this machine has none, so that it is only listened to."""
    told = []
    on_gpu = config.model_copy(update={"hardware": config.hardware.model_copy(update={"devices": "0"})})
    with pytest.MonkeyPatch.context() as patch:
        for module in (arguments, training_args):
            patch.setattr(module, "is_torch_tf32_available", lambda: True)
        patch.setattr(training_args, "enable_tf32", told.append)
        training_arguments(on_gpu, home / "out")
    return told


def compiled(config: RunConfig, home: Path) -> bool:
    """Whether the network of a run is compiled before its first step."""
    store = RunStore(home)
    context = RunContext(store, store.create_run(config, by="test").run_id)
    scan = scan_images(load_images(config.data, home), config.data)
    model = prepare(context, decide_devices(config), scan, is_resumed=False).task.model
    return model._compiled_call_impl is not None


CASES: dict[str, tuple[Callable[[RunConfig, Path], Any], Any]] = {
    "name": (argument("run_name"), "a name"),
    "model.name_or_path": (pixel_size, "other model"),
    "model.strategy": (trainable, "head"),
    "model.head_epochs": (trainable, 2),
    "model.pretrained": (first_weights, False),
    "model.drop_path_rate": (skipped_branches, 0.3),
    "model.batch_norm": (moving_statistics, "frozen"),
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
    "augmentation.right_angles": (augmented, 0.5),
    "augmentation.auto_augment": (augmented, "trivial_augment"),
    "augmentation.auto_augment_magnitude": (augmented, 20),
    "augmentation.mixup": (augmented, 0.4),
    "augmentation.cutmix": (augmented, 1.0),
    "augmentation.multi_scale": (augmented, 0.4),
    "augmentation.progressive_resizing": (augmented, 0.5),
    "augmentation.test_time": (evaluated_logits, "mirror"),
    "training.num_train_epochs": (argument("num_train_epochs"), 9),
    "training.time_budget_s": (
        lambda config, home: (
            config.training.time_budget_s
            and fitting_epochs(Pace(1.0, 1.0), config.training.time_budget_s, Amount(10, 1, 1))
        ),
        100.0,
    ),
    "training.per_device_train_batch_size": (argument("per_device_train_batch_size"), 5),
    "training.per_device_eval_batch_size": (argument("per_device_eval_batch_size"), 5),
    "training.gradient_checkpointing": (argument("activation_checkpointing"), True),
    "training.gradient_accumulation_steps": (argument("gradient_accumulation_steps"), 2),
    "training.learning_rate": (update_rule, 0.5),
    "training.linear_lr_scaling": (scaled_rate, True),
    "training.head_learning_rate_factor": (update_rule, 5.0),
    "training.layer_decay": (update_rule, 0.5),
    "training.optim": (update_rule, "sgd"),
    "training.momentum": (update_rule, 0.5),
    "training.nesterov": (update_rule, True),
    "training.lr_scheduler_type": (rates, "linear"),
    "training.warmup_steps": (rates, 10.0),
    "training.cooldown_steps": (rates, 10.0),
    "training.weight_decay": (update_rule, 0.5),
    "training.max_grad_norm": (argument("max_grad_norm"), 0.0),
    "training.l1": (loss, 0.01),
    "training.l2": (loss, 0.01),
    "training.loss": (loss, "binary_cross_entropy"),
    "training.focal_gamma": (loss, 0.5),
    "training.label_smoothing_factor": (loss, 0.3),
    "training.class_weights": (loss, "balanced"),
    "training.balanced_sampling": (drawn, True),
    "training.ema_decay": (evaluated_weights, 0.9),
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
    "hardware.num_machines": (launch, 2),
    "hardware.main_address": (launch, "10.0.0.1:29511"),
    "hardware.sharding": (sharded, "fsdp"),
    "hardware.sharding_config": (sharded, "options.json"),
    "hardware.sync_batch_norm": (shares_statistics, False),
    "hardware.mixed_precision": (argument("bf16"), "bf16"),
    "hardware.tf32": (tf32, False),
    "hardware.torch_compile": (compiled, "yes"),
    "hardware.memory_format": (batch_format, "channels_last"),
    "hardware.threads": (launch, 3),
    "hardware.memory_limit_gb": (memory_limit, 2.0),
    "hardware.image_cache_gb": (has_image_cache, 0.0),
}
NEEDS = {  # settings that show only beside another
    "model.head_epochs": {"model": {"strategy": "head-then-full"}},
    "training.momentum": {"training": {"optim": "sgd"}},
    "training.nesterov": {"training": {"optim": "sgd"}},
    "training.cooldown_steps": {"training": {"lr_scheduler_type": "warmup_stable_decay"}},
    "training.focal_gamma": {"training": {"loss": "focal"}},
    "augmentation.auto_augment_magnitude": {"augmentation": {"auto_augment": "rand_augment"}},
    "data.eval_split": {"data": {"test_split": None}},
    "data.fold": {"data": {"num_folds": 3}},
    "hardware.memory_format": {"hardware": {"memory_format": "contiguous"}},
    "hardware.main_address": {"hardware": {"num_machines": 2}},
    "hardware.sharding_config": {"hardware": {"sharding": "fsdp"}},
    "training.linear_lr_scaling": {"hardware": {"num_processes": 2}},
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
