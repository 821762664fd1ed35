"""The card: its figures are those of `superft show`, and nothing of this machine leaks."""

import json
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from superft_hf import cli, decisions
from superft_hf.cli_words import figure
from superft_hf.config_file import dump_config
from superft_hf.errors import DecisionError
from superft_hf.evaluation.calibration import ece, measure
from superft_hf.evaluation.decision import Decision, decide
from superft_hf.evaluation.operating_points import outcome
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.publish.bundle import make_bundle
from superft_hf.publish.card_results import metric_value
from superft_hf.publish.evidence import collect
from superft_hf.publish.licences import Licences, find_licences
from superft_hf.publish.markdown import listed, plain
from superft_hf.publish.options import PublishOptions
from superft_hf.recipe.rules import with_values
from tests.factories import make_completed_run, make_image_folder, make_many_classes_run
from tests.publish.conftest import give_model

USE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def make_text(store):
    """`make_text(record, intended_use="…")`: README.md as it would be published."""

    def make(record, *, has_test=True, licences=None, **options):
        evidence = collect(store, record.run_id)
        found = licences or find_licences(evidence)
        bundle = make_bundle(
            evidence, PublishOptions(**options), found, repo_id="acme/digits", has_test=has_test, drawn={}
        )
        return bundle.card.text

    return make


def shown(capsys, store, record) -> dict:
    """`superft show RUN --json`."""
    assert cli.main(["--home", str(store.home), "show", record.run_id, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def table_after(text: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading, by their first cell."""
    part = text.split(f"## {heading}\n", 1)[1]
    rows = part[part.index("|") :].split("\n\n", 1)[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: row[1:] for row in cells}


def test_the_figures_of_card_and_metadata_are_those_of_show(capsys, store, run, make_text):
    text, told = make_text(run), shown(capsys, store, run)
    rows = table_after(text, "Results")
    for key, title in (("accuracy", "Accuracy"), ("f1_macro", "F1, macro"), ("loss", "Loss"),
                       ("recall_macro", "Recall, macro"), ("top5_accuracy", "Top-5 accuracy")):  # fmt: skip
        for column, split in enumerate(("eval", "test")):
            assert rows[title][column].split(" (")[0] == figure(key, told["evaluation"][split][key])
    found = {(one.metric_name, one.metric_value) for one in ModelCard(text).data.eval_results}
    for split in ("eval", "test"):
        assert (f"Accuracy on {split}", told["evaluation"][split]["accuracy"]) in found
        assert (f"Loss on {split}", told["evaluation"][split]["loss"]) in found  # to the last digit


@pytest.mark.parametrize("key", ["accuracy", "loss", "f1_macro", "top5_accuracy"])
@pytest.mark.parametrize("value", [0.0, 0.12345, 0.99949, 1.0, float("nan"), None])
def test_figures_are_rounded_as_the_command_line_rounds_them(key, value):
    assert metric_value(key, value) == figure(key, value)


def test_the_evaluation_file_holds_the_same_to_the_last_digit(capsys, store, run):
    evidence = collect(store, run.run_id)
    bundle = make_bundle(evidence, PublishOptions(), Licences(), repo_id="acme/digits", drawn={})
    kept = json.loads(bundle.files["superft/evaluation.json"])
    told = shown(capsys, store, run)
    assert kept["evaluation"] == told["evaluation"] and kept["best"] == told["best"]
    assert sum(cell[2] for cell in kept["confusion"]["test"]) == told["facts"]["counts"]["test"]
    right = sum(cell[2] for cell in kept["confusion"]["test"] if cell[0] == cell[1])
    assert right / 270 == told["evaluation"]["test"]["accuracy"]


def test_the_metadata_says_what_the_hub_filters_by(make_text, run):
    text = make_text(run)
    head = YAML(typ="safe", pure=True).load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0" and head["pipeline_tag"] == "image-classification"
    assert head["library_name"] == "transformers" and "accuracy" in head["metrics"]
    assert "base_model" not in head and "datasets" not in head  # samples are not on the Hub
    first = head["model-index"][0]["results"][0]
    assert first["task"]["type"] == "image-classification" and first["dataset"]["type"] == "imagefolder"
    assert first["dataset"]["split"] == "test, cut from train"


def test_a_run_from_the_hub_links_base_model_and_images_by_commit(store, complete, make_text):
    record = complete("hub run")
    path = store.run_paths(record.run_id).resolved
    commit, other = "ab" * 20, "cd" * 20
    path.write_text(
        f"model: {{name_or_path: acme/vit, revision: {commit}}}\n"
        f"data: {{name_or_path: acme/pets, revision: {other}, test_split: test}}\n"
    )
    text = make_text(record, licences=Licences("apache-2.0", "cc-by-nc-4.0"))
    head = YAML(typ="safe", pure=True).load(text.split("---\n")[1])
    assert head["base_model"] == "acme/vit" and head["base_model_relation"] == "finetune"
    assert head["datasets"] == ["acme/pets"]
    assert head["license"] == "cc-by-nc-4.0"  # the images bind what is made of them
    assert head["model-index"][0]["results"][0]["dataset"]["revision"] == other
    assert f"https://huggingface.co/acme/vit/tree/{commit}" in text
    assert f"https://huggingface.co/datasets/acme/pets/tree/{other}" in text


@pytest.mark.parametrize("strategy", ["full", "head", "head-then-full", "gradual"])
def test_each_strategy_is_told_in_words(strategy, complete, make_text):
    text = make_text(complete(strategy=strategy))
    (row,) = [line for line in text.splitlines() if line.startswith("| Strategy")]
    assert "was trained" in row and len(row) > 40


def test_a_run_from_random_weights_says_so_and_is_nobodys_fine_tuned_model(store, complete, make_text):
    record = complete("scratch")
    model = f"{{name_or_path: acme/vit, revision: {'ab' * 20}, pretrained: false}}"
    store.run_paths(record.run_id).resolved.write_text(f"model: {model}\ndata: {{name_or_path: acme/pets}}\n")
    text = make_text(record)
    assert "| Its weights | not used: training began with random ones |" in text
    assert "acme/vit" in text and "base_model" not in text.split("---\n")[1]


def test_every_figure_has_its_interval(store, run, make_text):
    rows = table_after(make_text(run), "Results")
    rows = {title: cells for title, cells in rows.items() if title not in ("", ":---")}
    assert len(rows) == 8 and all("(" in cell for cells in rows.values() for cell in cells)
    for title, cells in rows.items():
        for cell in cells:
            value, between = cell.removesuffix(")").replace(" %", "").split(" (")
            low, high = between.split(" – ")
            assert float(low) <= float(value) <= float(high), title
    for path in store.run_paths(run.run_id).predictions.iterdir():
        path.unlink()
    rows = table_after(make_text(run), "Results")  # the record knows the figures, but not their spread
    assert "(" in rows["Accuracy"][0] and "(" not in rows["F1, macro"][0]


def test_looks_at_test_are_counted_and_a_sealed_card_has_no_test_figure(store, run, make_text):
    assert "No other run had been opened on this same test set before" in make_text(run)
    others = [make_completed_run(store, f"other {number}") for number in range(3)]
    for other in others[:2]:
        for _ in range(2):  # reading them again is no further look
            store.look_at_test(other.run_id, by="test")
    assert "2 other runs had been opened on this same test set before" in make_text(run)
    store.look_at_test(run.run_id, by="test")
    store.look_at_test(others[2].run_id, by="test")  # after this run: it wears the test set no more
    assert "2 other runs had been opened on this same test set before" in make_text(run)
    sealed = make_text(run, has_test=False)
    assert "on test" not in sealed and "% of 270 test images" not in sealed
    assert "confusion_matrix_test" not in sealed and "Test is sealed in this preview" in sealed


def test_the_texts_of_the_author_stand_in_the_card_and_their_absence_is_said(run, make_text):
    empty = make_text(run)
    assert "has not written down what this model is meant for" in empty
    text = make_text(run, intended_use="Sorting *post*.", limits="Not for cheques.", licence="mit")
    assert "## Intended use\n\nSorting *post*." in text and "## Limits\n\nNot for cheques." in text
    assert "\nlicense: mit\n" in text and "has not written down" not in text


def test_every_class_has_its_interval(run, make_text):
    rows = table_after(make_text(run), "By class, on test")
    assert rows["0"] == ["27", "96.3 %", "81.7 – 99.3 %", "100.0 %", "98.1 %"]  # 26 of 27
    assert len([name for name in rows if name.isdigit()]) == 10


def test_of_many_classes_the_worst_are_shown(store, make_text):
    record = make_many_classes_run(store, "many", num_classes=200)
    give_model(store.run_paths(record.run_id).model, list(record.facts["class_names"]))
    text = make_text(record)
    assert text.count("| class number 0") == 30 + 2 * 10 and "all 200 are in" in text  # and confused pairs
    assert len(text) < 20_000 and "There are no test figures." in text


def test_what_a_person_typed_formats_nothing_and_leaks_nothing(tmp_path, store, complete, make_text):
    secret = tmp_path / "home-of-somebody" / "private project"
    folder = make_image_folder(secret, ("a|b", "<i>c</i>", "_d_"))
    record = complete("*bold* | run", data=str(folder))
    text = make_text(record)
    assert "# \\*bold\\* \\| run" in text and "| a\\|b |" in text and "\\<i\\>c" in text
    assert "a local folder called private project" in text
    bundle = make_bundle(
        collect(store, record.run_id), PublishOptions(num_misclassified=5), Licences(), repo_id="acme/x"
    )
    for path, content in bundle.files.items():
        encoded = content if isinstance(content, bytes) else content.read_bytes()
        for place in (tmp_path, store.home):
            assert str(place).encode() not in encoded, path
        assert b"home-of-somebody" not in encoded and b"secret-host" not in encoded, path


def test_a_local_folder_that_looks_like_a_hub_id_is_not_linked(store, complete, make_text):
    record = complete("local")
    store.run_paths(record.run_id).resolved.write_text(
        "model: {name_or_path: models/vit}\ndata: {name_or_path: data/pets}\n"
    )
    text = make_text(record)
    assert "huggingface.co" not in text and "a local folder called pets" in text


def test_how_to_use_it_is_five_lines_of_code_that_compile(run, make_text):
    (code,) = USE.findall(make_text(run))
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    compile(code, "card", "exec")
    assert 'model="acme/digits"' in code


def test_figures_with_test_time_augmentation_are_told_where_they_stand(store, complete, make_text):
    record = complete("views")
    plain = make_text(record)
    assert "test-time augmentation" not in plain and "looks at each image once" not in plain
    resolved = store.run_paths(record.run_id).resolved
    resolved.write_text(
        dump_config(with_values(store.read_config(record.run_id), {"augmentation.test_time": "mirror"}))
    )
    save_decision(store, record, temperature=1.5)
    text = make_text(record)
    results = text.split("## Results", 1)[1].split("\n## ", 1)[0]
    assert (
        "All figures are with test-time augmentation: logits averaged over each image and its mirror"
        in results
    )
    use = text.split("## How to use it", 1)[1].split("\n## ", 1)[0]
    assert "This looks at each image once." in use
    assert "chosen for logits averaged over each image and its mirror image; this code looks once" in text
    figures = ModelCard(text).data.eval_results
    assert figures and all(one.metric_args == {"test_time_augmentation": "mirror"} for one in figures)
    assert all(one.metric_args is None for one in ModelCard(plain).data.eval_results)


# Operating point and calibration


def save_decision(store, run, *, is_test_open=False, **values):
    """An operating point as the page saves it."""
    paths = store.run_paths(run.run_id)
    by_split = {
        split: decisions.read_measured(run, paths, split)
        for split in ("eval", "test")
        if split == "eval" or is_test_open
    }
    made = Decision(by_split["eval"].class_names, by_split["eval"].chosen_on, **values)
    return decisions.save(store, run, made, by_split, by="test")


def test_the_card_measures_how_far_confidence_is_off(store, run, make_text):
    rows = read_predictions(store.run_paths(run.run_id).prediction_file("test", run.best_step))
    expected = ece(rows["confidence"].to_numpy(), (rows["label"] == rows["prediction"]).to_numpy())
    text = make_text(run)
    assert f"Its confidence is off by {100 * expected:.1f} points on average" in text
    assert "270 test images in 15 bins" in text and "not a calibrated probability" not in text
    assert "270 eval images in 15 bins" in make_text(run, has_test=False)


def test_a_run_without_an_operating_point_has_no_such_section(run, make_text, store):
    assert "Operating point" not in make_text(run)
    save_decision(store, run)  # which changes nothing
    assert "Operating point" not in make_text(run)


def test_the_operating_point_stands_in_the_card_with_figures_of_both_splits(store, run, make_text):
    limits = tuple([0.1] * 9 + [0.6])
    kept = save_decision(store, run, thresholds=limits, temperature=1.5, costs_fn=tuple([1.0] * 9 + [7.5]))
    assert set(kept.figures) == {"eval"}  # test was sealed then
    text = make_text(run)
    rows = table_after(text, "Operating point and calibration")
    measured = decisions.read_measured(run, store.run_paths(run.run_id), "test")
    found = outcome(measured.logits, measured.labels, kept)
    assert rows["Answered"][3] == f"{100 * found.coverage:.1f} %" and rows["Answered"][2] == "100.0 %"
    assert rows["Cost of the mistakes"][3] == f"{found.cost:,.6g}"
    assert rows["Cost of the mistakes"][1] == f"{kept.figures['eval']['cost']:,.6g}"
    assert "| 9 | 0.6 | 1 | 7.5 |" in text and "softmax(logits / 1.500)" in text
    assert "chosen on 270 eval images" in text
    assert f"Divided by the temperature 1.50, {100 * calibrated(measured, 1.5):.1f} points." in text
    sealed = make_text(run, has_test=False)
    assert "test, with it" not in sealed and "eval, with it" in sealed


def calibrated(measured, temperature):
    return measure(measured.logits, measured.labels, temperature).ece


def test_the_code_in_the_card_obeys_the_operating_point(store, run, make_text):
    kept = save_decision(
        store, run, thresholds=tuple(np.linspace(0.05, 0.5, 10)), temperature=1.7, abstain_band=0.1
    )
    code = USE.findall(make_text(run))[1]
    compile(code, "card", "exec")
    inside = code[code.index("def decide") : code.index("model = ")]
    names: dict = {"np": np}
    exec(inside, names)
    measured = decisions.read_measured(run, store.run_paths(run.run_id), "eval")
    rule = json.loads(store.run_paths(run.run_id).decision.read_text())
    answers = decide(measured.logits, kept)
    assert -1 in answers and len(set(answers.tolist())) > 8
    for row, answer in zip(measured.logits, answers, strict=True):
        name, shares = names["decide"](row, rule)
        assert name == (None if answer < 0 else kept.class_names[answer])
        assert shares.sum() == pytest.approx(1)


def test_of_many_classes_the_thresholds_that_differ_most_are_shown(store, make_text):
    record = make_many_classes_run(store, "many", num_classes=100)
    give_model(store.run_paths(record.run_id).model, list(record.facts["class_names"]))
    limits = np.full(100, 0.01)
    limits[77] = 0.5
    save_decision(store, record, thresholds=tuple(limits))
    text = make_text(record)
    part = text.split("## Operating point and calibration")[1].split("\n## ")[0]
    assert "| class number 0077 | 0.5 |" in part and "all are in `decision.json`" in part
    assert part.count("| class number") == 30


def test_a_damaged_operating_point_is_not_published(store, run, make_text):
    store.run_paths(run.run_id).decision.write_text("{}")
    with pytest.raises(DecisionError):
        make_text(run)


def test_long_lists_of_names_are_cut():
    assert listed([str(one) for one in range(20)], 3) == "0, 1, 2 and 17 more"
    assert plain("a\nb $x$") == "a b \\$x\\$"
