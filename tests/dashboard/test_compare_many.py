"""Many runs at once: the table, the scatter, the parallel coordinates; a thousand runs stay quick."""

import json
import math
import time

import pytest
import sqlalchemy as sa

from dashboard import state
from dashboard.compare_views.many_frame import FIGURES, fold_seeds, make_frame, settings_of, unfolded
from superft_hf import schema
from superft_hf.config_file import make_config
from superft_hf.run_pairs import seed_groups
from superft_hf.store import RunStore
from tests.factories import (
    fill_with_runs,
    make_completed_run,
    make_config_values,
    make_queued_run,
    make_running_run,
)

MANY = ":material/scatter_plot: Many runs"


@pytest.fixture
def runs(store):
    """Three seeds of one, one faster, one that waits; newest first, as the store lists them."""
    for seed in (1, 2, 3):
        make_completed_run(store, "slow" if seed == 1 else f"slow, seed {seed}", epochs=2, seed=seed)
    make_completed_run(store, "fast", epochs=3, learning_rate=0.02)
    make_queued_run(store, "waiting", epochs=4)
    return store.list_runs()


def link(*found):
    return ",".join(run.run_id for run in found)


def frame_of(store: RunStore):
    records = store.list_runs()
    run_ids = [one.run_id for one in records]
    lines = [store.sparklines(run_ids, key) for key in ("eval_accuracy", "eval_loss")]
    return make_frame(records, store.read_config_values(), *lines)


def table(app):
    return next(one.value for one in app.dataframe if "Accuracy, best" in one.value.columns)


def set_configs(store: RunStore, rates: list[float]) -> None:
    """Gives all runs the configurations that a run of this version keeps, each with another rate and seed."""
    engine = schema.open_database(store.paths.database)
    ids = [one.run_id for one in store.list_runs()]
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for index, run_id in enumerate(ids):
            values = make_config_values(learning_rate=rates[index % len(rates)], seed=index // 4 * 4)
            text = make_config(values).model_dump_json()
            change = sa.update(schema.runs).where(schema.runs.c.run_id == run_id)
            connection.execute(change.values(config=text))
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


def test_make_frame__best_and_last_values_and_only_what_varies(store, runs):
    frame = frame_of(store)
    assert frame["name"].tolist() == ["waiting", "fast", "slow, seed 3", "slow, seed 2", "slow"]
    assert set(settings_of(frame)) == {
        "training.seed", "training.num_train_epochs", "training.learning_rate"
    }  # fmt: skip
    fast = next(run for run in runs if run.name == "fast")
    row = frame[frame["name"] == "fast"].iloc[0]
    points = store.read_metrics(fast.run_id)
    accuracies = points[points["key"] == "eval_accuracy"].sort_values("step")["value"]
    assert row["accuracy"] == pytest.approx(100 * fast.accuracy)
    assert row["last_accuracy"] == pytest.approx(100 * accuracies.iloc[-1])
    assert row["loss"] == pytest.approx(fast.best_value)
    assert row["training.learning_rate"] == 0.02 and row["is_done"]
    waiting = frame[frame["name"] == "waiting"].iloc[0]
    assert math.isnan(waiting["accuracy"]) and not waiting["is_done"]


def test_make_frame__no_figure_of_test(store, runs):
    assert not any("test" in key for key in FIGURES)
    assert not any("test" in str(column) for column in frame_of(store).columns)


def test_fold_seeds__one_row_with_mean_and_deviation(store, runs):
    plain = frame_of(store)
    folded = fold_seeds(plain, seed_groups(store.read_config_values()))
    assert folded["name"].tolist() == ["waiting", "fast", "slow (3 seeds)"]
    values = [100 * run.accuracy for run in runs if run.name.startswith("slow")]
    row = folded.iloc[2]
    assert row["accuracy"] == pytest.approx(sum(values) / 3)
    assert " ± " in row["words"] and len(row["run_ids"]) == 3
    assert "training.seed" not in folded.columns
    assert len(unfolded(plain)) == 5 and unfolded(plain)["run_ids"].tolist()[0] == (runs[0].run_id,)


def test_fold_seeds__a_run_that_still_trains_does_not_drag_the_mean_down(store):
    done = make_completed_run(store, "one", epochs=2, seed=1)
    make_running_run(store, "one, seed 2", epochs=2, epochs_done=1, seed=2)
    folded = fold_seeds(frame_of(store), seed_groups(store.read_config_values()))
    assert folded["name"].tolist() == ["one (1 seed)"]
    assert folded["accuracy"].iloc[0] == pytest.approx(100 * done.accuracy)


def test_fold_seeds__a_repeated_seed_counts_once_with_its_newest_run(store):
    make_completed_run(store, "one", hidden=8, epochs=2, seed=1)
    newer = make_completed_run(store, "one, again", hidden=32, epochs=2, seed=1)
    other = make_completed_run(store, "one, seed 2", epochs=2, seed=2)
    folded = fold_seeds(frame_of(store), seed_groups(store.read_config_values()))
    assert folded["name"].tolist() == ["one (2 seeds)"] and len(folded["run_ids"].iloc[0]) == 3
    assert folded["accuracy"].iloc[0] == pytest.approx(50 * (newer.accuracy + other.accuracy))


def test_fold_seeds__repetitions_alone_have_no_deviation(store):
    make_completed_run(store, "one", hidden=8, epochs=2)
    newer = make_completed_run(store, "one, again", hidden=32, epochs=2)
    folded = fold_seeds(frame_of(store), seed_groups(store.read_config_values()))
    assert folded["name"].tolist() == ["one (1 seed)"] and "±" not in folded["words"].iloc[0]
    assert folded["accuracy"].iloc[0] == pytest.approx(100 * newer.accuracy)


def test_many__is_there_before_any_run_is_chosen(open_page, runs):
    app = open_page("compare")
    assert not app.exception
    assert table(app)["Run"].tolist() == ["waiting", "fast", "slow (3 seeds)"]
    app.toggle(key="compare_fold").set_value(False).run()
    assert table(app)["Run"].tolist() == [run.name for run in runs] and not app.exception


def test_many__selected_rows_can_be_compared(open_page, store, runs):
    app = open_page("compare", {state.COMPARE_MANY: (runs[1].run_id, runs[4].run_id)})
    names = [one.value for one in app.main.markdown]
    assert any("Standing out: **fast**, **slow \\(3 seeds\\)**" in one for one in names)
    app.button(key="compare_these").click().run()
    assert not app.exception
    asked = app.query_params["runs"]
    asked = asked if isinstance(asked, str) else asked[0]
    assert set(asked.split(",")) == {run.run_id for run in runs if run.accuracy}


def test_many__one_row_can_be_opened(open_page, runs):
    app = open_page("compare", {state.COMPARE_MANY: (runs[1].run_id,)})
    app.button(key="compare_open").click().run()
    assert app.query_params["run"] in (runs[1].run_id, [runs[1].run_id])


def test_many__colour_and_axes_of_choice(open_page, runs):
    app = open_page("compare")
    assert app.selectbox(key="compare_across").value in (
        "training.learning_rate",
        "training.num_train_epochs",
    )
    for key, value in (("across", "duration_min"), ("up", "last_loss"), ("colour", "training.learning_rate")):
        app.selectbox(key=f"compare_{key}").set_value(value).run()
        assert not app.exception
    app.multiselect(key="compare_axes").set_value([]).run()
    assert any("That takes two axes" in one.value for one in app.main.markdown) and not app.exception


def test_many__against_the_pinned_baseline_with_holms_correction(open_page, store, runs):
    slow = runs[-1]
    store.pin_baseline("sample:digits", slow.run_id)
    app = open_page("compare", {"compare_fold": False})
    words = dict(zip(table(app)["Run"], table(app)["Against baseline"], strict=True))
    assert words["slow"] == "baseline" and words["fast"].startswith("+") and "better" in words["fast"]
    assert not isinstance(words["waiting"], str)
    assert any("all 3 comparisons together (Holm)" in one.value for one in app.main.markdown)


def test_many__nothing_varies(open_page, store):
    for _ in range(2):
        make_completed_run(store, "same", epochs=1)
    app = open_page("compare")
    assert not app.exception
    assert any("None of the settings varies" in one.value for one in app.main.markdown)


def test_many__a_thousand_runs_are_drawn_quickly(open_page, store):
    fill_with_runs(store, 1000)
    set_configs(store, [1e-4, 1e-3, 1e-2, 1e-1])
    app = open_page("compare")
    assert not app.exception and len(table(app)) == 4  # each rate with its seeds is one row
    app.toggle(key="compare_fold").set_value(False).run()
    assert len(table(app)) == 1000
    durations = []
    for value in ("duration_min", "training.learning_rate", "duration_min"):
        begin = time.process_time()
        app.selectbox(key="compare_across").set_value(value).run()
        durations.append(time.process_time() - begin)
    assert not app.exception
    assert min(durations) < 2.0, durations  # 0.3 s on a quiet machine, AppTest's own work aside


def test_many__a_run_whose_configuration_is_gone(open_page, store, runs):
    engine = schema.open_database(store.paths.database)
    with engine.connect() as connection:
        connection.execute(
            sa.update(schema.runs).where(schema.runs.c.run_id == runs[1].run_id).values(config=None)
        )
    engine.dispose()
    store.run_paths(runs[1].run_id).config.unlink()
    app = open_page("compare")
    assert not app.exception and "fast" in table(app)["Run"].tolist()
    assert json.dumps(table(app)["Run"].tolist()).count("fast") == 1
