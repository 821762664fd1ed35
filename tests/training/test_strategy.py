"""What trains, trains; what is frozen stays to the last bit, batch-norm statistics included."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from superft_hf.errors import NothingTrainedError
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


def test_check__a_run_that_changed_nothing_is_an_error(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    check = ChangeCheck(model, head_modules(model))
    with pytest.raises(NothingTrainedError, match="head"):
        check.unchanged(is_body_trained=True)


def test_check__a_frozen_body_that_moved_is_an_error(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    check = ChangeCheck(model, head_modules(model))
    with torch.no_grad():
        model.classifier.weight.add_(1)
        model.vit.layernorm.weight.add_(1)
    with pytest.raises(NothingTrainedError, match="frozen"):
        check.unchanged(is_body_trained=False)


def test_modes__a_frozen_body_is_in_evaluation_mode(models):
    model = AutoModelForImageClassification.from_pretrained(models["resnet"])
    strategy = Strategy(model, head_modules(model), "head", 1)
    model.train()
    strategy.set_modes()
    assert not model.resnet.training and model.classifier.training
    assert not any(one.requires_grad for one in model.resnet.parameters())
