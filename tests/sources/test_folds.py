from pathlib import Path

import numpy as np
import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.folds import cut_folds
from superft_hf.sources.load import ImageSet, load_images
from superft_hf.sources.scan import scan_images


def load(name: str | Path, home: Path, **settings) -> ImageSet:
    return load_images(DataConfig(name_or_path=str(name), **settings), home)


def names_of(images: ImageSet, split: str) -> list[str]:
    found = images.splits[split]
    return [found.reference(index) for index in range(len(found))]


def fold_parts(name: str | Path, home: Path, num_folds: int, **settings) -> list[ImageSet]:
    return [load(name, home, num_folds=num_folds, fold=fold, **settings) for fold in range(num_folds)]


@pytest.fixture
def table_of_sites(make_folder) -> Path:
    """36 images of 2 classes at 9 sites, 4 each, and 8 of test."""
    root = make_folder({"train/cat": 18, "train/dog": 18, "test/cat": 4, "test/dog": 4})
    lines = ["path,label,split,site"]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        split, label = path.relative_to(root).parts[:2]
        lines.append(f"{path.relative_to(root)},{label},{split},site {number % 9}")
    (root / "table.csv").write_text("\n".join(lines))
    return root / "table.csv"


@pytest.mark.parametrize("num_folds", [2, 3, 5])
def test_every_training_image_is_evaluated_once_and_never_by_a_run_that_saw_it(make_folder, home, num_folds):
    root = make_folder({"a": 23, "b": 17, "c": 30})
    train = names_of(load(root, home), "train")
    parts = fold_parts(root, home, num_folds)
    evaluated = [name for part in parts for name in names_of(part, "eval")]
    assert sorted(evaluated) == sorted(train) and len(set(evaluated)) == len(evaluated)
    for part in parts:
        assert set(names_of(part, "eval")).isdisjoint(names_of(part, "train"))
        assert sorted(names_of(part, "eval") + names_of(part, "train")) == sorted(train)


def test_test_stays_and_the_former_eval_is_left_aside(make_folder, home):
    root = make_folder({"a": 30, "b": 30})
    whole = load(root, home)
    for part in fold_parts(root, home, 3):
        assert names_of(part, "test") == names_of(whole, "test")
        used = {*names_of(part, "train"), *names_of(part, "eval")}
        assert used.isdisjoint(names_of(whole, "eval"))


def test_classes_and_sizes_of_folds_differ_by_one_image_at_most():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), [3, 5, 11, 20, 2, 9, 13]))
    parts = cut_folds(labels, None, 5, seed=3)
    sizes = np.bincount(parts, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    for label in range(7):
        counts = np.bincount(parts[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_equal_seeds_give_equal_parts_and_others_other_parts():
    labels = np.repeat([0, 1], 40)
    one = cut_folds(labels, None, 4, seed=1)
    assert np.array_equal(one, cut_folds(labels, None, 4, seed=1))
    assert not np.array_equal(one, cut_folds(labels, None, 4, seed=2))


def test_no_group_stands_in_two_folds(table_of_sites, home):
    settings = {"group_column": "site", "eval_split": "test", "test_split": None}
    parts = fold_parts(table_of_sites, home, 3, **settings)
    sites = [set(part.splits["eval"].groups.tolist()) for part in parts]
    assert all(sites)
    assert all(sites[one].isdisjoint(sites[two]) for one in range(3) for two in range(one))
    for part in parts:
        held_out, trained = (set(part.splits[name].groups.tolist()) for name in ("eval", "train"))
        assert held_out.isdisjoint(trained)
        assert set(part.splits["eval"].labels) == {0, 1}


def test_folds_are_of_the_part_that_is_trained_on(make_folder, home):
    root = make_folder({"a": 40, "b": 40})
    settings = {"max_train_samples": 20}
    train = names_of(load(root, home, **settings), "train")
    evaluated = [name for part in fold_parts(root, home, 4, **settings) for name in names_of(part, "eval")]
    assert len(train) == 20 and sorted(evaluated) == sorted(train)


def test_what_was_cut_is_told_truly(make_folder, home):
    cut = make_folder({"a": 20, "b": 20}, name="cut")
    assert load(cut, home, num_folds=2).is_cut == ("eval", "test")
    given = make_folder({f"{split}/{label}": 6 for split in ("train", "val", "test") for label in "ab"})
    assert load(given, home).is_cut == ()
    folded = load(given, home, num_folds=3)
    assert folded.is_cut == ("eval",) and folded.origin("eval") == "train" and folded.origin("test") == "test"
    assert load(given, home, num_folds=3, split_by="cut").is_cut == ("train", "eval", "test")


@pytest.mark.parametrize("fold", [0, 4])
def test_a_class_of_one_training_image_is_named_for_every_fold(make_folder, home, fold):
    root = make_folder({"train/a": 8, "train/lone": 1, "val/a": 2, "test/a": 2})
    with pytest.raises(DataError, match="in one fold only: lone") as caught:
        load(root, home, num_folds=5, fold=fold)
    assert "data.exclude_classes" in caught.value.hint
    assert load(root, home).counts()["train"] == {"a": 8, "lone": 1}


def test_fewer_images_than_folds_is_a_sentence(make_folder, home):
    root = make_folder({"train/a": 3, "train/b": 3, "val/a": 1, "test/a": 1})
    with pytest.raises(DataError, match="too few images for 7 folds"):
        load(root, home, num_folds=7)


def test_a_class_of_one_group_is_refused(table_of_sites, home):
    rows = table_of_sites.read_text().splitlines()
    lone = [row if ",dog,train" not in row else row.rsplit(",", 1)[0] + ",site 0" for row in rows]
    table_of_sites.write_text("\n".join(lone))
    settings = {"group_column": "site", "eval_split": "test", "test_split": None}
    with pytest.raises(DataError, match="in one fold only: dog") as caught:
        load(table_of_sites, home, num_folds=3, **settings)
    assert "two groups" in caught.value.hint


def test_the_parts_stay_when_an_image_is_left_out(make_folder, home):
    root = make_folder({"a": 20, "b": 20})
    data = DataConfig(name_or_path=str(root), num_folds=4, fold=1)
    scan = scan_images(load_images(data, home), data)
    left_out = scan.example_ids["train"][0]
    without = scan_images(load_images(data, home), data.model_copy(update={"exclude": [left_out]}))
    assert without.example_ids["eval"] == scan.example_ids["eval"]
