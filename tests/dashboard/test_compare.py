"""The Compare page: the difference in words, and the images behind it."""

import pytest

from dashboard import headlines
from superft_hf.evaluation.comparison import PairedComparison, compare_predictions
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.settings import all_settings
from tests.factories import make_completed_run, make_queued_run, make_running_run


@pytest.fixture
def pair(store):
    return (
        make_completed_run(store, "small", hidden=10, learning_rate=0.002),
        make_completed_run(store, "large", learning_rate=0.006),
    )


def heads(app):
    return [head.value for head in app.subheader]


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
    figures, settings = (table.value for table in app.table)
    assert figures.iloc[0].tolist() == ["Accuracy", *[f"{100 * run.accuracy:.1f} %" for run in pair]]
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
    assert list(app.table[0].value.columns) == ["", "A", "B", "C", "D"] and not app.exception


def test_of_comparison__no_clear_difference():
    found = PairedComparison(100, ("a",), ("b", "c"), (), -0.01, -0.05, 0.03, 1.0)
    assert headlines.of_comparison("one", "two", found) == (
        "No clear difference: two has −1.0 points of eval accuracy against one (95 % interval −5.0 to +3.0)."
    )
    assert "p = 1.000" in headlines.comparison_method(found, (100, 100))
    assert "100 images that both evaluated (of 120 and 100)" in headlines.comparison_method(found, (120, 100))
