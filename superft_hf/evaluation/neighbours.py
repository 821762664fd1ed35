"""The nearest images of an image: cosine similarity of the features that the head of a model reads.

The search is exact. A file is mapped into memory and gone through in parts, so that it costs one reading of
the file and little memory. N is the number of images, D the number of features.
"""

from pathlib import Path

import numpy as np

from superft_hf.errors import DataNotFoundError
from superft_hf.paths import RunPaths

_VALUES_A_PART = 2**22


def find(paths: RunPaths, split: str, step: int) -> Path | None:
    """The features of a split: those of this evaluation, else of the newest that has some, else None.

    They are kept for the best evaluation of a run and for test; the rows are those of every evaluation.
    """
    steps = paths.embeddings_steps(split)
    if not steps:
        return None
    return paths.embeddings_file(split, step if step in steps else steps[-1])


def nearest(path: Path, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split that are most like one of them, that one left out.

    Args:
        path: Features of shape (N, D) and length 1, as training writes them.
        row: The position of the image.
        k: How many to find.

    Returns:
        Positions (int64) and cosine similarities (float32) of at most k images, most similar first; of equal
        ones the earlier first. Images whose features are not finite are never found.

    Raises:
        DataNotFoundError: If the file is gone or damaged, or has no such row.
    """
    return nearest_to(path, feature(path, row), k, but=row)


def nearest_to(
    path: Path, vector: np.ndarray, k: int, but: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, for features of shape (D,), such as those of an image of another split.

    Args:
        path: Features of shape (N, D) and length 1.
        vector: What to look for.
        k: How many to find.
        but: A position to leave out.
    """
    features = _open(path)
    if features.shape[1] != len(vector):
        raise _unreadable(path, f"it has {features.shape[1]} features an image, not {len(vector)}")
    wanted = vector.astype(np.float32)
    similarities = np.empty(len(features), dtype=np.float32)
    size = max(1, _VALUES_A_PART // max(1, features.shape[1]))
    for start in range(0, len(features), size):
        part = slice(start, start + size)
        similarities[part] = features[part].astype(np.float32) @ wanted
    similarities[~np.isfinite(similarities)] = -np.inf
    if but is not None:
        similarities[but] = -np.inf
    count = min(k, int(np.isfinite(similarities).sum()))
    if not count:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    least = np.partition(similarities, -count)[-count]
    candidates = np.flatnonzero(similarities >= least)
    order = np.argsort(-similarities[candidates], kind="stable")[:count]
    return candidates[order], similarities[candidates[order]]


def feature(path: Path, row: int) -> np.ndarray:
    """The features of one image, shape (D,), dtype float32. Raises DataNotFoundError as `nearest`."""
    features = _open(path)
    if not 0 <= row < len(features):
        raise _unreadable(path, f"it has {len(features)} images, and none at {row}")
    return features[row].astype(np.float32)


def _open(path: Path) -> np.ndarray:
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, str(error).splitlines()[0] if str(error) else "it is damaged") from error
    if not isinstance(features, np.ndarray) or features.ndim != 2 or features.dtype != np.float16:
        raise _unreadable(path, "it holds something else")
    return features


def _unreadable(path: Path, reason: str) -> DataNotFoundError:
    return DataNotFoundError(
        f"The features in {path.name} cannot be read: {reason}.",
        hint="A new run writes them again.",
    )
