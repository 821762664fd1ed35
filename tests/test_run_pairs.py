"""Which predictions stand for a run, which runs are seeds of one another, and pins."""

import pytest

from superft_hf.config_file import make_config
from superft_hf.errors import StateError
from superft_hf.records import RunRecord, RunState
from superft_hf.run_pairs import (
    cost_in_words,
    group_name,
    kept_step,
    more_seeds,
    read_side,
    seed_groups,
)
from superft_hf.store import RunStore
from tests.factories import make_completed_run, make_config_values, make_queued_run


def record(run_id="a", **changes) -> RunRecord:
    plain = {
        "name": run_id,
        "state": RunState.COMPLETED,
        "task": "",
        "model": "",
        "data": "",
        "created_at": "",
    }
    return RunRecord(run_id, **{**plain, **changes})


def test_kept_step__the_best_on_eval_and_the_only_one_on_test(store):
    run = make_completed_run(store, "one", epochs=3)
    paths = store.run_paths(run.run_id)
    assert kept_step(run, paths, "eval") == run.best_step
    assert kept_step(run, paths, "test") == paths.prediction_steps("test")[0]
    assert kept_step(record(best_step=7), paths, "eval") == paths.prediction_steps("eval")[-1]
    waiting = make_queued_run(store)
    assert kept_step(waiting, store.run_paths(waiting.run_id), "eval") is None


def test_read_side__has_ids_and_names(store):
    run = make_completed_run(store, "one", epochs=1)
    side = read_side(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    assert len(side.example_ids) == len(side.labels) == 270 and side.class_names[3] == "3"


def test_seed_groups__differ_in_nothing_but_name_and_seed(store):
    one = make_queued_run(store, "one", seed=1)
    other = make_queued_run(store, "other name", seed=2)
    slower = make_queued_run(store, "one", seed=3, learning_rate=0.1)
    groups = seed_groups(store.read_config_values())
    assert set(groups[one.run_id]) == {one.run_id, other.run_id} == set(groups[other.run_id])
    assert groups[slower.run_id] == (slower.run_id,)


def test_more_seeds__are_free_and_named(store):
    first = make_queued_run(store, "cells", seed=1)
    make_queued_run(store, "cells, seed 2", seed=2)
    made = more_seeds(store, first.run_id, 2)
    assert [(one.name, one.training.seed) for one in made] == [("cells, seed 3", 3), ("cells, seed 4", 4)]
    assert made[0].model == store.read_config(first.run_id).model


def test_more_seeds__a_name_as_long_as_it_may_be(store):
    values = make_config_values(name="x" * 120)
    run = store.create_run(make_config(values), by="page")
    assert more_seeds(store, run.run_id, 1)[0].name.endswith("x, seed 43")


@pytest.mark.parametrize("number", [0, -1, 21])
def test_more_seeds__a_number_that_makes_no_sense(store, number):
    run = make_queued_run(store)
    with pytest.raises(StateError, match="more seeds"):
        more_seeds(store, run.run_id, number)


def test_group_name():
    assert group_name(["cells, seed 12", "x"]) == "cells" and group_name(["seed bank"]) == "seed bank"


def test_cost_in_words__of_those_that_ended():
    done = [record(accuracy=0.9, started_at="2026-01-01T00:00:00+00:00", worked_s=one) for one in (60, 120)]
    assert cost_in_words(done, 2) == "2 runs of about 1 min 30 s each, 3 min in all on one device"
    assert cost_in_words([], 1) == "one run more, as long as this one takes"


def test_pins__one_a_set_of_images_and_kept_in_the_home(store, home):
    first, second = make_queued_run(store, "one"), make_queued_run(store, "two")
    store.pin_baseline("images", first.run_id)
    store.pin_baseline("images", second.run_id)
    store.pin_baseline('odd "images"', first.run_id)
    store.save_filter("images", "a filter", {})
    other = RunStore(home)
    assert other.read_baselines() == {"images": second.run_id, 'odd "images"': first.run_id}
    other.close()
    assert store.unpin_baseline("images") and not store.unpin_baseline("images")
    assert list(store.read_baselines()) == ['odd "images"']
    assert store.read_filters("images") == {"a filter": {}}
