"""Marks from the terminal: made, listed, taken away, exported, imported, and obeyed by a new run."""

import json
from pathlib import Path

import pytest

from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import Mark, MarkKind, RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from tests.factories import make_completed_run, make_image_folder

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture(autouse=True)
def _nothing_starts(no_supervisor: list[Path]) -> None:
    """Queued runs stay queued."""


@pytest.fixture
def run(store, tmp_path, model_folder):
    folder = make_image_folder(tmp_path / "images", count=30)
    return make_completed_run(store, "pets", data=str(folder), model=str(model_folder), epochs=1)


@pytest.fixture
def ids(store, run) -> dict[str, list[str]]:
    """Example ids of eval and test, cats first."""
    paths = store.run_paths(run.run_id)
    return {
        split: read_predictions(paths.prediction_file(split, paths.prediction_steps(split)[0]))
        .sort_values("label", kind="stable")["example_id"]
        .tolist()
        for split in ("eval", "test")
    }


def sentence(capsys) -> str:
    return capsys.readouterr().err.split("\n", 1)[1].strip()


def test_mark__and_list(superft, store, run, ids, capsys):
    cat, other = ids["eval"][0], ids["eval"][1]
    words = ("--kind", "wrong-label", "--corrected", "dog", "--note", " odd  ears")
    assert superft("mark", run.run_id, cat, other, cat, *words) == 0
    assert sentence(capsys) == f"2 images of {run.data} marked: wrong label."
    (first, second) = store.read_marks(run.data)
    assert {first.example_id, second.example_id} == {cat, other}
    assert (first.kind, first.corrected, first.label, first.split) == (
        MarkKind.WRONG_LABEL,
        "dog",
        "cat",
        "eval",
    )
    assert (first.by, first.note, first.run_id) == ("command line", "odd  ears", run.run_id)
    assert Path(first.image).is_file()
    assert superft("marks", "--run", run.run_id, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["example_id"] for one in listed] == [first.example_id, second.example_id]
    assert listed[0]["kind"] == "wrong label" and listed[0]["corrected"] == "dog"
    assert superft("marks") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["EXAMPLE", "KIND", "LABEL", "CORRECTED", "SPLIT", "IMAGE", "NOTE", "IMAGES"]
    assert len(rows) == 2 and rows[0].startswith(f"{first.example_id}  wrong label  cat    dog        eval")


def test_marks__of_some_images_only(superft, store, run, ids, capsys):
    elsewhere = Mark("others", "a" * 16, MarkKind.EXCLUDE, None, "cow", "train", "x", "", "", "import")
    store.set_mark(elsewhere)
    assert superft("mark", run.run_id, ids["eval"][0], "--kind", "exclude") == 0
    for words, number in (
        (("--data", "others"), 1),
        (("--run", run.run_id), 1),
        ((), 2),
        (("--data", "no"), 0),
    ):
        capsys.readouterr()
        assert superft("marks", *words, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)) == number
    assert superft("marks", "--data", "no") == 0
    assert sentence(capsys) == "No image of no is marked."


def test_marks__an_empty_home_is_not_created(superft, home, capsys):
    assert superft("marks", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [] and not home.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{cat}", "0" * 16, "--kind", "exclude"), f"The run pets has no image {'0' * 16}."),
        (("{cat}", "../etc", "--kind", "exclude"), "has no image ../etc."),
        (
            ("{cat}", "--kind", "bad"),
            "kind is 'bad', but must be one of wrong label, ambiguous, bad image, exclude.",
        ),
        (("{cat}", "--kind", "wrong-label", "--corrected", "cow"), "'cow' is no class of these images."),
        (("{cat}", "--kind", "wrong-label", "--corrected", "cat"), "'cat' is the label that it has."),
        (
            ("{cat}", "--kind", "exclude", "--corrected", "dog"),
            "goes with a wrong label only, not with exclude.",
        ),
    ],
)
def test_mark__what_is_refused_marks_nothing(superft, store, run, ids, words, message, capsys):
    assert superft("mark", run.run_id, *(word.format(cat=ids["eval"][0]) for word in words)) == 1
    out, err = capsys.readouterr()
    assert out == "" and message in err and "\nHint: " in err
    assert store.read_marks() == []


def test_unmark(superft, store, run, ids, capsys):
    first, second = ids["eval"][:2]
    assert superft("mark", run.run_id, first, second, "--kind", "ambiguous") == 0
    capsys.readouterr()
    assert superft("unmark", run.run_id, first, "0" * 16) == 1
    assert f"Error: {'0' * 16} of {run.data} is not marked." in capsys.readouterr().err
    assert len(store.read_marks()) == 2
    assert superft("unmark", run.run_id, first) == 0
    assert [one.example_id for one in store.read_marks()] == [second]


def test_marks__as_csv_and_back(superft, store, run, ids, tmp_path, capsys):
    cat, dog = ids["eval"][0], ids["eval"][-1]
    assert superft("mark", run.run_id, cat, "--kind", "wrong-label", "--corrected", "dog") == 0
    assert superft("mark", run.run_id, dog, "--kind", "bad-image", "--note", 'a "comma",') == 0
    before, path = store.read_marks(), tmp_path / "marks.csv"
    assert superft("marks", "--csv", path) == 0
    capsys.readouterr()
    assert superft("marks", "--csv", "-") == 0
    assert capsys.readouterr().out == path.read_text()
    assert superft("unmark", run.run_id, cat) == 0
    capsys.readouterr()
    assert superft("marks-import", path) == 0
    assert sentence(capsys) == "2 marks imported, 1 in place of an earlier one."
    timeless = [{**vars(one), "time": ""} for one in store.read_marks()]
    assert sorted(timeless, key=str) == sorted(({**vars(one), "time": ""} for one in before), key=str)
    assert superft("marks-import", path, "--data", "moved here") == 0
    assert len(store.read_marks("moved here")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"example_id,kind\n0,exclude\n", "Line 2: '0' is no example id"),
        (b"example_id,kind,data\n0123456789abcdef,exclude,\n", "Line 2: data is empty"),
        (b"\xff\xfe\x00", "is not UTF-8 text."),
        (b"", "Line 1 has no column example_id and no column kind."),
        (None, "cannot be read: No such file or directory."),
    ],
)
def test_import__a_file_that_is_refused(superft, store, content, message, tmp_path, capsys):
    path = tmp_path / "marks.csv"
    if content is not None:
        path.write_bytes(content)
    assert superft("marks-import", path) == 1
    err = capsys.readouterr().err
    assert message in err and "\nHint: " in err and store.read_marks() == []


def test_import__a_corrected_class_that_the_images_do_not_have(superft, store, run, ids, tmp_path, capsys):
    path = tmp_path / "marks.csv"
    path.write_text(f"example_id,kind,corrected,data\n{ids['eval'][0]},wrong label,cow,{run.data}\n")
    assert superft("marks-import", path) == 1
    assert "Line 2: 'cow' is no class of these images." in capsys.readouterr().err
    assert store.read_marks() == []


def test_csv__a_folder_that_is_not_there(superft, store, tmp_path, capsys):
    store.read_marks()
    assert superft("marks", "--csv", tmp_path / "no" / "marks.csv") == 1
    assert "cannot be written" in capsys.readouterr().err


# Trained again


def queued(store, capsys):
    return store.get_run(capsys.readouterr().out.splitlines()[-1])


def scanned(store, run):
    data = store.read_config(run.run_id).data
    return scan_images(load_images(data, store.home), data)


def test_repeat__without_the_marked_images_and_with_corrected_labels(superft, store, run, ids, capsys):
    wrong, bad, unsure, tested = ids["eval"][0], ids["eval"][1], ids["eval"][2], ids["test"][0]
    for one, *words in (
        (wrong, "wrong-label", "--corrected", "dog"), (bad, "bad-image"), (unsure, "ambiguous"),
        (tested, "exclude"),
    ):  # fmt: skip
        assert superft("mark", run.run_id, one, "--kind", *words) == 0
    capsys.readouterr()
    before = scanned(store, run)

    assert superft("repeat", run.run_id, "--with-marks", "exclude") == 0
    out, err = capsys.readouterr()
    assert "Leaves out 2 images of eval." in err and "1 mark is on a test image, which stays" in err
    without = store.get_run(out.splitlines()[-1])
    assert (without.name, without.state) == ("pets, without marked images", RunState.QUEUED)
    assert set(before.example_ids["eval"]) - set(scanned(store, without).example_ids["eval"]) == {wrong, bad}
    assert scanned(store, without).split_fingerprints["test"] == before.split_fingerprints["test"]

    assert superft("repeat", run.run_id, "--with-marks", "correct", "--name", "mended") == 0
    corrected = queued(store, capsys)
    found = scanned(store, corrected)
    labels = dict(zip(found.example_ids["eval"], found.images.splits["eval"].labels.tolist(), strict=True))
    assert corrected.name == "mended" and bad not in labels and unsure in labels
    assert found.images.class_names[labels[wrong]] == "dog"

    assert superft("repeat", run.run_id, "--with-marks", "exclude", "--ambiguous-too", "--test-too") == 0
    every = scanned(store, queued(store, capsys))
    assert unsure not in every.example_ids["eval"] and tested not in every.example_ids["test"]


def test_repeat__a_change_by_hand_goes_beside(superft, store, run, ids, capsys):
    assert superft("mark", run.run_id, ids["eval"][0], "--kind", "exclude") == 0
    capsys.readouterr()
    assert superft("repeat", run.run_id, "--with-marks", "exclude", "--set", "training.seed=9") == 0
    config = store.read_config(queued(store, capsys).run_id)
    assert (config.training.seed, config.data.exclude) == (9, [ids["eval"][0]])


def test_repeat__marks_that_change_nothing_start_nothing(superft, store, run, ids, capsys):
    assert superft("repeat", run.run_id, "--with-marks", "exclude") == 1
    assert "There are none. Mark images with" in capsys.readouterr().err
    assert superft("mark", run.run_id, ids["eval"][0], "--kind", "ambiguous") == 0
    capsys.readouterr()
    assert superft("repeat", run.run_id, "--with-marks", "correct") == 1
    assert "Changes nothing. 1 mark says ambiguous: its image stays." in capsys.readouterr().err
    assert len(store.list_runs()) == 1
