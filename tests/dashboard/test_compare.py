"""The Compare page: the difference in words, the images behind it, seeds, the baseline, the vault."""

import numpy as np
import pytest

from dashboard import headlines
from superft_hf import vault
from superft_hf.engine import control
from superft_hf.evaluation.comparison import PairedComparison, compare_predictions
from superft_hf.evaluation.prediction_files import read_class_names, read_predictions, write_predictions
from superft_hf.records import RunState
from superft_hf.settings import all_settings
from tests.factories import (
    make_completed_run,
    make_many_classes_run,
    make_queued_run,
    make_running_run,
)

SETTINGS, DELTA, SEEDS = (
    ":material/tune: Settings", ":material/grid_on: Delta matrix", ":material/casino: Seeds",
)  # fmt: skip


@pytest.fixture
def pair(store):
    return (
        make_completed_run(store, "small", hidden=10, learning_rate=0.002),
        make_completed_run(store, "large", learning_rate=0.006),
    )


def heads(app):
    return [head.value for head in app.subheader]


def texts(app):
    return " ".join(one.value for one in app.main.markdown)


def link(*runs):
    return ",".join(run.run_id for run in runs)


def rewrite(store, run, split="eval", keep=None, relabel=None):
    """Changes the prediction file of a run's best epoch: only some rows, or some with another label."""
    paths = store.run_paths(run.run_id)
    step = run.best_step if split == "eval" else paths.prediction_steps("test")[-1]
    path = paths.prediction_file(split, step)
    rows, names = read_predictions(path, with_logits=True), read_class_names(path)
    rows = rows if keep is None else rows.iloc[keep]
    labels = rows["label"].to_numpy(copy=True)
    if relabel is not None:
        labels[relabel] = (labels[relabel] + 1) % len(names)
    write_predictions(
        path, example_ids=rows["example_id"].tolist(), images=rows["image"].tolist(), labels=labels,
        logits=np.stack(rows["logits"].to_list()), is_full=True, class_names=names,
    )  # fmt: skip


def compared(store, pair):
    files = [store.run_paths(run.run_id).prediction_file("eval", run.best_step) for run in pair]
    return compare_predictions(*[read_predictions(path) for path in files])


def test_compare_page__the_better_run_is_named_with_its_interval(open_page, store, pair):
    found = compared(store, pair)
    app = open_page("compare", runs=f"{pair[0].run_id},{pair[1].run_id}")
    assert app.title[0].value.startswith("large is better than small: +")
    assert f"B fixes {len(found.fixed)} and breaks {len(found.broken)}" in app.caption[0].value
    assert f"Fixed by B: {len(found.fixed)}" in heads(app)
    assert f"Both wrong: {len(found.both_wrong)}" in heads(app)
    assert not app.exception


def test_compare_page__figures_and_settings_side_by_side(open_page, pair):
    app = open_page("compare", runs=f"{pair[0].run_id},{pair[1].run_id}")
    figures = app.table[0].value
    assert figures.iloc[0].tolist() == ["Accuracy", *[f"{100 * run.accuracy:.1f} %" for run in pair]]
    assert {"Accuracy, last epoch", "Loss, last epoch", "Epoch"} <= set(figures[""])
    app = open_page("compare", {"compare_view": SETTINGS}, runs=link(*pair))
    settings = app.table[1].value
    assert settings["Setting"].tolist() == ["training.learning_rate"]
    equal = f"{len(all_settings()) - 2} settings are equal"  # but for the name and the learning rate
    assert any(equal in markdown.value for markdown in app.main.markdown)


def test_compare_page__swap_turns_the_pair_round(open_page, pair):
    app = open_page("compare", runs=f"{pair[0].run_id},{pair[1].run_id}")
    app.button(key="compare_swap").click().run()
    assert app.title[0].value.startswith("small is worse than large: −")
    assert app.query_params["runs"] in (
        f"{pair[1].run_id},{pair[0].run_id}",
        [f"{pair[1].run_id},{pair[0].run_id}"],
    )


def test_compare_page__choosing_runs_by_hand(open_page, pair):
    app = open_page("compare")
    assert app.title[0].value == "Choose two runs to compare."
    app.multiselect(key="compare_runs").set_value([pair[0].run_id, pair[1].run_id]).run()
    assert "large is better than small" in app.title[0].value


def test_compare_page__one_click_compares_the_two_newest(open_page, pair):
    app = open_page("compare")
    app.button(key="compare_newest").click().run()
    assert "large is better than small" in app.title[0].value


def test_compare_page__a_single_run_asks_for_another(open_page, pair):
    app = open_page("compare", runs=pair[0].run_id)
    assert app.title[0].value == "Choose a run to compare small with."


def test_compare_page__no_runs_at_all(open_page):
    app = open_page("compare")
    assert "nothing to compare yet" in app.title[0].value and not app.exception


def test_compare_page__different_images_are_said_to_be_different(open_page, store, pair):
    other = make_completed_run(store, "textures", data="sample:textures", epochs=2)
    app = open_page("compare", runs=f"{pair[0].run_id},{other.run_id}")
    assert "share no eval image" in app.title[0].value and not app.exception
    assert not any(head.startswith("Fixed") for head in heads(app))


def test_compare_page__a_run_without_an_evaluation(open_page, store, pair):
    waiting = make_queued_run(store, "waiting")
    app = open_page("compare", runs=f"{pair[0].run_id},{waiting.run_id}")
    assert "waiting has no evaluation to compare yet" in app.title[0].value and not app.exception


def test_compare_page__a_run_that_still_trains(open_page, store, pair):
    live = make_running_run(store, "live")
    app = open_page("compare", runs=f"{pair[1].run_id},{live.run_id}")
    assert "live" in app.title[0].value and not app.exception


def test_compare_page__unknown_run_in_the_link(open_page, pair):
    app = open_page("compare", runs=f"{pair[0].run_id},20260101-0000-none,{pair[1].run_id}")
    assert "large is better than small" in app.title[0].value


def test_compare_page__four_runs(open_page, store, pair):
    more = [make_completed_run(store, "small", hidden=size) for size in (12, 14)]
    app = open_page("compare", runs=",".join(run.run_id for run in (*pair, *more)))
    figures = app.table[0].value
    assert figures[""].tolist() == ["A small", "B large", "C small", "D small"] and not app.exception
    against = figures["Against small"].tolist()
    assert against[0] == "itself" and against[1].endswith("), better")
    assert "hold at 5 % for all of these comparisons together" in texts(app)


def test_compare_page__two_epochs_of_one_run(open_page, pair):
    app = open_page("compare", runs=pair[1].run_id)
    app.button(key="compare_epochs").click().run()
    assert not app.exception
    first, second = (app.selectbox(key=f"compare_step_{one}_{pair[1].run_id}") for one in "AB")
    assert first.value != second.value == pair[1].best_step
    assert app.title[0].value.startswith("large, epoch ") and "than large, epoch" in app.title[0].value
    first.set_value(first.options and pair[1].best_step // 8).run()
    assert "large, epoch 1:" in app.title[0].value and not app.exception


def test_compare_page__another_epoch_of_b(open_page, store, pair):
    app = open_page("compare", runs=link(*pair))
    before = app.title[0].value
    step = store.run_paths(pair[1].run_id).prediction_steps("eval")[0]
    app.selectbox(key=f"compare_step_B_{pair[1].run_id}").set_value(step).run()
    assert app.title[0].value != before
    assert "1 of 8" in app.table[0].value.iloc[:, 2].tolist() and not app.exception


def test_compare_page__images_of_one_class(open_page, store, pair):
    app = open_page("compare", runs=link(*pair))
    files = [store.run_paths(run.run_id).prediction_file("eval", run.best_step) for run in pair]
    first, second = (read_predictions(path) for path in files)
    is_fixed = (first["label"] != first["prediction"]) & (second["label"] == second["prediction"])
    label = int(first["label"][is_fixed].mode()[0])
    app.selectbox(key="compare_class").set_value(label).run()
    assert f"Fixed by B: {(is_fixed & (first['label'] == label)).sum()}" in heads(app)


def test_compare_page__images_whose_label_was_changed_are_left_out(open_page, store, pair):
    rewrite(store, pair[1], relabel=[0, 1, 2])
    app = open_page("compare", runs=link(*pair))
    assert "On the 267 images" in app.caption[0].value
    assert "3 images have another label in B than in A" in texts(app) and not app.exception


def test_compare_page__not_quite_the_same_eval_images(open_page, store, pair):
    rewrite(store, pair[1], keep=range(200))
    app = open_page("compare", runs=link(*pair))
    assert "they have 200 images in common, of 270 and 200" in texts(app)
    assert "On the 200 images that both evaluated" in app.caption[0].value


def test_compare_page__all_labels_differ(open_page, store, pair):
    rewrite(store, pair[1], relabel=slice(None))
    app = open_page("compare", runs=link(*pair))
    assert "call all 270 images in common differently" in app.title[0].value and not app.exception


def test_compare_page__a_damaged_file_is_said(open_page, store, pair):
    store.run_paths(pair[0].run_id).prediction_file("eval", pair[0].best_step).write_bytes(b"PAR1")
    app = open_page("compare", runs=link(*pair))
    assert "cannot be read" in app.title[0].value and not app.exception


def test_compare_page__a_run_in_its_first_epoch(open_page, store, pair):
    live = make_running_run(store, "live", epochs_done=0)
    app = open_page("compare", runs=link(pair[0], live))
    assert app.title[0].value == "live has no evaluation to compare yet."
    assert "comes at the end of an epoch" in app.caption[0].value and not app.exception


def test_compare_page__test_is_sealed_until_a_click_that_says_what_a_look_means(open_page, store, pair):
    app = open_page("compare", {"compare_split": "test"}, runs=link(*pair))
    assert app.title[0].value == "Test of small and large are sealed."
    assert "Whoever looks at them to choose between runs spoils that" in texts(app)
    assert app.table[0].value.iloc[0].tolist() == ["Accuracy", "sealed", "sealed"]
    shown = " ".join([texts(app), app.table[0].value.to_string()])
    assert f"{100 * pair[0].evaluation['test']['accuracy']:.1f}" not in shown
    app.button(key="compare_open_test").click().run()
    assert "of test accuracy" in app.title[0].value
    assert all(vault.standing(store, run).is_open for run in pair)
    accuracies = [f"{100 * run.evaluation['test']['accuracy']:.1f} %" for run in pair]
    assert app.table[0].value.iloc[0].tolist() == ["Accuracy", *accuracies]
    best = max(pair, key=lambda run: run.accuracy)
    assert f"The best of them on eval is **{best.name}**" in texts(app) and not app.exception


def test_compare_page__one_open_test_set_does_not_open_the_other(open_page, store, pair):
    vault.open_test(store, pair[0], by="page")
    app = open_page("compare", {"compare_split": "test"}, runs=link(*pair))
    assert app.title[0].value == "Test of large is sealed."
    assert app.table[0].value.iloc[0, 2] == "sealed"


def test_compare_page__differing_test_sets_are_compared_on_request_only(open_page, store, pair):
    rewrite(store, pair[1], "test", keep=range(100))
    for run in pair:
        vault.open_test(store, run, by="page")
    app = open_page("compare", {"compare_split": "test"}, runs=link(*pair))
    assert app.title[0].value == "small and large were tested on different images."
    assert not any(head.startswith("Fixed") for head in heads(app))
    app.button(key="compare_common").click().run()
    assert "of test accuracy" in app.title[0].value
    assert "they have 100 images in common" in texts(app) and not app.exception


def test_compare_page__a_view_of_two_evaluations_gives_way_when_there_are_none(open_page, store, pair):
    waiting = make_queued_run(store, "waiting")
    app = open_page("compare", {"compare_view": DELTA}, runs=link(pair[0], waiting))
    assert not app.exception and "B less A" not in heads(app)


def test_compare_page__all_right_and_all_wrong(open_page, store, pair):
    files = [store.run_paths(run.run_id).prediction_file("eval", run.best_step) for run in pair]
    for path, shift in zip(files, (1, 0), strict=True):
        rows, names = read_predictions(path), read_class_names(path)
        labels = rows["label"].to_numpy()
        logits = np.zeros((len(labels), len(names)), dtype=np.float32)
        logits[np.arange(len(labels)), (labels + shift) % len(names)] = 5.0
        write_predictions(
            path, example_ids=rows["example_id"].tolist(), images=rows["image"].tolist(), labels=labels,
            logits=logits, is_full=True, class_names=names,
        )  # fmt: skip
    app = open_page("compare", runs=link(*pair))
    assert "+100.0 points of eval accuracy" in app.title[0].value and not app.exception
    assert {"Fixed by B: 270", "Broken by B: 0", "Both wrong: 0"} <= set(heads(app))


def test_compare_page__probabilities_that_are_no_numbers(open_page, store, pair):
    path = store.run_paths(pair[1].run_id).prediction_file("eval", pair[1].best_step)
    rows, names = read_predictions(path), read_class_names(path)
    write_predictions(
        path, example_ids=rows["example_id"].tolist(), images=rows["image"].tolist(),
        labels=rows["label"].to_numpy(), logits=np.full((len(rows), len(names)), np.nan, dtype=np.float32),
        is_full=True, class_names=names,
    )  # fmt: skip
    app = open_page("compare", runs=link(*pair))
    assert "large is worse than small" in app.title[0].value and not app.exception


def test_compare_page__a_run_without_test_results(open_page, store, pair):
    live = make_running_run(store, "live")
    app = open_page("compare", {"compare_split": "test"}, runs=link(pair[0], live))
    assert app.title[0].value == "live has no test results." and not app.exception


def test_delta__a_cell_opens_the_images_that_moved(open_page, store, pair):
    session = {"compare_view": DELTA}
    app = open_page("compare", session, runs=link(*pair))
    assert "B less A" in heads(app) and not app.exception
    files = [store.run_paths(run.run_id).prediction_file("eval", run.best_step) for run in pair]
    first, second = (read_predictions(path) for path in files)
    came = ((first["label"] == 2) & (second["prediction"] == 2) & (first["prediction"] != 2)).sum()
    left = ((first["label"] == 2) & (second["prediction"] != 2) & (first["prediction"] == 2)).sum()
    key = f"compare_cell_{pair[0].run_id}_{pair[1].run_id}"
    app = open_page("compare", {**session, key: (2, 2)}, runs=link(*pair))
    assert f"**Came in B: {came}**" in texts(app) and f"**Left in B: {left}**" in texts(app)
    assert any(head.startswith("2 recognised: ") for head in heads(app))


def test_delta__the_same_predictions(open_page, store):
    same = [make_completed_run(store, name, hidden=12, epochs=2) for name in ("one", "two")]
    app = open_page("compare", {"compare_view": DELTA}, runs=link(*same))
    assert "A and B predict the same class for every image" in texts(app) and not app.exception
    assert app.title[0].value.startswith("two and one are right on the same images")


def test_delta__a_thousand_classes(open_page, store):
    first, second = (make_many_classes_run(store, name) for name in ("one", "two"))
    path = store.run_paths(second.run_id).prediction_file("eval", 100)
    rows, generator = read_predictions(path), np.random.default_rng(1)
    labels = rows["label"].to_numpy()
    logits = generator.normal(size=(len(labels), 1000)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 3.8
    write_predictions(
        path, example_ids=rows["example_id"].tolist(), images=rows["image"].tolist(), labels=labels,
        logits=logits, is_full=False, class_names=read_class_names(path),
    )  # fmt: skip
    app = open_page("compare", {"compare_view": DELTA}, runs=link(first, second))
    assert "two is better than one" in app.title[0].value and not app.exception
    assert "Largest changes" in heads(app)


def test_seeds__mean_and_deviation_and_the_test_between_two_groups(open_page, store):
    make_completed_run(store, "small", hidden=6, epochs=2, seed=1)  # an earlier run of the same seed
    small = [make_completed_run(store, "small", hidden=10, epochs=2, seed=one) for one in (1, 2, 3)]
    large = [make_completed_run(store, "large", epochs=2, learning_rate=0.006, seed=one) for one in (1, 2)]
    app = open_page("compare", {"compare_view": SEEDS}, runs=link(small[0], large[0]))
    values = [run.accuracy for run in small]
    shown = f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} %"
    assert f"{shown} eval accuracy" in texts(app)
    assert "small (3 seeds)" in heads(app) and "large (2 seeds)" in heads(app)
    assert "Over seeds, the 2 runs of **large** are" in texts(app) and "Welch's t-test" in texts(app)
    assert f"{shown} (3)" in app.table[0].value.iloc[:, 1].tolist() and not app.exception


def test_seeds__one_click_queues_two_more(open_page, store, pair, monkeypatch):
    monkeypatch.setattr(control, "prepare", lambda config, *_, **__: config)
    app = open_page("compare", {"compare_view": SEEDS}, runs=link(*pair))
    assert "2 runs of about" in texts(app)
    app.button(key=f"compare_seeds_{pair[0].run_id}").click().run()
    assert not app.exception and "Queued: **small, seed 43**, **small, seed 44**" in texts(app)
    made = [run for run in store.list_runs() if run.state is RunState.QUEUED]
    configs = [store.read_config(run.run_id) for run in made]
    assert {one.training.seed for one in configs} == {43, 44}
    plain = store.read_config(pair[0].run_id)
    assert all(
        one.model_copy(update={"name": plain.name, "training": plain.training}) == plain for one in configs
    )


def test_baseline__pinned_shown_and_removed(open_page, store, pair):
    app = open_page("compare", runs=link(*pair))
    assert "No baseline of digits is pinned" in texts(app)
    app.button(key="compare_pin_A").click().run()
    assert store.read_baselines() == {"sample:digits": pair[0].run_id}
    assert "Baseline of digits: **small**" in texts(app)
    other = make_completed_run(store, "other", hidden=20, epochs=3)
    app = open_page("compare", runs=link(pair[1], other))
    row = app.table[0].value.iloc[-1].tolist()
    assert row[0] == "Against small" and row[1].startswith("+") and row[1].endswith("), better")
    app.button(key="compare_unpin").click().run()
    assert store.read_baselines() == {} and not app.exception


def test_baseline__a_pinned_run_that_was_deleted(open_page, store, pair):
    gone = make_completed_run(store, "gone", epochs=1)
    store.pin_baseline("sample:digits", gone.run_id)
    store.delete_run(gone.run_id)
    app = open_page("compare", runs=link(*pair))
    assert "No baseline of digits is pinned" in texts(app) and not app.exception


def test_of_comparison__no_clear_difference():
    found = PairedComparison(100, ("a",), ("b", "c"), (), -0.01, -0.05, 0.03, 1.0)
    assert headlines.of_comparison("one", "two", found) == (
        "two is not shown to be worse than one: −1.0 points of eval accuracy, 95 % interval −5.0 to +3.0."
    )
    assert "p = 1.000" in headlines.comparison_method(found, (100, 100))
    assert "100 images that both evaluated (of 120 and 100)" in headlines.comparison_method(found, (120, 100))


def test_report__of_the_compared_runs_is_offered(open_page, store, pair):
    app = open_page("compare", runs=link(*pair))
    assert [one.label for one in app.get("download_button")][:2] == ["Report as HTML", "Tables as CSV"]
    assert not app.exception
