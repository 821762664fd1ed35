"""Measurements before training: what is asked, what is answered, and that training does not feel them."""

import random

import numpy as np
import pytest
import torch

from superft_hf.config_file import read_config
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training import probes, resolve
from superft_hf.training.bench import Bench, Variant, leaf_layers, undisturbed_randomness
from superft_hf.training.tasks import make_task_run

CPU = torch.device("cpu")
AS_IT_IS = Variant("no", "contiguous")


@pytest.fixture
def make_bench(tiny_config, home):
    def make(name="resnet", **groups):
        config = resolve.decide_devices(tiny_config(name, **groups))
        scan = scan_images(load_images(config.data, home), config.data)
        task = make_task_run(config, scan)
        return Bench(resolve.decide_model(config, task, len(scan.images.splits["train"])), task, CPU)

    return make


@pytest.fixture
def ask(make_bench, monkeypatch):
    """What is decided when steps take so long, by precision, format and compilation.

    `ask({"no": 1.0, "bf16": 0.7}, num_steps=1000)` gives the values and the sentences.
    """

    def decide(times, num_steps=1000, free_cores=0, is_format_open=False, load_s=None, **groups):
        settled = {"memory_format": "contiguous", "torch_compile": "no"}
        bench = make_bench(**{**groups, "hardware": settled | groups.get("hardware", {})})

        def step_s(self, variant):
            key = "compiled" if variant.is_compiled else variant.precision
            if variant.memory_format == "channels_last":
                key = "channels_last"
            seconds = times[key]
            if isinstance(seconds, Exception):
                raise seconds
            return seconds

        monkeypatch.setattr(Bench, "step_s", step_s)
        monkeypatch.setattr(Bench, "first_step_s", lambda self, variant: times["compilation"])
        monkeypatch.setattr(Bench, "load_s", lambda self, number=0, **how: (load_s or {})[number])
        monkeypatch.setattr(probes, "reduced_precisions", lambda device: ("bf16", "fp16"))
        monkeypatch.setattr(probes, "_has_compiler", lambda: True)
        case = probes.Situation(bench, num_steps, free_cores, is_format_open)
        return probes.decide(case)

    return decide


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"no": 1.0, "bf16": 0.7, "fp16": 0.69}, "bf16"),  # 1 % more is not worth a scaler
        ({"no": 1.0, "bf16": 0.96, "fp16": 0.97}, "no"),
        ({"no": 1.0, "bf16": 1.5, "fp16": 0.6}, "fp16"),
        ({"no": 1.0, "bf16": RuntimeError("not implemented"), "fp16": 1.2}, "no"),
    ],
)
def test_precision__the_fastest_if_clearly_so(ask, times, chosen):
    values, words = ask(times)
    assert values["hardware.mixed_precision"] == chosen
    assert words[0].startswith(f"Precision: {'full' if chosen == 'no' else chosen}; a step takes 1 s full")


def test_precision__a_short_run_is_not_measured(ask):
    values, words = ask({}, num_steps=199)
    assert values["hardware.mixed_precision"] == "no"
    assert words[0] == "Precision: full, unmeasured since the run is short."


def test_what_is_set_is_not_asked(ask):
    values, words = ask({}, hardware={"mixed_precision": "bf16"}, training={"dataloader_num_workers": 1})
    assert (values, words) == ({}, [])


def test_memory_format__where_it_is_open(ask):
    times = {"no": 1.0, "bf16": 1.0, "fp16": 1.0, "channels_last": 0.8}
    assert "hardware.memory_format" not in ask(times)[0]
    values, words = ask(times, is_format_open=True)
    assert values["hardware.memory_format"] == "channels_last"
    assert words[1] == "Memory format: channels-last; a step takes 1 s contiguous, 800 ms channels-last."


@pytest.mark.parametrize(
    ("num_steps", "compiled", "compilation", "answer"),
    [
        (100_000, 0.08, 60.0, "yes"),  # saves 2000 s
        (100_000, 0.0995, 60.0, "no"),  # saves 50 s
        (100_000, 0.08, 1800.0, "no"),
    ],
)
def test_compile__tried_in_a_long_run_and_kept_where_it_pays(ask, num_steps, compiled, compilation, answer):
    times = {"no": 0.1, "compiled": compiled, "compilation": compilation}
    hardware = {"mixed_precision": "no", "torch_compile": "auto"}
    values, words = ask(times, num_steps, hardware=hardware)
    assert values["hardware.torch_compile"] == answer
    assert words[0].startswith(f"Compile: {answer}; a step takes 100 ms as it is, ")


@pytest.mark.parametrize(
    ("groups", "num_steps", "why"),
    [
        ({}, 400, "would not pay"),
        ({}, 100, "the run is short"),
        ({"model": {"strategy": "head"}}, 1e6, "the layers that train change"),
        ({"augmentation": {"multi_scale": 0.25}}, 1e6, "the images change their size"),
    ],
)
def test_compile__not_even_tried(ask, groups, num_steps, why):
    hardware = {"mixed_precision": "no", "torch_compile": "auto"}
    values, words = ask({"no": 0.1}, num_steps, hardware=hardware, **groups)
    assert values["hardware.torch_compile"] == "no"
    assert why in words[0]


@pytest.mark.parametrize(
    ("free_cores", "load_s", "number"),
    [
        (0, {}, 0),
        (8, {0: 0.002}, 0),  # 2 % of a step
        (8, {0: 0.1, 2: 0.05}, 2),  # as fast as the steps
        (8, {0: 0.9, 2: 0.45, 4: 0.225, 8: 0.1125}, 8),
        (4, {0: 0.9, 2: 0.45, 4: 0.225}, 4),
        (8, {0: 0.1, 2: 0.25, 4: 0.25, 8: 0.25}, 0),  # the disk is what is slow
        (1, {0: 0.1}, 0),
    ],
)
def test_loaders__as_few_as_keep_the_device_busy(ask, free_cores, load_s, number):
    hardware = {"mixed_precision": "no"}
    values, _ = ask({"no": 0.1}, free_cores=free_cores, load_s=load_s, hardware=hardware)
    assert values["training.dataloader_num_workers"] == number


def test_situation__cores_that_no_training_thread_uses(make_bench, monkeypatch):
    monkeypatch.setattr("superft_hf.engine.devices.cpu_cores", lambda: 8)
    bench = make_bench(hardware={"threads": 3})
    case = probes.situation(bench.config, bench, slots=1)
    assert (case.free_cores, case.num_steps, case.is_format_open) == (5, 12, False)
    assert probes.situation(bench.config, bench, slots=2).free_cores == 1
    assert probes.situation(bench.config, make_bench(hardware={"threads": 8}), slots=1).free_cores == 0


def test_is_mixed__some_convolutions_that_are_not_most_of_it(make_bench):
    network = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 3) for _ in range(4)], torch.nn.Linear(50, 50))
    assert probes.is_mixed(network)
    assert not probes.is_mixed(network[:4])
    assert not probes.is_mixed(make_bench("vit").task.model)
    assert leaf_layers(network) == 5


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_bench__the_run_does_not_feel_it(make_bench, name):
    bench = make_bench(name, training={"l1": 1e-4, "ema_decay": 0.9})
    model = bench.task.model
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    drawn = []
    for is_measured in (False, True):
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        if is_measured:
            with undisturbed_randomness(CPU):
                for variant in (AS_IT_IS, Variant("bf16", "channels_last")):
                    usual_s = bench.usual_step_s(variant)
                    assert 0 < bench.step_s(variant) <= usual_s
                first_s, again_s = bench.eval_s(AS_IT_IS)
                assert 0 < again_s <= first_s
                assert bench.load_s() > 0 and min(bench.first_load_s()) > 0
                assert bench.load_s(2, batches=2) > 0
            bench.close()
        drawn.append((torch.rand(3).tolist(), random.random(), np.random.rand()))
    assert drawn[0] == drawn[1]
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())


def test_bench__memory_that_runs_out_is_an_answer(ask):
    values, _ = ask({"no": 1.0, "bf16": RuntimeError("CUDA out of memory"), "fp16": 0.5})
    assert values["hardware.mixed_precision"] == "fp16"


def test_a_measured_run_is_repeated_from_resolved_yaml_to_the_bit(tiny_config, train, store, monkeypatch):
    monkeypatch.setattr(probes, "MIN_STEPS", 1)
    monkeypatch.setattr("superft_hf.engine.devices.cpu_cores", lambda: 4)
    asked = tiny_config("vit", model={"dropout": 0.2}, hardware={"memory_format": "auto"})
    first = train(asked)
    resolved = read_config(store.run_paths(first.run_id).resolved)
    assert resolved.hardware.mixed_precision in ("no", "bf16")
    assert resolved.hardware.torch_compile == "no"
    assert resolved.training.dataloader_num_workers is not None
    monkeypatch.setattr(probes, "MIN_STEPS", 10**9)
    monkeypatch.setattr(Bench, "step_s", lambda *args: pytest.fail("all is decided"))
    again = train(resolved)
    assert again.state == RunState.COMPLETED
    logits = [_test_logits(store, one) for one in (first, again)]
    assert np.array_equal(*logits)


def _test_logits(store, record):
    paths = store.run_paths(record.run_id)
    step = paths.prediction_steps("test")[0]
    return np.stack(read_predictions(paths.prediction_file("test", step), with_logits=True)["logits"])
