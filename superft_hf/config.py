"""RunConfig: the one declaration of every setting of a run.

The form, the YAML file, the command line and the documentation are made from these fields: a default, a
limit, a label, a help text or a unit is written here and nowhere else. Names are TrainingArguments' names
wherever it has one. Secrets are no settings: they come from the environment.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from superft_hf.config_base import Group, setting
from superft_hf.config_data import DataConfig
from superft_hf.config_training import AugmentationConfig, EarlyStoppingConfig, TrainingConfig

__all__ = [
    "AugmentationConfig", "DataConfig", "EarlyStoppingConfig", "HardwareConfig", "ModelConfig", "RunConfig",
    "Strategy", "TrainingConfig",
]  # fmt: skip

Task = Literal["image-classification"]
Strategy = Literal["auto", "full", "head", "head-then-full", "gradual"]


def _devices_text(value: object) -> object:
    """A YAML `0` or `[0, 1]` means the same as the text `0,1`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return ",".join(str(item) for item in value)
    return value


Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:\d{2,5}$")]
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
        "auto", "Strategy",
        "full trains every layer, head only the classification layer, head-then-full first the one, then "
        "the other; gradual frees the blocks from the head downwards, one after the other; auto: chosen by "
        "rule.", basic=True, by_rule=True,
    )  # fmt: skip
    head_epochs: int = setting(
        1, "Head epochs",
        "Epochs with the head alone before other layers follow; used by head-then-full and gradual only.",
        ge=1, le=1000,
    )  # fmt: skip
    pretrained: bool = setting(
        True, "Pre-trained weights", "Off: the same architecture learns from scratch, from random weights."
    )
    dropout: float | None = setting(
        None, "Dropout", "Share of the features dropped before the classification layer while training; "
        "null: the model's own.", ge=0, lt=1,
    )  # fmt: skip
    drop_path_rate: float | None = setting(
        None, "Stochastic depth",
        "Share of the residual branches skipped in the last block while training, less in earlier ones; "
        "null: the model's own.", ge=0, lt=1,
    )  # fmt: skip
    batch_norm: Literal["auto", "trained", "frozen"] = setting(
        "auto", "Batch-norm statistics",
        "trained: they follow the batches; frozen: those of the base model stay; auto: chosen by rule.",
        by_rule=True,
    )  # fmt: skip
    image_size: int | None = setting(
        None, "Image size",
        "Height and width of the images the network sees; null: chosen by rule, mostly the model's own.",
        ge=16, le=2048, unit="px", by_rule=True,
    )  # fmt: skip


class HardwareConfig(Group):
    """The `hardware:` group."""

    devices: Devices = setting(
        "auto", "Devices", "auto: GPUs if there are any, else the CPU; cpu; or GPU numbers such as 0,1."
    )
    num_processes: int = setting(
        1, "Processes", "Training processes of this machine, one a GPU; on the CPU they share the cores.",
        ge=1, le=64,
    )  # fmt: skip
    num_machines: int = setting(
        1, "Machines", "Machines that train together, each with so many processes; `superft train` prints "
        "the command for each.", ge=1, le=1024,
    )  # fmt: skip
    main_address: Address | None = setting(
        None, "Main address",
        "Host and port of the first machine, as the others reach it, such as 10.0.0.1:29500; null: this "
        "machine's name and port 29500.", max_length=300,
    )  # fmt: skip
    sharding: Literal["none", "fsdp", "deepspeed"] = setting(
        "none", "Sharding",
        "none: every GPU holds the whole network; fsdp, deepspeed: it is spread over them, for networks that "
        "fit on none.",
    )  # fmt: skip
    sharding_config: str | None = setting(
        None, "Sharding file", "JSON file with the options of fsdp or deepspeed; null: their defaults.",
        max_length=1000,
    )  # fmt: skip
    sync_batch_norm: bool = setting(
        True, "Shared batch-norm statistics",
        "On several GPUs batch-norm statistics are those of all their images together; on the CPU each "
        "process has its own.",
    )  # fmt: skip
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto",
        "Precision",
        "auto: bf16 or fp16 where a short measurement shows that it is faster, else full precision.",
    )
    tf32: bool = setting(
        True,
        "TF32",
        "Lets NVIDIA GPUs multiply float32 matrices with 10 bits of mantissa, several times faster.",
    )
    torch_compile: Literal["auto", "yes", "no"] = setting(
        "auto", "Compile", "auto: compiles the network where a measurement says that it pays within the run."
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
    image_cache_gb: float = setting(
        20.0, "Image cache",
        "Disk space for prepared images, shared by the runs of a home; the least used go first; 0: none.",
        ge=0, le=1e6, unit="GB",
    )  # fmt: skip

    @property
    def world_size(self) -> int:
        """Training processes of all machines together."""
        return self.num_processes * self.num_machines


class RunConfig(Group):
    """Everything that defines one run.

    Example:
        >>> config = RunConfig(
        ...     model=ModelConfig(name_or_path="sample:efficientnet-lite0"),
        ...     data=DataConfig(name_or_path="sample:digits"),
        ... )
        >>> config.early_stopping.metric
        'eval_loss'
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

    @model_validator(mode="after")
    def _sharding_has_its_file(self) -> "RunConfig":
        hardware = self.hardware
        if hardware.sharding_config is not None and hardware.sharding == "none":
            raise ValueError("hardware.sharding_config needs hardware.sharding fsdp or deepspeed")
        if hardware.sharding == "deepspeed" and hardware.sharding_config is None:
            raise ValueError(
                "hardware.sharding deepspeed needs its options: name the file in hardware.sharding_config"
            )
        return self
