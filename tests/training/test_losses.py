"""The training losses against their formulas, reckoned in plain numpy with more digits."""

import numpy as np
import pytest
import torch
from torch import nn

from superft_hf.config import TrainingConfig
from superft_hf.training.image_classification.losses import ClassificationLoss
from superft_hf.training.image_classification.task import class_weights

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 0.5, 3.0], [0.2, 0.1, 0.0], [4.0, -2.0, 1.5]])
LABELS = torch.tensor([0, 1, 2, 0])
WEIGHTS = torch.tensor([0.5, 2.0, 1.25])
SHARES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75], [0.5, 0.2, 0.3]])
NAMES = ("cross_entropy", "focal", "binary_cross_entropy")


def loss(name, logits, labels, weights=None, **settings):
    config = TrainingConfig(loss=name, **settings)
    return ClassificationLoss(config, weights)(logits, labels)


def softmax(logits):
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_for_ids(weights, smoothing):
    theirs = nn.functional.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
    ours = loss("cross_entropy", LOGITS, LABELS, weights, label_smoothing_factor=smoothing)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_for_shares_without_weights(smoothing):
    theirs = nn.functional.cross_entropy(LOGITS, SHARES, label_smoothing=smoothing)
    torch.testing.assert_close(
        loss("cross_entropy", LOGITS, SHARES, label_smoothing_factor=smoothing), theirs
    )


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_a_single_class_count_as_its_id(name):
    whole = nn.functional.one_hot(LABELS, 3).float()
    for settings in ({}, {"label_smoothing_factor": 0.2}):
        of_ids = loss(name, LOGITS, LABELS, WEIGHTS, **settings)
        torch.testing.assert_close(loss(name, LOGITS, whole, WEIGHTS, **settings), of_ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_mixed_image_counts_as_its_parts(name):
    """0.7 of an image of class 0 and 0.3 of one of class 1, of weights 0.5 and 2."""
    logits = LOGITS[:1]
    first, second = (loss(name, logits, torch.tensor([label])).item() for label in (0, 1))
    mixed = torch.tensor([[0.7, 0.3, 0.0]])
    assert loss(name, logits, mixed).item() == pytest.approx(0.7 * first + 0.3 * second)
    weighed = (0.7 * 0.5 * first + 0.3 * 2.0 * second) / (0.7 * 0.5 + 0.3 * 2.0)
    assert loss(name, logits, mixed, WEIGHTS).item() == pytest.approx(weighed)


@pytest.mark.parametrize("name", NAMES)
def test_class_weights_make_a_weighted_mean(name):
    each = [loss(name, LOGITS[[row]], LABELS[[row]]).item() for row in range(4)]
    # labels 0, 1, 2, 0 of weights 0.5, 2, 1.25, 0.5
    expected = (0.5 * each[0] + 2.0 * each[1] + 1.25 * each[2] + 0.5 * each[3]) / 4.25
    assert loss(name, LOGITS, LABELS, WEIGHTS).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_the_papers(gamma):
    sure = softmax(LOGITS)[range(4), LABELS]
    expected = np.mean(-((1 - sure) ** gamma) * np.log(sure))
    assert loss("focal", LOGITS, LABELS, focal_gamma=gamma).item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_without_gamma_is_the_cross_entropy():
    focal = loss("focal", LOGITS, SHARES, WEIGHTS, focal_gamma=0.0, label_smoothing_factor=0.1)
    plain = loss("cross_entropy", LOGITS, SHARES, WEIGHTS, label_smoothing_factor=0.1)
    torch.testing.assert_close(focal, plain)


def test_focal_loss_counts_what_is_sure_a_hundredth():
    """Two classes, q = 0.9: (1 − q)² = 0.01."""
    logits = torch.tensor([[np.log(9.0), 0.0]], dtype=torch.float32)
    assert loss("focal", logits, torch.tensor([0])).item() == pytest.approx(-0.01 * np.log(0.9), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [torch.tensor([0, 2]), torch.tensor([[1.0, 0, 0], [0.4, 0, 0.6]])])
def test_gradients_are_numbers_where_the_network_is_as_sure_as_can_be(name, labels):
    logits = torch.tensor([[300.0, 0.0, 0.0], [300.0, 0.0, -300.0]], requires_grad=True)
    value = loss(name, logits, labels, focal_gamma=0.5)
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()
    assert logits.grad[1, 0] > 0 > logits.grad[1, 2]


def test_binary_cross_entropy_is_that_of_each_class_against_the_rest():
    """Summed over the classes, mean over the batch, with σ of z_c − log Σ_{j≠c} exp z_j."""
    rest = torch.stack([LOGITS[:, [j for j in range(3) if j != c]].logsumexp(1) for c in range(3)], dim=1)
    for labels in (nn.functional.one_hot(LABELS, 3).float(), SHARES):
        theirs = nn.functional.binary_cross_entropy_with_logits(LOGITS - rest, labels, reduction="none")
        torch.testing.assert_close(
            loss("binary_cross_entropy", LOGITS, labels), theirs.sum(dim=1).mean(), rtol=1e-6, atol=1e-6
        )


def test_binary_cross_entropy_is_exact_where_a_share_rounds_to_one():
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    value = loss("binary_cross_entropy", logits, torch.tensor([1]))
    value.backward()
    # −log q₁ = 40; −log(1 − q₀) = 40 − log 2; −log(1 − q₂) = 0
    assert value.item() == pytest.approx(80 - np.log(2), rel=1e-6)
    # −log q₁ gives (q₀, q₁ − 1, q₂) = (1, −1, 0); −log(1 − q₀) gives 1 and −½ for each of the others
    np.testing.assert_allclose(logits.grad, [[2.0, -1.5, -0.5]], atol=1e-6)


@pytest.mark.parametrize("labels", [torch.tensor([0, 1]), torch.tensor([[0.8, 0.2], [0.0, 1.0]])])
def test_two_classes_are_one_decision_of_the_logits_difference(labels):
    logits = torch.tensor([[0.3, 1.7], [2.0, -1.0]])
    is_second = labels.float() if labels.dim() == 1 else labels[:, 1]
    decision = nn.functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], is_second)
    torch.testing.assert_close(loss("binary_cross_entropy", logits, labels), decision)
    torch.testing.assert_close(loss("cross_entropy", logits, labels), decision)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("truth", [(0.5, 0.3, 0.2), (0.9, 0.1)])
def test_what_is_learned_is_read_by_softmax(name, truth):
    """Images that cannot be told apart: the best logits say how often each class occurs."""
    logits = torch.zeros(1, len(truth), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        loss(name, logits, torch.tensor([truth])).backward()
        optimizer.step()
    np.testing.assert_allclose(logits.detach().softmax(dim=1), [truth], atol=1e-3)


def test_class_weights_balance_the_classes():
    labels = np.array([0, 0, 0, 0, 0, 0, 2, 2])
    # 8 / (3 · 6) and 8 / (3 · 2); no image of class 1
    np.testing.assert_allclose(class_weights(labels, 3, "balanced"), [8 / 18, 0.0, 8 / 6], rtol=1e-6)
    assert class_weights(labels, 3, "none") is None
