"""Reports: one file that asks for nothing else, with what is known and never a sealed test figure."""

import json
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from superft_hf import vault
from superft_hf.config import DataConfig
from superft_hf.config_file import dump_config
from superft_hf.errors import DataNotFoundError, RunNotFoundError, StateError, StoreError
from superft_hf.evaluation.classification import classification_metrics
from superft_hf.evaluation.prediction_files import read_numbers, write_predictions
from superft_hf.records import LOOKED_AT_TEST
from superft_hf.reports.collect import collect
from superft_hf.reports.figures import matrix_figure, painted
from superft_hf.reports.palette import palettes
from superft_hf.reports.report import make_report, report_name, tables, write_report, write_tables
from tests.factories import make_completed_run, make_many_classes_run, make_queued_run, make_running_run

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """What a browser would find; fails on tags that do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        {"script": self.scripts, "style": []}.get(inside, self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self) -> dict[str, dict]:
        return json.loads(self.scripts[1])


def images_of(page: str) -> list[str]:
    return [one["src"] for tag, one in Page(page).tags if tag == "img"]


def test_a_report_is_one_file_that_asks_for_nothing(store):
    page = make_report(store, [make_completed_run(store).run_id], num_pictures=4)
    found = Page(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(found.ids) == len(set(found.ids))
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "a", "form")
        assert not (tag == "script" and "src" in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
    policy = next(one["content"] for tag, one in found.tags if one.get("http-equiv"))
    assert "default-src 'none'" in policy and "http" not in policy
    assert len(page) < 7_000_000


def test_its_figures_are_ones_that_plotly_knows_in_both_themes(store):
    found = Page(make_report(store, [make_completed_run(store).run_id]))
    figures = found.figures
    assert len(figures) == 5  # matrix, classes, reliability, loss, accuracy
    assert set(figures) <= set(found.ids)
    for palette in palettes().values():
        for figure in figures.values():
            go.Figure(painted(figure, palette))  # refuses names and values that plotly does not know
    assert "§colour" not in json.dumps(painted(figures, palettes()["dark"]))
    cells = figures["figure-1"]["data"][0]["customdata"]
    assert sum(cell[2] for row in cells for cell in row) == 270


def test_it_tells_what_the_run_reported_with_intervals_and_baselines(store):
    run = make_completed_run(store)
    frozen = make_completed_run(store, "frozen one", hidden=4, strategy="head")
    text = Page(make_report(store, [run.run_id])).text
    accuracy = run.evaluation["eval"]["accuracy"]
    assert text.count(f"{100 * accuracy:.1f} % on eval (95 % interval") >= 1
    assert "always “1”" in text and frozen.name in text and "paired bootstrap" in text
    for key in ("F1, macro", "F1, weighted", "Balanced accuracy", "Precision, weighted"):
        assert key in text
    assert run.facts["split_fingerprints"]["test"] in text and run.facts["fingerprint"] in text
    assert "training.learning_rate 0.003" in text and "Most confused pairs" in text


def test_test_figures_are_in_it_once_they_were_opened_and_the_account_stands_beside(store):
    run = make_completed_run(store)
    other = make_completed_run(store, "other", hidden=8)
    vault.open_test(store, other, by="page")
    sealed = Page(make_report(store, [run.run_id])).text
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} % on test" not in sealed and "On test" in sealed
    assert (
        "Test sealed; 1 run has been opened on this same test set so far: not part of this report." in sealed
    )
    assert f"{run.evaluation['test']['loss']:.3f}" not in sealed
    assert LOOKED_AT_TEST not in [event.what for event in store.read_events(run.run_id)]
    vault.open_test(store, run, by="report")
    opened = Page(make_report(store, [run.run_id]))
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} % on test" in opened.text
    assert "1 run had been opened on this same test set before." in opened.text
    assert len(opened.figures) == 8


def test_names_of_people_stay_text(store):
    evil = '<script>alert(1)</script>" onload="x" </script> <b>&amp;'
    run = make_completed_run(store, evil)
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    numbers = read_numbers(path)
    labels = numbers["label"].to_numpy()
    logits = np.eye(10)[numbers["prediction"]] * 5
    names = [f"</script><img src=x onerror=alert({one})>" for one in range(10)]
    write_predictions(
        path, example_ids=[f"{one:016x}" for one in range(len(labels))], images=["x"] * len(labels),
        labels=labels, logits=logits, is_full=True, class_names=names,
    )  # fmt: skip
    page = Page(make_report(store, [run.run_id]))
    assert evil in page.text and names[0] in page.text
    assert [one for tag, one in page.tags if tag == "img" or "onload" in one or "onerror" in one] == []
    assert "&lt;img src=x" in page.figures["figure-1"]["data"][0]["customdata"][0][0][0]


def test_pictures_are_there_on_request_only_small_and_without_their_names(store):
    run = make_completed_run(store, hidden=6)
    assert images_of(make_report(store, [run.run_id])) == []
    found = images_of(make_report(store, [run.run_id], num_pictures=5))
    assert len(found) == 5 and all(len(one) < 20_000 for one in found)


def test_pictures_that_are_gone_are_counted(store, monkeypatch):
    run = make_completed_run(store, hidden=6)
    monkeypatch.setattr(
        "superft_hf.reports.collect.open_reference",
        lambda data, reference: (_ for _ in ()).throw(DataNotFoundError("gone", hint="")),
    )
    assert "3 pictures gone or unreadable" in Page(make_report(store, [run.run_id], num_pictures=3)).text


def test_no_place_of_this_machine_is_named(store, tmp_path):
    run = make_completed_run(store)
    config = store.read_config(run.run_id)
    secret = tmp_path / "grace_hopper" / "cells"
    moved = config.model_copy(update={"data": DataConfig(name_or_path=str(secret))})
    store.run_paths(run.run_id).config.write_text(dump_config(moved))
    store.update_run(run.run_id, data=str(secret))
    text = Page(make_report(store, [run.run_id])).text
    assert "cells" in text and str(tmp_path) not in text and "grace_hopper" not in text


def test_a_comparison_says_which_is_better_on_the_same_images(store):
    first = make_completed_run(store, "small", hidden=4)
    second = make_completed_run(store, "large", hidden=32)
    third = make_completed_run(store, "large again", hidden=32, seed=7)
    page = Page(make_report(store, [first.run_id, second.run_id]))
    assert "large is better than small: +" in page.text
    assert "training.seed" not in page.text.split("Settings that differ")[1].split("The runs")[0]
    three = Page(make_report(store, [first.run_id, second.run_id, third.run_id])).text
    assert "3 runs against small" in three and "(Holm)" in three and "training.seed" in three
    assert "Choose between runs on eval" not in three  # no test figure is in it
    for run in (first, second):
        vault.open_test(store, run, by="page")
    opened = Page(make_report(store, [first.run_id, second.run_id, third.run_id])).text
    assert "Choose between runs on eval" in opened and "Sealed, and left out: large again." in opened
    assert "points of test accuracy" in opened


def test_a_thousand_classes_with_pictures_stay_small(store):
    run = make_many_classes_run(store)
    page = make_report(store, [run.run_id], num_pictures=100)
    assert len(page.encode()) < 20_000_000
    found = Page(page)
    assert "the 100 of 1,000 classes with the most mistakes" in found.text
    assert "By class: all 1,000 classes" in found.text


def test_a_run_in_the_middle_and_one_without_evaluation(store):
    live = make_running_run(store)
    assert "On eval" in Page(make_report(store, [live.run_id])).text
    with pytest.raises(DataNotFoundError, match="has not been evaluated"):
        make_report(store, [make_queued_run(store).run_id])
    with pytest.raises(RunNotFoundError):
        make_report(store, ["20260101-0000-aaaa"])


@pytest.mark.parametrize("predictions", ["right", "wrong", "nan"])
def test_odd_evaluations_are_reported(store, predictions):
    run = make_completed_run(store)
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    labels = read_numbers(path)["label"].to_numpy()
    shift = 0 if predictions == "right" else 1
    logits = 5.0 * np.eye(10)[(labels + shift) % 10]
    if predictions == "nan":
        logits[:] = np.nan
    write_predictions(
        path, example_ids=[f"{one:016x}" for one in range(len(labels))], images=["x"] * len(labels),
        labels=labels, logits=logits, is_full=True, class_names=[str(one) for one in range(10)],
    )  # fmt: skip
    text = Page(make_report(store, [run.run_id])).text
    expected = {"right": "no class was taken", "wrong": "0.0 % on eval", "nan": "No confidence is a number"}
    assert expected[predictions] in text


def test_too_many_runs_and_the_same_twice_are_refused(store):
    run = make_completed_run(store)
    with pytest.raises(StateError, match="named twice"):
        make_report(store, [run.run_id, run.run_id])
    with pytest.raises(StateError, match="9 runs"):
        make_report(store, [run.run_id] * 9)


def test_the_matrix_of_many_classes_shows_those_with_most_mistakes():
    matrix = np.diag(np.full(150, 5))
    matrix[140, 3] = 4
    spec, shown = matrix_figure(matrix, [f"class {one}" for one in range(150)])
    names = [row[0][0] for row in spec["data"][1]["customdata"]]
    assert shown == 100 and "class 140" in names and "class 3" in names


def test_tables_are_exact(store, tmp_path):
    run = make_completed_run(store)
    found = tables(collect(store, run.run_id))
    assert set(found) == {"eval-figures", "eval-classes", "eval-confusions", "curves", "settings"}
    figures = found["eval-figures"].set_index("metric")["value"]
    assert figures["accuracy"] == run.evaluation["eval"]["accuracy"]
    assert figures["f1_macro"] == pytest.approx(run.evaluation["eval"]["f1_macro"])
    vault.open_test(store, run, by="report")
    written = write_tables(store, [run.run_id], tmp_path / "out")
    assert {path.name for path in written} == {
        f"{run.run_id}-{name}.csv"
        for name in (
            "eval-figures", "eval-classes", "eval-confusions", "test-figures", "test-classes",
            "test-confusions", "curves", "settings",
        )
    }  # fmt: skip
    assert not any("test_" in path.read_text() for path in written if "curves" in path.name)


def test_a_place_that_cannot_be_written_is_told(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", "page")
    write_report(tmp_path / "deep" / "er" / "report.html", "page")
    assert (tmp_path / "deep" / "er" / "report.html").read_text() == "page"
    assert report_name(["a", "b", "c"]) == "report-a-and-b-and-more.html"


def test_figures_of_the_report_are_those_of_the_metrics(store):
    """The report reckons from the prediction file; the run reported from its logits."""
    run = make_completed_run(store)
    report = collect(store, run.run_id)
    rows = read_numbers(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    expected = classification_metrics(np.eye(10)[rows["prediction"]], rows["label"].to_numpy())
    for key in ("accuracy", "f1_weighted", "precision_macro"):
        assert report.splits[0].headline.figures[key].value == pytest.approx(expected[key])
    assert int(report.splits[0].matrix.sum()) == 270
