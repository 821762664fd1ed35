import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from superft_hf.config import HardwareConfig
from superft_hf.engine import control, devices
from superft_hf.engine.processes import RUN_VARIABLE, describe_process, is_alive, living
from superft_hf.engine.supervisor import Supervisor, run_supervisor, try_lock
from superft_hf.paths import HomePaths
from superft_hf.records import ProcessRecord, Request, RunState
from superft_hf.store import RunStore
from tests.engine.steps import is_in, passes_until

CPU = HardwareConfig(devices="cpu")


def test_step__runs_queued_runs_in_order_one_at_a_time(store, supervisor, config, until):
    ids = [store.create_run(config("complete"), by="test").run_id for _ in range(2)]
    hold = store.run_paths(ids[0]).folder / "hold"
    hold.touch()
    supervisor.step()
    assert [store.get_run(one).state for one in ids] == [RunState.STARTING, RunState.QUEUED]
    assert store.get_run(ids[1]).waiting_for == "waits for the CPU, which another run uses"
    hold.unlink()
    passes_until(supervisor, until, lambda: is_in(store, ids[1], RunState.COMPLETED))
    first, second = (store.get_run(one) for one in ids)
    assert first.state is RunState.COMPLETED
    assert second.started_at >= first.ended_at
    assert second.waiting_for is None
    passes_until(supervisor, until, lambda: not supervisor.step())


def test_step__worker_killed_while_running(store, supervisor, config, until):
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    os.kill(store.read_processes(run_id)[0].pid, signal.SIGKILL)
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    failure = store.get_run(run_id).failure
    assert failure.kind == "WorkerDiedError"
    assert failure.message == "The worker was killed (signal 9); the system may have been out of memory."
    assert "per_device_train_batch_size" in failure.hint
    assert not supervisor.step()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("die 15", "The worker was ended by signal 15 (SIGTERM)."),
        ("exit 3", "The worker ended with exit code 3; it said last: it was the weather"),
        ("exit 0", "The worker ended before the run was complete."),
    ],
)
def test_step__worker_that_ends_without_settling_its_run(store, supervisor, config, until, name, message):
    run_id = store.create_run(config(name), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    assert store.get_run(run_id).failure.message == message


def test_step__keeps_the_reason_that_the_worker_gave(store, supervisor, config, until):
    run_id = store.create_run(config("fail"), by="test").run_id
    passes_until(supervisor, until, lambda: not supervisor.step())
    assert store.get_run(run_id).failure.kind == "OutOfMemoryError"


def test_step__a_run_that_cannot_be_started_does_not_block_the_next(store, supervisor, config, until):
    no_gpu = store.create_run(config("complete", devices="7"), by="test").run_id
    broken = store.create_run(config("complete"), by="test").run_id
    store.run_paths(broken).config.write_text("training: nonsense")
    fine = store.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, fine, RunState.COMPLETED))
    assert store.get_run(no_gpu).failure.kind == "DeviceError"
    assert store.get_run(broken).failure.kind == "ConfigError"
    passes_until(supervisor, until, lambda: not supervisor.step())


def test_step__a_held_run_waits(store, supervisor, config, until):
    held = store.create_run(config("complete"), by="test").run_id
    store.set_held(held, True, by="test")
    other = store.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, other, RunState.COMPLETED))
    assert is_in(store, held, RunState.QUEUED)


def test_step__a_run_that_is_held_waits_for_no_device(store, supervisor, config, until):
    first, second = (store.create_run(config("sleep 60"), by="test").run_id for _ in range(2))
    supervisor.step()
    assert store.get_run(second).waiting_for is not None
    store.set_held(second, True, by="test")
    supervisor.step()
    assert store.get_run(second).waiting_for is None
    for run_id in (first, second):
        store.set_request(run_id, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: not supervisor.step())


def test_step__starting_without_any_process_for_15_s(store, supervisor, config, monkeypatch, until):
    run_id = store.create_run(config("complete"), by="test", state=RunState.STARTING).run_id
    supervisor.step()
    assert is_in(store, run_id, RunState.STARTING)
    monkeypatch.setattr("superft_hf.engine.settling.UNRECORDED_S", 0.0)
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    assert store.get_run(run_id).failure.message == "The worker ended without a word."


def test_step__a_pid_that_is_another_process_by_now_is_gone(store, supervisor, config, until):
    run_id = store.create_run(config("complete"), by="test", state=RunState.STARTING).run_id
    own = describe_process(os.getpid(), "rank 0")
    store.record_process(run_id, ProcessRecord(own.pid, own.started - 1000, own.role))
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))


def test_step__discards_a_queued_run_at_once(store, supervisor, config):
    run_id = store.create_run(config("complete"), by="test").run_id
    store.set_request(run_id, Request.DISCARD, by="test")
    supervisor.step()
    assert is_in(store, run_id, RunState.DISCARDED)
    assert not supervisor.step()


def test_step__discards_a_live_run_and_gives_its_device_to_the_next(store, supervisor, config, until):
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    process = store.read_processes(run_id)[0]
    paths = store.run_paths(run_id)
    (paths.checkpoints / "checkpoint-4").mkdir(parents=True)
    store.set_request(run_id, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.DISCARDED))
    assert not is_alive(process)
    assert not paths.checkpoints.exists()
    assert paths.config.exists()
    assert store.get_run(run_id).failure is None
    following = store.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, following, RunState.COMPLETED))


def test_step__discards_a_live_run_that_ignores_sigterm(store, supervisor, config, until):
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    store.set_request(run_id, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.DISCARDED))


def test_step__discards_a_failed_run(store, supervisor, config, until):
    run_id = store.create_run(config("fail"), by="test").run_id
    passes_until(supervisor, until, lambda: not supervisor.step())
    store.set_request(run_id, Request.DISCARD, by="test")
    assert supervisor.step()
    assert is_in(store, run_id, RunState.DISCARDED)


def test_step__two_homes_never_share_the_cpu(tmp_path, store, supervisor, launcher, config, until):
    other_home = tmp_path / "other"
    with_other = RunStore(other_home)
    other = Supervisor(other_home, launcher)
    ours = store.create_run(config("sleep 60"), by="test").run_id
    theirs = with_other.create_run(config("complete"), by="test").run_id
    supervisor.step()
    other.step()
    assert store.get_run(ours).is_live
    assert is_in(with_other, theirs, RunState.QUEUED)
    passes_until(supervisor, until, lambda: is_in(store, ours, RunState.RUNNING))
    other.step()
    assert is_in(with_other, theirs, RunState.QUEUED)
    store.set_request(ours, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, ours, RunState.DISCARDED))
    passes_until(other, until, lambda: is_in(with_other, theirs, RunState.COMPLETED))
    passes_until(other, until, lambda: not other.step())


def test_step__ranks_that_outlive_their_launcher(store, home, supervisor, config, monkeypatch, until):
    monkeypatch.setattr("superft_hf.engine.watching.ORPHAN_GRACE_S", 0.3)
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(home / run_id)]
    theirs = {**os.environ, RUN_VARIABLE: str(home / run_id)}
    rank = subprocess.Popen(command, env=theirs, start_new_session=True)  # it has not recorded itself yet
    editor = subprocess.Popen(command, start_new_session=True)  # a person's, which has the folder open
    store.record_process(run_id, ProcessRecord(os.getpid(), 1.0, "launcher"))
    supervisor.step()
    assert is_in(store, run_id, RunState.STARTING)
    assert rank.poll() is None
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    assert rank.wait(timeout=5) == -signal.SIGKILL
    assert editor.poll() is None
    editor.kill()
    editor.wait()


def test_step__a_worker_that_is_not_recorded_yet(store, home, supervisor, config, monkeypatch, until):
    """Its supervisor was killed between its start and its record."""
    monkeypatch.setattr("superft_hf.engine.settling.UNRECORDED_S", 0.0)
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(home / run_id)]
    worker = subprocess.Popen(command, env={**os.environ, RUN_VARIABLE: str(home / run_id)})
    began = time.monotonic()
    until(lambda: supervisor.step() and time.monotonic() > began + 1.5)
    assert is_in(store, run_id, RunState.STARTING)
    worker.kill()
    worker.wait()
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))


def test_step__is_cheap_when_idle(store, supervisor):
    supervisor.step()
    began = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(100):
        supervisor.step()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    spent = (ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime) / 100
    assert spent < 0.005, f"{spent * 1000:.1f} ms a pass, two passes a second"


def test_supervisor__killed_in_the_middle_of_a_run_is_succeeded(store, home, config, until, start_supervisor):
    first = start_supervisor()
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    assert control.supervisor_pid(home) == first.pid
    first.kill()
    first.wait()
    assert control.supervisor_pid(home) is None
    process = store.read_processes(run_id)[0]
    assert is_alive(process)
    assert devices.try_lease(CPU) is None, "the worker keeps the device that its supervisor leased"
    waiting = store.create_run(config("complete"), by="test").run_id
    start_supervisor()
    until(lambda: store.get_run(waiting).waiting_for is not None)
    assert is_in(store, run_id, RunState.RUNNING)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: is_in(store, run_id, RunState.FAILED))
    assert store.get_run(run_id).failure.message == "The worker ended without a word."
    until(lambda: is_in(store, waiting, RunState.COMPLETED))


def test_supervisor__sigusr1_leaves_the_worker_alone(store, config, until, start_supervisor):
    first = start_supervisor()
    run_id = store.create_run(config("sleep 2"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    first.send_signal(signal.SIGUSR1)
    assert first.wait(timeout=5) == 0
    assert living(store.read_processes(run_id))
    until(lambda: is_in(store, run_id, RunState.COMPLETED))


def test_supervisor__the_second_one_leaves(home, until, start_supervisor):
    first = start_supervisor()
    until(lambda: control.supervisor_pid(home) == first.pid)
    assert start_supervisor().wait(timeout=10) == 0
    assert control.supervisor_pid(home) == first.pid


def test_supervisor__leaves_when_idle(home, until, start_supervisor):
    supervisor = start_supervisor(idle_s=0.3)
    assert supervisor.wait(timeout=10) == 0
    assert "nothing to do" in HomePaths(home).supervisor_log.read_text()


def test_supervisor__leaves_when_its_home_is_gone(home, store, config, until, start_supervisor):
    supervisor = start_supervisor()
    run_id = store.create_run(config("sleep 60"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    process = store.read_processes(run_id)[0]
    shutil.rmtree(home)
    assert supervisor.wait(timeout=10) == 0
    until(lambda: not is_alive(process))
    assert not home.exists()


def test_supervisor__a_home_that_never_was(tmp_path):
    assert run_supervisor(tmp_path / "nothing") == 0
    assert not (tmp_path / "nothing").exists()


def test_try_lock__while_somebody_looks(home):
    lock = try_lock(HomePaths(home).supervisor_lock)
    assert lock is not None
    assert control.supervisor_pid(home) == os.getpid()
    assert try_lock(HomePaths(home).supervisor_lock, attempts=1) is None
    os.close(lock)
    assert control.supervisor_pid(home) is None
