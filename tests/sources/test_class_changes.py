import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.class_changes import LEFT_OUT, change_classes


def change(names: list[str], **settings) -> tuple[list[str], list[int]]:
    found, ids = change_classes(names, DataConfig(name_or_path="x", **settings))
    return found, ids.tolist()


def test_nothing_to_change():
    assert change(["b", "a"]) == (["b", "a"], [0, 1])


def test_a_chain_of_mergers_ends_at_its_last_name():
    assert change(["a", "b", "c"], merge_classes={"a": "b", "b": "c"}) == (["c"], [0, 0, 0])
    assert change(["a", "b", "c"], merge_classes={"a": "new", "new": "c"}) == (["c", "b"], [0, 1, 0])


def test_a_class_merged_into_itself_stays():
    assert change(["a", "b"], merge_classes={"a": "a"}) == (["a", "b"], [0, 1])


def test_mergers_in_a_circle_are_refused():
    with pytest.raises(DataError, match="in a circle: a into b into a"):
        change(["a", "b", "c"], merge_classes={"a": "b", "b": "a"})


def test_a_class_is_left_out_by_its_old_or_its_new_name():
    merged = {"a": "ab", "b": "ab"}
    assert change(["a", "b", "c"], merge_classes=merged, exclude_classes=["a"]) == (
        ["ab", "c"],
        [LEFT_OUT, 0, 1],
    )
    assert change(["a", "b", "c"], merge_classes=merged, exclude_classes=["ab"]) == (
        ["c"],
        [LEFT_OUT, LEFT_OUT, 0],
    )


def test_all_classes_left_out():
    with pytest.raises(DataError, match="All classes of x are left out"):
        change(["a", "b"], exclude_classes=["a", "b"])
