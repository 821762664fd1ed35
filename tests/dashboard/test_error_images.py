"""The Images of the Errors page: what is shown is what the filter, the order and the link say."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboard import close_look
from dashboard.error_views import images, images_bar
from superft_hf import saved_filters
from superft_hf.evaluation import history
from superft_hf.evaluation.prediction_files import read_class_names, read_predictions, write_predictions
from superft_hf.evaluation.prediction_filter import Filter
from superft_hf.records import Mark, MarkKind
from superft_hf.saved_filters import SavedFilter
from tests.factories import make_completed_run, make_many_classes_run, make_running_run

TAB = ":material/photo_library: Images"


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=10, learning_rate=0.002)


@pytest.fixture
def open_images(open_page):
    def opened(run, session=None, **query):
        return open_page("errors", {"errors_view": TAB, **(session or {})}, run=run.run_id, **query)

    return opened


def path_of(store, run, step=None):
    return store.run_paths(run.run_id).prediction_file("eval", step or run.best_step)


def rows_of(store, run, step=None):
    return read_predictions(path_of(store, run, step), with_logits=True)


def count_of(app):
    assert not app.exception
    return next(head.value for head in app.subheader if " of " in head.value)


def shown(app):
    """Positions of the images on the page, by the keys of their buttons."""
    keys = [button.key for button in app.main.button if button.key and "_look_" in button.key]
    return [int(key.rsplit("_", 1)[1]) for key in keys]


def positions(rows, mask, by="loss", ascending=False):
    kept = rows[mask]
    return kept.sort_values(by, ascending=ascending, kind="stable", na_position="last").index.tolist()


def rewrite(store, run, change):
    """Writes the best evaluation again, changed."""
    path = path_of(store, run)
    frame, names = rows_of(store, run), read_class_names(path)
    logits, labels = np.stack(frame["logits"]), frame["label"].to_numpy()
    logits, labels = change(logits, labels)
    write_predictions(
        path, example_ids=frame["example_id"].tolist(), images=frame["image"].tolist(), labels=labels,
        logits=logits, is_full=True, class_names=names,
    )  # fmt: skip


def test_images__all_of_them_worst_first(open_images, store, run):
    app, rows = open_images(run), rows_of(store, run)
    assert count_of(app) == "270 of 270 images"
    assert shown(app) == positions(rows, rows["label"] >= 0)[:24]
    assert "filter" not in app.query_params and "sort" not in app.query_params


def test_images__filters_narrow_together_and_stand_in_the_link(open_images, store, run):
    rows = rows_of(store, run)
    app = open_images(run)
    app.segmented_control(key=images_bar.OUTCOME).set_value("wrong").run()
    app.slider(key=images_bar.CONFIDENCE).set_value((20.0, 70.0)).run()
    mask = (rows["label"] != rows["prediction"]) & rows["confidence"].between(0.2, 0.7)
    expected = positions(rows, mask)
    assert count_of(app) == f"{len(expected)} of 270 images" and shown(app) == expected[:24]
    linked = Filter(outcome="wrong", confidence=(0.2, 0.7))
    assert Filter.from_json(app.query_params["filter"]) == linked
    app.multiselect(key=images_bar.LABELS).set_value([8]).run()
    assert shown(app) == positions(rows, mask & (rows["label"] == 8))[:24]
    app.button(key="images_clear").click().run()
    assert count_of(app) == "270 of 270 images" and "filter" not in app.query_params
    assert app.multiselect(key=images_bar.LABELS).value == []


def test_images__loss_range_and_text(open_images, store, run):
    rows = rows_of(store, run)
    app = open_images(run)
    app.number_input(key=images_bar.LOSS_TO).set_value(0.5).run()
    app.number_input(key=images_bar.LOSS_FROM).set_value(0.1).run()
    mask = rows["loss"].between(0.1, 0.5)
    assert shown(app) == positions(rows, mask)[:24]
    part = rows["image"].iloc[positions(rows, mask)[0]]
    app.text_input(key=images_bar.TEXT).set_value(part.upper()).run()
    assert shown(app) == positions(rows, mask & rows["image"].str.contains(part, regex=False))[:24]
    app.number_input(key=images_bar.LOSS_FROM).set_value(0.9).run()  # above the end: the two change places
    assert app.number_input(key=images_bar.LOSS_TO).value == 0.9 and not app.exception


@pytest.mark.parametrize(("sort", "by", "ascending"), [
    ("loss", "loss", True), ("-confidence", "confidence", False), ("margin", "margin", True),
])  # fmt: skip
def test_images__orders(open_images, store, run, sort, by, ascending):
    app, rows = open_images(run), rows_of(store, run)
    app.selectbox(key=images_bar.SORT).set_value(sort).run()
    assert shown(app) == positions(rows, rows["label"] >= 0, by, ascending)[:24]
    assert app.query_params["sort"] == sort


def test_images__order_by_disagreement_of_the_epochs(open_images, store, run):
    paths = store.run_paths(run.run_id)
    steps = paths.prediction_steps("eval")
    answers = history.read_answers([paths.prediction_file("eval", step) for step in steps])
    expected = np.argsort(-history.disagreement(answers), kind="stable")[:24]
    app = open_images(run, sort="-disagreement")
    assert shown(app) == expected.tolist()


def test_images__no_disagreement_in_the_first_epoch(open_images, store):
    run = make_running_run(store, epochs_done=1)
    app = open_images(run, sort="-disagreement")
    orders = app.selectbox(key=images_bar.SORT)
    assert not any("isagreement" in option for option in orders.options) and orders.value == "-loss"
    assert count_of(app) == "270 of 270 images"


def test_images__pages(open_images, store, run):
    app, rows = open_images(run), rows_of(store, run)
    expected = positions(rows, rows["label"] >= 0)
    app.main.get("pagination")[0].set_value(2).run()
    assert shown(app) == expected[24:48]
    app.selectbox(key=images.SIZE).set_value(96).run()
    assert shown(app) == expected[:96]
    app.segmented_control(key=images_bar.OUTCOME).set_value("right").run()
    assert shown(app) == positions(rows, rows["label"] == rows["prediction"])[:96]


def test_images__many_pages_have_a_number_to_go_to(open_images, store):
    app = open_images(make_many_classes_run(store, num_classes=120))
    assert count_of(app) == "600 of 600 images"
    first = shown(app)
    typed = next(one for one in app.main.number_input if one.label == "Go to page")
    typed.set_value(25).run()
    assert not app.exception and len(shown(app)) == 24 and not set(shown(app)) & set(first)
    assert app.main.get("pagination")[0].value == 25


def test_images__a_link_opens_them_filtered(open_page, store, run):
    rows = rows_of(store, run)
    link = Filter(outcome="wrong", loss=(0.5, float("inf"))).to_json()
    app = open_page("errors", run=run.run_id, filter=link, sort="confidence")
    mask = (rows["label"] != rows["prediction"]) & (rows["loss"] >= 0.5)
    assert shown(app) == positions(rows, mask, "confidence", ascending=True)[:24]
    assert app.number_input(key=images_bar.LOSS_FROM).value == 0.5
    assert app.segmented_control(key=images_bar.OUTCOME).value == "wrong"
    app.session_state["errors_view"] = ":material/grid_on: Matrix"
    app.run()
    assert "filter" not in app.query_params and app.session_state["errors_view"].endswith("Matrix")
    app.session_state["errors_view"] = TAB  # the choice outlives a look at another view
    app.run()
    assert Filter.from_json(app.query_params["filter"]).outcome == "wrong"


@pytest.mark.parametrize("link", ["nonsense", "[]", '{"labels":["x"]}', '{"example_ids":["a"]}'])
def test_images__a_link_with_nonsense_is_a_sentence(open_page, run, link):
    app = open_page("errors", run=run.run_id, filter=link)
    assert any("The filter cannot be read" in one.value for one in app.main.markdown)
    assert count_of(app) == "270 of 270 images"
    app.segmented_control(key=images_bar.OUTCOME).set_value("wrong").run()
    assert not any("cannot be read" in one.value for one in app.main.markdown)


def test_images__a_link_with_a_class_that_the_run_lacks(open_page, run):
    app = open_page("errors", run=run.run_id, filter='{"labels":[3,77]}')
    assert app.multiselect(key=images_bar.LABELS).value == [3] and not app.exception


def test_images__classes_of_another_run_are_not_taken_over(open_images, store, run):
    other = make_many_classes_run(store, num_classes=120)
    app = open_images(run, filter='{"labels":[3],"outcome":"wrong"}')
    app.query_params["run"] = other.run_id
    app.session_state["errors_view"] = TAB
    app.run()
    assert app.multiselect(key=images_bar.LABELS).value == []
    assert app.segmented_control(key=images_bar.OUTCOME).value == "wrong"


def test_images__marked_only_and_badges(open_images, store, run):
    rows = rows_of(store, run)
    app = open_images(run)
    app.toggle(key=images_bar.MARKED).set_value(True).run()
    assert count_of(app) == "0 of 270 images"
    assert any("No image of this set is marked yet" in one.value for one in app.main.markdown)
    for position in (4, 9):
        row = rows.iloc[position]
        mark = Mark(run.data, row["example_id"], MarkKind.AMBIGUOUS, None, "0", "eval", row["image"], "r")
        store.set_mark(mark)
    app.run()
    assert sorted(shown(app)) == [4, 9] and app.query_params["marked"] == "1"
    assert sum("ambiguous" in one.value for one in app.main.markdown) == 2


def test_images__metadata(open_images, store, run):
    rows = rows_of(store, run)
    path = store.run_paths(run.run_id).examples_file("eval")
    path.parent.mkdir(exist_ok=True)
    sites = [("north", "south", None)[index % 3] for index in range(len(rows))]
    pq.write_table(pa.table({"example_id": rows["example_id"].tolist(), "meta:site": sites}), path)
    app = open_images(run)
    app.multiselect(key="images_metadata_site").set_value(["south", ""]).run()
    assert shown(app) == positions(rows, pd.Series(sites).ne("north"))[:24] and not app.exception
    path.unlink()  # as in a run of an earlier version, with a link from this one
    app.run()
    assert any("no metadata site" in one.value for one in app.main.markdown) and not app.exception
    app.button(key="images_clear").click().run()
    assert count_of(app) == "270 of 270 images"


def test_images__saved_filters(open_images, store, run):
    app = open_images(run)
    assert not [one for one in app.main.text_input if one.key == "images_save_name"]
    app.segmented_control(key=images_bar.OUTCOME).set_value("wrong").run()
    app.text_input(key="images_save_name").set_value("my mistakes").run()
    assert saved_filters.read(store, run.data) == {"my mistakes": Filter(outcome="wrong")}
    wrong = count_of(app)
    app.button(key="images_clear").click().run()
    assert count_of(app) != wrong
    app.button(key="images_apply_0_my mistakes").click().run()
    assert count_of(app) == wrong and app.segmented_control(key=images_bar.OUTCOME).value == "wrong"
    app.button(key="images_delete_0_my mistakes").click().run()
    assert saved_filters.read(store, run.data) == {} and not app.exception


def test_images__a_saved_filter_shows_its_classes(open_images, store, run):
    names = [str(index) for index in range(10)]
    saved_filters.save(store, run.data, "eights", SavedFilter(Filter(labels=(8,)), True), names)
    app = open_images(run)
    app.button(key="images_apply_0_eights").click().run()
    assert app.multiselect(key=images_bar.LABELS).value == [8] and app.toggle(key=images_bar.MARKED).value


def test_images__look_closer_asks_for_the_image(open_images, store, run, monkeypatch):
    asked = []
    monkeypatch.setattr(close_look, "ask", asked.append)
    app = open_images(run)
    worst = shown(app)[0]
    next(one for one in app.main.button if one.key and one.key.endswith(f"_{worst}")).click().run()
    assert not app.exception
    assert [(one.run_id, one.split, one.step, one.row) for one in asked] == [
        (run.run_id, "eval", run.best_step, worst)
    ]


def test_images__csv_of_what_is_found(store, run):
    rows = rows_of(store, run)
    found = np.array([7, 2])
    read = pd.read_csv(
        io.BytesIO(images._csv_of(path_of(store, run), found, {rows["example_id"][2]: "exclude"})()),
        keep_default_na=False, dtype={"label": str},
    )  # fmt: skip
    assert list(read) == [
        "example_id",
        "image",
        "label",
        "prediction",
        "confidence",
        "loss",
        "margin",
        "mark",
    ]
    assert read["example_id"].tolist() == rows["example_id"][found].tolist()
    assert read["label"].tolist() == [str(one) for one in rows["label"][found]]
    assert read["mark"].tolist() == ["", "exclude"]
    assert np.allclose(read["loss"], rows["loss"][found])


@pytest.mark.parametrize(("outcome", "said"), [("wrong", "None is wrong"), ("right", "None is right")])
def test_images__all_right_or_all_wrong(open_images, store, run, outcome, said):
    def change(logits, labels):
        taken = logits.argmax(axis=1)
        return logits, taken if outcome == "wrong" else (taken + 1) % 10

    rewrite(store, run, change)
    app = open_images(run, filter=json.dumps({"outcome": outcome}))
    assert any(said in one.value for one in app.main.markdown) and count_of(app) == "0 of 270 images"


def test_images__probabilities_that_are_no_numbers(open_images, store, run):
    def change(logits, labels):
        logits[::3] = np.nan
        return logits, labels

    rewrite(store, run, change)
    app = open_images(run)
    assert any("90 images without a probability (NaN)" in one.value for one in app.main.markdown)
    rows = rows_of(store, run)
    assert shown(app) == positions(rows, rows["loss"].notna())[:24]
    app.selectbox(key=images_bar.SORT).set_value("file").run()
    assert any("no probability" in one.value for one in app.main.markdown) and not app.exception


def test_images__a_file_of_an_earlier_version_has_no_order_by_margin(open_images, store, run):
    path = path_of(store, run)
    pq.write_table(pq.read_table(path).drop_columns(["margin"]), path)
    app = open_images(run, sort="margin")
    assert not any("margin" in option for option in app.selectbox(key=images_bar.SORT).options)
    assert count_of(app) == "270 of 270 images"


def test_images__a_thousand_classes(open_images, store):
    run = make_many_classes_run(store)
    rows = rows_of(store, run, 100)
    app = open_images(run)
    app.multiselect(key=images_bar.PREDICTIONS).set_value([999]).run()
    expected = positions(rows, rows["prediction"] == 999)
    assert count_of(app) == f"{len(expected)} of 5,000 images" and shown(app) == expected[:24]
