"""Filters that are kept by name for a set of images."""

import pytest

from superft_hf import saved_filters
from superft_hf.errors import FilterError
from superft_hf.evaluation.prediction_filter import Filter
from superft_hf.records import HomeSettings, Mark, MarkKind
from superft_hf.saved_filters import SavedFilter
from superft_hf.store import RunStore

NAMES = ("cat", "dog", "fox")
DATA = "sample:digits"


def save(store, name, chosen, is_marked_only=False, data=DATA):
    saved_filters.save(store, data, name, SavedFilter(chosen, is_marked_only), NAMES)


def mark(store, example_id, data=DATA):
    store.set_mark(Mark(data, example_id, MarkKind.EXCLUDE, None, "cat", "eval", "x.png", "run"))


def test_saved_filters__come_back_by_name_in_another_process(store, home):
    chosen = Filter(labels=(1,), outcome="wrong", metadata=(("site", ("north",)),))
    save(store, "zebras", Filter(text="z"))
    save(store, "  Dogs   taken ", chosen)
    again = RunStore(home)
    assert saved_filters.read(again, DATA) == {"Dogs taken": chosen, "zebras": Filter(text="z")}
    again.close()


def test_saved_filters__belong_to_their_images(store):
    save(store, "mine", Filter(text="a"), data="sample:digits")
    save(store, "mine", Filter(text="b"), data="sample:digits_2")
    save(store, "mine", Filter(text="c"), data="sample_digits%")
    assert saved_filters.read(store, "sample:digits")["mine"].text == "a"
    assert saved_filters.read(store, "sample_digits%")["mine"].text == "c"
    assert saved_filters.read(store, "sample") == {}
    assert saved_filters.delete(store, "sample:digits", "mine")
    assert not saved_filters.delete(store, "sample:digits", "mine")
    assert saved_filters.read(store, "sample:digits") == {}
    assert saved_filters.read(store, "sample:digits_2")["mine"].text == "b"


def test_saved_filters__the_same_name_replaces(store):
    save(store, "mine", Filter(text="a"))
    save(store, "mine", Filter(text="b"))
    assert saved_filters.read(store, DATA) == {"mine": Filter(text="b")}


def test_saved_filters__leave_the_settings_of_the_home_alone(store):
    store.change_settings(cpu_slots=3)
    save(store, "cpu_slots", Filter(text="a"))
    assert store.read_settings() == HomeSettings(cpu_slots=3)


def test_saved_filters__mean_the_same_classes_in_a_run_that_has_others(store):
    save(store, "dogs", Filter(labels=(1,), predictions=(2,)))
    save(store, "cats", Filter(labels=(0,)))
    found = saved_filters.read(store, DATA, ("dog", "fox"))
    assert found == {"dogs": Filter(labels=(0,), predictions=(1,))}


def test_saved_filters__marked_only_means_those_marked_now(store):
    save(store, "marked", Filter(outcome="wrong"), is_marked_only=True)
    assert saved_filters.read(store, DATA)["marked"].example_ids == frozenset()
    mark(store, "a")
    mark(store, "b", data="others")
    assert saved_filters.read(store, DATA)["marked"] == Filter(outcome="wrong", example_ids=frozenset("a"))
    assert saved_filters.read_saved(store, DATA)["marked"].is_marked_only


@pytest.mark.parametrize("name", ["", "   ", "x" * 61])
def test_saved_filters__a_name_has_limits(store, name):
    with pytest.raises(FilterError, match="its name has"):
        save(store, name, Filter(text="a"))


@pytest.mark.parametrize("value", [None, [], {}, {"filter": "{}"}, {"filter": '{"x":1}'}, {"filter": 3}])
def test_saved_filters__one_of_another_version_costs_itself_only(store, value):
    store.save_filter(DATA, "odd", value)
    save(store, "mine", Filter(text="a"))
    assert saved_filters.read(store, DATA) == {"mine": Filter(text="a")}
