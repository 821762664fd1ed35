"""The commands that begin a run: init, check, submit, train."""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from superft_hf.cli_words import (
    Call,
    failure_lines,
    figure,
    finding_lines,
    say,
    say_error,
    sentence,
    smoke_lines,
    stopped_hint,
    write_json,
)
from superft_hf.config import DataConfig, ModelConfig, RunConfig
from superft_hf.config_file import dump_config, read_config
from superft_hf.engine import control
from superft_hf.engine.foreground import BY, ForegroundRun, getting_ready, wait_for_lease
from superft_hf.engine.machines import join_commands
from superft_hf.errors import ConfigError, DeviceError, SuperFTError
from superft_hf.preflight import report as preflight
from superft_hf.preflight import smoke
from superft_hf.preflight.remedies import apply_remedies
from superft_hf.records import Finding, RunRecord, RunState
from superft_hf.starting_points import example
from superft_hf.store import RunStore
from superft_hf.verbs import RESUME

SAMPLE_MODEL = "sample:efficientnet-lite0"
SAMPLE_DATA = "sample:digits"

_WATCH_S = 0.25
_FILE_PACE_S = 10.0
"""How often the bar is written where it cannot be overwritten, as in a log file."""
_SHOWN_METRICS = ("loss", "eval_loss", "eval_accuracy")


def init(asked: argparse.Namespace, call: Call) -> int:
    """Prints a complete, commented configuration."""
    if asked.example:
        print(dump_config(example(asked.example), commented=True), end="")
        return 0
    try:
        config = RunConfig(
            model=ModelConfig(name_or_path=asked.model), data=DataConfig(name_or_path=asked.data)
        )
    except ValueError as error:
        raise ConfigError(
            "--model and --data need a name of 1 to 500 characters.",
            hint=f"Such as --model {SAMPLE_MODEL} --data {SAMPLE_DATA}.",
        ) from error
    print(dump_config(config, commented=True), end="")
    return 0


def check(asked: argparse.Namespace, call: Call) -> int:
    """Prints what is wrong with a configuration and its images; 1 when a start is blocked."""
    config: RunConfig | None = None
    try:
        config = read_config(asked.config)
    except ConfigError as error:
        if not asked.json:
            raise
        blocking = Finding("blocks", error.message, "", error.hint, error.kind)
        report = preflight.Report((blocking,), None, None)
    else:
        with image_bar() as on_image:
            report = preflight.check(config, call.home, on_image)
    found = None
    if config is not None and not report.is_blocked and not asked.no_smoke:
        say("Training a few batches to measure memory and time …")
        try:
            found = smoke.measure(config, call.home)
        except SuperFTError as error:
            level = "know" if isinstance(error, DeviceError) else "blocks"
            finding = Finding(level, error.message, "", error.hint, error.kind, code="smoke")
            report = replace(report, findings=(*report.findings, finding))
    if asked.json:
        write_json(
            {
                "is_blocked": report.is_blocked,
                "findings": [asdict(finding) for finding in report.findings],
                "model": asdict(report.model) if report.model else None,
                "data": asdict(report.data) if report.data else None,
                "smoke": asdict(found) if found else None,
            }
        )
    else:
        lines = [line for finding in report.findings for line in finding_lines(finding, config.data)]
        print("\n".join(lines + (smoke_lines(found) if found else [])))
    if config is not None and asked.apply:
        fixed = apply_remedies(config, report.findings, asked.apply)
        asked.output.write_text(dump_config(fixed), encoding="utf-8")
        say(f"The remedies are in {asked.output}.")
    return 1 if report.is_blocked else 0


def submit(asked: argparse.Namespace, call: Call) -> int:
    """Queues a run for the supervisor, and prints its id."""
    config = read_config(asked.config)
    return queue_run(call.open_store(), config, asked.priority, call)


def queue_run(store: RunStore, config: RunConfig, priority: int, call: Call) -> int:
    """Checks a configuration, queues a run of it, and prints its id alone on the last line.

    Raises:
        SuperFTError: If something blocks the start; then no run is created.
    """
    with fetch_bar() as on_bytes, image_bar() as on_image:
        config = control.prepare(config, store.home, on_image, on_bytes)
    record = store.create_run(config, by=BY, priority=priority)
    control.ensure_supervisor(store.home)
    again = call.command("show", record.run_id)
    say(f"{record.name} is queued. Follow it with `{again}`.{stopped_hint(call)}")
    tell_other_machines(config, store, record.run_id)
    print(record.run_id)
    return 0


def train(asked: argparse.Namespace, call: Call) -> int:
    """Runs a configuration in the foreground; 0 when it completed."""
    config = read_config(asked.config)
    store = call.open_store()
    with getting_ready(call.launcher, store, config) as ready:
        with fetch_bar() as on_bytes, image_bar() as on_image:
            config = control.prepare(config, store.home, on_image, on_bytes)
        slots = store.read_settings().cpu_slots
        lease = wait_for_lease(config.hardware, lambda words: say(f"The run {words}."), slots)
        with _StopSignals() as told:
            try:
                run = ForegroundRun(store, config, lease, call.launcher, ready)
                say(f"Run: {run.run_id}, its log is {store.run_paths(run.run_id).log}")
                tell_other_machines(config, store, run.run_id)
                record = _watch(run, store, told)
            finally:
                lease.close()
    return _report(record, store, call)


def tell_other_machines(config: RunConfig, store: RunStore, run_id: str) -> None:
    """Says what to run on the other machines of a run; nothing where there are none."""
    commands = join_commands(config.hardware, store.home, run_id)
    if commands:
        say("Run on the other machines, which must see the same home and the same images:")
        for command in commands:
            say(f"  {command}")


def _watch(run: ForegroundRun, store: RunStore, told: "_StopSignals") -> RunRecord:
    """Follows a run with a bar until it has ended; the first signal pauses it, the second stops it hard."""
    pace = _WATCH_S if sys.stderr.isatty() else _FILE_PACE_S
    obeyed = 0
    with tqdm(desc="starting", unit="step", mininterval=pace, dynamic_ncols=True) as bar:
        while True:
            record = run.look()
            draw_bar(bar, record, store.last_values(run.run_id))
            if not run.is_at_work and not record.is_live:
                return record
            told.wait(_WATCH_S)
            if told.count > obeyed and obeyed < len(_STOPS):
                text, ask = _STOPS[obeyed]
                obeyed += 1
                tqdm.write(text, file=sys.stderr)
                ask(run)


_STOPS = (
    ("Pausing at the next step; Ctrl-C again stops hard.", ForegroundRun.pause),
    ("Stopping hard …", ForegroundRun.stop_hard),
)
"""What the first and the second signal to the command do."""


def draw_bar(bar: "tqdm[None]", record: RunRecord, values: dict[str, float]) -> None:
    """Brings a bar up to date with a run and the last value of each metric."""
    if not record.max_steps:
        return
    bar.total = record.max_steps
    bar.set_description(f"epoch {record.epoch:.1f} of {record.num_train_epochs:g}", refresh=False)
    shown = {key: figure(key, values[key]) for key in _SHOWN_METRICS if key in values}
    bar.set_postfix(shown, refresh=False)
    bar.update(record.global_step - bar.n)


def _report(record: RunRecord, store: RunStore, call: Call) -> int:
    if record.state is RunState.COMPLETED:
        print(sentence(record))
        say(f"Its model is in {store.run_paths(record.run_id).model}")
        return 0
    if record.failure:
        say_error(record.failure.message, record.failure.hint)
        for line in failure_lines(record.failure, record.run_id, call):
            say(line)
    else:
        say(sentence(record))
    if record.state in RESUME.states:
        say(f"Resume it with `{call.command('resume', record.run_id)}`.")
    return 1


@contextmanager
def image_bar() -> Iterator[preflight.Progress]:
    """A bar for opening the images; it is left out when that is quick."""
    with tqdm(desc="opening images", unit="image", delay=1.0, leave=False, dynamic_ncols=True) as bar:

        def on_image(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_image


@contextmanager
def fetch_bar() -> Iterator[control.OnBytes]:
    """A bar for a download from the Hub; it is left out when there is none."""
    with tqdm(desc="fetching", unit="B", unit_scale=True, delay=1.0, leave=False, dynamic_ncols=True) as bar:

        def on_bytes(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_bytes


class _StopSignals:
    """Counts Ctrl-C and SIGTERM, so that they cannot strike between two steps of a start."""

    def __init__(self) -> None:
        self.count = 0
        self._heard = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_StopSignals":
        self._before = {
            number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Returns after so long, or as soon as a signal comes."""
        self._heard.wait(seconds)
        self._heard.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._heard.set()


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `check` takes besides the configuration."""
    parser.add_argument("--no-smoke", action="store_true", help="leave out the few steps of training")
    parser.add_argument(
        "--apply", nargs="+", metavar="CODE", default=[], help="settle these findings, by their code"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("fixed.yaml"), metavar="FILE",
        help="where --apply writes the changed configuration; default: %(default)s",
    )  # fmt: skip


def priority_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the place of a queued run among others."""
    parser.add_argument(
        "--priority", type=int, default=0, metavar="N",
        help="runs of a higher one start first; default: %(default)s",
    )  # fmt: skip


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that names a run's YAML file."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="see `superft init`")
