import os
import signal

import pytest

from superft_hf.errors import MemoryLimitError
from superft_hf.records import PauseReason, Request, RunState
from superft_hf.training import stopping
from superft_hf.training.stopping import Decision, RunPaused, ShutdownSignal, Wishes


@pytest.fixture
def shutdown():
    before = signal.getsignal(signal.SIGTERM)
    heard = ShutdownSignal()
    heard.install()
    yield heard
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def running(store, tiny_config):
    """The id of a run that is at work."""
    return store.create_run(tiny_config(), by="test", state=RunState.STARTING).run_id


def test_sigterm_ends_the_work_at_once_before_the_first_step(shutdown):
    with pytest.raises(RunPaused) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.reason is PauseReason.SHUTDOWN
    os.kill(os.getpid(), signal.SIGTERM)  # system and supervisor may both send it: the first is being obeyed
    assert shutdown.is_set


@pytest.mark.parametrize("phase", ["is_stepping", "is_closing"])
def test_sigterm_is_a_wish_afterwards(shutdown, phase, store, running):
    setattr(shutdown, phase, True)
    os.kill(os.getpid(), signal.SIGTERM)
    assert Wishes(store, running, shutdown).read() is Decision.PAUSE_FOR_SHUTDOWN


@pytest.mark.parametrize(
    ("request_", "decision"), [(Request.FINISH, Decision.FINISH), (Request.PAUSE, Decision.PAUSE)]
)
def test_what_a_person_asks_is_read_from_the_store(store, running, request_, decision):
    wishes = Wishes(store, running, ShutdownSignal())
    assert wishes.read() is Decision.GO_ON
    store.set_request(running, request_, by="test")
    assert wishes.read() is Decision.GO_ON  # asked a moment ago
    wishes._asked_at -= stopping.POLL_S
    assert wishes.read() is decision


@pytest.mark.parametrize("request_", [Request.DISCARD, Request.STOP_HARD])
def test_what_the_supervisor_obeys_is_nothing_to_the_worker(store, running, request_):
    store.set_request(running, request_, by="test")
    assert Wishes(store, running, ShutdownSignal()).read() is Decision.GO_ON


def test_too_little_space_is_a_wish_and_too_much_memory_an_error(store, running, tmp_path):
    shutdown = ShutdownSignal()
    folder = tmp_path / "not" / "yet" / "there"
    assert Wishes(store, running, shutdown, (folder, 1)).read() is Decision.GO_ON
    assert Wishes(store, running, shutdown, (folder, 2**60)).read() is Decision.PAUSE_FOR_DISK
    assert Wishes(store, running, shutdown, memory_limit=2**60).read() is Decision.GO_ON
    with pytest.raises(MemoryLimitError, match="its share is 0.0 GB"):
        Wishes(store, running, shutdown, memory_limit=1000).read()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request.FINISH, PauseReason.SHUTDOWN),  # it can be finished when the machine is back
        (Request.PAUSE, PauseReason.PERSON),  # it is not to go on by itself then
    ],
)
def test_of_several_wishes_the_strongest_counts(store, running, request_, reason):
    shutdown = ShutdownSignal()
    shutdown.is_set = True
    store.set_request(running, request_, by="test")
    assert Wishes(store, running, shutdown).read().pause_reason is reason
