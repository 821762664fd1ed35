"""The line below the strategies says what the chosen one does with these epochs."""

import pytest

from dashboard.model_card import _about_strategy
from superft_hf.config_file import make_config


@pytest.mark.parametrize(
    ("strategy", "model", "epochs", "expected"),
    [
        ("full", {}, 5, "Every layer is trained, from the pre-trained weights."),
        ("full", {"pretrained": False}, 5, "Every layer is trained, from random weights."),
        ("head-then-full", {}, 5, "1 epoch with the new layer alone, then 4 epochs with every layer."),
        ("head-then-full", {"head_epochs": 9}, 5,
         "5 epochs with the new layer alone, then 0 epochs with every layer."),
        ("gradual", {}, 10,
         "1 epoch with the new layer alone, then one block more after another from the top down; every "
         "layer trains from epoch 6 on at the latest."),
        ("gradual", {"head_epochs": 4}, 6,
         "4 epochs with the new layer alone, then one block more after another from the top down; every "
         "layer trains from epoch 5 on at the latest."),
        ("gradual", {"head_epochs": 3}, 3,
         "3 epochs with the new layer alone, which leaves no epoch for the other layers."),
    ],
)  # fmt: skip
def test_strategy__in_words(strategy, model, epochs, expected):
    config = make_config(
        {
            "model": {"name_or_path": "m", "strategy": strategy, **model}, "data": {"name_or_path": "d"},
            "training": {"num_train_epochs": epochs},
        }
    )  # fmt: skip
    assert _about_strategy(config) == expected


def test_strategy__the_head_alone():
    config = make_config(
        {"model": {"name_or_path": "m", "strategy": "head"}, "data": {"name_or_path": "d"},
         "training": {"num_train_epochs": 3}}
    )  # fmt: skip
    assert _about_strategy(config).startswith("Only the new classification layer is trained")
