"""Whether one classifier is better than another on the same examples."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest


@dataclass(frozen=True)
class PairedComparison:
    """Two sets of predictions for the same examples.

    Attributes:
        num_examples: Examples that both predicted.
        fixed: Ids that B has right and A wrong.
        broken: Ids that A has right and B wrong.
        both_wrong: Ids that both have wrong.
        difference: Accuracy of B less accuracy of A, a fraction.
        low: Lower end of its 95 % interval, by paired bootstrap.
        high: Upper end.
        p_value: McNemar's exact test of "equally good".
    """

    num_examples: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    both_wrong: tuple[str, ...]
    difference: float
    low: float
    high: float
    p_value: float


def compare_predictions(first: pd.DataFrame, second: pd.DataFrame, seed: int = 0) -> PairedComparison:
    """Compares prediction files of two runs, joined by `example_id`.

    The interval is the 2.5 to 97.5 percentile of 5,000 paired resamples of the examples; the test is
    McNemar's in its exact binomial form (McNemar 1947, Psychometrika 12, 153-157).

    Args:
        first: Run A: columns example_id, label, prediction.
        second: Run B.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the two have no example in common.
    """
    joined = first[["example_id", "label", "prediction"]].merge(
        second[["example_id", "label", "prediction"]], on="example_id", suffixes=("_a", "_b")
    )
    if joined.empty:
        raise ValueError("the two runs have no image in common")
    right_a = (joined["label_a"] == joined["prediction_a"]).to_numpy()
    right_b = (joined["label_b"] == joined["prediction_b"]).to_numpy()
    ids = joined["example_id"].to_numpy()
    gained, lost = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    total = len(joined)
    # Resampling examples with replacement draws the two discordant counts from a multinomial.
    shares = np.array([gained, lost, total - gained - lost]) / total
    draws = np.random.default_rng(seed).multinomial(total, shares, size=5000)
    differences = (draws[:, 0] - draws[:, 1]) / total
    low, high = np.percentile(differences, [2.5, 97.5])
    return PairedComparison(
        total, tuple(ids[right_b & ~right_a]), tuple(ids[right_a & ~right_b]),
        tuple(ids[~right_a & ~right_b]),
        (gained - lost) / total, float(low), float(high),
        float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )  # fmt: skip
