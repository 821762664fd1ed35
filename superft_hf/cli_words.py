"""How the command line words what it shows: sentences and tables for people, JSON for scripts."""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superft_hf.config import DataConfig
from superft_hf.engine import control
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import HomeError
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.paths import HomePaths
from superft_hf.preflight.smoke import SmokeResult
from superft_hf.records import Failure, Finding, ImageRef, Remedy, RunRecord, RunState
from superft_hf.sources.load import shown_reference
from superft_hf.store import RunStore
from superft_hf.words import duration, interval, percent, size

STDOUT = Path("-")
"""The file name that stands for standard output."""

_UNBOUNDED = ("loss", "log_loss", "learning_rate", "grad_norm")
_SHOWN_IMAGES = 5
_MARKS = {"fine": "fine   ", "know": "know   ", "blocks": "BLOCKS "}


@dataclass(frozen=True)
class Call:
    """What every command needs besides its own arguments: the home, and what starts workers."""

    home: Path
    launcher: Launcher

    def open_store(self) -> RunStore:
        """The store of the home, which is created when missing and named on stderr. Raises HomeError."""
        store = RunStore(self.home)
        say(f"Home: {self.home}")
        return store

    def find_store(self) -> RunStore | None:
        """The store of the home, or None when there is none yet: looking creates nothing."""
        is_there = HomePaths(self.home).database.exists() or self.home.is_file()
        return self.open_store() if is_there else None

    def command(self, *words: str) -> str:
        """A command for this home, as a person can type it: `superft --home /data/runs resume …`."""
        return shlex.join(["superft", "--home", str(self.home), *words])


def say(text: str) -> None:
    """A message for the person: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def say_error(message: str, hint: str) -> None:
    """An error, and what to do about it."""
    say(f"Error: {message}")
    if hint:
        say(f"Hint: {hint}")


def stopped_hint(call: Call) -> str:
    """A sentence, after another, when runs wait because a person stopped the supervisor; else nothing."""
    status = control.supervisor_status(call.home)
    if not status.is_stopped or status.pid is not None:
        return ""
    return f" The supervisor is stopped, so this waits until `{call.command('supervisor', 'start')}`."


def write_csv(path: Path, text: str, written: str) -> None:
    """Writes a table to a file, or to standard output for `-`.

    Args:
        path: Where to.
        text: The table as CSV.
        written: What it holds, for the message on stderr, such as `12 images`.

    Raises:
        HomeError: If the file cannot be written.
    """
    if path == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HomeError(
            f"The file {path} cannot be written: {error.strerror or error}.", hint="Choose another place."
        ) from error
    say(f"{written} written to {path}.")


def write_json(value: Any) -> None:
    """One JSON value on stdout; a number that is none, such as NaN, becomes null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False), flush=True)


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below each other in columns."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def sentence(run: RunRecord, *, is_test_open: bool = False) -> str:
    """The state of a run in a sentence, with the answer in it; test figures only where they were opened."""
    if run.state is RunState.QUEUED:
        if run.is_held:
            return f"{run.name} is queued and held."
        return f"{run.name} is queued{': it ' + run.waiting_for if run.waiting_for else ''}."
    if run.state is RunState.STARTING:
        return f"{run.name} is starting: it prepares model and images.{_asked(run)}"
    if run.state is RunState.RUNNING:
        return f"{run.name} is running: {progress(run)}.{_asked(run)}"
    if run.state is RunState.PAUSED:
        place = f" at step {run.global_step:,} of {run.max_steps:,}" if run.max_steps else ""
        return f"{run.name} is paused{place}{': ' + run.pause_reason if run.pause_reason else ''}."
    if run.state is RunState.FAILED and run.failure:
        return f"{run.name} failed: {run.failure.message}"
    if run.state is RunState.COMPLETED and run.evaluation:
        splits = ("eval", "test") if is_test_open else ("eval",)
        parts = [accuracy_words(run, split) for split in splits if run.evaluation.get(split)]
        sealed = "; test sealed" if run.evaluation.get("test") and not is_test_open else ""
        return f"{run.name} completed: {', '.join(parts)}{sealed}."
    return f"{run.name} is {run.state}."


def _asked(run: RunRecord) -> str:
    return f" It is asked to {run.request}." if run.request else ""


def progress(run: RunRecord) -> str:
    """Such as `step 40 of 200, epoch 1.0 of 5`."""
    if not run.max_steps:
        return "not begun"
    steps = f"step {run.global_step:,} of {run.max_steps:,}"
    return f"{steps}, epoch {run.epoch:.1f} of {run.num_train_epochs:g}"


def accuracy_words(run: RunRecord, split: str) -> str:
    """Accuracy on a split with its interval, such as `89.2 % on eval (95 % interval 86.0 – 91.8 %)`."""
    accuracy = run.evaluation[split].get("accuracy")
    if accuracy is None:
        return f"evaluated on {split}"
    size = run.facts.get("counts", {}).get(split)
    if not size:
        return f"{percent(accuracy)} on {split}"
    low, high = wilson_interval(round(accuracy * size), size)
    return f"{percent(accuracy)} on {split} (95 % interval {interval(low, high)})"


def figure(key: str, value: float | None) -> str:
    """A metric's value: shares in percent, losses and rates as numbers."""
    name = key.removeprefix("eval_").removeprefix("test_")
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4g}" if name in _UNBOUNDED or "per_second" in name else percent(value)


def finding_lines(finding: Finding, data: DataConfig) -> list[str]:
    """A line of the pre-flight report; its consequence, its pictures and its remedies are below it."""
    more = [text for text in (finding.text, finding.hint and f"Hint: {finding.hint}") if text]
    more += [_image_line(image, data) for image in finding.images[:_SHOWN_IMAGES]]
    hidden = (finding.num_images or len(finding.images)) - _SHOWN_IMAGES
    if hidden > 0:
        more.append(f"  and {hidden:,} more; --json lists them")
    if finding.remedies:
        more.append(f"Remedy: {finding.remedies[0].title} (--apply {finding.code})")
    return [f"{_MARKS[finding.level]}{finding.title}", *(f"       {text}" for text in more)]


def failure_lines(failure: Failure, run_id: str, call: Call) -> list[str]:
    """What a failure's remedies are, each with the command that opens a new run with it."""
    return [
        line
        for number, remedy in enumerate(failure.remedies, 1)
        for line in remedy_lines(remedy, call.command("repeat", run_id, "--remedy", str(number)))
    ]


def remedy_lines(remedy: Remedy, command: str) -> list[str]:
    """A remedy, the settings that it changes, and the command for it."""
    changes = ", ".join(f"{key}={_short_value(value)}" for key, value in remedy.changes.items())
    return [f"Remedy: {remedy.title} ({changes})", f"  {command}"]


def short(text: str, limit: int = 32) -> str:
    """One line of at most `limit` characters; of a path the end, which tells more."""
    line = " ".join(text.split())
    return line if len(line) <= limit else "…" + line[-(limit - 1) :]


def plain(text: str) -> str:
    """Text of a log without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def smoke_lines(found: SmokeResult) -> list[str]:
    """What a few steps showed, below the findings."""
    return [
        "",
        f"On {found.device}, by a few steps:",
        f"  memory     {size(found.peak_memory_bytes)} at most, of {size(found.free_memory_bytes)} free",
        f"  speed      {found.images_per_second:.3g} images a second, {duration(found.step_s)} a step",
        f"  whole run  {found.total_steps:,} steps in about {duration(found.duration_s)}: "
        f"{found.device_hours:.2g} device-hours",
        f"  batch      up to {found.largest_batch_size:,} images a step fit",
        f"  disk       {size(found.disk_bytes)}, of {size(found.free_disk_bytes)} free",
    ]


def _image_line(image: ImageRef, data: DataConfig) -> str:
    parts = [image.split, image.label, image.note]
    return f"  {shown_reference(data, image.reference)} ({', '.join(part for part in parts if part)})"


def _short_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
