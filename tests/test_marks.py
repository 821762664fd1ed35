"""What marks come to: every rule of `superft_hf.marks.plan`, with ids written out."""

import doctest

import pytest

from superft_hf import marks
from superft_hf.config_file import dump_config, make_config, parse_config
from superft_hf.errors import ConfigError
from superft_hf.marks import Places, Plan, changes, plan
from superft_hf.records import Mark, MarkKind

A, B, C, D, E, F = (letter * 16 for letter in "abcdef")
WRONG, AMBIGUOUS, BAD, EXCLUDE = MarkKind


def mark(
    example_id: str, kind: MarkKind, corrected: str | None = None, split: str = "eval", label: str = "cat"
) -> Mark:
    return Mark("images", example_id, kind, corrected, label, split, "ref", "20260101-0000-aaaa")


def config(**data):
    return make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "images", **data}})


def where(**splits: str) -> Places:
    """`where(train=[A], eval=[B])`: every split is known, and each id names one image."""
    counts: dict[str, dict[str, int]] = {}
    for split, ids in splits.items():
        for one in ids:
            counts.setdefault(one, {}).setdefault(split, 0)
            counts[one][split] += 1
    return Places(counts, frozenset({"train", "eval", "test"}))


def test_examples():
    assert doctest.testmod(marks).failed == 0


ALL = [mark(A, EXCLUDE), mark(B, BAD), mark(C, WRONG, "dog"), mark(D, WRONG), mark(E, AMBIGUOUS)]
EVERYWHERE = where(train=[A, B], eval=[C, D, E])


def test_without__all_but_the_ambiguous_are_left_out():
    found = plan(config(), ALL, with_corrections=False, places=EVERYWHERE)
    assert found.changes == {"data.exclude": [A, B, C, D]}
    assert (found.left_out, found.relabelled, found.num_ambiguous) == ({"train": 2, "eval": 2}, {}, 1)
    assert found.changes_eval
    assert found.done() == ["Leaves out 2 images of train and 2 of eval."]
    assert found.left_alone() == ["1 mark says ambiguous: its image stays."]


def test_with_corrections__known_classes_are_given_and_unknown_ones_left_out():
    found = plan(config(), ALL, with_corrections=True, places=EVERYWHERE)
    assert found.changes == {"data.exclude": [A, B, D], "data.relabel": {C: "dog"}}
    assert (found.left_out, found.relabelled) == ({"train": 2, "eval": 1}, {"eval": 1})
    assert found.done() == [
        "Leaves out 2 images of train and 1 of eval.", "Corrects the labels of 1 image of eval.",
    ]  # fmt: skip


def test_ambiguous__go_when_asked():
    found = plan(config(), ALL, with_corrections=True, include_ambiguous=True, places=EVERYWHERE)
    assert found.changes["data.exclude"] == [A, B, D, E] and found.num_ambiguous == 0


def test_what_the_run_does_already_is_kept_and_not_told_twice():
    run = config(exclude=[A, "train:" + F], relabel={C: "dog", E: "emu"})
    found = plan(run, ALL, with_corrections=True, places=where(train=[B], eval=[C, D, E]))
    assert found.changes == {"data.exclude": [A, "train:" + F, B, D]}  # relabel is as it was
    assert (found.left_out, found.relabelled, found.num_done) == ({"train": 1, "eval": 1}, {}, 2)
    assert "2 marks the run obeys already." in found.done()


def test_nothing_changes__when_all_is_obeyed():
    run = config(exclude=[A, B, D], relabel={C: "dog"})
    found = plan(run, ALL, with_corrections=True, places=where(eval=[C, E]))
    assert (found.changes, found.num_done) == ({}, 4) and not found.changes_eval
    assert found.done() == ["Changes nothing.", "4 marks the run obeys already."]
    assert changes(run, [], True) == {}


def test_a_new_correction_replaces_an_earlier_one():
    run = config(relabel={C: "emu", f"eval:{C}": "emu", D: "dog"})
    found = plan(run, [mark(C, WRONG, "dog", label="emu")], with_corrections=True, places=where(eval=[C, D]))
    assert found.changes == {"data.relabel": {D: "dog", C: "dog"}}


def test_an_image_that_is_left_out_stays_out_when_labels_are_corrected():
    found = plan(config(exclude=[C]), [mark(C, WRONG, "dog")], with_corrections=True, places=where(eval=[A]))
    assert found.changes == {} and found.num_done == 1


# The test set


def test_test_stays_unless_it_is_asked_for():
    on_test = [mark(A, EXCLUDE, split="test"), mark(C, WRONG, "dog", split="test")]
    found = plan(config(), on_test, with_corrections=True, places=where(test=[A, C]))
    assert (found.changes, found.num_on_test) == ({}, 2)
    assert found.left_alone() == ["2 marks are on test images, which stay, since runs are compared on test."]
    changed = plan(config(), on_test, with_corrections=True, include_test=True, places=where(test=[A, C]))
    assert changed.changes == {"data.exclude": [A], "data.relabel": {C: "dog"}}
    assert (changed.left_out, changed.relabelled, changed.changes_eval) == ({"test": 1}, {"test": 1}, False)


def test_a_copy_in_test_stays_though_its_twin_goes():
    both = where(train=[A], eval=[C], test=[A, C])
    found = plan(config(), [mark(A, EXCLUDE), mark(C, WRONG, "dog")], with_corrections=True, places=both)
    assert found.changes == {"data.exclude": [f"train:{A}"], "data.relabel": {f"eval:{C}": "dog"}}
    assert (found.left_out, found.relabelled) == ({"train": 1}, {"eval": 1})


def test_the_runs_own_splits_count_and_not_those_at_the_time_of_marking():
    marked_in_a_fold = mark(A, EXCLUDE, split="eval")
    found = plan(config(), [marked_in_a_fold], with_corrections=False, places=where(train=[A]))
    assert found.left_out == {"train": 1}
    marked_as_eval = mark(A, EXCLUDE, split="eval")
    assert plan(config(), [marked_as_eval], with_corrections=False, places=where(test=[A])).num_on_test == 1


def test_unknown_places__train_and_eval_are_named_so_that_no_copy_in_test_is_reached():
    found = changes(config(), [mark(A, EXCLUDE), mark(C, WRONG, "dog", "train")], True)
    assert found == {
        "data.exclude": [f"train:{A}", f"eval:{A}"],
        "data.relabel": {f"train:{C}": "dog", f"eval:{C}": "dog"},
    }
    assert changes(config(), [mark(A, EXCLUDE, split="test")], True) == {}
    later = plan(
        config(**{key.split(".")[1]: value for key, value in found.items()}), ALL[:1], with_corrections=True
    )
    assert later.changes == {} and later.num_done == 1


def test_unknown_train__what_is_neither_in_eval_nor_in_test_is_of_train():
    known = Places({B: {"eval": 1}}, frozenset({"eval", "test"}))
    found = plan(
        config(), [mark(A, EXCLUDE, split="eval"), mark(B, EXCLUDE)], with_corrections=False, places=known
    )
    assert found.left_out == {"train": 1, "eval": 1} and found.changes == {"data.exclude": [A, B]}


def test_an_image_that_the_run_does_not_have():
    found = plan(config(), [mark(A, EXCLUDE)], with_corrections=False, places=where(train=[B]))
    assert (found.changes, found.num_elsewhere) == ({}, 1)
    assert found.left_alone() == ["1 mark is on an image that this run does not have."]


# Copies and classes


def test_copies_share_a_fate():
    three = Places({A: {"train": 2, "eval": 1}}, frozenset({"train", "eval", "test"}))
    found = plan(config(), [mark(f"{A}-2", EXCLUDE)], with_corrections=False, places=three)
    assert found.changes == {"data.exclude": [A]} and found.left_out == {"train": 2, "eval": 1}
    twice = [mark(A, WRONG, "dog"), mark(f"{A}-2", EXCLUDE)]
    both = plan(config(), twice, with_corrections=True, places=three)
    assert both.changes == {"data.exclude": [A]} and (both.relabelled, both.num_done) == ({}, 1)


def test_a_corrected_class_counts_as_the_run_counts_it():
    run = config(merge_classes={"Dog": "dog", "dog": "pet", "cat": "pet"}, exclude_classes=["emu"])
    marks_ = [
        mark(A, WRONG, "Dog", label="cow"), mark(B, WRONG, "emu", label="cow"),
        mark(C, WRONG, "Dog", label="cat"), mark(D, WRONG, "pet", label="cow"),
    ]  # fmt: skip
    found = plan(run, marks_, with_corrections=True, places=where(train=[A, B, C, D]))
    assert found.changes == {"data.exclude": [B], "data.relabel": {A: "pet", D: "pet"}}
    assert found.num_done == 1  # cat and Dog are both pets here


def test_too_many_for_a_configuration():
    many = [mark(f"{number:016x}", EXCLUDE) for number in range(25_000)]
    with pytest.raises(ConfigError, match="25,000 images are more than a configuration can name") as caught:
        plan(config(), many, with_corrections=False, places=Places({}, frozenset({"eval", "test"})))
    assert "CSV" in caught.value.hint
    fewer = plan(
        config(), many[:15_000], with_corrections=False, places=Places({}, frozenset({"eval", "test"}))
    )
    run = config(exclude=fewer.changes["data.exclude"])
    assert parse_config(dump_config(run)) == run


def test_words__three_splits():
    words = Plan({"data.exclude": []}, {"eval": 1, "train": 1200, "test": 2}, {}, 0, 0, 0, 2)
    assert words.done() == ["Leaves out 1,200 images of train, 1 of eval and 2 of test."]
    assert words.left_alone() == ["2 marks are on images that this run does not have."]
