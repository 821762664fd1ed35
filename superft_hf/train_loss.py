"""Which metric of a run is the train loss that can be laid beside its eval loss."""

from collections.abc import Collection

LOSS = "loss"
"""The training loss itself: with smoothing, penalties or weights it is no such quantity as the eval loss."""

CROSS_ENTROPY = "cross_entropy"
"""The plain cross-entropy of the training batches; logged where LOSS is something else."""


def train_loss_key(keys: Collection[str]) -> str:
    """CROSS_ENTROPY where it was logged, else LOSS.

    Example:
        >>> train_loss_key({"loss", "eval_loss"}), train_loss_key({"loss", "cross_entropy"})
        ('loss', 'cross_entropy')
    """
    return CROSS_ENTROPY if CROSS_ENTROPY in keys else LOSS
