"""The groups of a RunConfig that say how it learns: `augmentation:`, `training:` and `early_stopping:`.

A value of null or `auto` that is marked as chosen by rule is decided from the images, the model and the
machine: see `superft_hf.recipe`.
"""

from typing import Literal

from pydantic import model_validator

from superft_hf.config_base import Group, setting

Preset = Literal[
    "auto", "none", "light", "strong", "photos", "documents", "medical", "aerial", "defects"
]  # fmt: skip
Optimizer = Literal[
    "adamw_torch", "sgd", "rmsprop", "adagrad", "adafactor", "nadam", "lion", "schedule_free_adamw",
    "schedule_free_sgd",
]  # fmt: skip
Schedule = Literal[
    "cosine", "linear", "one_cycle", "constant", "constant_with_warmup", "warmup_stable_decay", "polynomial"
]
Metric = Literal[
    "eval_loss", "eval_accuracy", "eval_f1_macro", "eval_f1_weighted", "eval_balanced_accuracy",
    "eval_precision_macro", "eval_recall_macro", "eval_top5_accuracy",
]  # fmt: skip


class AugmentationConfig(Group):
    """The `augmentation:` group. A step left at null takes the preset's value, see `superft_hf.recipe`."""

    preset: Preset = setting(
        "auto", "Augmentation",
        "auto: chosen by rule; none: the images as they are; light: mirrored and slightly cropped; strong: "
        "also turned, recoloured and partly erased; photos: everyday pictures; documents: pages and digits, "
        "never mirrored; medical: slight turns and brightness, never mirrored; aerial: any direction is up; "
        "defects: mirrored and turned, never cropped.", basic=True, by_rule=True,
    )  # fmt: skip
    crop_scale: float | None = setting(
        None, "Smallest crop",
        "Smallest share of the image's area that a random crop keeps; 1: no crop; null: the preset's.",
        gt=0, le=1,
    )  # fmt: skip
    horizontal_flip: float | None = setting(
        None, "Mirror", "Probability of swapping left and right; null: the preset's.", ge=0, le=1
    )
    vertical_flip: float | None = setting(
        None, "Turn over", "Probability of swapping top and bottom; null: the preset's.", ge=0, le=1
    )
    right_angles: float | None = setting(
        None, "Quarter turns", "Probability of a turn by 90, 180 or 270 degrees; null: the preset's.",
        ge=0, le=1,
    )  # fmt: skip
    rotation: float | None = setting(
        None, "Rotation", "Largest random turn to either side; null: the preset's.",
        ge=0, le=180, unit="degrees",
    )  # fmt: skip
    color_jitter: float | None = setting(
        None, "Colour jitter",
        "Largest relative change of brightness, contrast and saturation; null: the preset's.", ge=0, lt=1,
    )  # fmt: skip
    random_erasing: float | None = setting(
        None, "Random erasing",
        "Probability that a rectangle of the image is blanked out; null: the preset's.",
        ge=0, le=1,
    )  # fmt: skip
    auto_augment: Literal["preset", "none", "rand_augment", "trivial_augment"] = setting(
        "preset", "Drawn operations",
        "preset: the preset's; rand_augment: two random operations an image; trivial_augment: one, of random "
        "strength; none: no drawn operations.",
    )  # fmt: skip
    auto_augment_magnitude: int = setting(
        9, "Strength of RandAugment", "Strength of the operations of rand_augment, of 30.", ge=0, le=30
    )
    mixup: float | None = setting(
        None, "Mixup",
        "α of the Beta distribution by which two images and their labels are blended; 0: no mixup; null: the "
        "preset's.", ge=0, le=10,
    )  # fmt: skip
    cutmix: float | None = setting(
        None, "CutMix",
        "α of the Beta distribution of the area of an image that is replaced by another's, its label "
        "likewise; 0: no CutMix; null: the preset's. With mixup as well, each batch gets one of the two.",
        ge=0, le=10,
    )  # fmt: skip
    multi_scale: float = setting(
        0.0, "Several scales",
        "Largest relative change of the image size from batch to batch: 0.25 trains at 75 to 125 % of it.",
        ge=0, le=0.5,
    )  # fmt: skip
    progressive_resizing: float | None = setting(
        None, "Progressive resizing",
        "Share of the image size at which training begins; it grows to the whole in the first two thirds of "
        "the steps; 1: the whole from the start; null: chosen by rule.", ge=0.25, le=1, by_rule=True,
    )  # fmt: skip
    test_time: Literal["none", "mirror", "crops"] = setting(
        "none", "Test-time augmentation",
        "none: each image is looked at once; mirror: its mirror image as well; crops: both, whole and "
        "enlarged. The logits are averaged, in evaluation and wherever the run's model is tried here.",
    )  # fmt: skip


class TrainingConfig(Group):
    """The `training:` group. Names are TrainingArguments' names wherever it has one."""

    num_train_epochs: int | None = setting(
        None, "Epochs",
        "Passes over the train split; early stopping may end sooner; null: chosen by rule.",
        basic=True, ge=1, le=10_000, by_rule=True,
    )  # fmt: skip
    time_budget_s: float | None = setting(
        None, "Time budget",
        "When set, a short measurement chooses epochs, and where needed the image size, that fit into this "
        "time.", basic=True, ge=10, unit="s",
    )  # fmt: skip
    per_device_train_batch_size: int | None = setting(
        None, "Images per step", "Images in one batch on each device; null: chosen by rule.",
        basic=True, ge=1, le=65_536, by_rule=True,
    )  # fmt: skip
    per_device_eval_batch_size: int = setting(
        64, "Images per eval step",
        "Images in one evaluation batch on each device; changes speed and memory only.",
        ge=1, le=65_536,
    )  # fmt: skip
    gradient_accumulation_steps: int = setting(
        1, "Gradient accumulation", "Batches whose gradients are added up before an update.", ge=1, le=4096
    )
    gradient_checkpointing: bool = setting(
        False, "Gradient checkpointing",
        "Computes activations again in the backward pass instead of keeping them: less memory, about a third "
        "more time.",
    )  # fmt: skip
    learning_rate: float | None = setting(
        None, "Learning rate", "Peak learning rate, reached after warm-up; null: chosen by rule.",
        basic=True, gt=0, le=1, by_rule=True,
    )  # fmt: skip
    linear_lr_scaling: bool = setting(
        False, "Scale with processes",
        "Multiplies the learning rate by the number of processes, whose batches add up to one.",
    )  # fmt: skip
    head_learning_rate_factor: float | None = setting(
        None, "Head's learning rate",
        "Multiple of the learning rate for the new classification layer; null: chosen by rule.",
        gt=0, le=1000, by_rule=True,
    )  # fmt: skip
    layer_decay: float | None = setting(
        None, "Layer decay",
        "Factor of the learning rate from one block to the one below it, so that early layers change less; "
        "1: all alike; null: chosen by rule.", gt=0, le=1, by_rule=True,
    )  # fmt: skip
    optim: Optimizer = setting("adamw_torch", "Optimizer", "How gradients become updates.")
    momentum: float = setting(
        0.9, "Momentum", "Momentum of the sgd, rmsprop and schedule_free_sgd optimizers; others have their "
        "own.", ge=0, lt=1,
    )  # fmt: skip
    nesterov: bool = setting(False, "Nesterov", "Looks ahead along the momentum; of the sgd optimizer.")
    lr_scheduler_type: Schedule = setting(
        "cosine", "Schedule",
        "How the learning rate falls after warm-up. polynomial falls by the square of what is left; "
        "one_cycle rises and falls by half cosines; warmup_stable_decay stays up until the cooldown; "
        "constant has no warm-up; the schedule_free optimizers keep it constant.",
    )  # fmt: skip
    warmup_steps: float = setting(
        0.1, "Warm-up", "Steps until the peak learning rate; below 1: a share of all steps.",
        ge=0, le=1_000_000,
    )  # fmt: skip
    cooldown_steps: float = setting(
        0.3, "Cooldown",
        "Steps of the fall at the end of warmup_stable_decay; below 1: a share of all steps.",
        ge=0, le=1_000_000,
    )  # fmt: skip
    weight_decay: float | None = setting(
        None, "Weight decay",
        "Decoupled decay of the weights at each step; norms and biases are left out; null: chosen by rule.",
        ge=0, le=1, by_rule=True,
    )  # fmt: skip
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
    loss: Literal["cross_entropy", "focal", "binary_cross_entropy"] = setting(
        "cross_entropy", "Loss",
        "cross_entropy; focal: images that are already sure count less; binary_cross_entropy: each class "
        "against the rest, which two classes may do with.",
    )  # fmt: skip
    focal_gamma: float = setting(
        2.0, "Focal γ", "How much less sure images count in the focal loss; 0: as in cross_entropy.",
        ge=0, le=10,
    )  # fmt: skip
    label_smoothing_factor: float | None = setting(
        None, "Label smoothing",
        "Share of the label spread evenly over all classes while training; null: chosen by rule.",
        ge=0, lt=1, by_rule=True,
    )  # fmt: skip
    class_weights: Literal["none", "balanced"] = setting(
        "none", "Class weights",
        "balanced: rare classes count more in the training loss, by inverse frequency.",
    )  # fmt: skip
    balanced_sampling: bool = setting(
        False, "Balanced sampling",
        "Draws each class equally often: images of rare classes come several times an epoch, those of "
        "frequent ones not in every epoch.",
    )  # fmt: skip
    ema_decay: float | None = setting(
        None, "Weight averaging",
        "Decay of a moving average of the weights, which is what is evaluated and kept; 0: the last weights; "
        "null: chosen by rule.", ge=0, lt=1, by_rule=True,
    )  # fmt: skip
    seed: int = setting(
        42, "Seed", "Decides order, augmentation, dropout and new weights.", ge=0, le=2**31 - 1
    )
    logging_steps: int | None = setting(
        None, "Logging steps", "Steps between two points of the training curve; null: ten points an epoch.",
        ge=1,
    )  # fmt: skip
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
    dataloader_num_workers: int | None = setting(
        None, "Loader processes",
        "Processes that prepare images beside the training process; null: found by a short measurement.",
        ge=0, le=256,
    )  # fmt: skip
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = setting(
        [], "Report to", "Trackers that receive a copy of the metrics; each must be installed."
    )

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "TrainingConfig":
        if self.nesterov and (self.optim != "sgd" or not self.momentum):
            raise ValueError("training.nesterov needs training.optim sgd and a training.momentum above 0")
        return self

    @model_validator(mode="after")
    def _schedule_free_averages_once(self) -> "TrainingConfig":
        if self.optim == "schedule_free_sgd" and not self.momentum:
            raise ValueError("training.optim schedule_free_sgd needs a training.momentum above 0")
        if self.optim.startswith("schedule_free") and self.ema_decay:
            raise ValueError(
                "training.ema_decay must be 0 or null with a schedule-free training.optim: it averages itself"
            )
        return self


class EarlyStoppingConfig(Group):
    """The `early_stopping:` group."""

    patience: int | None = setting(
        3, "Stop early after", "Epochs without a better value before the run ends; null: never.",
        basic=True, ge=1, le=10_000, unit="epochs",
    )  # fmt: skip
    metric: Metric = setting(
        "eval_loss", "Best by",
        "Chooses the checkpoint that is kept, and is watched by early stopping.", basic=True,
    )  # fmt: skip
