"""The frozen-backbone baseline: found among the runs, or queued as one."""

import pytest

from superft_hf import frozen_baseline
from superft_hf.engine import control
from superft_hf.errors import StateError
from superft_hf.records import RunState
from tests.factories import fill_with_runs, make_completed_run, make_queued_run


@pytest.fixture(autouse=True)
def _no_supervisor(monkeypatch):
    monkeypatch.setattr(control, "ensure_supervisor", lambda home: None)
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, **_: config)


def test_find__the_completed_one_and_the_one_that_waits(store):
    run = make_completed_run(store)
    assert frozen_baseline.find(store, run) == frozen_baseline.FrozenBaseline(None, None, is_itself=False)
    make_completed_run(store, "another seed", hidden=4, strategy="head", seed=7)
    frozen = make_completed_run(store, "any name", hidden=4, strategy="head")
    found = frozen_baseline.find(store, run)
    assert found.completed.run_id == frozen.run_id and found.pending is None
    waiting = make_queued_run(store, strategy="head")
    found = frozen_baseline.find(store, run, store.list_runs())
    assert (found.completed.run_id, found.pending.run_id) == (frozen.run_id, waiting.run_id)
    assert frozen_baseline.find(store, frozen).is_itself


def test_queue__differs_in_the_layers_alone_and_is_queued_once(store):
    run = make_completed_run(store)
    queued = frozen_baseline.queue(store, run, by="page")
    assert queued.state is RunState.QUEUED and queued.name == "digits-mlp, frozen backbone"
    before, after = store.read_config(run.run_id), store.read_config(queued.run_id)
    assert after.model.strategy == "head"
    same = after.model_copy(update={"name": before.name, "model": before.model})
    assert same == before
    assert frozen_baseline.queue(store, run, by="page").run_id == queued.run_id
    assert len(store.list_runs()) == 2


def test_queue__a_run_of_the_head_alone_is_refused(store):
    run = make_completed_run(store, strategy="head", hidden=4)
    with pytest.raises(StateError, match="is a frozen-backbone baseline itself"):
        frozen_baseline.queue(store, run, by="page")


def test_find__a_thousand_other_runs_are_not_read(store, monkeypatch):
    run = make_completed_run(store)
    fill_with_runs(store, 1000)
    store.read_config_values()  # as those of an earlier version are, once
    read: list[int] = []
    original = type(store).read_config_values
    monkeypatch.setattr(
        type(store), "read_config_values", lambda self, ids=None: read.append(len(ids)) or original(self, ids)
    )
    assert frozen_baseline.find(store, run).completed is None
    assert read == [1]
