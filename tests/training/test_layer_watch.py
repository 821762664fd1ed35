"""What is recorded of the layers: hand-computed changes after a known step, gradients before clipping."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from superft_hf import trio
from superft_hf.config import HardwareConfig
from superft_hf.evaluation import layer_history
from superft_hf.evaluation.layer_history import read_history
from superft_hf.records import Request
from superft_hf.training import layer_watch, stopping
from superft_hf.training.layer_watch import LayerWatch, watch_layers
from tests.training.test_resume import request_at, resume, start  # noqa: F401 - a fixture

PLAIN = {"preset": "none"}
ARGS = SimpleNamespace(device=torch.device("cpu"), logging_first_step=True)


def state(step, logging_steps=1):
    return SimpleNamespace(global_step=step, epoch=step / 10, logging_steps=logging_steps, max_steps=50)


@pytest.fixture
def two_layers():
    """Weights [3, 4] and a head [[2], [0]] without biases."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
        model[1].weight.copy_(torch.tensor([[2.0], [0.0]]))
    return model


def watched(model, path):
    watch = LayerWatch(model, [model[-1]], path)
    watch.on_train_begin(ARGS, state(0), None)
    return watch


def step_with(watch, model, gradients, *, step=1, lr=0.1, logs=None, logging_steps=1):
    """One SGD step with these gradients, and the log after it."""
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = None if gradient is None else torch.tensor(gradient)
    watch.on_pre_optimizer_step(ARGS, state(step - 1, logging_steps), None)
    torch.optim.SGD([one for one in model.parameters() if one.grad is not None], lr=lr).step()
    model.zero_grad()
    watch.on_log(ARGS, state(step, logging_steps), None, {"loss": 1.0} if logs is None else logs)


def test_the_change_and_the_gradient_after_a_known_step(two_layers, tmp_path):
    watch = watched(two_layers, tmp_path / "layers")
    step_with(watch, two_layers, [[[0.0, 5.0]], [[3.0], [4.0]]])
    found = read_history(tmp_path / "layers")
    # Body: [3, 4] moves by 0.1 · 5 = 0.5 of its norm 5. Head: [2, 0] moves by 0.1 · 5 = 0.5 of its norm 2.
    assert found.changes.tolist() == [[0.1, 0.25]]
    assert found.gradients.tolist() == [[5.0, 5.0]]
    # The weights are now [3, 3.5] and [1.7, -0.4].
    assert found.norms[0] == pytest.approx([math.hypot(3, 3.5), math.hypot(1.7, 0.4)], rel=1e-4)
    assert found.relative_gradients[0] == pytest.approx(5 / found.norms[0])
    assert (found.steps.tolist(), found.epochs.tolist()) == ([1], [0.1])


def test_the_change_is_measured_from_the_first_weights_not_from_the_last_log(two_layers, tmp_path):
    watch = watched(two_layers, tmp_path / "layers")
    step_with(watch, two_layers, [[[0.0, 5.0]], [[0.0], [0.0]]])
    step_with(watch, two_layers, [[[0.0, 5.0]], [[0.0], [0.0]]], step=2)
    assert read_history(tmp_path / "layers").changes[:, 0].tolist() == [0.1, 0.2]


def test_gradients_are_those_before_clipping(two_layers, tmp_path):
    watch = watched(two_layers, tmp_path / "layers")
    # Of norms 5 and 12, so 13 in all, clipped to 1.
    step_with(watch, two_layers, [[[0.0, 5 / 13]], [[0.0], [12 / 13]]], logs={"loss": 1.0, "grad_norm": 13.0})
    assert read_history(tmp_path / "layers").gradients[0] == pytest.approx([5.0, 12.0], rel=1e-4)


def test_a_total_that_was_not_clipped_changes_nothing(two_layers, tmp_path):
    watch = watched(two_layers, tmp_path / "layers")
    logs = {"loss": 1.0, "grad_norm": math.sqrt(0.02)}
    step_with(watch, two_layers, [[[0.0, 0.1]], [[0.0], [0.1]]], logs=logs)
    assert read_history(tmp_path / "layers").gradients[0] == pytest.approx([0.1, 0.1], rel=1e-4)


def test_a_frozen_layer_has_no_change_and_no_gradient_until_it_is_freed(two_layers, tmp_path):
    two_layers[0].weight.requires_grad_(False)
    watch = watched(two_layers, tmp_path / "layers")
    step_with(watch, two_layers, [None, [[1.0], [0.0]]])
    two_layers[0].weight.requires_grad_(True)
    step_with(watch, two_layers, [[[0.0, 5.0]], [[0.0], [0.0]]], step=2)
    found = read_history(tmp_path / "layers")
    assert found.changes[:, 0].tolist() == [0.0, 0.1]
    assert np.isnan(found.gradients[0, 0]) and found.gradients[1, 0] == 5.0


def test_a_layer_that_began_at_nothing_has_no_relative_change(tmp_path):
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.zeros_(model[0].weight)
    watch = watched(model, tmp_path / "layers")
    step_with(watch, model, [[[1.0]]])
    found = read_history(tmp_path / "layers")
    assert np.isnan(found.changes[0, 0]) and found.norms[0, 0] == pytest.approx(0.1)


def test_only_steps_that_are_logged_are_recorded_and_the_ends_of_epochs(two_layers, tmp_path):
    watch = watched(two_layers, tmp_path / "layers")
    gradients = [[[0.0, 5.0]], [[0.0], [0.0]]]
    for parameter, gradient in zip(two_layers.parameters(), gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    watch.on_pre_optimizer_step(ARGS, state(1, logging_steps=4), None)  # step 2 is not logged
    assert watch._gradients is None
    watch.on_log(ARGS, state(2, logging_steps=4), None, {"eval_loss": 1.0})  # no point of the training curve
    assert read_history(tmp_path / "layers") is None
    step_with(watch, two_layers, gradients, step=4, logging_steps=4)
    watch.on_epoch_end(ARGS, state(4), None)  # the same step again
    with torch.no_grad():
        two_layers[0].weight.mul_(2)
    watch.on_epoch_end(ARGS, state(6), None)
    found = read_history(tmp_path / "layers")
    assert found.steps.tolist() == [4, 6]
    assert np.isfinite(found.gradients[0]).all() and np.isnan(found.gradients[1]).all()
    assert found.changes[1, 0] == pytest.approx(math.hypot(3, 3) / 5, rel=1e-4)  # [6, 7] less [3, 4]


def test_without_memory_for_the_first_weights_gradients_are_recorded_all_the_same(
    two_layers, tmp_path, monkeypatch
):
    monkeypatch.setattr(layer_watch, "free_memory_bytes", lambda device: 8)
    watch = watched(two_layers, tmp_path / "layers")
    step_with(watch, two_layers, [[[0.0, 5.0]], [[3.0], [4.0]]])
    found = read_history(tmp_path / "layers")
    assert np.isnan(found.changes).all() and found.gradients.tolist() == [[5.0, 5.0]]


def test_large_networks_are_compared_in_parts(two_layers, tmp_path, monkeypatch):
    monkeypatch.setattr(layer_watch, "_CHUNK", 1)
    watch = watched(two_layers, tmp_path / "layers")
    step_with(watch, two_layers, [[[0.0, 5.0]], [[3.0], [4.0]]])
    assert read_history(tmp_path / "layers").changes.tolist() == [[0.1, 0.25]]


def test_a_full_disk_ends_the_record_and_not_the_run(two_layers, tmp_path, monkeypatch, caplog):
    watch = watched(two_layers, tmp_path / "layers")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layer_history.LayerFile, "append", full)
    step_with(watch, two_layers, [[[0.0, 5.0]], [[3.0], [4.0]]])
    step_with(watch, two_layers, [[[0.0, 5.0]], [[3.0], [4.0]]], step=2)
    assert [one.message for one in caplog.records if "No space" in one.message] == [
        "the layers are not recorded any more: [Errno 28] No space left on device"
    ]


def test_only_the_main_process_records_and_only_whole_networks(two_layers, tmp_path):
    whole, spread = HardwareConfig(), HardwareConfig(sharding="fsdp")
    path, heads = tmp_path / "layers", [two_layers[-1]]
    assert len(watch_layers(two_layers, heads, path, whole, is_main=True)) == 1
    assert watch_layers(two_layers, heads, path, whole, is_main=False) == []
    assert watch_layers(two_layers, heads, path, spread, is_main=True) == []


# In a run


@pytest.mark.parametrize("network", ["resnet", "vit", "timm"])
def test_a_run_records_its_layers(store, train, tiny_config, network):
    run = train(
        tiny_config(network, augmentation=PLAIN, training={"max_grad_norm": 0.05, "logging_steps": 2})
    )
    path = store.run_paths(run.run_id).layers
    found = read_history(path)
    assert found.steps[-1] == run.max_steps and found.layers[-1].is_head
    assert sum(one.num_parameters for one in found.layers) == run.facts["num_parameters"]
    assert np.isfinite(found.changes).all() and (found.final_changes > 0).all()
    points = store.read_metrics(run.run_id, keys=("grad_norm",))
    totals = dict(zip(points["step"], points["value"], strict=True))
    taken = np.flatnonzero(np.isfinite(found.gradients).any(axis=1))
    assert {int(found.steps[one]) for one in taken} == set(totals)
    for one in taken:  # clipped to 0.05, and told as before clipping
        assert np.sqrt(np.nansum(found.gradients[one] ** 2)) == pytest.approx(
            totals[int(found.steps[one])], rel=1e-3
        )
    assert max(totals.values()) > 0.1
    store.delete_run(run.run_id)
    assert not path.exists()


def test_the_head_alone(store, train, tiny_config):
    run = train(tiny_config(augmentation=PLAIN, model={"strategy": "head"}))
    found = read_history(store.run_paths(run.run_id).layers)
    is_head = np.array([one.is_head for one in found.layers])
    assert (found.changes[:, ~is_head] == 0).all() and (found.final_changes[is_head] > 0).all()
    assert np.isnan(found.gradients[:, ~is_head]).all()


@pytest.mark.parametrize("strategy", ["full", "head-then-full"])
def test_a_resumed_run_goes_on_from_the_same_first_weights(
    store,
    tiny_config,
    request_at,  # noqa: F811
    strategy,
    monkeypatch,  # noqa: F811
):
    monkeypatch.setattr(stopping, "POLL_S", 0.0)
    config = tiny_config(
        "resnet",
        augmentation=PLAIN,
        model={"strategy": strategy},
        training={"num_train_epochs": 3, "logging_steps": 2},
    )
    alone = start(store, config)
    request_at({alone.max_steps // 2: Request.PAUSE})
    paused = start(store, config)
    path = store.run_paths(paused.run_id).layers
    whole, before = (read_history(store.run_paths(one.run_id).layers) for one in (alone, paused))
    lines = path.read_text().splitlines()
    lost = {**json.loads(lines[-1]), "step": int(before.steps[-1]) + 1}  # written before a process was killed
    path.write_text("\n".join([*lines, json.dumps(lost), '{"step": 99, "ch']) + "\n")
    resume(store, paused.run_id)
    found = read_history(path)
    common = np.isin(found.steps, whole.steps)
    assert set(whole.steps) <= set(found.steps) and found.steps[-1] == alone.max_steps
    assert lost["step"] in whole.steps or lost["step"] not in found.steps
    np.testing.assert_array_equal(found.changes[common], whole.changes)
    is_pause = whole.steps == before.steps[-1]  # its gradient may be of a step that was not to be logged
    np.testing.assert_array_equal(found.gradients[common][~is_pause], whole.gradients[~is_pause])


def test_a_trio_of_real_runs_is_found_and_compared(store, train, tiny_config):
    full, head, scratch = (train(one) for one in trio.configs(tiny_config(augmentation=PLAIN), "tiny"))
    found = trio.of_runs(store, [full, head, scratch])
    assert found.run_ids == [full.run_id, head.run_id, scratch.run_id]
    accuracy, gains = trio.gains(store, found)
    assert accuracy == pytest.approx(full.evaluation["eval"]["accuracy"]) and len(gains) == 2
    assert full.facts["fingerprint"] == head.facts["fingerprint"] == scratch.facts["fingerprint"]
    histories = [read_history(store.run_paths(run.run_id).layers) for run in (full, head, scratch)]
    assert len({one.layers for one in histories}) == 1
    norms = [one.norms[0] for one in histories]
    assert not np.allclose(norms[0][:-1], norms[2][:-1], rtol=0.01)  # other weights to begin with
