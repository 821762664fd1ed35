"""Short measurements before training: precision, compilation, loader processes, memory format.

Each answers one question that no table answers for every machine, on a copy of the model and by the run's own
batches. One that could not pay back is left out: where the answer is known, and where the run is short. The
main process measures for all; what it decided stands in resolved.yaml, with a line in the log that says why.
"""

import logging
import math
import os
import shutil
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from superft_hf.config import RunConfig
from superft_hf.engine.devices import share_of_cores
from superft_hf.recipe.rules import with_values
from superft_hf.training.arguments import updates_per_epoch, usual_precision
from superft_hf.training.bench import Bench, Variant, leaf_layers, undisturbed_randomness
from superft_hf.words import duration

logger = logging.getLogger(__name__)

MIN_STEPS = 200
"""Runs of fewer updates are not measured: the steps of a measurement would be more than 3 % of them."""

MIN_GAIN = 0.05
"""What is less than this share faster is not worth fewer digits."""

WAITING_SHARE = 0.03
"""Loading may take this share of a step before loader processes are worth their memory."""

LOADERS = (2, 4, 8, 16)
"""Numbers of loader processes that are tried."""

USUAL_LOADERS = 4
"""Loader processes beside a GPU where nothing is measured, as far as cores are free."""

COMPILE_S_PER_LAYER = {"cpu": 0.4, "cuda": 0.3}
"""Rough seconds of compilation for each layer: 78 s were measured for the 198 of EfficientNet-Lite0 on two
cores. It only decides whether compiling is worth a try, which measures it."""

COMPILE_GAIN = 0.2
"""The share of the time that compilation may be hoped to save."""

WORTH_A_TRY = 4
"""What may be hoped for must be so many times the estimate: the try is compiled, then the network itself."""

PAYS_BACK = 1.2
"""What a try has shown to be saved must be so many times what the compilation took."""

MIXED_CONVOLUTIONS = 4
"""A network with so many convolutions, though they are less than half of it, is measured in both formats."""


@dataclass(frozen=True)
class Situation:
    """What the questions are about.

    Attributes:
        bench: Of the run, with recipe, devices and memory format decided.
        num_steps: Updates of the whole run; None: as many as fit into its time budget.
        free_cores: Cores of this process that no training thread uses.
        is_format_open: Whether the memory format was left to us.
    """

    bench: Bench
    num_steps: int | None
    free_cores: int
    is_format_open: bool


def situation(asked: RunConfig, bench: Bench, slots: int) -> Situation:
    """Puts together what the questions are about.

    Args:
        asked: The run before anything of it was measured.
        bench: Of the run, with recipe, devices and memory format decided.
        slots: How many runs share the CPU.
    """
    config, hardware, is_on_cpu = bench.config, bench.config.hardware, bench.device.type == "cpu"
    num_steps = None
    if config.training.time_budget_s is None:
        num_steps = updates_per_epoch(config, len(bench.train_images)) * config.training.num_train_epochs
    cores = share_of_cores(hardware.num_processes, slots if is_on_cpu else 1)
    used = (hardware.threads or cores) if is_on_cpu else 1
    is_open = asked.hardware.memory_format == "auto" and is_mixed(bench.task.model)
    return Situation(bench, num_steps, max(0, cores - used), is_open)


def decide(case: Situation) -> tuple[dict[str, Any], list[str]]:
    """Answers every question that the configuration leaves open.

    Returns:
        Values by setting, and the sentences that say why.
    """
    with undisturbed_randomness(case.bench.device):
        probes = _Probes(case)
        for question in (probes.precision, probes.memory_format, probes.compile, probes.loaders):
            question()
    return probes.values, probes.words


def with_answers(config: RunConfig, values: dict[str, Any], words: list[str]) -> RunConfig:
    """The configuration with what was decided, which the log is told."""
    for sentence in words:
        logger.info("%s", sentence)
    return with_values(config, values)


class _Probes:
    """The questions, and what was found so far."""

    def __init__(self, case: Situation) -> None:
        self.values: dict[str, Any] = {}
        self.words: list[str] = []
        self._case = case
        self._bench = case.bench
        self._config = case.bench.config
        self._device = case.bench.device.type
        hardware = self._config.hardware
        self._best = Variant(hardware.mixed_precision, hardware.memory_format)

    def precision(self) -> None:
        """The fastest of those that the device has; full precision unless another is clearly faster."""
        if self._best.precision != "auto":
            return
        others = reduced_precisions(self._device)
        key = "hardware.mixed_precision"
        if not others:
            self._decide(key, "no", "Precision: full, fewer digits are no faster on this device.")
        elif not self._is_long():
            usual = usual_precision(self._device)
            self._decide(key, usual, f"Precision: {_PRECISIONS[usual]}, unmeasured since the run is short.")
        else:
            times = {name: self._time(replace(self._best, precision=name)) for name in ("no", *others)}
            chosen = fastest(times)
            took = _listed({_PRECISIONS[name]: one for name, one in times.items()})
            self._decide(key, chosen, f"Precision: {_PRECISIONS[chosen]}; a step takes {took}.")
        self._best = replace(self._best, precision=self.values["hardware.mixed_precision"])

    def memory_format(self) -> None:
        """Both are timed where the architecture does not tell which is the faster one."""
        if not self._case.is_format_open or not self._is_long():
            return
        names = ("contiguous", "channels_last")
        times = {name: self._time(replace(self._best, memory_format=name)) for name in names}
        chosen = fastest(times)
        took = _listed({_FORMATS[name]: one for name, one in times.items()})
        self._decide(
            "hardware.memory_format", chosen, f"Memory format: {_FORMATS[chosen]}; a step takes {took}."
        )
        self._best = replace(self._best, memory_format=chosen)

    def compile(self) -> None:
        """Compiles a copy when the run is so long that it may pay, and then measures whether it does."""
        if self._config.hardware.torch_compile != "auto":
            return
        key, why = "hardware.torch_compile", self._why_not_to_try()
        if why:
            self._decide(key, "no", f"Compile: no, {why}.")
            return
        compiled = replace(self._best, is_compiled=True)
        try:
            compile_s = self._bench.first_step_s(compiled)
        except RuntimeError as error:
            words = str(error).strip().splitlines()[0][:200]
            self._decide(key, "no", f"Compile: no, the network cannot be compiled: {words}.")
            return
        before, after = self._time(self._best), self._time(compiled)
        saved_s = 0.0 if before is None or after is None else max(0.0, self._num_steps() * (before - after))
        answer = "yes" if saved_s > PAYS_BACK * compile_s else "no"
        took = _listed({"as it is": before, "compiled": after})
        spent = f"saves {duration(saved_s)} of the run for {duration(compile_s)} of compilation"
        self._decide(key, answer, f"Compile: {answer}; a step takes {took}, which {spent}.")

    def loaders(self) -> None:
        """As few as keep the device from waiting, where cores are free for them."""
        case = self._case
        if self._config.training.dataloader_num_workers is not None:
            return
        if not case.free_cores:
            self._decide_loaders(0, "every core trains")
        elif not self._is_long():
            usual = 0 if self._device == "cpu" else min(USUAL_LOADERS, case.free_cores)
            self._decide_loaders(usual, "unmeasured since the run is short")
        else:
            self._measure_loaders()

    def _measure_loaders(self) -> None:
        bench, step_s = self._bench, self._time(self._best)
        load_s = bench.load_s()
        if step_s is None or load_s <= WAITING_SHARE * step_s:
            self._decide_loaders(0, f"a batch is loaded in {_seconds(load_s)}")
            return
        times, chosen = {0: load_s + step_s}, 0
        for number in (one for one in LOADERS if one <= self._case.free_cores):
            times[number] = max(step_s, bench.load_s(number, batches=4 * number, skipped=number))
            if times[number] < (1 - MIN_GAIN) * times[chosen]:
                chosen = number
            if times[number] <= (1 + WAITING_SHARE) * step_s:  # nothing waits any more
                break
        by_number = {f"with {number}": one for number, one in times.items()}
        self._decide_loaders(chosen, f"a step and its batch take {_listed(by_number)}")

    def _why_not_to_try(self) -> str:
        config = self._config
        if self._device not in COMPILE_S_PER_LAYER:
            return "this device does not do it well"
        if config.augmentation.multi_scale or (config.augmentation.progressive_resizing or 1) < 1:
            return "the images change their size, for each of which the network would be compiled"
        if config.model.strategy != "full":
            return "the layers that train change"
        if not _has_compiler():
            return "it needs a C++ compiler, and there is none"
        if not self._is_long():
            return "the run is short"
        step_s = self._time(self._best)
        if step_s is None:
            return "no step could be timed"
        estimate_s = COMPILE_S_PER_LAYER[self._device] * leaf_layers(self._bench.task.model)
        if COMPILE_GAIN * self._num_steps() * step_s < WORTH_A_TRY * estimate_s:
            training = duration(self._num_steps() * step_s)
            return f"about {duration(estimate_s)} of compilation would not pay within {training} of training"
        return ""

    def _is_long(self) -> bool:
        """Whether measuring is worth its time."""
        return self._num_steps() >= MIN_STEPS

    def _num_steps(self) -> float:
        """Updates of the run, or as many as fit into its time budget."""
        if self._case.num_steps is not None:
            return self._case.num_steps
        plain = replace(self._best, precision="no") if self._best.precision == "auto" else self._best
        return self._config.training.time_budget_s / (self._time(plain) or math.inf)

    def _time(self, variant: Variant) -> float | None:
        """Seconds of a step; None where it cannot be computed so."""
        try:
            return self._bench.step_s(variant)
        except RuntimeError as error:
            logger.warning("%s was not timed: %s", variant, str(error).splitlines()[0][:200])
            return None

    def _decide(self, key: str, value: Any, sentence: str) -> None:
        self.values[key] = value
        self.words.append(sentence)

    def _decide_loaders(self, number: int, why: str) -> None:
        self._decide("training.dataloader_num_workers", number, f"Loader processes: {number}, {why}.")


_PRECISIONS = {"no": "full", "bf16": "bf16", "fp16": "fp16"}
_FORMATS = {"contiguous": "contiguous", "channels_last": "channels-last"}


def reduced_precisions(device: str) -> tuple[str, ...]:
    """The precisions besides full that a device may be faster in; bf16, which needs no scaling, first."""
    if device == "cpu":
        able = torch.cpu.get_capabilities()
        # With AVX512 alone it is as fast or slower, and which of the two is noise: equal seeds would differ.
        return ("bf16",) if able.get("amx_bf16") else ()
    if device == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "fp16") if has_bf16 else ("fp16",)
    return ()


def fastest(times: dict[str, float | None]) -> str:
    """The first of these ways, unless a later one is more than MIN_GAIN faster.

    Args:
        times: Seconds; None where it could not be done.

    Example:
        >>> fastest({"no": 1.0, "bf16": 0.7, "fp16": 0.69}), fastest({"no": 1.0, "bf16": 0.97})
        ('bf16', 'no')
    """
    chosen = next(iter(times))
    for name, seconds in times.items():
        best = times[chosen]
        if seconds is not None and (best is None or seconds < (1 - MIN_GAIN) * best):
            chosen = name
    return chosen


def is_mixed(model: nn.Module) -> bool:
    """Whether it is not plain which memory format suits a network: it has convolutions, but not mostly."""
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    inside = sum(parameter.numel() for one in convolutions for parameter in one.parameters(recurse=False))
    total = sum(parameter.numel() for parameter in model.parameters())
    return len(convolutions) >= MIXED_CONVOLUTIONS and 2 * inside < total


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "c++", "clang++"))


def _listed(times: dict[str, float | None]) -> str:
    return ", ".join(f"{_seconds(one)} {name}" for name, one in times.items() if one is not None)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
