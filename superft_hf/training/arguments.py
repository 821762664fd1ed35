"""From a resolved RunConfig to TrainingArguments."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames
from transformers.utils import is_torch_tf32_available

from superft_hf.config import RunConfig

LOGS_PER_EPOCH = 10

PREFETCH = 4
"""Batches that each loader process prepares ahead."""


def training_arguments(config: RunConfig, output_dir: Path) -> TrainingArguments:
    """The arguments of a run whose `auto` values are decided.

    Args:
        config: See `superft_hf.training.resolve`.
        output_dir: Where checkpoints go.
    """
    training, hardware, stopping = config.training, config.hardware, config.early_stopping
    on_cpu = hardware.devices == "cpu"
    precision = hardware.mixed_precision
    if precision == "auto":  # nobody has measured
        precision = usual_precision("cpu" if on_cpu else "cuda")
    return TrainingArguments(
        output_dir=str(output_dir),
        run_name=config.name,
        num_train_epochs=training.num_train_epochs,
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        data_seed=training.seed,
        logging_steps=training.logging_steps or 1,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is no number must be seen, not averaged away
        report_to=list(training.report_to) or "none",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # the best and the last
        load_best_model_at_end=True,
        metric_for_best_model=stopping.metric,
        greater_is_better=not stopping.metric.endswith("loss"),
        dataloader_num_workers=training.dataloader_num_workers or 0,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        use_cpu=on_cpu,
        accelerator_config={"non_blocking": not on_cpu},
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        # Layers that are frozen for the first epochs take no part in the backward pass of these.
        ddp_find_unused_parameters=config.model.strategy in ("head-then-full", "gradual"),
        restore_callback_states_from_checkpoint=True,
        **_options(config),
    )


def _options(config: RunConfig) -> dict[str, Any]:
    """The arguments that are given only where they are asked for."""
    training, hardware = config.training, config.hardware
    options: dict[str, Any] = {}
    # Optimizer and schedule are made by RunTrainer; what it has names for is told to the trackers.
    if training.optim in list(OptimizerNames):
        options["optim"] = training.optim
    if training.lr_scheduler_type in list(SchedulerType):
        options["lr_scheduler_type"] = training.lr_scheduler_type
    if training.dataloader_num_workers:
        options |= {"dataloader_prefetch_factor": PREFETCH, "dataloader_persistent_workers": True}
    if hardware.sharding == "fsdp":
        options |= {"fsdp": True, "fsdp_config": hardware.sharding_config}
    elif hardware.sharding == "deepspeed":
        options["deepspeed"] = hardware.sharding_config
    if hardware.devices != "cpu" and is_torch_tf32_available():
        options["tf32"] = hardware.tf32
    if training.gradient_checkpointing:
        options["activation_checkpointing"] = True
        options["activation_checkpointing_kwargs"] = {"use_reentrant": False}
    return options


def usual_precision(kind: str) -> str:
    """The precision that mostly is the fastest on a kind of device, for whoever does not measure it."""
    if kind != "cuda" or not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def updates_per_epoch(config: RunConfig, num_train: int) -> int:
    """Optimizer updates in one epoch of `num_train` images."""
    batches = math.ceil(
        num_train / (config.training.per_device_train_batch_size * config.hardware.world_size)
    )
    return math.ceil(batches / config.training.gradient_accumulation_steps)


def logging_steps(config: RunConfig, num_train: int) -> int:
    """Steps between two points of the training curve: as asked, else about ten points an epoch."""
    return config.training.logging_steps or max(1, updates_per_epoch(config, num_train) // LOGS_PER_EPOCH)
