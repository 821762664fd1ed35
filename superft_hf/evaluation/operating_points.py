"""What thresholds lead to: how much is answered, how much of it is right, and what the mistakes cost.

N is the number of examples, C of classes. An image costs `cost_fp` of the class it is wrongly taken for, and
`cost_fn` of its own class when it is not taken for that: so an answer that is wrong costs both, and no answer
the latter only.
"""

from dataclasses import dataclass

import numpy as np

from superft_hf.evaluation.calibration import log_sum_exp, scaled_blocks
from superft_hf.evaluation.decision import ABSTAINS, Decision, decide


@dataclass(frozen=True)
class Outcome:
    """What comes of answers.

    Attributes:
        matrix: Counts of shape (C, C + 1): rows are true classes, columns answers; the last one is no answer.
        cost: Of all images.
    """

    matrix: np.ndarray
    cost: float

    @property
    def num_images(self) -> int:
        """All."""
        return int(self.matrix.sum())

    @property
    def num_answered(self) -> int:
        """Images with an answer."""
        return int(self.matrix[:, :-1].sum())

    @property
    def num_right(self) -> int:
        """Images answered rightly."""
        return int(self.matrix.diagonal().sum())

    @property
    def coverage(self) -> float | None:
        """Share of the images that is answered; None without images."""
        return _share(self.num_answered, self.num_images)

    @property
    def accuracy(self) -> float | None:
        """Share of the answers that is right; None without answers."""
        return _share(self.num_right, self.num_answered)

    @property
    def precision(self) -> np.ndarray:
        """Of the answers "class c", the share that is right, shape (C,); NaN without such answers."""
        with np.errstate(invalid="ignore"):
            return self.matrix.diagonal() / self.matrix[:, :-1].sum(axis=0)

    @property
    def recall(self) -> np.ndarray:
        """Of the images of class c, the share that is answered so, shape (C,); NaN without such images."""
        with np.errstate(invalid="ignore"):
            return self.matrix.diagonal() / self.matrix.sum(axis=1)

    @property
    def abstained(self) -> np.ndarray:
        """Images of class c without an answer, shape (C,)."""
        return self.matrix[:, -1]


def outcome(logits: np.ndarray, labels: np.ndarray, decision: Decision) -> Outcome:
    """What a decision leads to.

    Args:
        logits: Shape (N, C), every class.
        labels: Shape (N,).
        decision: For C classes, with the costs.
    """
    return outcome_of(decide(logits, decision), labels, decision)


def outcome_of(answers: np.ndarray, labels: np.ndarray, decision: Decision) -> Outcome:
    """As `outcome`, from class ids or -1, shape (N,)."""
    count = decision.num_classes
    places = np.where(answers == ABSTAINS, count, answers)
    cells = labels.astype(np.int64) * (count + 1) + places
    matrix = np.bincount(cells, minlength=count * (count + 1)).reshape(count, count + 1)
    right = matrix.diagonal()
    missed = (matrix.sum(axis=1) - right) @ decision.false_negative_costs
    taken = (matrix[:, :-1].sum(axis=0) - right) @ decision.false_positive_costs
    return Outcome(matrix, float(missed + taken))


def class_probabilities(
    logits: np.ndarray, classes: list[int], temperature: float, normalizer: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities of some classes, shape (len(classes), N), dtype float64.

    Args:
        logits: Shape (N, C), every class.
        classes: Class ids.
        temperature: Divides the logits.
        normalizer: What `normalizers` gives for them, where it is at hand.
    """
    found = normalizers(logits, temperature) if normalizer is None else normalizer
    made = np.ascontiguousarray(logits[:, classes].T).astype(np.float64)
    made /= temperature
    made -= found
    return np.exp(made, out=made)


def normalizers(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The logarithm of the sum of exponentials of each row of scaled logits, shape (N,)."""
    return np.concatenate(
        [np.zeros(0)] + [log_sum_exp(scaled) for _, scaled in scaled_blocks(logits, temperature)]
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
