"""Nearest images against scikit-learn's exact search, and against plain numpy where rows are odd."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import neighbours
from superft_hf.paths import RunPaths


@pytest.fixture
def write(tmp_path):
    def written(features, name="eval-5.npy"):
        path = tmp_path / "embeddings" / name
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.asarray(features).astype(np.float16))
        return path

    return written


def unit(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("part", [1, 7 * 16, 2**22])
def test_it_finds_what_scikit_learn_finds_however_the_file_is_cut(write, monkeypatch, part):
    monkeypatch.setattr(neighbours, "_VALUES_A_PART", part)
    path = write(unit((200, 16)))
    kept = np.load(path).astype(np.float32)
    search = NearestNeighbors(n_neighbors=9, metric="cosine", algorithm="brute").fit(kept)
    for row in (0, 77, 199):
        distances, places = search.kneighbors(kept[row : row + 1])
        found, similarities = neighbours.nearest(path, row, 8)
        assert places[0, 0] == row
        assert found.tolist() == places[0, 1:].tolist()
        np.testing.assert_allclose(similarities, 1 - distances[0, 1:], atol=1e-3)


def test_equal_images_come_in_the_order_of_the_split_and_never_the_image_itself(write):
    path = write([[1, 0], [0, 1], [1, 0], [1, 0], [-1, 0]])
    found, similarities = neighbours.nearest(path, 2, 3)
    assert found.tolist() == [0, 3, 1]
    assert similarities.tolist() == [1.0, 1.0, 0.0]


def test_there_may_be_fewer_than_asked_for_or_none(write):
    assert neighbours.nearest(write([[1, 0], [0, 1]]), 0, 8)[0].tolist() == [1]
    assert neighbours.nearest(write([[1, 0]]), 0, 8)[0].tolist() == []


def test_features_that_are_not_finite_are_never_found(write):
    path = write([[1, 0], [np.nan, np.nan], [0.6, 0.8]])
    assert neighbours.nearest(path, 0, 8)[0].tolist() == [2]
    assert neighbours.nearest(path, 1, 8)[0].tolist() == []


def test_an_image_of_another_split_is_looked_for_by_its_features(write):
    eval_file, test_file = write(unit((50, 4), 1)), write(unit((20, 4), 2), "test-9.npy")
    vector = neighbours.feature(test_file, 3)
    found, similarities = neighbours.nearest_to(eval_file, vector, 5)
    expected = np.load(eval_file).astype(np.float64) @ vector
    assert found.tolist() == np.argsort(-expected)[:5].tolist()
    np.testing.assert_allclose(similarities, np.sort(expected)[::-1][:5], atol=1e-6)


def test_the_file_of_the_evaluation_wins_and_the_newest_stands_in(write, tmp_path):
    paths = RunPaths(tmp_path)
    assert neighbours.find(paths, "eval", 5) is None
    first, second = write([[1, 0]], "eval-5.npy"), write([[1, 0]], "eval-10.npy")
    write([[1, 0]], "eval-11.writing.npy")
    assert neighbours.find(paths, "eval", 5) == first
    assert neighbours.find(paths, "eval", 7) == second
    assert neighbours.find(paths, "test", 5) is None


def test_what_cannot_be_read_is_said(write, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"eval-5\.npy cannot be read"):
        neighbours.nearest(tmp_path / "eval-5.npy", 0, 8)
    path = write(unit((4, 3)))
    with pytest.raises(DataNotFoundError, match="4 images, and none at 4"):
        neighbours.nearest(path, 4, 8)
    with pytest.raises(DataNotFoundError, match="3 features an image, not 2"):
        neighbours.nearest_to(path, np.ones(2), 8)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataNotFoundError, match="cannot be read"):
        neighbours.nearest(path, 0, 8)
    path.write_bytes(b"")
    with pytest.raises(DataNotFoundError, match="cannot be read"):
        neighbours.nearest(path, 0, 8)
    np.save(path, np.ones(3))
    with pytest.raises(DataNotFoundError, match="holds something else"):
        neighbours.nearest(path, 0, 8)
