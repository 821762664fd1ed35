"""The Run page: each state of a run has a sentence, the verbs that fit it, and no others."""

import time

import pytest

from dashboard import headlines
from superft_hf.records import LOOKED_AT_TEST, Failure, RunState
from tests.factories import (
    continue_run,
    fill_with_runs,
    make_completed_run,
    make_failed_run,
    make_image_folder,
    make_queued_run,
    make_running_run,
)


def labels(app):
    return [button.label for button in app.main.button]


def texts(app):
    return " ".join(element.value for element in (*app.main.markdown, *app.main.caption))


def test_run_page__no_run_yet(open_page):
    app = open_page("run")
    assert app.title[0].value.startswith("No run yet") and labels(app) == ["Start a run"]


def test_run_page__unknown_id_is_a_sentence(open_page, store):
    make_queued_run(store)
    app = open_page("run", run="20260101-0000-none")
    assert app.title[0].value == r"There is no run 20260101\-0000\-none."
    assert not app.exception


def test_run_page__an_id_that_is_no_id_of_ours(open_page, store):
    make_queued_run(store)
    app = open_page("run", run="../../etc")
    assert "There is no run" in app.title[0].value and not app.exception


def test_run_page__the_link_wins_over_the_newest(open_page, store):
    older = make_completed_run(store, "older")
    make_queued_run(store, "newer")
    assert open_page("run", run=older.run_id).title[0].value.startswith("older is finished")
    assert open_page("run").title[0].value.startswith("newer waits")


def test_run_page__completed(open_page, store):
    run = make_completed_run(store)
    app = open_page("run", run=run.run_id)
    sentence = app.title[0].value
    assert f"{100 * run.accuracy:.1f} %" in sentence and "of 270 wrong; test sealed" in sentence
    assert [metric.label for metric in app.metric][:2] == ["Best eval accuracy", "Best eval loss"]
    assert app.metric[0].value == f"{100 * run.accuracy:.1f} %"
    assert labels(app) == ["Open errors", "Try it", "Compare", "Repeat with changes", "Delete this run"]
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} %" not in texts(app).split("Figures of")[-1]
    assert not app.exception


def test_run_page__shows_test_once_it_was_looked_at(open_page, store):
    run = make_completed_run(store)
    store.add_event(run.run_id, by="page", what=LOOKED_AT_TEST)
    app = open_page("run", run=run.run_id)
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} % on test" in app.title[0].value


def test_run_page__running(open_page, store):
    run = make_running_run(store, epochs_done=3)
    app = open_page("run", run=run.run_id)
    assert "is training" in app.title[0].value and "on eval so far" in app.title[0].value
    assert "step 120 of 320" in app.get("progress")[0].proto.text
    assert labels(app) == ["Errors so far", "Repeat with changes", "Discard this run"]
    assert not app.button(key="run_errors").disabled


def test_run_page__running_before_its_first_evaluation(open_page, store):
    run = make_running_run(store, epochs_done=0)
    app = open_page("run", run=run.run_id)
    assert "the first evaluation comes" in app.title[0].value
    assert app.button(key="run_errors").disabled and not app.exception


def test_run_page__settles_when_the_run_ends(open_page, store):
    run = make_running_run(store, epochs_done=7)
    app = open_page("run", run=run.run_id)
    list(continue_run(store, run.run_id))
    app.run()
    assert "is finished" in app.title[0].value and "Open errors" in labels(app)


def test_run_page__queued_says_what_it_waits_for(open_page, store):
    run = make_queued_run(store)
    store.update_run(run.run_id, waiting_for="1 run before it on the CPU")
    app = open_page("run", run=run.run_id)
    assert "waits: 1 run before it on the CPU" in app.title[0].value
    assert labels(app) == ["Repeat with changes", "Discard this run"]


def test_run_page__discard_is_asked_once_and_obeyed_later(open_page, store):
    run = make_queued_run(store)
    app = open_page("run", run=run.run_id)
    app.button(key="run_discard_now").click().run()
    assert store.get_run(run.run_id).request == "discard"
    assert "is being discarded" in app.title[0].value
    assert "Discard this run" not in labels(app)


def test_run_page__delete_removes_the_run(open_page, store):
    run = make_completed_run(store)
    app = open_page("run", run=run.run_id)
    app.button(key="run_delete_now").click().run()
    assert not store.has_run(run.run_id) and not app.exception


def test_run_page__failed_says_why_and_offers_the_remedy(open_page, store):
    run = make_failed_run(store, learning_rate=0.5)
    app = open_page("run", run=run.run_id)
    assert "failed before its first epoch ended: the loss is no longer a number" in app.title[0].value
    assert labels(app)[0] == "Repeat with 0.05"
    assert "DivergedError" in app.code[0].value


def test_run_page__failed_later_keeps_its_curves_and_errors(open_page, store):
    run = make_failed_run(
        store, failure=Failure("WorkerDiedError", "The worker is gone.", "Look at the log."), epochs_done=2
    )
    app = open_page("run", run=run.run_id)
    assert "failed in epoch 3" in app.title[0].value
    assert labels(app) == ["Repeat with changes", "Errors so far", "Delete this run"]
    assert len(app.metric) == 4


def test_run_page__discarded(open_page, store):
    run = make_running_run(store)
    store.change_state(run.run_id, [RunState.RUNNING], RunState.DISCARDED, by="supervisor")
    app = open_page("run", run=run.run_id)
    assert "was discarded" in app.title[0].value
    assert labels(app) == ["Repeat with changes", "Delete this run"]


def test_run_page__a_name_with_markdown_in_it(open_page, store):
    run = make_queued_run(store, "*bold* :red[x] `code`")
    title = open_page("run", run=run.run_id).title[0].value
    assert r"\*bold\*" in title and r"\:red\[x\]" in title


def test_run_page__two_classes_of_a_few_images(open_page, store, tmp_path):
    run = make_completed_run(store, "tiny", data=str(make_image_folder(tmp_path / "images")), epochs=1)
    app = open_page("run", run=run.run_id)
    assert not app.exception and "Eval has only" in texts(app)


def test_run_page__log_is_read_from_its_end(open_page, store):
    run = make_running_run(store, epochs_done=1)
    with store.run_paths(run.run_id).log.open("a") as log:
        log.writelines(f"line {number}\n" for number in range(200_000))
        log.write("0 %\r50 %\r\x1b[32m100 %\x1b[0m\n")
    shown = open_page("run", run=run.run_id).code[0].value.split("\n")
    assert len(shown) == 200 and shown[-2:] == ["line 199999", "100 %"]


def test_run_page__log_keeps_test_sealed_until_it_is_opened(open_page, store):
    run = make_completed_run(store)
    with store.run_paths(run.run_id).log.open("a") as log:
        log.write("completed: test_accuracy 0.9312\n")
    assert open_page("run", run=run.run_id).code[0].value.endswith("completed: test_accuracy sealed")
    store.add_event(run.run_id, by="page", what=LOOKED_AT_TEST)
    assert open_page("run", run=run.run_id).code[0].value.endswith("test_accuracy 0.9312")


def test_run_page__settings_that_differ_come_first(open_page, store):
    run = make_completed_run(store, learning_rate=0.004)
    table = open_page("run", run=run.run_id).dataframe[0].value
    marked = table[table[""] == "●"]["Setting"].tolist()
    assert "Learning rate" in marked and "Weight decay" not in marked
    assert table[""].tolist() == sorted(table[""], reverse=True)


def test_run_page__a_home_of_a_thousand_long_runs_is_quick(open_page, store):
    fill_with_runs(store, 1000, steps=200)
    run = make_completed_run(store)
    app = open_page("run", run=run.run_id)
    begin = time.perf_counter()
    app.run()
    assert time.perf_counter() - begin < 5 and not app.exception


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("The loss is no longer a number.", "the loss is no longer a number."),
        ("CUDA is gone.", "CUDA is gone."),
        ("A file is missing.", "a file is missing."),
        ("x", "x"),
    ],
)
def test_headline__joins_a_failure_to_the_sentence(message, expected, store):
    run = make_failed_run(store, "r", failure=Failure("E", message, ""))
    assert headlines.of_run(run).replace("\\", "").endswith(expected)
