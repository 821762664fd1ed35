"""A compiled run: its steps are those of the same network, and nothing else of the run knows of it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from superft_hf.config_file import read_config
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.training.compiling import as_written, compile_in_place
from tests.training.test_run import predict_plainly


def test_compile_in_place__keeps_the_names_and_is_left_out_where_it_is_not_wanted():
    model = nn.Sequential(nn.Linear(3, 3))
    names = list(model.state_dict())
    compile_in_place(model)
    assert list(model.state_dict()) == names
    seen = []
    model[0].register_forward_hook(lambda *args: seen.append(torch.compiler.is_compiling()))
    with as_written():
        model(torch.ones(1, 3))
    assert seen == [False]


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_and_goes_on_after_a_pause(tiny_config, train, store):
    """42 images in batches of 8: the last batch of an epoch is a smaller one."""
    torch._dynamo.reset()
    plain = train(tiny_config("vit"))
    compiled = train(tiny_config("vit", hardware={"torch_compile": "yes"}))
    assert compiled.state == RunState.COMPLETED
    assert read_config(store.run_paths(compiled.run_id).resolved).hardware.torch_compile == "yes"
    metrics = torch._dynamo.utils.counters["stats"]
    assert metrics["unique_graphs"] >= 1, "nothing was compiled"
    losses = [store.read_metrics(one.run_id, keys=["loss"])["value"].to_numpy() for one in (plain, compiled)]
    assert np.allclose(*losses, rtol=1e-3)
    paths = store.run_paths(compiled.run_id)
    rows = read_predictions(paths.prediction_file("test", compiled.global_step), with_logits=True)
    assert np.allclose(
        predict_plainly(paths.model, rows["image"].tolist()), np.stack(rows["logits"]), atol=1e-4
    )
    weights = load_file(paths.model / "model.safetensors")
    assert weights.keys() == load_file(store.run_paths(plain.run_id).model / "model.safetensors").keys()
    assert paths.embeddings_steps("test"), "the hooks of an evaluation are heard"
