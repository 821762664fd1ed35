"""Orders, shares and parts of confusion matrices, against scikit-learn, scipy and counting by hand."""

import time

import numpy as np
import pytest
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn import metrics as sk

from superft_hf.evaluation import matrices
from superft_hf.evaluation.classification import confusion_matrix


def random_matrix(num_classes=9, num_images=400, seed=0):
    generator = np.random.default_rng(seed)
    labels, predictions = generator.integers(0, num_classes, (2, num_images))
    return labels, predictions, confusion_matrix(labels, predictions, num_classes)


@pytest.mark.parametrize(("of", "normalize"), [("row", "true"), ("column", "pred")])
def test_shares_are_scikit_learns(of, normalize):
    labels, predictions, matrix = random_matrix()
    expected = sk.confusion_matrix(labels, predictions, labels=range(9), normalize=normalize)
    assert matrices.shares(matrix, of) == pytest.approx(expected)


def test_shares_of_an_empty_row_or_column_are_nothing():
    matrix = np.array([[2, 1, 0], [0, 0, 0], [3, 0, 0]])
    assert matrices.shares(matrix, "row")[1].tolist() == [0, 0, 0]
    assert matrices.shares(matrix, "column")[:, 2].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="neither row nor column"):
        matrices.shares(matrix, "diagonal")


def test_order_by_name_reads_numbers_and_small_letters():
    names = ["class 10", "class 2", "Bee", "ant", "class 2b", "²", ""]
    found = matrices.order(np.zeros((7, 7), int), names, matrices.NAME)
    assert [names[one] for one in found] == ["", "ant", "Bee", "class 2", "class 2b", "class 10", "²"]


def test_order_by_support_is_of_the_true_classes():
    matrix = np.array([[1, 0, 9], [4, 0, 0], [0, 10, 0]])
    assert matrices.order(matrix, ["a", "b", "c"], matrices.SUPPORT).tolist() == [0, 2, 1]
    assert matrices.order(matrix, ["a", "b", "c"], matrices.GIVEN).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no order"):
        matrices.order(matrix, ["a", "b", "c"], "size")


def test_order_by_confusions_brings_scattered_groups_together():
    groups = np.random.default_rng(3).permutation(np.repeat(np.arange(6), 5))
    matrix = np.where(groups[:, None] == groups[None, :], 5, 0)
    np.fill_diagonal(matrix, 40)
    found = groups[matrices.order(matrix, [str(one) for one in groups], matrices.CONFUSIONS)]
    changes = (np.diff(found) != 0).sum()
    assert changes == 5, "each group stands together"


def test_order_by_confusions_is_no_longer_a_way_than_the_tree_alone():
    """Bar-Joseph's order makes the way along the leaves as short as the tree allows."""
    for seed in range(5):
        _, _, matrix = random_matrix(num_classes=25, num_images=900, seed=seed)
        near = matrices.off_diagonal(matrices.shares(matrix, "row"))
        distances = 1 - (near + near.T) / 2
        np.fill_diagonal(distances, 0)
        plain = leaves_list(linkage(squareform(distances), "average"))
        found = matrices.order(matrix, [""] * 25, matrices.CONFUSIONS)
        assert distances[found[:-1], found[1:]].sum() <= distances[plain[:-1], plain[1:]].sum() + 1e-12


@pytest.mark.parametrize("by", matrices.ORDERS)
@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[3, 1], [2, 4]]), np.eye(4, dtype=int), np.zeros((5, 5), int),
        np.array([[5, 1, 0], [0, 5, 0], [0, 0, 0]]), np.array([[0, 5], [5, 0]]),
    ],
)  # fmt: skip
def test_every_order_holds_each_class_once(matrix, by):
    found = matrices.order(matrix, [f"class {one}" for one in range(len(matrix))], by)
    assert sorted(found.tolist()) == list(range(len(matrix)))


def test_a_class_that_is_never_confused_comes_last():
    matrix = np.diag([9, 9, 9, 9, 9])
    matrix[4, 0] = matrix[1, 4] = 2
    assert sorted(matrices.order(matrix, [""] * 5, matrices.CONFUSIONS)[:3].tolist()) == [0, 1, 4]


def test_a_thousand_classes_are_ordered_in_time():
    generator = np.random.default_rng(0)
    matrix = (generator.random((1000, 1000)) < 0.02) * generator.integers(1, 9, (1000, 1000))
    begin = time.perf_counter()
    found = matrices.order(matrix, [""] * 1000, matrices.CONFUSIONS)
    assert time.perf_counter() - begin < 5, "measured: 0.3 s on a quiet core"
    assert sorted(found.tolist()) == list(range(1000))


def test_a_window_is_a_part_of_the_order():
    found = matrices.window(np.array([3, 1, 0, 2]), 1, 3)
    assert found.rows.tolist() == found.columns.tolist() == [1, 0]
    assert found.has(0, 1) and not found.has(0, 2)


def test_the_neighbourhood_of_a_class_is_what_it_is_confused_with():
    matrix = np.diag([50] * 8)
    matrix[2, 7] = 4  # taken for
    matrix[5, 2] = 3  # or taken for it
    matrix[0, 1] = 30  # errs most, but is no neighbour
    assert matrices.neighbourhood(matrix, [2], 3).tolist() == [2, 7, 5]
    assert set(matrices.neighbourhood(matrix, [2], 5).tolist()) == {2, 7, 5, 0, 1}, "filled up with errors"
    assert set(matrices.neighbourhood(matrix, [2, 3], 1).tolist()) == {2, 3}, "what was asked for is in it"
    assert set(matrices.neighbourhood(matrix, [], 2).tolist()) == {0, 1}


def test_a_window_around_classes_keeps_the_order():
    matrix = np.diag([50] * 6)
    matrix[1, 4] = 9
    found = matrices.window_around(matrix, np.array([5, 4, 3, 2, 1, 0]), [1], 2)
    assert found.rows.tolist() == [4, 1]


@pytest.mark.parametrize(("num_classes", "bins"), [(9, 3), (10, 3), (7, 50), (1000, 50)])
def test_an_overview_counts_every_image_once(num_classes, bins):
    _, _, matrix = random_matrix(num_classes, 5000)
    ordered = np.random.default_rng(1).permutation(num_classes)
    right, wrong = matrices.binned(matrix, ordered, bins)
    count = min(bins, num_classes)
    assert right.shape == wrong.shape == (count, count)
    assert right.sum() == matrix.trace() and wrong.sum() == matrix.sum() - matrix.trace()
    ends = [block * num_classes // count for block in range(count + 1)]
    for i, j in ((0, 0), (count - 1, 0), (1, count - 1)):
        inside = matrix[np.ix_(ordered[ends[i] : ends[i + 1]], ordered[ends[j] : ends[j + 1]])]
        assert right[i, j] + wrong[i, j] == inside.sum()
