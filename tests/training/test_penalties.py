import pytest
import torch
from torch import nn

from superft_hf.config import TrainingConfig
from superft_hf.training.penalties import Penalty, make_penalty


class Small(nn.Module):
    """A matrix and all that is not to be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.full((1, 1, 4), 9.0))
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))


def test_value_and_gradient_of_both_terms():
    model = Small()
    value = Penalty(model, 0.1, 0.01)()
    # Σ|W| = 6 and Σ W² = 14
    assert value.item() == pytest.approx(0.1 * 6 + 0.01 * 14)
    value.backward()
    # 0.1 · sign W + 0.02 · W
    expected = torch.tensor([[0.12, -0.14], [0.0, 0.16]])
    torch.testing.assert_close(model.layer.weight.grad, expected)
    others = [one for one in model.parameters() if one is not model.layer.weight]
    assert all(one.grad is None for one in others)


@pytest.mark.parametrize(("l1", "l2", "expected"), [(0.5, 0.0, 3.0), (0.0, 0.5, 7.0)])
def test_each_term_alone(l1, l2, expected):
    assert Penalty(Small(), l1, l2)().item() == pytest.approx(expected)


def test_frozen_weights_do_not_count_until_they_are_freed():
    model = Small()
    penalty = Penalty(model, 1.0, 0.0)
    model.layer.weight.requires_grad_(False)
    assert penalty() == 0
    model.layer.weight.requires_grad_(True)
    assert penalty().item() == pytest.approx(6)


def test_none_is_made_without_a_weight():
    assert make_penalty(Small(), TrainingConfig()) is None
    assert make_penalty(Small(), TrainingConfig(l2=0.1))().item() == pytest.approx(1.4)
