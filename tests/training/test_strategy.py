"""What trains, trains; what is frozen stays to the last bit, batch-norm statistics included."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, LevitConfig, LevitForImageClassification

from superft_hf.config import ModelConfig
from superft_hf.errors import NothingTrainedError
from superft_hf.training.blocks import blocks
from superft_hf.training.image_classification.model import head_modules
from superft_hf.training.strategy import ChangeCheck, Strategy

CLASSIFIER = {"resnet": "classifier.", "vit": "classifier.", "timm": "timm_model.fc."}


def changed_tensors(base: str, record, store) -> set[str]:
    """Names of the tensors of `model/` that differ from the base model's; the head always does."""
    before = load_file(f"{base}/model.safetensors")
    after = load_file(store.run_paths(record.run_id).model / "model.safetensors")
    return {
        key
        for key in after
        if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_head__only_the_classification_layer_changes(name, models, tiny_config, train, store):
    record = train(tiny_config(name, model={"strategy": "head"}))
    changed = changed_tensors(models[name], record, store)
    assert changed and all(key.startswith(CLASSIFIER[name]) for key in changed)
    assert record.facts["num_trained_parameters"] < record.facts["num_parameters"]


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_full__every_trained_tensor_changes(name, models, tiny_config, train, store):
    record = train(tiny_config(name))
    unchanged = load_file(f"{models[name]}/model.safetensors").keys() - changed_tensors(
        models[name], record, store
    )
    assert not unchanged
    assert record.facts["num_trained_parameters"] == record.facts["num_parameters"]


def test_head_then_full__the_body_waits_for_its_epoch(models, tiny_config, train, store):
    options = {"early_stopping": {"patience": None}, "training": {"num_train_epochs": 2}}
    record = train(tiny_config("resnet", model={"strategy": "head-then-full", "head_epochs": 1}, **options))
    checkpoints = store.run_paths(record.run_id).checkpoints
    base = load_file(f"{models['resnet']}/model.safetensors")
    first, second = (load_file(checkpoints / f"checkpoint-{step}" / "model.safetensors") for step in (6, 12))
    body = [key for key in base if not key.startswith("classifier.")]
    assert all(torch.equal(base[key], first[key]) for key in body)
    assert not any(
        torch.equal(first[key], second[key]) for key in body if not key.endswith("num_batches_tracked")
    )
    assert not torch.equal(first["classifier.1.weight"], second["classifier.1.weight"])


def test_gradual__blocks_follow_from_the_head_downwards(models, tiny_config, train, store):
    options = {"early_stopping": {"patience": None}, "training": {"num_train_epochs": 6}}
    record = train(tiny_config("vit", model={"strategy": "gradual", "head_epochs": 1}, **options))
    checkpoints = store.run_paths(record.run_id).checkpoints
    base, last = (load_file(folder / "model.safetensors") for folder in
                  (Path(models["vit"]), checkpoints / "checkpoint-36"))  # fmt: skip
    assert not [
        key for key in base if base[key].shape == last[key].shape and torch.equal(base[key], last[key])
    ]
    assert record.facts["num_trained_parameters"] == record.facts["num_parameters"]


def free_parts(model, config, num_epochs) -> list[list[str]]:
    """Names of the parts that train in each epoch, the head left out."""
    strategy = Strategy(model, head_modules(model), config, num_epochs)
    found = []
    for epoch in range(num_epochs):
        strategy.begin_epoch(epoch)
        found.append([name for name, part in blocks(model) if all(one.requires_grad for one in part)])
    return found


def test_gradual__one_block_an_epoch_where_there_is_time(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    config = ModelConfig(name_or_path="m", strategy="gradual", head_epochs=2)
    first, second = "vit.layers.0", "vit.layers.1"
    everything = ["stem", first, second]
    found = free_parts(model, config, 10)
    assert found == [[], [], [second], [first, second], *[everything] * 6]


@pytest.mark.parametrize(
    ("num_epochs", "head_epochs", "full_from"), [(1, 1, None), (2, 1, 1), (4, 1, 2), (5, 1, 2), (4, 3, 3)]
)
def test_gradual__everything_trains_from_half_of_the_epochs_on(models, num_epochs, head_epochs, full_from):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    config = ModelConfig(name_or_path="m", strategy="gradual", head_epochs=head_epochs)
    sizes = [len(parts) for parts in free_parts(model, config, num_epochs)]
    assert sizes == sorted(sizes) and sizes[:head_epochs] == [0] * min(head_epochs, num_epochs)
    assert [epoch for epoch, size in enumerate(sizes) if size == 3][:1] == ([full_from] if full_from else [])


def test_gradual__what_is_frozen_is_in_evaluation_mode(models):
    model = AutoModelForImageClassification.from_pretrained(models["resnet"])
    config = ModelConfig(name_or_path="m", strategy="gradual", head_epochs=1)
    strategy = Strategy(model, head_modules(model), config, 10)
    strategy.begin_epoch(1)
    model.train()
    strategy.set_modes()
    stages = model.resnet.encoder.stages
    assert not any(one.training for one in (*model.resnet.embedder.modules(), *stages[0].modules()))
    assert all(one.training for one in stages[1].modules())
    frozen = strategy.frozen_tensors()
    assert "resnet.embedder.embedder.normalization.running_mean" in frozen
    assert not any(name.startswith(("resnet.encoder.stages.1", "classifier")) for name in frozen)


def test_num_trained__of_gradual_counts_the_blocks_that_were_reached(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    strategy = Strategy(
        model, head_modules(model), ModelConfig(name_or_path="m", strategy="gradual", head_epochs=1), 10
    )
    sizes = {name: sum(one.numel() for one in part) for name, part in blocks(model)}
    head = sum(one.numel() for one in model.classifier.parameters())
    assert strategy.num_trained(0) == strategy.num_trained(1) == head
    assert strategy.num_trained(2) == head + sizes["vit.layers.1"]
    assert strategy.num_trained(10) == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("strategy", ["full", "head-then-full", "gradual"])
def test_what_the_architecture_keeps_fixed_is_never_freed(models, strategy):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    model.vit.embeddings.position_embeddings.requires_grad_(False)
    made = Strategy(model, head_modules(model), ModelConfig(name_or_path="m", strategy=strategy), 4)
    made.begin_epoch(3)
    still = [name for name, one in model.named_parameters() if not one.requires_grad]
    assert still == ["vit.embeddings.position_embeddings"]


def test_check__a_run_that_changed_nothing_is_an_error(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    check = ChangeCheck(model, head_modules(model))
    with pytest.raises(NothingTrainedError, match="head"):
        check.unchanged(frozen=set())


def test_check__a_freed_block_that_did_not_move_is_an_error(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    config = ModelConfig(name_or_path="m", strategy="gradual", head_epochs=1)
    strategy = Strategy(model, head_modules(model), config, 10)
    check = ChangeCheck(model, head_modules(model))
    strategy.begin_epoch(1)
    with torch.no_grad():
        for one in model.classifier.parameters():
            one.add_(1)
    with pytest.raises(NothingTrainedError, match="of the body"):
        check.unchanged(strategy.frozen_tensors())
    with torch.no_grad():
        for one in model.vit.layers[1].parameters():
            one.add_(1)
    assert check.unchanged(strategy.frozen_tensors()) == ["vit.layernorm.bias", "vit.layernorm.weight"]


@pytest.mark.parametrize(
    ("network", "tensor"),
    [("vit", "vit.layernorm.weight"), ("resnet", "resnet.embedder.embedder.normalization.running_mean")],
)
def test_check__a_frozen_body_that_moved_is_an_error(models, network, tensor):
    model = AutoModelForImageClassification.from_pretrained(models[network])
    strategy = Strategy(model, head_modules(model), ModelConfig(name_or_path="m", strategy="head"), 2)
    check = ChangeCheck(model, head_modules(model))
    with torch.no_grad():
        head_modules(model)[0].get_parameter("weight" if network == "vit" else "1.weight").add_(1)
        model.state_dict()[tensor].add_(1)
    with pytest.raises(NothingTrainedError, match=f"frozen layers changed, among them {tensor}"):
        check.unchanged(strategy.frozen_tensors())


def test_modes__a_frozen_body_is_in_evaluation_mode(models):
    model = AutoModelForImageClassification.from_pretrained(models["resnet"])
    strategy = Strategy(model, head_modules(model), ModelConfig(name_or_path="m", strategy="head"), 2)
    model.train()
    strategy.set_modes()
    assert not model.resnet.training and model.classifier.training
    assert not any(one.requires_grad for one in model.resnet.parameters())


def test_batch_norm__frozen_statistics_stay_and_the_scales_train(models, tiny_config, train, store):
    record = train(tiny_config("resnet", model={"batch_norm": "frozen"}))
    changed = changed_tensors(models["resnet"], record, store)
    norm = "resnet.embedder.embedder.normalization."
    assert {f"{norm}weight", f"{norm}bias"} <= changed
    assert not any(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in changed)


def test_batch_norm__a_head_of_its_own_keeps_its_statistics_moving():
    model = LevitForImageClassification(LevitConfig(num_labels=3))
    config = ModelConfig(name_or_path="m", strategy="full", batch_norm="frozen")
    strategy = Strategy(model, head_modules(model), config, 2)
    model.train()
    strategy.set_modes()
    assert model.classifier.batch_norm.training
    norms = [one for one in model.levit.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    assert norms and not any(one.training for one in norms)
