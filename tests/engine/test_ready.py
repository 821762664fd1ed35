"""A worker that waits for its run: it becomes the run's worker, or ends with whoever started it."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from superft_hf.engine import ready as ready_module
from superft_hf.engine.devices import Devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.processes import is_alive, living, send_signal
from superft_hf.engine.ready import ReadyPlace, prepare
from superft_hf.engine.supervisor import Supervisor
from superft_hf.records import RunState
from tests.engine.steps import is_in, passes_until

STAND_INS = Path(__file__).parents[1] / "stand_ins"
CPU = Devices("cpu", (), 1)


@pytest.fixture
def launcher(launcher: Launcher) -> Launcher:
    """One that also prepares workers."""
    return replace(launcher, ready=(str(STAND_INS / "ready.py"),))


@pytest.fixture
def place(launcher, home):
    made = launcher.ready_place(home)
    yield made
    made.close()


@pytest.fixture
def start(store, launcher, config, place):
    """Starts a run of this name by the worker that waits, and returns its id and process."""

    def begin(name, **hardware):
        asked = config(name, **hardware)
        run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
        lease = try_lease(asked.hardware)
        try:
            return run_id, launcher.start(store, run_id, asked, lease, place)
        finally:
            lease.close()

    return begin


def waiting_pid(place: ReadyPlace) -> int | None:
    return place._waiting.process.pid if place._waiting else None


def is_there(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_start__a_ready_worker_is_the_worker_in_all_respects(store, config, place, start, until):
    place.look_after(1, is_idle=True)
    pid = waiting_pid(place)
    run_id, process = start("sleep 60")
    log = store.run_paths(run_id).log
    try:
        assert process.pid == pid and waiting_pid(place) is None
        until(lambda: "says sleep" in log.read_text())
        assert [(one.pid, one.role) for one in store.read_processes(run_id)] == [(pid, "rank 0")]
        assert os.getsid(pid) == pid
        files = {number: Path(f"/proc/{pid}/fd/{number}").resolve() for number in (0, 1, 2)}
        assert files == {0: Path(os.devnull), 1: log, 2: log}
        assert try_lease(config("x").hardware) is None, "it holds the lease after the starter let go of it"
        environment = psutil.Process(pid).environ()
        assert environment["MALLOC_TOP_PAD_"] == "268435456"
    finally:
        send_signal(store.read_processes(run_id), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (again := try_lease(config("x").hardware)).close()
    assert again.devices == CPU


def test_start__its_exit_code_and_end_are_those_of_a_worker(store, place, start, until):
    place.look_after(1, is_idle=True)
    run_id, process = start("exit 3")
    assert process.wait(timeout=20) == 3
    assert store.run_paths(run_id).log.read_text().splitlines()[-2] == "it was the weather"


def test_start__another_environment_gets_a_worker_of_its_own(store, place, start, until):
    place.look_after(1, is_idle=True)
    pid = waiting_pid(place)
    run_id, process = start("complete", threads=17)
    assert process.pid != pid == waiting_pid(place)
    until(lambda: is_in(store, run_id, RunState.COMPLETED))
    process.wait()
    second, process = start("complete")
    assert process.pid == pid
    until(lambda: is_in(store, second, RunState.COMPLETED))
    process.wait()


def test_start__one_that_was_killed_while_it_waited(store, place, start, until):
    place.look_after(1, is_idle=True)
    os.kill(waiting_pid(place), signal.SIGKILL)
    place._waiting.process.wait()
    run_id, process = start("complete")
    until(lambda: is_in(store, run_id, RunState.COMPLETED))
    assert process.wait() == 0


def test_start__one_that_dies_between_the_look_and_the_message(store, place, start, until, monkeypatch):
    place.look_after(1, is_idle=True)
    os.kill(waiting_pid(place), signal.SIGKILL)
    place._waiting.process.wait()
    monkeypatch.setattr(ready_module.ReadyWorker, "fits", lambda self, environment: True)
    run_id, process = start("complete")
    until(lambda: is_in(store, run_id, RunState.COMPLETED))
    assert process.wait() == 0


def test_start__several_processes_are_left_to_a_launcher(home, place, launcher):
    assert launcher.ready_environment(home, Devices("cpu", (), 2)) is None
    assert launcher.ready_environment(home, CPU)["CUDA_VISIBLE_DEVICES"] == ""


def test_give__the_process_is_recorded_before_it_hears_of_the_run(home, place):
    """Whoever starts it may be killed at any moment: a worker that nobody knows of must not train."""
    place.look_after(1, is_idle=True)
    pid, environment = waiting_pid(place), place._waiting.environment

    def killed(recorded: int) -> None:
        assert recorded == pid
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), (home / "log").open("wb") as log:
        place.give(home / "20260101-0000-abcd", environment, [log.fileno()], killed)
    assert is_there(pid)
    assert not (home / "log").read_bytes()
    os.kill(pid, signal.SIGKILL)


def test_prepare__it_ends_when_its_socket_does(home, launcher, until):
    worker = prepare([sys.executable, *launcher.ready], os.environ)
    assert is_there(worker.process.pid)
    worker.line.close()
    assert worker.process.wait(timeout=20) == 0


def test_look_after__only_when_the_machine_is_idle_and_memory_is_free(home, place, monkeypatch):
    place.look_after(1, is_idle=False)
    assert waiting_pid(place) is None
    monkeypatch.setattr(ready_module, "MEMORY_TO_PREPARE", 1e18)
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is None
    monkeypatch.setattr(ready_module, "MEMORY_TO_PREPARE", 0)
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is None, "it looks again after a while only"
    place._not_before = 0.0
    place.look_after(1, is_idle=True)
    pid = waiting_pid(place)
    assert pid is not None
    monkeypatch.setattr(ready_module, "MEMORY_TO_KEEP", 1e18)
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is None and not is_there(pid)
    place._not_before = min(place._not_before, time.monotonic() + 50)
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is None, "memory that was short is not asked for again at once"


def test_look_after__not_while_others_train_on_the_devices(home, place, config):
    lease = try_lease(config("x").hardware)
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is None
    lease.close()
    place._not_before = 0.0
    place.look_after(1, is_idle=True)
    assert waiting_pid(place) is not None


def test_look_after__another_share_of_the_cores(home, place, monkeypatch):
    monkeypatch.setattr("superft_hf.engine.devices.cpu_cores", lambda: 8)
    place.look_after(1, is_idle=True)
    first = place._waiting
    assert first.environment["OMP_NUM_THREADS"] == "8"
    place.look_after(2, is_idle=True)
    place._not_before = 0.0
    place.look_after(2, is_idle=True)
    assert place._waiting.environment["OMP_NUM_THREADS"] == "4"
    assert first.process.poll() is not None


def test_supervisor__prepares_one_gives_it_a_run_and_prepares_the_next(
    store, home, launcher, config, until, monkeypatch
):
    monkeypatch.setattr(ready_module, "MEMORY_TO_PREPARE", 0)
    supervisor = Supervisor(home, launcher)
    supervisor.step()
    pid = waiting_pid(supervisor._ready)
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    supervisor.step()
    assert [one.pid for one in store.read_processes(run_id)] == [pid]
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    assert waiting_pid(supervisor._ready) is None, "while a run trains, the machine is its alone"
    send_signal(store.read_processes(run_id), signal.SIGKILL)
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    assert "signal 9" in store.get_run(run_id).failure.message
    passes_until(supervisor, until, lambda: waiting_pid(supervisor._ready) is not None)
    last = waiting_pid(supervisor._ready)
    supervisor.close()
    assert not is_there(last)


def test_supervisor__killed_while_one_waits_and_while_one_trains(
    store, home, config, until, start_supervisor
):
    first = start_supervisor(ready=True)
    until(lambda: len(psutil.Process(first.pid).children()) == 1)
    (waiting,) = psutil.Process(first.pid).children()
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    (process,) = store.read_processes(run_id)
    assert process.pid == waiting.pid
    first.kill()
    first.wait()
    assert is_alive(process), "a ready worker that has a run outlives the supervisor, as any worker does"
    second = start_supervisor(ready=True)
    time.sleep(1)
    assert is_in(store, run_id, RunState.RUNNING)
    send_signal([process], signal.SIGKILL)
    until(lambda: is_in(store, run_id, RunState.FAILED))
    until(lambda: len(psutil.Process(second.pid).children()) == 1)
    (waiting,) = psutil.Process(second.pid).children()
    second.kill()
    second.wait()
    until(lambda: not is_there(waiting.pid))
    assert not living(store.read_processes(run_id))
