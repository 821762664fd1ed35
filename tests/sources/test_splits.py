import numpy as np
import pytest

from superft_hf.sources.splits import cut_groups, cut_splits, stratified_part


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


# Groups


def grouped(num_groups: int, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of uneven sizes; a group holds one to three classes."""
    random = np.random.default_rng(seed)
    labels, groups = [], []
    for group in range(num_groups):
        classes = random.choice(num_classes, random.integers(1, 4), replace=False)
        size = int(random.integers(1, 20))
        labels += random.choice(classes, size).tolist()
        groups += [f"g{group}"] * size
    return np.array(labels), np.array(groups, dtype=object)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_stands_on_two_sides_and_every_image_on_one(seed):
    labels, groups = grouped(40, 5, seed)
    parts = cut_groups(labels, groups, {"eval": 0.15, "test": 0.15}, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    sides = [set(groups[indices]) for indices in parts.values()]
    assert sum(len(side) for side in sides) == 40
    assert set(labels[parts["train"]]) == set(labels)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_cut_as_evenly_as_the_classes_allow(seed):
    labels, groups = grouped(200, 5, seed)
    parts = cut_groups(labels, groups, {"eval": 0.2}, seed)
    shares = np.bincount(labels[parts["eval"]], minlength=5) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.02
    assert abs(len(parts["eval"]) / len(labels) - 0.2) < 0.01


def test_groups_are_cut_no_worse_than_by_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    def unevenness(part: np.ndarray, labels: np.ndarray) -> float:
        return float(np.abs(np.bincount(labels[part], minlength=5) / np.bincount(labels) - 0.2).mean())

    ours, theirs = [], []
    for seed in range(10):
        labels, groups = grouped(60, 5, seed)
        ours.append(unevenness(cut_groups(labels, groups, {"eval": 0.2}, seed)["eval"], labels))
        fold = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        theirs.append(unevenness(next(fold)[1], labels))
    assert np.mean(ours) <= np.mean(theirs)


def test_the_seed_decides_a_cut_by_group():
    labels, groups = np.repeat([0, 1], 40), np.repeat([f"g{n}" for n in range(20)], 4).astype(object)
    first, again, other = (
        cut_groups(labels, groups, {"eval": 0.2}, seed)["eval"].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_class_of_one_group_stays_in_train():
    labels = np.array([0] * 20 + [1] * 20 + [2] * 5)
    groups = np.array([f"a{n // 2}" for n in range(40)] + ["only"] * 5, dtype=object)
    parts = cut_groups(labels, groups, {"eval": 0.4, "test": 0.4}, seed=1)
    assert set(range(40, 45)) <= set(parts["train"].tolist())


def test_three_groups_fill_three_parts():
    parts = cut_groups(
        np.array([0, 1] * 15), np.repeat(["a", "b", "c"], 10).astype(object), {"eval": 0.15, "test": 0.15}, 1
    )
    assert {name: len(part) for name, part in parts.items()} == {"eval": 10, "test": 10, "train": 10}


def test_one_group_leaves_the_other_parts_empty():
    parts = cut_groups(np.array([0, 1] * 5), np.repeat(["a"], 10).astype(object), {"eval": 0.3}, 1)
    assert {name: len(part) for name, part in parts.items()} == {"eval": 0, "train": 10}


def test_images_without_a_group_are_cut_one_by_one():
    parts = cut_groups(np.repeat([0, 1], 50), np.full(100, "", dtype=object), {"eval": 0.2}, 1)
    assert per_class(np.repeat([0, 1], 50), parts)["eval"] == [10, 10]
