"""The training losses of classification.

Each is made of what it would be for every class as the label: ℓ (B, C). A batch's loss is their mean weighed
by the labels' shares s (B, C) and the classes' weights w (C,):

    Σ_ic w_c s'_ic ℓ_ic / Σ_ic w_c s_ic,    s' = (1 − ε) s + ε / C with ε = `label_smoothing_factor`

For ids this is torch's weighted mean, and shares of a single class count as its id does.

All of them are proper: the model's softmax is what is trained, so that it gives calibrated probabilities
wherever the saved model is read (focal loss flattens them on purpose).
"""

from collections.abc import Callable

import torch

from superft_hf.config import TrainingConfig


class ClassificationLoss:
    """The loss that `training.loss` names.

    Args:
        config: The `training:` group.
        class_weights: Shape (C,), or None for 1 each.
    """

    def __init__(self, config: TrainingConfig, class_weights: torch.Tensor | None) -> None:
        self._smoothing = config.label_smoothing_factor or 0.0
        self._weights = class_weights
        self._by_class = _BY_CLASS[config.loss](config)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, C) against ids (B,), or shares of the classes (B, C) of a mixed batch."""
        logits = logits.float()
        shares = labels.to(logits.dtype) if labels.dim() == 2 else _shares_of(labels, logits)
        by_class = self._by_class(logits)
        smooth = shares * (1 - self._smoothing) + self._smoothing / logits.shape[1]
        if self._weights is None:
            return (smooth * by_class).sum() / len(logits)
        if self._weights.device != logits.device:
            self._weights = self._weights.to(logits.device)
        return (self._weights * smooth * by_class).sum() / (self._weights * shares).sum()


def _shares_of(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """1 for the label and 0 for the others; unlike `one_hot` it never waits for the device."""
    return torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)


def cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """−log q of each class, with q = softmax(logits).

    Args:
        logits: Shape (B, C), float32.

    Returns:
        Shape (B, C).
    """
    return -logits.log_softmax(dim=1)


def focal(logits: torch.Tensor, gamma: float) -> torch.Tensor:
    """−(1 − q)^γ · log q of each class, with q = softmax(logits) (Lin et al. 2017, equation 4).

    The paper's α are the class weights.

    Args:
        logits: Shape (B, C), float32.
        gamma: γ.

    Returns:
        Shape (B, C).
    """
    log_share = logits.log_softmax(dim=1)
    rest = -torch.expm1(log_share)
    # At q = 1 the slope of (1 − q)^γ is infinite for γ < 1, and infinite times log q = 0 is no number.
    return -(rest.clamp_min(torch.finfo(rest.dtype).tiny) ** gamma) * log_share


def binary_cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """One binary decision for each class, it against the rest, summed over the classes.

    With class c as the label this is −log q_c − Σ_{j≠c} log(1 − q_j): the binary cross-entropies of
    σ(z_c − log Σ_{j≠c} exp z_j), which is q_c = softmax(z)_c. The sum over the classes is that of timm's
    `sum_classes`. timm and RSB (Wightman et al. 2021) take σ(z_c) itself; their model has to be read by
    sigmoids, while everything that reads a saved classifier takes the softmax.

    Two classes are a single decision, which their logits' difference carries: counted once, it is
    −log σ(z_c − z_other), the cross-entropy.

    Args:
        logits: Shape (B, C), float32.

    Returns:
        Shape (B, C).
    """
    log_share = logits.log_softmax(dim=1)
    if logits.shape[1] <= 2:
        return -log_share
    not_it = -_log_rest(logits, log_share)
    return -log_share + not_it.sum(dim=1, keepdim=True) - not_it


def _log_rest(logits: torch.Tensor, log_share: torch.Tensor) -> torch.Tensor:
    """log(1 − q) of each class, exact also where q rounds to 1, which only that of the top logit does."""
    top = logits.argmax(dim=1, keepdim=True)
    is_top = torch.zeros_like(logits, dtype=torch.bool).scatter(1, top, True)
    others = logits.masked_fill(is_top, -torch.inf).logsumexp(dim=1, keepdim=True)
    of_top = others - logits.logsumexp(dim=1, keepdim=True)
    # The share of the top is masked before the logarithm as well: its slope there may be infinite.
    of_others = torch.log1p(-log_share.masked_fill(is_top, -torch.inf).exp())
    return torch.where(is_top, of_top, of_others)


_BY_CLASS: dict[str, Callable[[TrainingConfig], Callable[[torch.Tensor], torch.Tensor]]] = {
    "cross_entropy": lambda config: cross_entropy,
    "focal": lambda config: lambda logits: focal(logits, config.focal_gamma),
    "binary_cross_entropy": lambda config: binary_cross_entropy,
}
