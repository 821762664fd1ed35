"""What became of each image from epoch to epoch: when it was learned, whether it was forgotten.

E is the number of evaluations (one ends every epoch), N the number of images that all of them hold. An image
is *right* in an epoch when it was predicted as its label. Every image is in one group, by the whole history:

- always right: right in every epoch;
- learned early, learned late: right in the last epoch, wrong in an earlier one. It is learned *for good* in
  the epoch after its last wrong one; late, when that last wrong one is at least `LATE_SHARE` of the way;
- forgotten: wrong in the last epoch, right in an earlier one;
- never learned: wrong in every epoch.

To judge by another epoch than the last, such as that of the best checkpoint, look at `Answers.until` it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.prediction_files import read_numbers, read_texts, same_rows

LATE_SHARE = 0.5
"""An image that was still wrong after this share of the epochs is learned late."""

MAX_EPOCHS = 100
"""Of more evaluations, so many are read, evenly spread."""

MAX_ANSWERS = 50_000_000
"""At most so many single answers are held, 4 bytes each: of a million images 50 epochs."""

_ROW = ["prediction", "confidence", "loss"]


class Group(StrEnum):
    """What became of an image; see the module. The codes of `groups` count in this order."""

    ALWAYS_RIGHT = "always right"
    LEARNED_EARLY = "learned early"
    LEARNED_LATE = "learned late"
    FORGOTTEN = "forgotten"
    NEVER_LEARNED = "never learned"


@dataclass(frozen=True)
class Answers:
    """The predictions of several evaluations of the same images.

    Attributes:
        steps: Global steps of the E evaluations, ascending.
        labels: Class ids, shape (N,), dtype int32.
        predictions: Class ids, shape (E, N), dtype int32.
        places: Where each image lies in each file, shape (E, N), dtype int64; None when every file holds
            the same images in the same order, so that column i is row i.
        num_evaluations: How many there are in all: more than E where only some were read.
    """

    steps: tuple[int, ...]
    labels: np.ndarray
    predictions: np.ndarray
    places: np.ndarray | None = None
    num_evaluations: int = 0

    @property
    def is_right(self) -> np.ndarray:
        """Whether each answer is right, shape (E, N), dtype bool."""
        return self.predictions == self.labels

    def until(self, step: int) -> "Answers":
        """The history up to and with the evaluation at this step, or the last one before it.

        Raises:
            ValueError: If all evaluations come later.
        """
        count = sum(one <= step for one in self.steps)
        if not count:
            raise ValueError(f"the first evaluation came after step {step}")
        places = None if self.places is None else self.places[:count]
        return Answers(
            self.steps[:count], self.labels, self.predictions[:count], places, self.num_evaluations
        )

    def rows_at(self, step: int, images: np.ndarray) -> np.ndarray:
        """Positions of some images (columns) in the prediction file of an evaluation, dtype int64.

        Raises:
            ValueError: If the evaluation at this step was not read and its order is not known.
        """
        if self.places is None:
            return np.asarray(images, dtype=np.int64)
        return self.places[self.steps.index(step), images]


def read_answers(paths: Sequence[Path], *, keep: Sequence[int] = ()) -> Answers:
    """Reads what was predicted in each of some evaluations of one split.

    Images are joined by their position when all files hold the same in the same order, else by example_id:
    then those that every file holds are left, in the order of the last file.

    Args:
        paths: Their prediction files; at most `MAX_EPOCHS` are read, evenly spread, first and last among
            them.
        keep: Steps that are read in any case.

    Raises:
        DataNotFoundError: If there is no file, or one is damaged.
    """
    if not paths:
        raise DataNotFoundError("There is no evaluation yet.", hint="Wait for the end of the first epoch.")
    ordered = sorted(paths, key=_step)
    last = read_numbers(ordered[-1])
    limit = min(MAX_EPOCHS, max(2, MAX_ANSWERS // max(len(last), 1)))
    read = _spread(ordered, limit, keep)
    steps = tuple(_step(path) for path in read)
    labels = last["label"].to_numpy()
    answers = [read_numbers(path)["prediction"].to_numpy() for path in read[:-1]]
    answers.append(last["prediction"].to_numpy())
    if same_rows(read):
        return Answers(steps, labels, np.stack(answers), None, len(ordered))
    places = _places(read)
    joined = np.stack([one[place] for one, place in zip(answers, places, strict=True)])
    return Answers(steps, labels[places[-1]], joined, places, len(ordered))


def disagreement(answers: Answers) -> np.ndarray:
    """How little the evaluations agree about each image: the variation ratio, shape (N,), dtype float64.

    It is the share of epochs whose answer is not the most frequent one (Freeman 1965, Elementary Applied
    Statistics): 0 where all agree, below 1 always.
    """
    # Sorted, equal answers stand side by side: the longest stretch is the most frequent answer.
    ordered = np.sort(answers.predictions.T, axis=1)
    stretch = np.ones(len(ordered), dtype=np.int32)
    longest = stretch.copy()
    for epoch in range(1, ordered.shape[1]):
        stretch = np.where(ordered[:, epoch] == ordered[:, epoch - 1], stretch + 1, 1)
        np.maximum(longest, stretch, out=longest)
    return 1 - longest / ordered.shape[1]


def groups(answers: Answers, late_share: float = LATE_SHARE) -> np.ndarray:
    """The group of each image: places in `list(Group)`, shape (N,), dtype int64.

    Args:
        answers: The history.
        late_share: How far through the E epochs the last wrong one of an image learned late lies at least.

    Example:
        >>> answers = Answers((1, 2, 3), np.zeros(3, dtype=int), np.array([[0, 0, 1], [0, 0, 1], [0, 1, 0]]))
        >>> [str(list(Group)[code]) for code in groups(answers)]
        ['always right', 'forgotten', 'learned late']
    """
    last_wrong, was_right = _last_wrong(answers), answers.is_right.any(axis=0)
    return _codes(last_wrong, was_right, len(answers.steps), late_share)


def members(answers: Answers, group: Group) -> np.ndarray:
    """The images (columns) of a group, those worth a look first; shape (M,), dtype int64.

    Learned late begins with the latest, forgotten with those that were right most often; the others keep
    the order of the split.
    """
    found = np.flatnonzero(groups(answers) == list(Group).index(group))
    if group is Group.LEARNED_LATE:
        return found[np.argsort(-_last_wrong(answers)[found], kind="stable")]
    if group is Group.FORGOTTEN:
        return found[np.argsort(-answers.is_right[:, found].sum(axis=0), kind="stable")]
    return found


def group_sizes(answers: Answers) -> pd.DataFrame:
    """How many images are in each group, had the run ended with each of its epochs.

    Returns:
        One row an evaluation: step, and a column for each Group.
    """
    size, rows = len(answers.labels), []
    last_wrong, was_right = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
    for number, is_right in enumerate(answers.is_right, start=1):
        last_wrong = np.where(is_right, last_wrong, number)
        was_right |= is_right
        codes = _codes(last_wrong, was_right, number, LATE_SHARE)
        rows.append(np.bincount(codes, minlength=len(Group)).tolist())
    return pd.DataFrame(rows, columns=[str(one) for one in Group]).assign(step=answers.steps)


def flow(answers: Answers) -> pd.DataFrame:
    """How many images changed sides between an evaluation and the one before it.

    Returns:
        One row an evaluation: step, right (images), gained (wrong before, right now) and lost (right before,
        wrong now); the first has none of the last two.
    """
    is_right = answers.is_right
    gained, lost = np.zeros(len(is_right), dtype=int), np.zeros(len(is_right), dtype=int)
    gained[1:] = (~is_right[:-1] & is_right[1:]).sum(axis=1)
    lost[1:] = (is_right[:-1] & ~is_right[1:]).sum(axis=1)
    return pd.DataFrame(
        {"step": answers.steps, "right": is_right.sum(axis=1), "gained": gained, "lost": lost}
    )


def changed_at(answers: Answers, step: int, *, is_gained: bool) -> np.ndarray:
    """The images (columns) that became right, or wrong, at the evaluation of this step, dtype int64.

    Raises:
        ValueError: If there is no such evaluation.
    """
    index = answers.steps.index(step)
    if not index:
        return np.array([], dtype=np.int64)
    before, now = answers.is_right[index - 1], answers.is_right[index]
    return np.flatnonzero(~before & now if is_gained else before & ~now)


def learned_at(answers: Answers) -> np.ndarray:
    """The evaluation, counted from 0, since which each image is right without a break; -1 where it is not.

    Returns:
        Shape (N,), dtype int64; 0 for an image that is always right, -1 for one that is wrong in the last.
    """
    return np.where(answers.is_right[-1], _last_wrong(answers), -1)


def forgetting_events(answers: Answers) -> np.ndarray:
    """How often each image was right in one evaluation and wrong in the next, shape (N,), dtype int64.

    Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning", ICLR;
    they count over training images at each update, here it is over the evaluations.
    """
    is_right = answers.is_right
    return (is_right[:-1] & ~is_right[1:]).sum(axis=0)


def of_row(paths: Sequence[Path], row: int) -> pd.DataFrame:
    """One image in each evaluation of its split.

    Args:
        paths: The prediction files; of more than `MAX_EPOCHS` some, evenly spread.
        row: Its position in the last of them by step.

    Returns:
        One row an evaluation that holds it, by step: step, prediction, confidence, loss.

    Raises:
        DataNotFoundError: If a file is gone or damaged, or there is no such row.
    """
    read = _spread(sorted(paths, key=_step), MAX_EPOCHS, ())
    rows = [row] * len(read)
    if not same_rows(read):
        wanted = read_texts(read[-1], [row])["example_id"].iloc[0]
        rows = [_find(path, wanted) for path in read]
    found = [
        {"step": _step(path), **_numbers_of(path, place)}
        for path, place in zip(read, rows, strict=True)
        if place >= 0
    ]
    return pd.DataFrame(found, columns=["step", *_ROW])


def _codes(last_wrong: np.ndarray, was_right: np.ndarray, count: int, late_share: float) -> np.ndarray:
    """Groups after `count` evaluations, from the number of the last wrong one and whether any was right."""
    is_right, is_late = last_wrong < count, last_wrong >= max(late_share * count, 1)
    return np.select([last_wrong == 0, is_right & ~is_late, is_right, was_right], [0, 1, 2, 3], 4)


def _last_wrong(answers: Answers) -> np.ndarray:
    """The number of the last evaluation that has each image wrong, counted from 1; 0 where none has."""
    is_wrong = ~answers.is_right
    return np.where(is_wrong.any(axis=0), len(is_wrong) - is_wrong[::-1].argmax(axis=0), 0)


def _spread(paths: Sequence[Path], limit: int, keep: Sequence[int]) -> list[Path]:
    if len(paths) <= limit:
        return list(paths)
    places = set(np.linspace(0, len(paths) - 1, limit).round().astype(int).tolist())
    return [path for index, path in enumerate(paths) if index in places or _step(path) in keep]


def _places(paths: Sequence[Path]) -> np.ndarray:
    """Where the images that all files hold lie in each, shape (E, N), in the order of the last file."""
    indexes = [pd.Index(read_texts(path)["example_id"]) for path in paths]
    common = indexes[-1]
    for index in indexes[:-1]:
        common = common[common.isin(index)]
    return np.stack([index.get_indexer(common) for index in indexes]).astype(np.int64)


def _find(path: Path, example_id: str) -> int:
    found = np.flatnonzero(read_texts(path)["example_id"].to_numpy() == example_id)
    return int(found[0]) if len(found) else -1


def _numbers_of(path: Path, row: int) -> dict[str, float]:
    """Without the logits of its neighbours, which `read_row` would read too."""
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if row < size:
                    return file.read_row_group(group, columns=_ROW).slice(row, 1).to_pylist()[0]
                row -= size
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise DataNotFoundError(
            f"The prediction file {path.name} cannot be read: {str(error).splitlines()[0]}",
            hint="Choose another epoch or split; the file is written again by a new run.",
        ) from error
    raise DataNotFoundError(f"The prediction file {path.name} has no such row.", hint="Choose another.")


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
