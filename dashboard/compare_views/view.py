"""What every view of the Compare page gets: the runs, and what A and B say of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard import charts, formats
from dashboard.examples import Evaluation
from superft_hf.evaluation.comparison import Difference, Joined, PairedComparison
from superft_hf.records import RunRecord


@dataclass(frozen=True)
class RunSide:
    """One of the runs that are compared; the same run may stand on both sides, with two of its epochs.

    Attributes:
        letter: A, B, …
        record: The run.
        split: eval or test.
        step: The global step of the evaluation that stands for it; None when there is none.
        is_sealed: Whether this would show test figures that nobody asked for yet.
    """

    letter: str
    record: RunRecord
    split: str
    step: int | None
    is_sealed: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the evaluation is of the checkpoint that is kept."""
        return self.split == "test" or self.step == self.record.best_step


@dataclass(frozen=True)
class Pair:
    """Two evaluations image by image.

    Attributes:
        first: Of A.
        second: Of B.
        joined: The images that both predicted.
        found: The comparison of their accuracies.
        f1: The difference of their macro F1s.
    """

    first: Evaluation
    second: Evaluation
    joined: Joined
    found: PairedComparison
    f1: Difference


@dataclass(frozen=True)
class View:
    """What is compared.

    Attributes:
        sides: The runs; the first two are A and B.
        split: eval or test.
        pair: A and B image by image; None when that cannot be said.
    """

    sides: Sequence[RunSide]
    split: str
    pair: Pair | None

    @property
    def records(self) -> list[RunRecord]:
        """The runs, each once."""
        return list({side.record.run_id: side.record for side in self.sides}.values())


def heading(side: RunSide, num_sides: int, length: int = 16) -> str:
    """The head of a side's column: its letter, and its name where there is room for names; Markdown."""
    if num_sides > 3:
        return side.letter
    length = length if num_sides == 2 else 12
    return f"{side.letter} {formats.plain(charts.shortened(side.record.name, length))}"


def positions(pair: Pair, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in A's and in B's evaluation of some of the common images."""
    return pair.joined.rows_a[indices], pair.joined.rows_b[indices]
