"""What a confusion matrix is looked at through: an order of its classes, shares, and a part of it.

C is the number of classes; a matrix has shape (C, C), its rows are true classes, its columns predicted ones.
An order is a permutation of the class ids.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import ClusterNode, leaves_list, linkage, optimal_leaf_ordering, to_tree
from scipy.spatial.distance import squareform

GIVEN, NAME, SUPPORT, CONFUSIONS = "given", "name", "support", "confusions"
ORDERS = (GIVEN, NAME, SUPPORT, CONFUSIONS)

MAX_OPTIMAL = 400
"""The best order of the leaves takes time by their number cubed; larger clusters are split first."""


@dataclass(frozen=True)
class Window:
    """A part of a matrix: rows and columns by class id, in the order in which they are shown."""

    rows: np.ndarray
    columns: np.ndarray

    def has(self, label: int, prediction: int) -> bool:
        """Whether a cell lies in it."""
        return bool((self.rows == label).any() and (self.columns == prediction).any())


def order(matrix: np.ndarray, names: Sequence[str], by: str) -> np.ndarray:
    """The class ids in the order in which rows and columns are shown, shape (C,), dtype int64.

    Args:
        matrix: Counts of shape (C, C).
        names: C names.
        by: `given` (the order of the ids), `name` (numbers in names by their value), `support` (classes with
            most images first), or `confusions` (classes that are confused stand together: average linkage on
            1 less the symmetrised confusion share, its leaves in the order of Bar-Joseph et al. 2001,
            Bioinformatics 17, 22-29; classes that are never confused come last).

    Raises:
        ValueError: If there is no such order.
    """
    if by == GIVEN:
        return np.arange(len(matrix))
    if by == NAME:
        return np.array(sorted(range(len(names)), key=lambda one: _natural(names[one])), dtype=np.int64)
    if by == SUPPORT:
        return np.argsort(-matrix.sum(axis=1), kind="stable")
    if by == CONFUSIONS:
        return _by_confusions(matrix)
    raise ValueError(f"no order is called {by}")


def shares(matrix: np.ndarray, of: str) -> np.ndarray:
    """Each cell as a share of its row (`of` is `row`) or column (`column`), float64; 0 where that is empty.

    Raises:
        ValueError: If `of` is neither.
    """
    if of not in ("row", "column"):
        raise ValueError(f"{of} is neither row nor column")
    totals = matrix.sum(axis=1 if of == "row" else 0, keepdims=True)
    return matrix / np.maximum(totals, 1)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with an empty diagonal: the mistakes."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    return wrong


def neighbourhood(matrix: np.ndarray, classes: Sequence[int], size: int) -> np.ndarray:
    """The classes most often confused with some, those among them: at most `size` ids, in no order.

    Where too few are confused with them, those are filled up that err most.
    """
    wrong = off_diagonal(matrix)
    ids = list(dict.fromkeys(int(one) for one in classes))
    near = wrong[ids].sum(axis=0) + wrong[:, ids].sum(axis=1)
    errs = wrong.sum(axis=0) + wrong.sum(axis=1)
    near[ids] = near.max(initial=0) + 1
    ranked = np.lexsort((np.arange(len(matrix)), -errs, -near))
    return ranked[: max(size, len(ids))]


def window(ordered: np.ndarray, start: int, stop: int) -> Window:
    """The classes from position `start` to before `stop` of an order, as rows and as columns."""
    part = ordered[max(start, 0) : stop]
    return Window(part, part)


def window_around(matrix: np.ndarray, ordered: np.ndarray, classes: Sequence[int], size: int) -> Window:
    """The neighbourhood of some classes, kept in an order."""
    found = np.isin(ordered, neighbourhood(matrix, classes, size))
    return Window(ordered[found], ordered[found])


def binned(matrix: np.ndarray, ordered: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix made small: sums over blocks of cells, in an order.

    Args:
        matrix: Counts of shape (C, C).
        ordered: The order.
        bins: Blocks on a side, at most C of them are made.

    Returns:
        Examples recognised in each block (only blocks on the diagonal hold any) and examples mistaken, each
        of shape (B, B); block i holds the positions from `i * C // B` to before `(i + 1) * C // B`.
    """
    count = min(bins, len(matrix))
    starts = np.arange(count) * len(matrix) // count
    arranged = matrix[np.ix_(ordered, ordered)]
    wrong = np.add.reduceat(np.add.reduceat(off_diagonal(arranged), starts, axis=0), starts, axis=1)
    right = np.diag(np.add.reduceat(arranged.diagonal(), starts))
    return right, wrong


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts `class 2` before `class 10`, and capital letters with small ones."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _by_confusions(matrix: np.ndarray) -> np.ndarray:
    near = off_diagonal(shares(matrix, "row"))
    near = (near + near.T) / 2
    confused = np.flatnonzero(near.any(axis=1))
    rest = np.setdiff1d(np.arange(len(matrix)), confused)
    if len(confused) < 3:
        return np.concatenate([confused, rest])
    distances = 1 - near[np.ix_(confused, confused)]
    np.fill_diagonal(distances, 0)
    tree = to_tree(linkage(squareform(distances, checks=False), "average"))
    blocks = [np.array(block.pre_order()) for block in _blocks(tree)]
    return np.concatenate([*(confused[_best_order(distances, block)] for block in blocks), rest])


def _blocks(tree: ClusterNode) -> list[ClusterNode]:
    """The largest clusters of at most MAX_OPTIMAL leaves, from left to right."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        if node.get_count() <= MAX_OPTIMAL:
            found.append(node)
        else:
            waiting += [node.get_right(), node.get_left()]
    return found


def _best_order(distances: np.ndarray, block: np.ndarray) -> np.ndarray:
    if len(block) < 3:
        return block
    condensed = squareform(distances[np.ix_(block, block)], checks=False)
    return block[leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))]
