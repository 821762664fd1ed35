"""Marks on pages: made beside one image, listed under Errors, and trained again with."""

import importlib
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import forms, marking, state
from dashboard.examples import Place
from superft_hf.errors import StoreError
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.marks_file import from_csv, to_csv
from superft_hf.paths import HOME_VARIABLE
from superft_hf.records import Mark, MarkKind
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.store import RunStore
from tests.factories import make_completed_run, make_image_folder, make_running_run

VIEW = {"errors_view": ":material/flag: Marks"}


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=10, epochs=2)


@pytest.fixture
def marked(store, run):
    """One mark of each kind on eval, and one on test; (kind, example id)."""
    eval_rows, test_rows = rows_of(store, run, "eval"), rows_of(store, run, "test")
    made = []
    for number, kind in enumerate(MarkKind):
        row = eval_rows.iloc[number]
        corrected = str((row["label"] + 1) % 10) if kind is MarkKind.WRONG_LABEL else None
        made.append(mark_of(run, row, kind, corrected))
    made.append(replace(mark_of(run, test_rows.iloc[0], MarkKind.EXCLUDE), split="test"))
    store.set_marks(made)
    return made


def mark_of(run, row, kind, corrected=None, **other) -> Mark:
    return Mark(
        run.data, row["example_id"], kind, corrected, str(row["label"]), "eval", row["image"], run.run_id,
        "a *note*", **other,
    )  # fmt: skip


def rows_of(store, run, split):
    paths = store.run_paths(run.run_id)
    return read_predictions(paths.prediction_file(split, paths.prediction_steps(split)[-1]))


def texts(app) -> str:
    return "\n".join(one.value for one in app.main.markdown)


def remove_buttons(app) -> list[str]:
    return [one.key for one in app.button if one.key.startswith("marks_remove_") and "all" not in one.key]


# The list


def test_list__nothing_marked_says_what_to_do(open_page, run):
    app = open_page("errors", VIEW, run=run.run_id)
    assert "No image is marked yet" in texts(app) and not app.exception
    assert "Train again" not in [head.value for head in app.subheader]


def test_list__shows_each_mark_with_its_kind_and_class(open_page, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    assert not app.exception and len(remove_buttons(app)) == 4
    text = texts(app)
    assert f"**→ {marked[0].corrected}**" in text and "**ambiguous**" in text and "**bad image**" in text
    assert r"a \*note\*" in text and f"true {marked[0].label}" in text
    options = app.get_by_key("marks_kinds").options
    assert options == [
        "Wrong label 1",
        "Ambiguous 1",
        "Bad image 1",
        "Exclude 1",
    ]


def test_list__test_images_are_shown_once_test_is_open(open_page, store, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    assert f"marks_remove_{marked[4].example_id}" not in remove_buttons(app)
    assert "1 mark on test images: shown once test is open" in texts(app)
    store.look_at_test(run.run_id, by="page")
    app.run()
    assert f"marks_remove_{marked[4].example_id}" in remove_buttons(app)


def test_list__filter_by_kind(open_page, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    app.get_by_key("marks_kinds").set_value(["ambiguous", "exclude"]).run()
    assert sorted(remove_buttons(app)) == sorted(f"marks_remove_{marked[one].example_id}" for one in (1, 3))


def test_list__remove_one_and_remove_all_shown(open_page, store, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    app.button(key=f"marks_remove_{marked[0].example_id}").click().run()
    assert len(store.read_marks()) == 4 and len(remove_buttons(app)) == 3
    app.get_by_key("marks_kinds").set_value(["ambiguous"]).run()
    app.get_by_key("marks_kinds").set_value(["ambiguous", "bad image"]).run()
    app.button(key="marks_remove_all").click().run()
    assert {one.example_id for one in store.read_marks()} == {marked[3].example_id, marked[4].example_id}
    assert not app.exception


def test_list__many_are_paged(open_page, store, run):
    rows = rows_of(store, run, "eval")
    store.set_marks(mark_of(run, row, MarkKind.EXCLUDE) for _, row in rows.head(30).iterrows())
    app = open_page("errors", VIEW, run=run.run_id)
    assert len(remove_buttons(app)) == 12 and app.get_by_key("marks_page") is not None
    app.get_by_key("marks_page").set_value(3).run()
    assert len(remove_buttons(app)) == 6 and not app.exception


def test_list__of_a_run_in_its_first_epochs(open_page, store, run, marked):
    live = make_running_run(store, epochs_done=1)
    app = open_page("errors", VIEW, run=live.run_id)
    assert len(remove_buttons(app)) == 4 and not app.exception


def test_list__a_train_image_that_nobody_evaluated(open_page, store, run):
    store.set_mark(Mark(run.data, "f" * 16, MarkKind.EXCLUDE, None, "", "train", "", ""))
    app = open_page("errors", VIEW, run=run.run_id)
    assert "No run that is left can show it" in texts(app) and not app.exception


# The run on which a mark was made may be gone


def test_deleted_run__its_images_are_shown_by_another_run(open_page, store, run, marked):
    other = make_completed_run(store, name="other", seed=1, epochs=1)
    store.delete_run(run.run_id)
    app = open_page("errors", VIEW, run=other.run_id)
    assert len(remove_buttons(app)) == 4 and "No run that is left" not in texts(app)
    assert "gone or unreadable" not in texts(app) and not app.exception


def test_deleted_run__an_image_of_other_bytes_is_not_shown_for_it(open_page, store, tmp_path):
    folder = make_image_folder(tmp_path / "images")
    run = make_completed_run(store, data=str(folder), epochs=1)
    elsewhere = str(folder / "cat" / "000.png")
    store.set_mark(Mark(run.data, "f" * 16, MarkKind.EXCLUDE, None, "cat", "train", elsewhere, run.run_id))
    app = open_page("errors", VIEW, run=run.run_id)
    assert "No run that is left can show it" in texts(app) and not app.exception


# Train again


def draft_after(app, key) -> dict:
    app.button(key=key).click().run()
    assert not app.exception
    return app.session_state[state.START_DRAFT]


def test_train_again__says_in_numbers_what_changes(open_page, run, marked):
    text = texts(open_page("errors", VIEW, run=run.run_id))
    assert "Leaves out 3 images of eval." in text
    assert "Leaves out 2 images of eval." in text and "Corrects the labels of 1 image of eval." in text
    assert "1 mark says ambiguous: its image stays." in text
    assert "1 mark is on a test image, which stays" in text
    assert "Compare takes only the images that both have" in text


def test_train_again__with_corrected_labels_opens_the_start_page_filled_in(open_page, store, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    draft = draft_after(app, "marks_again_with_corrected_labels")
    assert set(draft["data.exclude"]) == {marked[2].example_id, marked[3].example_id}
    assert draft["data.relabel"] == {marked[0].example_id: marked[0].corrected}
    assert draft["name"] == "digits-mlp, with corrected labels"
    assert app.text_area(key=forms.widget_key("data.relabel")).value == " → ".join(
        next(iter(draft["data.relabel"].items()))
    )
    config = forms.nest(draft)["data"]
    data = store.read_config(run.run_id).data.model_copy(
        update={"exclude": config["exclude"], "relabel": config["relabel"]}
    )
    found = scan_images(load_images(data, store.home), data)
    labels = dict(zip(found.example_ids["eval"], found.images.splits["eval"].labels.tolist(), strict=True))
    assert labels[marked[0].example_id] == int(marked[0].corrected) and marked[2].example_id not in labels


def test_train_again__without_the_marked_images(open_page, run, marked):
    app = open_page("errors", VIEW, run=run.run_id)
    app.toggle(key="marks_with_ambiguous").set_value(True).run()
    app.toggle(key="marks_with_test").set_value(True).run()
    draft = draft_after(app, "marks_again_without_marked_images")
    assert set(draft["data.exclude"]) == {mark.example_id for mark in marked}
    assert draft["data.relabel"] == {}


def test_train_again__nothing_to_change_is_no_button(open_page, store, run):
    row = rows_of(store, run, "eval").iloc[0]
    store.set_mark(mark_of(run, row, MarkKind.AMBIGUOUS))
    app = open_page("errors", VIEW, run=run.run_id)
    assert app.button(key="marks_again_without_marked_images").disabled
    assert app.button(key="marks_again_with_corrected_labels").disabled
    assert "Changes nothing." in texts(app) and "No label to correct" in texts(app)


# CSV


def upload(app, content: bytes) -> None:
    app.get("file_uploader")[0].upload("marks.csv", content, "text/csv").run()
    app.button(key="marks_import_now").click().run()


def test_import__what_was_exported_comes_back(open_page, store, run, marked):
    text = to_csv(store.read_marks())
    store.remove_marks(run.data, [mark.example_id for mark in marked[:3]])
    app = open_page("errors", VIEW, run=run.run_id)
    upload(app, text.encode())
    assert "5 marks imported, 2 in place of an earlier one." in texts(app) and not app.exception
    assert {replace(one, time="") for one in store.read_marks()} == {
        replace(one, time="") for one in from_csv(text)
    }
    app.run()
    assert "imported" not in texts(app), "told once"


def test_import__bare_rows_are_images_of_this_run(open_page, store, run):
    one = rows_of(store, run, "eval")["example_id"][0]
    app = open_page("errors", VIEW, run=run.run_id)
    upload(app, f"example_id,kind,corrected,data\n{one},wrong label,3,\n{one},exclude,,others".encode())
    assert "2 marks imported, 1 on other images than this run's." in texts(app)
    assert store.read_marks(run.data)[0].corrected == "3" and len(store.read_marks("others")) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"example_id,kind\nx,exclude", r"Line 2\: 'x' is no example id"),
        (b"example_id,kind,corrected\n0123456789abcdef,wrong label,cow", "is no class of these images"),
        (b"\xff\xfe", r"is not UTF\-8 text"),
    ],
)
def test_import__a_bad_row_is_named_and_nothing_kept(open_page, store, run, content, words):
    app = open_page("errors", VIEW, run=run.run_id)
    upload(app, content)
    assert words in texts(app) and store.read_marks() == [] and not app.exception


# The widgets of one image


def _controls(run_id: str, split: str, example_id: str, label_name: str) -> None:
    """AppTest reads its source, hence the imports here."""
    from dashboard import marking, readers
    from dashboard.examples import Place

    record = readers.run(run_id)
    place = Place(run_id, split, 10, 3)
    names = record.facts["class_names"]
    marking.draw_controls(record, place, example_id, "x.png", label_name, names, "look")


@pytest.fixture
def controls(home, run, monkeypatch):
    """`controls("eval")`: the widgets of an image of class 1, drawn once."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))

    def drawn(split: str = "eval", label_name: str = "1") -> AppTest:
        args = (run.run_id, split, "a" * 16, label_name)
        return AppTest.from_function(_controls, args=args, default_timeout=30).run()

    return drawn


def key(name: str) -> str:
    return f"look_{'a' * 16}_{name}"


def test_controls__a_press_is_kept_at_once(controls, store, run):
    app = controls()
    assert [one.label for one in app.button] == [] and store.read_marks() == []
    app.get_by_key(key("kind")).set_value("wrong label").run()
    (mark,) = store.read_marks(run.data)
    assert (mark.kind, mark.corrected, mark.label, mark.split, mark.by) == (
        MarkKind.WRONG_LABEL, None, "1", "eval", "page",
    )  # fmt: skip
    assert app.selectbox(key=key("corrected")).options == ["unknown", "0", *"23456789"]
    app.selectbox(key=key("corrected")).set_value("7").run()
    app.text_input(key=key("note")).set_value(" slanted ").run()
    (mark,) = store.read_marks(run.data)
    assert (mark.corrected, mark.note, mark.run_id, mark.image) == ("7", "slanted", run.run_id, "x.png")
    assert not app.exception


def test_controls__another_kind_needs_no_class_and_keeps_the_note(controls, store, run):
    app = controls()
    app.get_by_key(key("kind")).set_value("wrong label").run()
    app.selectbox(key=key("corrected")).set_value("7").run()
    app.text_input(key=key("note")).set_value("odd").run()
    app.get_by_key(key("kind")).set_value("bad image").run()
    (mark,) = store.read_marks(run.data)
    assert (mark.kind, mark.corrected, mark.note) == (MarkKind.BAD_IMAGE, None, "odd")
    assert not app.selectbox and not app.exception


@pytest.mark.parametrize("way", ["button", "pill"])
def test_controls__taken_back(controls, store, way):
    app = controls()
    app.get_by_key(key("kind")).set_value("exclude").run()
    assert len(store.read_marks()) == 1
    if way == "button":
        app.button(key=key("remove")).click().run()
    else:
        app.get_by_key(key("kind")).set_value(None).run()
    assert store.read_marks() == [] and app.get_by_key(key("kind")).value is None and not app.exception


def test_controls__show_what_another_tab_changed(controls, store, run):
    app = controls()
    app.get_by_key(key("kind")).set_value("exclude").run()
    store.set_mark(replace(store.read_marks()[0], kind=MarkKind.WRONG_LABEL, corrected="3", note="by you"))
    app.run()
    assert app.get_by_key(key("kind")).value == "wrong label"
    assert (
        app.selectbox(key=key("corrected")).value == "3" and app.text_input(key=key("note")).value == "by you"
    )


def test_controls__say_what_the_mark_will_do(controls):
    assert "Marks stay with the images" in controls().markdown[-1].value
    app = controls("test")
    app.get_by_key(key("kind")).set_value("exclude").run()
    assert "A test image: it is noted, but stays in test" in app.markdown[-1].value


def test_controls__say_that_this_run_has_the_corrected_label_already(home, store, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    run = make_completed_run(store, epochs=1, data_settings={"relabel": {"a" * 16: "7"}})
    store.set_mark(Mark(run.data, "a" * 16, MarkKind.WRONG_LABEL, "7", "1", "eval", "x.png", run.run_id))
    args = (run.run_id, "eval", "a" * 16, "7")
    app = AppTest.from_function(_controls, args=args, default_timeout=30).run()
    assert "was trained with another label" in app.markdown[-1].value and not app.exception


def test_controls__a_store_that_cannot_be_written_is_a_sentence(controls, monkeypatch):
    app = controls()

    def refuse(self, mark):
        raise StoreError("The database cannot be written.", hint="Look at the disk.")

    monkeypatch.setattr(RunStore, "set_mark", refuse)
    app.get_by_key(key("kind")).set_value("exclude").run()
    assert "cannot be written" in "".join(one.value for one in app.markdown) and not app.exception
    assert app.get_by_key(key("kind")).value is None, "the widget shows what is kept"
    monkeypatch.undo()


# Many at once


def test_mark_many_and_marks_by_id(home, store, run, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    rows = rows_of(store, run, "eval")
    examples = importlib.import_module("dashboard.examples")
    evaluation = examples.best_evaluation(run)
    chosen = marking.subjects(evaluation, [5, 2])
    assert [one.example_id for one in chosen] == [rows["example_id"][5], rows["example_id"][2]]
    assert [one.label_name for one in chosen] == [str(rows["label"][5]), str(rows["label"][2])]
    assert marking.mark_many(run, chosen, MarkKind.WRONG_LABEL, ["3", chosen[1].label_name], "both") == 2
    found = marking.marks_by_id(run)
    assert found[chosen[0].example_id].corrected == ("3" if chosen[0].label_name != "3" else None)
    assert found[chosen[1].example_id].corrected is None, "its own label is no correction"
    assert marking.remove(run, [chosen[0].example_id]) == 1
    assert set(marking.marks_by_id(run)) == {chosen[1].example_id}, "never older than the store"


def test_mark_many__what_a_fold_evaluates_on_is_of_train(home, store, run, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    config = store.read_config(run.run_id)
    data = config.data.model_copy(update={"num_folds": 3})
    fold = store.create_run(config.model_copy(update={"data": data}), by="test")
    subject = marking.Subject(Place(fold.run_id, "eval", 5, 0), "a" * 16, "x.png", "1")
    marking.mark_many(run, [subject], MarkKind.EXCLUDE)
    (mark,) = store.read_marks(run.data)
    assert (mark.split, mark.run_id) == ("train", fold.run_id)


def test_badge__names_the_class_and_formats_nothing_typed(run):
    one = Mark("d", "a" * 16, MarkKind.WRONG_LABEL, "*b*", "c", "eval", "", "")
    assert r"→ \*b\*" in marking.badge(one)
    assert "**ambiguous**" in marking.badge(replace(one, kind=MarkKind.AMBIGUOUS, corrected=None))
