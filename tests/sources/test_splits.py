import numpy as np
import pytest

from superft_hf.sources.splits import cut_splits, stratified_part


def per_class(labels: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, list[int]]:
    size = int(labels.max()) + 1
    return {name: np.bincount(labels[part], minlength=size).tolist() for name, part in parts.items()}


def test_each_class_gives_its_share():
    labels = np.repeat([0, 1, 2], [20, 40, 100])
    parts = cut_splits(labels, {"eval": 0.15, "test": 0.25}, seed=1)
    assert per_class(labels, parts) == {"eval": [3, 6, 15], "test": [5, 10, 25], "train": [12, 24, 60]}


@pytest.mark.parametrize("sizes", [[1], [1, 1], [2, 3], [5, 1, 1, 1], [7, 11, 13], [1000, 3], [1] * 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_parts_never_overlap_and_leave_nothing_out(sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = cut_splits(labels, {"eval": 0.3, "test": 0.3}, seed)
    everything = np.concatenate([parts["train"], parts["eval"], parts["test"]])
    assert sorted(everything.tolist()) == list(range(len(labels)))
    assert set(labels[parts["train"]].tolist()) == set(labels.tolist())
    for part in parts.values():
        assert (np.diff(part) > 0).all()


def test_the_total_of_a_part_is_as_near_as_it_can_be():
    labels = np.repeat(np.arange(10), 10)  # 1.5 of each class; 15 in all
    parts = cut_splits(labels, {"eval": 0.15}, seed=1)
    assert len(parts["eval"]) == 15
    labels = np.repeat(np.arange(7), [100, 1, 1, 1, 1, 1, 1])  # 15.9: only the first class can give
    assert per_class(labels, cut_splits(labels, {"eval": 0.15}, seed=1))["eval"] == [16, 0, 0, 0, 0, 0, 0]


def test_two_parts_do_not_favour_the_same_class():
    labels = np.repeat([0, 1], 10)  # 1.5 of each class in each part
    parts = cut_splits(labels, {"eval": 0.15, "test": 0.15}, seed=1)
    assert per_class(labels, parts) == {"eval": [2, 1], "test": [1, 2], "train": [7, 7]}


def test_equal_seeds_give_equal_parts_and_another_seed_others():
    labels = np.repeat([0, 1], 50)
    first, second = (cut_splits(labels, {"eval": 0.2}, seed=3)["eval"].tolist() for _ in range(2))
    assert first == second
    assert first != cut_splits(labels, {"eval": 0.2}, seed=4)["eval"].tolist()


def test_a_cut_does_not_touch_the_global_generator():
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    cut_splits(np.repeat([0, 1], 50), {"eval": 0.2}, seed=3)
    assert np.random.get_state()[1].tolist() == before


def test_a_stratified_part_has_its_size_and_every_class():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    part = stratified_part(labels, 20, seed=1)
    assert np.bincount(labels[part]).tolist() == [12, 6, 2]
    assert np.bincount(labels[stratified_part(labels, 3, seed=1)], minlength=3).min() == 1


def test_a_part_larger_than_the_whole_is_the_whole():
    labels = np.array([0, 1, 0])
    assert stratified_part(labels, 3, seed=1).tolist() == [0, 1, 2]
    assert stratified_part(labels, 99, seed=1).tolist() == [0, 1, 2]
