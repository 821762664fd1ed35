"""RunConfig: the one declaration of every setting of a run.

The form, the YAML file, the command line and the documentation are made from these fields: a default, a
limit, a label, a help text or a unit is written here and nowhere else. Names are TrainingArguments' names
wherever it has one. Secrets are no settings: they come from the environment.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from superft_hf.config_base import Group, setting

Task = Literal["image-classification"]
Strategy = Literal["full", "head", "head-then-full"]
Metric = Literal[
    "eval_loss", "eval_accuracy", "eval_f1_macro", "eval_f1_weighted", "eval_balanced_accuracy",
    "eval_precision_macro", "eval_recall_macro", "eval_top5_accuracy",
]  # fmt: skip


ExampleKey = Annotated[str, Field(pattern=r"^((train|eval|test):)?[0-9a-f]{16}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=500)]


def _devices_text(value: object) -> object:
    """A YAML `0` or `[0, 1]` means the same as the text `0,1`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return ",".join(str(item) for item in value)
    return value


Devices = Annotated[str, BeforeValidator(_devices_text), Field(pattern=r"^(auto|cpu|\d+(,\d+)*)$")]


class ModelConfig(Group):
    """The `model:` group."""

    name_or_path: str = setting(
        ...,
        "Model",
        "Hub id, local folder, or sample:efficientnet-lite0.",
        basic=True,
        min_length=1,
        max_length=500,
    )
    revision: str = setting(
        "main", "Revision", "Branch, tag or commit of a Hub model; a run pins it to the commit.",
        min_length=1, max_length=200,
    )  # fmt: skip
    strategy: Strategy = setting(
        "full", "Strategy",
        "full trains every layer, head only the classification layer, head-then-full first the one, then "
        "the other.",
        basic=True,
    )  # fmt: skip
    head_epochs: int = setting(
        1, "Head epochs", "Epochs with the head alone before all layers follow; used by head-then-full only.",
        ge=1, le=1000,
    )  # fmt: skip
    dropout: float | None = setting(
        None, "Dropout", "Share of the features dropped before the classification layer while training; "
        "null: the model's own.", ge=0, lt=1,
    )  # fmt: skip
    image_size: int | None = setting(
        None, "Image size", "Height and width of the images the network sees; null: the model's own.",
        ge=16, le=2048, unit="px",
    )  # fmt: skip


class DataConfig(Group):
    """The `data:` group."""

    name_or_path: str = setting(
        ..., "Images",
        "Hub id, local folder of class folders, .zip of the same, .csv or .jsonl of paths and labels, or a "
        "sample such as sample:digits.",
        basic=True, min_length=1, max_length=500,
    )  # fmt: skip
    revision: str = setting(
        "main", "Revision", "Branch, tag or commit of a Hub data set; a run pins it to the commit.",
        min_length=1, max_length=200,
    )  # fmt: skip
    config_name: str | None = setting(
        None,
        "Configuration",
        "Configuration of a Hub data set that has several; null: its default.",
        max_length=200,
    )
    image_column: str | None = setting(
        None, "Image column",
        "Column with the images of a Hub data set, or with the paths in a CSV or JSONL; null: found by type.",
        max_length=200,
    )  # fmt: skip
    label_column: str | None = setting(
        None,
        "Label column",
        "Column with the classes; null: found by type and name, else the names of the folders.",
        max_length=200,
    )
    train_split: str = setting(
        "train", "Train split", "Name of the split to train on.", min_length=1, max_length=200
    )
    eval_split: str | None = setting(
        None, "Eval split",
        "Name of the split watched during training; null: one named validation, valid, val, eval "
        "or dev, else eval_fraction of train.", max_length=200,
    )  # fmt: skip
    test_split: str | None = setting(
        "test", "Test split",
        "Name of the split looked at once, at the end; null, or no such split: test_fraction "
        "of train.", max_length=200,
    )  # fmt: skip
    eval_fraction: float = setting(
        0.15, "Eval fraction", "Share of train cut off for eval, stratified by class.", gt=0, lt=1
    )
    test_fraction: float = setting(
        0.15, "Test fraction", "Share of train cut off for test, stratified by class.", gt=0, lt=1
    )
    split_seed: int = setting(
        42, "Split seed", "Chooses which images are cut off; apart from the training seed, so that seeds are "
        "compared on the same images.", ge=0, le=2**31 - 1,
    )  # fmt: skip
    split_by: Literal["given", "cut"] = setting(
        "given", "Splits",
        "given: the splits that the images come with, and what is missing is cut from train; cut: all images "
        "are put together and cut anew.",
    )  # fmt: skip
    split_column: str | None = setting(
        None, "Split column",
        "Column of a CSV or JSONL that names each row's split; null: the one called split, if any.",
        max_length=200,
    )  # fmt: skip
    group_column: str | None = setting(
        None, "Group column",
        "Images with an equal value in it, such as patient, site or video, stay on one side of a cut; in a "
        "folder, subfolder and file_prefix are columns as well.", max_length=200,
    )  # fmt: skip
    exclude: list[ExampleKey] = setting(
        [], "Left-out images",
        "Example ids to leave out, such as 0123456789abcdef; train:0123456789abcdef leaves it out of train "
        "only.",
    )  # fmt: skip
    relabel: dict[ExampleKey, ClassName] = setting(
        {}, "Corrected labels",
        "Example ids, as in exclude, and the name of the class that each image really shows; the splits stay "
        "as they were cut.",
    )  # fmt: skip
    merge_classes: dict[str, str] = setting(
        {}, "Merged classes", "Class names, and the name of the class that each is counted as."
    )
    exclude_classes: list[str] = setting([], "Left-out classes", "Class names whose images are left out.")
    num_folds: int | None = setting(
        None, "Folds",
        "Cut train into so many stratified parts and evaluate on one of them instead of eval, to get a "
        "prediction for every training image from a run that never saw it; null: no folds.",
        ge=2, le=100,
    )  # fmt: skip
    fold: int = setting(
        0, "Fold", "Which part is evaluated on, counted from 0; used with num_folds only.", ge=0, le=99
    )
    max_train_samples: int | None = setting(
        None,
        "Train images at most",
        "Train on a stratified part of the train split only; null: all of it.",
        ge=2,
    )
    on_bad_image: Literal["error", "skip"] = setting(
        "error",
        "Unreadable images",
        "error: refuse to start and name them; skip: leave them out and count them.",
    )

    @model_validator(mode="after")
    def _fractions_leave_something(self) -> "DataConfig":
        if self.eval_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"eval_fraction {self.eval_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on"
            )
        return self

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> "DataConfig":
        if self.num_folds is not None and self.fold >= self.num_folds:
            raise ValueError(f"fold {self.fold} is none of {self.num_folds}: they are counted from 0")
        return self


class AugmentationConfig(Group):
    """The `augmentation:` group. A step left at null takes the preset's value."""

    preset: Literal["none", "light", "strong"] = setting(
        "light", "Augmentation",
        "none: the images as they are; light: mirrored and slightly cropped; strong: also "
        "turned, recoloured and partly erased.", basic=True,
    )  # fmt: skip
    crop_scale: float | None = setting(
        None,
        "Smallest crop",
        "Smallest share of the image's area that a random crop keeps; 1: no crop.",
        gt=0,
        le=1,
    )
    horizontal_flip: float | None = setting(
        None, "Mirror", "Probability of swapping left and right.", ge=0, le=1
    )
    vertical_flip: float | None = setting(
        None, "Turn over", "Probability of swapping top and bottom.", ge=0, le=1
    )
    rotation: float | None = setting(
        None, "Rotation", "Largest random turn to either side.", ge=0, le=180, unit="degrees"
    )
    color_jitter: float | None = setting(
        None, "Colour jitter", "Largest relative change of brightness, contrast and saturation.", ge=0, lt=1
    )
    random_erasing: float | None = setting(
        None, "Random erasing", "Probability that a rectangle of the image is blanked out.", ge=0, le=1
    )


class TrainingConfig(Group):
    """The `training:` group. Names are TrainingArguments' names."""

    num_train_epochs: int = setting(
        5,
        "Epochs",
        "Passes over the train split; early stopping may end sooner.",
        basic=True,
        ge=1,
        le=10_000,
    )
    time_budget_s: float | None = setting(
        None, "Time budget",
        "When set, a short measurement chooses the number of epochs that fit into this time.",
        ge=10, unit="s",
    )  # fmt: skip
    per_device_train_batch_size: int = setting(
        32, "Images per step", "Images in one batch on each device.", basic=True, ge=1, le=65_536
    )
    per_device_eval_batch_size: int = setting(
        64, "Images per eval step",
        "Images in one evaluation batch on each device; changes speed and memory only.",
        ge=1, le=65_536,
    )  # fmt: skip
    gradient_accumulation_steps: int = setting(
        1, "Gradient accumulation", "Batches whose gradients are added up before an update.", ge=1, le=4096
    )
    learning_rate: float = setting(
        2e-4, "Learning rate", "Peak learning rate, reached after warm-up.", basic=True, gt=0, le=1
    )
    optim: Literal["adamw_torch", "sgd", "rmsprop", "adagrad", "adafactor"] = setting(
        "adamw_torch", "Optimizer", "How gradients become updates."
    )
    momentum: float = setting(
        0.9, "Momentum", "Momentum of the sgd and rmsprop optimizers; others have their own.", ge=0, lt=1
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup", "polynomial"] = (
        setting("cosine", "Schedule", "How the learning rate falls after warm-up.")
    )
    warmup_steps: float = setting(
        0.05,
        "Warm-up",
        "Steps until the peak learning rate; below 1: a share of all steps.",
        ge=0,
        le=1_000_000,
    )
    weight_decay: float = setting(
        0.01,
        "Weight decay",
        "Decoupled decay of the weights at each step; norms and biases are left out.",
        ge=0,
        le=1,
    )
    max_grad_norm: float = setting(
        1.0, "Gradient clipping", "Largest norm of the gradient; 0: no clipping.", ge=0, le=1e6
    )
    l1: float = setting(
        0.0, "L1", "λ of λ·Σ|W| over the trained weights, added to the training loss.", ge=0, le=1
    )
    l2: float = setting(
        0.0, "L2",
        "λ of λ·Σ‖W‖² over the trained weights, added to the training loss (apart from weight decay).",
        ge=0, le=1,
    )  # fmt: skip
    label_smoothing_factor: float = setting(
        0.0,
        "Label smoothing",
        "Share of the label spread evenly over all classes while training.",
        ge=0,
        lt=1,
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none",
        "Class weights",
        "balanced: rare classes count more in the training loss, by inverse frequency.",
    )
    seed: int = setting(
        42, "Seed", "Decides order, augmentation, dropout and new weights.", ge=0, le=2**31 - 1
    )
    logging_steps: int | None = setting(
        None,
        "Logging steps",
        "Steps between two points of the training curve; null: ten points an epoch.",
        ge=1,
    )
    save_steps: int | None = setting(
        None, "Save every", "Steps between two checkpoints within an epoch; null: at the end of each epoch.",
        ge=1, unit="steps",
    )  # fmt: skip
    auto_find_batch_size: bool = setting(
        False, "Find batch size",
        "When memory runs out: halve the batch, double the accumulation, go on; one process only.",
    )  # fmt: skip
    hang_timeout_s: float = setting(
        1800, "Give up after", "Without a step, a batch or an image in this time the run fails.",
        ge=30, le=604_800, unit="s",
    )  # fmt: skip
    dataloader_num_workers: int = setting(
        0, "Loader processes", "Processes that prepare images beside the training process.", ge=0, le=256
    )
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = setting(
        [], "Report to", "Trackers that receive a copy of the metrics; each must be installed."
    )


class EarlyStoppingConfig(Group):
    """The `early_stopping:` group."""

    patience: int | None = setting(
        3, "Stop early after", "Epochs without a better value before the run ends; null: never.",
        basic=True, ge=1, le=10_000, unit="epochs",
    )  # fmt: skip
    metric: Metric = setting(
        "eval_loss",
        "Best by",
        "Chooses the checkpoint that is kept, and is watched by early stopping.",
        basic=True,
    )


class HardwareConfig(Group):
    """The `hardware:` group."""

    devices: Devices = setting(
        "auto", "Devices", "auto: GPUs if there are any, else the CPU; cpu; or GPU numbers such as 0,1."
    )
    num_processes: int = setting(
        1, "Processes", "Training processes, one a GPU; on the CPU they share the cores.", ge=1, le=64
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto", "Precision", "auto: bf16 or fp16 on GPUs that have it, else full precision."
    )
    memory_format: Literal["auto", "channels_last", "contiguous"] = setting(
        "auto", "Memory format", "auto: channels-last for convolutional networks, which is faster."
    )
    threads: int | None = setting(
        None, "Threads", "CPU threads of each process; null: its share of the cores.", ge=1, le=1024
    )
    memory_limit_gb: float | None = setting(
        None, "Memory limit",
        "On the CPU, memory of all its processes; null: its share when several runs train at once.",
        gt=0, le=1e6, unit="GB",
    )  # fmt: skip


class RunConfig(Group):
    """Everything that defines one run.

    Example:
        >>> config = RunConfig(
        ...     model=ModelConfig(name_or_path="sample:efficientnet-lite0"),
        ...     data=DataConfig(name_or_path="sample:digits"),
        ... )
        >>> config.training.num_train_epochs
        5
    """

    name: str | None = setting(None, "Name", "Free text shown in lists; null: the run's id.", max_length=120)
    task: Task = setting("image-classification", "Task", "What the network learns to do.")
    model: ModelConfig
    data: DataConfig
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    hardware: HardwareConfig = HardwareConfig()

    @model_validator(mode="after")
    def _finds_batch_size_alone(self) -> "RunConfig":
        if self.training.auto_find_batch_size and self.hardware.num_processes > 1:
            raise ValueError("training.auto_find_batch_size works with one process only: set it to false")
        return self
