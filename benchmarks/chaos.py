"""Kills processes of a run at random moments (kill -9) until it has ended, and compares it to one left alone.

    python -m benchmarks.chaos --times 10 --seed 1 [--processes 2] [--keep]

A small network is trained on scikit-learn's digits, once undisturbed, then under chaos: the worker (one of
its processes), the supervisor, the web server, or all of them together are killed: while the run starts, at a
step, while a checkpoint is being written, after the last step. What is needed is started again, and the run
is resumed when it failed. In the end it must be completed and equal the undisturbed one to the bit: weights,
metrics, prediction files; its states must follow one another as allowed, and nothing may be left behind.
Needs no network. Exits 1 when anything differs.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.chaos_checks import differences, processes_of
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.engine import control
from superft_hf.engine.processes import living
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import counted, duration

BY = "chaos"
WORKER, SUPERVISOR, SERVER, ALL = "worker", "supervisor", "web server", "all together"
STARTING, STEP, CHECKPOINT, ENDING = (
    "while it starts",
    "at a step",
    "while a checkpoint is written",
    "at its end",
)

PAIRS = (
    (CHECKPOINT, WORKER), (STEP, SUPERVISOR), (STARTING, ALL), (STEP, SERVER), (CHECKPOINT, ALL),
    (ENDING, WORKER), (STARTING, WORKER), (STEP, ALL), (STEP, WORKER), (STARTING, SUPERVISOR),
)  # fmt: skip
"""Moments and victims; more kills begin again with the first."""

LONGEST_S = {STARTING: 12.0, STEP: 0.5, CHECKPOINT: 0.01, ENDING: 0.4}
"""How long after a moment has begun its kill comes at the latest."""

_POLL_S = 0.02
_MAX_RUNS = 4
_STUCK_S = 300.0
_IMAGES_PER_CLASS = 60
_SAVE_STEPS = 10


@dataclass(frozen=True)
class Kill:
    """What is killed, and when.

    Attributes:
        victim: One of the four.
        moment: One of the four.
        step: Not before this step, unless while the run starts.
        delay_s: From then on.
    """

    victim: str
    moment: str
    step: int
    delay_s: float


@dataclass
class Stage:
    """A home, its web server, and what was done to it so far."""

    folder: Path
    store: RunStore
    port: int
    random: random.Random
    server: "subprocess.Popen[bytes] | None" = None
    done: list[Kill] = field(default_factory=list)
    num_resumed: int = 0
    num_half_written: int = 0

    def look_after(self) -> None:
        """Starts again what is not there: the supervisor if a run needs it, and the web server."""
        control.ensure_supervisor(self.store.home)
        if self.server is None or self.server.poll() is not None:
            command = [sys.executable, "-m", "superft_hf.cli", "--home", str(self.store.home), "serve"]
            with (self.folder / "server.log").open("ab") as log:
                self.server = subprocess.Popen(
                    [*command, "--port", str(self.port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip

    def close(self) -> None:
        """Ends supervisor and web server."""
        control.stop_supervisor(self.store.home)
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        self.store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, kills, compares. Returns the exit status: 1 when anything differs."""
    parser = argparse.ArgumentParser(prog="benchmarks.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10, help="kills; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and victims; default: %(default)s")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1, help="that train the run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with both runs, and name it")
    asked = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="superft-chaos-"))
    os.environ |= {"SUPERFT_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    stage = Stage(folder, RunStore(folder / "runs"), _free_port(), random.Random(asked.seed))
    problems = [f"it did not come to an end; see {folder}"]
    begun = time.monotonic()
    try:
        config = make_sample(folder, epochs=max(4, 2 * asked.times), processes=asked.processes)
        problems = _compare_runs(stage, config, asked.times)
    finally:
        stage.close()
        problems += _left_behind(folder)
        if asked.keep or problems:
            print(f"Both runs are in {stage.store.home}")
        else:
            shutil.rmtree(folder)
    _summarize(stage, time.monotonic() - begun, problems)
    return 1 if problems else 0


def make_sample(folder: Path, epochs: int, processes: int) -> RunConfig:
    """Writes digits in class folders and a network with random weights; returns what trains it on them."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    digits = load_digits()
    for number in range(10):
        images = digits.images[digits.target == number][:_IMAGES_PER_CLASS]
        (folder / "images" / str(number)).mkdir(parents=True)
        for index, image in enumerate(255 - np.rint(images * 255 / 16).astype(np.uint8)):
            Image.fromarray(image).save(folder / "images" / str(number) / f"{index:03d}.png")
    torch.manual_seed(0)
    shape = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**shape, num_labels=10)).save_pretrained(folder / "model")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "model")
    values: dict[str, Any] = {
        # Dropout draws from the generator whose state a checkpoint has to keep.
        "model": {"name_or_path": str(folder / "model"), "dropout": 0.1},
        "data": {"name_or_path": str(folder / "images")},
        "training": {
            "num_train_epochs": epochs, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
            "save_steps": _SAVE_STEPS, "logging_steps": 3,
        },
        "early_stopping": {"patience": None},
        "hardware": {"devices": "cpu", "threads": 1, "num_processes": processes},
    }  # fmt: skip
    return make_config(values)


def draw_kills(times: int, max_steps: int, drawn: random.Random) -> list[Kill]:
    """So many kills in the order of their steps: every victim and every moment has its turn."""
    pairs = [PAIRS[number % len(PAIRS)] for number in range(times)]
    drawn.shuffle(pairs)
    pairs.sort(key=lambda pair: pair[0] == ENDING)  # there is nothing after it
    steps = sorted(drawn.randrange(1, max(2, max_steps - 2 * _SAVE_STEPS)) for _ in pairs)
    return [
        Kill(victim, moment, step, drawn.uniform(0, LONGEST_S[moment]))
        for (moment, victim), step in zip(pairs, steps, strict=True)
    ]


def torture(stage: Stage, run_id: str, kills: list[Kill], times: int) -> None:
    """Kills what the list says, in turn, until it is empty or the run has completed.

    Raises:
        SystemExit: If the run does not get on, or is in a state that nobody asked for.
    """
    seen, since = (None, 0), time.monotonic()
    while (record := stage.store.get_run(run_id)).state is not RunState.COMPLETED:
        if record.state is RunState.FAILED:
            words = record.failure.message if record.failure else "without a word"
            print(f"            failed at step {record.global_step}: {words} Resumed.", flush=True)
            control.resume(stage.store, run_id, by=BY)
            stage.num_resumed += 1
        elif not record.is_unfinished:
            raise SystemExit(f"The run is {record.state}, which nobody asked for.")
        if (record.state, record.global_step) != seen:
            seen, since = (record.state, record.global_step), time.monotonic()
        elif time.monotonic() - since > _STUCK_S:
            raise SystemExit(f"The run has been {record.state} at step {seen[1]} for {duration(_STUCK_S)}.")
        stage.look_after()
        if kills and _is_due(stage, record, kills[0]) and _strike(stage, run_id, kills[0], times):
            kills.pop(0)
        time.sleep(_POLL_S)


def _compare_runs(stage: Stage, config: RunConfig, times: int) -> list[str]:
    """Trains one run undisturbed, others under chaos until all kills are done; returns what differs."""
    alone = _begin(stage, config)
    torture(stage, alone, [], times)
    record = stage.store.get_run(alone)
    print(f"undisturbed: {record.max_steps} steps in {duration(record.worked_s)}", flush=True)
    kills = draw_kills(times, record.max_steps, stage.random)
    problems = differences(stage.store, alone, alone)
    for _ in range(_MAX_RUNS):  # one that ends before all kills are done is followed by another
        if not kills:
            return problems
        run_id = _begin(stage, config)
        torture(stage, run_id, kills, times)
        problems += differences(stage.store, run_id, alone)
    return [*problems, *(f"no time came for: {kill.victim}, {kill.moment}" for kill in kills)]


def _begin(stage: Stage, config: RunConfig) -> str:
    return control.submit(stage.store, config, by=BY).run_id


def _is_due(stage: Stage, record: RunRecord, kill: Kill) -> bool:
    """Whether it is time for a kill; waits for the moment itself when it is near."""
    is_late = record.state is RunState.RUNNING and record.global_step >= kill.step
    if kill.moment == STARTING and record.state is RunState.STARTING:
        time.sleep(kill.delay_s)
        return True
    if kill.moment == ENDING:
        is_late = record.is_live and record.max_steps > 0 and record.global_step >= record.max_steps
    if not is_late:
        return False
    if kill.moment == CHECKPOINT and not _wait_for_writing(stage, record.run_id):
        return False
    time.sleep(kill.delay_s)
    return True


def _wait_for_writing(stage: Stage, run_id: str) -> bool:
    """Returns when a checkpoint begins to be written, or after a while when none is."""
    folder = stage.store.run_paths(run_id).checkpoints
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if _half_written(folder):
            return True
        time.sleep(0.0005)
    return False


def _half_written(checkpoints: Path) -> list[str]:
    """Names of the checkpoints that are being written: each lies in a hidden folder until it is complete."""
    return sorted(path.name for path in checkpoints.glob(".checkpoint-*"))


def _strike(stage: Stage, run_id: str, kill: Kill, times: int) -> bool:
    """Kills, and says so; returns whether there was anything to kill."""
    processes = living(stage.store.read_processes(run_id))
    workers = [process.pid for process in processes]
    supervisor = control.supervisor_pid(stage.store.home)
    server = stage.server.pid if stage.server and stage.server.poll() is None else None
    victims = {
        WORKER: [stage.random.choice(sorted(workers))] if workers else [],
        SUPERVISOR: [supervisor] if supervisor else [],
        SERVER: [server] if server else [],
        ALL: [*workers, *(pid for pid in (supervisor, server) if pid)],
    }[kill.victim]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not victims:
        return False
    roles = {process.pid: process.role for process in processes}
    stage.done.append(kill)
    record = stage.store.get_run(run_id)
    # While it starts, what an earlier kill left may lie there still.
    paths = stage.store.run_paths(run_id)
    half = _half_written(paths.checkpoints) if record.state is not RunState.STARTING else []
    stage.num_half_written += bool(half)
    is_begun = kill.moment == STARTING and record.state is RunState.RUNNING
    when = "just after its start" if is_begun else kill.moment
    what = f"{kill.victim} ({roles[victims[0]]})" if kill.victim == WORKER else kill.victim
    note = f", left half written: {', '.join(half)}" if half else ""
    place = f"{record.state}, step {record.global_step} of {record.max_steps or '?'}"
    print(f"kill {len(stage.done)} of {times}: {what}, {when} ({place}){note}", flush=True)
    return True


def _left_behind(folder: Path) -> list[str]:
    """Processes that still work for the runs, some seconds after the end; they are ended."""
    deadline = time.monotonic() + 10
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for process in left:
        process.kill()
    return [f"process {process.pid} was left: {' '.join(process.info['cmdline'])[:200]}" for process in left]


def _summarize(stage: Stage, took_s: float, problems: Sequence[str]) -> None:
    by_victim = Counter(kill.victim for kill in stage.done)
    victims = ", ".join(f"{name} {number}" for name, number in by_victim.most_common())
    print(f"{counted(len(stage.done), 'kill')} in {duration(took_s)}: {victims}")
    print(f"{counted(stage.num_half_written, 'checkpoint')} left half written, {stage.num_resumed} × resumed")
    for problem in problems:
        print(f"WRONG: {problem}")
    if not problems:
        print("The run completed, equal to the undisturbed one: weights, metrics, prediction files.")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
