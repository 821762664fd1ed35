"""The Run page: each state of a run has a sentence, the verbs that fit it, and no others."""

import io
import time
import zipfile
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from dashboard import headlines, reporting, state
from superft_hf import checkpoints, schema, vault, verbs
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.records import LOOKED_AT_TEST, Failure, PauseReason, Request, RunState
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


def set_event_time(store, run_id, what, *, seconds_ago):
    """Makes an event older than it is."""
    moment = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="milliseconds")
    table = schema.events
    engine = schema.open_database(store.paths.database)
    with engine.connect() as connection:
        connection.execute(
            sa.update(table).where(table.c.run_id == run_id, table.c.what == what).values(time=moment)
        )
        connection.commit()
    engine.dispose()


def make_paused_run(store, reason, checkpoint_step):
    """A run paused after three epochs, which are 120 steps, with a checkpoint at a step or without one."""
    run = make_running_run(store, "digits-paused", epochs_done=3)
    store.change_state(run.run_id, [RunState.RUNNING], RunState.PAUSED, by="worker", pause_reason=str(reason))
    if checkpoint_step is not None:
        root = store.run_paths(run.run_id).checkpoints
        aside = checkpoints.aside_folder(root, checkpoint_step)
        aside.mkdir(parents=True)
        (aside / checkpoints.TRAINER_STATE).write_text("{}")
        checkpoints.seal(aside, checkpoints.checkpoint_folder(root, checkpoint_step))
    return store.get_run(run.run_id)


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
    first = [
        "Open errors", "Try it", "Compare", "Compare with head only and from scratch", "Repeat with changes",
        "Delete this run",
    ]  # fmt: skip
    assert labels(app)[: len(first)] == first  # what follows is advice
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} %" not in texts(app).split("Figures of")[-1]
    assert not app.exception


def test_run_page__shows_test_once_it_was_looked_at(open_page, store):
    run = make_completed_run(store)
    store.add_event(run.run_id, by="page", what=LOOKED_AT_TEST)
    app = open_page("run", run=run.run_id)
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} % on test" in app.title[0].value


def test_run_page__the_account_of_looks_stands_beside_test_and_intervals_beside_all(open_page, store):
    run, other = make_completed_run(store), make_completed_run(store, "other", hidden=8)
    vault.open_test(store, other, by="page")
    app = open_page("run", run=run.run_id)
    assert "test sealed; 1 run has been opened on this same test set so far; Errors opens it" in texts(app)
    assert f"{100 * run.evaluation['test']['accuracy']:.1f} %" not in texts(app)
    low, high = wilson_interval(round(270 * run.accuracy), 270)
    assert f"{100 * low:.1f} – {100 * high:.1f} %" in texts(app).split("Figures of the best")[-1]
    vault.open_test(store, run, by="page")
    app = open_page("run", run=run.run_id)
    assert "1 run had been opened on this same test set before" in app.caption[0].value
    low, high = wilson_interval(round(270 * run.evaluation["test"]["accuracy"]), 270)
    assert f"{100 * low:.1f} – {100 * high:.1f} %" in texts(app) and not app.exception


def test_run_page__a_report_is_offered_once_there_is_an_evaluation(open_page, store):
    run = make_completed_run(store)
    app = open_page("run", run=run.run_id)
    assert [one.key for one in app.get("download_button")] == ["run_report_html", "run_report_csv"]
    assert "Test is sealed, and stays out. Errors opens it." in texts(app)
    page = reporting.make(store, [run.run_id])
    assert page.startswith("<!DOCTYPE html>") and f"{100 * run.accuracy:.1f} % on eval" in page
    with zipfile.ZipFile(io.BytesIO(reporting.make_tables(store, [run.run_id]))) as packed:
        assert f"{run.run_id}-eval-figures.csv" in packed.namelist()
    live = make_running_run(store, epochs_done=0)
    assert not open_page("run", run=live.run_id).get("download_button")


def test_run_page__running(open_page, store):
    run = make_running_run(store, epochs_done=3)
    app = open_page("run", run=run.run_id)
    assert "is training" in app.title[0].value and "on eval so far" in app.title[0].value
    assert "step 120 of 320" in app.get("progress")[0].proto.text
    assert labels(app) == [
        "Errors so far", "Finish this run", "Pause this run", "Repeat with changes", "Discard this run"
    ]  # fmt: skip
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
    assert labels(app) == ["Hold", "Repeat with changes", "Discard this run"]


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


def test_run_page__failed_says_why_and_can_be_resumed(open_page, store):
    run = make_failed_run(store, learning_rate=0.5)
    app = open_page("run", run=run.run_id)
    assert "failed before its first epoch ended: the loss is no longer a number" in app.title[0].value
    assert "The loss is no longer a number" in texts(app)
    assert {"Resume", "Repeat with changes", "Discard this run", "Delete this run"} <= set(labels(app))
    app.button(key="run_resume").click().run()
    assert store.get_run(run.run_id).state is RunState.QUEUED and not app.exception


def test_run_page__failed_later_keeps_its_curves_and_errors(open_page, store):
    run = make_failed_run(
        store, failure=Failure("WorkerDiedError", "The worker is gone.", "Look at the log."), epochs_done=2
    )
    app = open_page("run", run=run.run_id)
    assert "failed in epoch 3" in app.title[0].value
    assert "Errors so far" in labels(app) and len(app.metric) == 4


@pytest.mark.parametrize(
    ("verb", "request_", "sentence"),
    [
        ("finish", "finish", "is asked to finish"),
        ("pause", "pause", "is asked to pause: it saves everything at the next step"),
        ("discard", "discard", "is being discarded"),
    ],
)
def test_run_page__a_stop_verb_says_what_it_does_and_asks(open_page, store, verb, request_, sentence):
    run = make_running_run(store, epochs_done=1)
    app = open_page("run", run=run.run_id)
    words = {"finish": verbs.FINISH, "pause": verbs.PAUSE, "discard": verbs.DISCARD}[verb].consequence
    assert words in texts(app)
    app.button(key=f"run_{verb}_now").click().run()
    assert store.get_run(run.run_id).request == request_ and not app.exception
    assert sentence in app.title[0].value
    assert f"run_{verb}_now" not in [button.key for button in app.main.button]


def test_run_page__only_what_cannot_be_undone_is_marked(open_page, store):
    run = make_running_run(store, epochs_done=1)
    shown = [one.value for one in open_page("run", run=run.run_id).main.markdown]
    assert [verbs.DISCARD.consequence in one for one in shown if "cannot be undone" in one] == [True]


def test_run_page__pausing_offers_the_hard_stop_and_soon_loudly(open_page, store):
    run = make_running_run(store, epochs_done=1)
    store.set_request(run.run_id, Request.PAUSE, by="page")
    app = open_page("run", run=run.run_id)
    assert "Pausing at the next step" in texts(app) and "and has not done so" not in texts(app)
    assert "run_stop_hard_now" in [button.key for button in app.main.button]
    assert "run_slow_stop_hard_now" not in [button.key for button in app.main.button]

    set_event_time(store, run.run_id, "asked to pause", seconds_ago=45)
    app.run()
    assert "It was asked to pause 45 s ago, and has not done so" in texts(app)
    assert "run_stop_hard_now" not in [button.key for button in app.main.button]
    app.button(key="run_slow_stop_hard_now").click().run()
    assert store.get_run(run.run_id).request == "stop hard"
    assert "is being stopped hard" in app.title[0].value and not app.exception


@pytest.mark.parametrize(
    ("reason", "step", "expected"),
    [
        (
            PauseReason.PERSON,
            120,
            "step 120 of 320, since a person paused it: it goes on from there when re",
        ),
        (PauseReason.DISK, 80, "since there was too little disk space: it goes on from step 80 when resumed"),
        (PauseReason.SHUTDOWN, 120, "since the machine was shut down: it goes on from there when the superv"),
        (PauseReason.STOPPED_HARD, None, "since a person stopped it hard: it begins anew when resumed"),
    ],
)
def test_run_page__paused_says_why_and_from_where_it_goes_on(open_page, store, reason, step, expected):
    run = make_paused_run(store, reason, step)
    app = open_page("run", run=run.run_id)
    assert expected in app.title[0].value
    assert labels(app)[:2] == ["Resume", "Errors so far"]
    assert app.button(key="run_resume").proto.type == "primary"
    app.button(key="run_resume").click().run()
    assert store.get_run(run.run_id).state is RunState.QUEUED
    assert "waits in the queue" in app.title[0].value and not app.exception


def test_run_page__completed_with_an_old_request_is_no_pending_run(open_page, store):
    run = make_running_run(store, epochs_done=7)
    store.set_request(run.run_id, Request.FINISH, by="page")
    list(continue_run(store, run.run_id))
    app = open_page("run", run=run.run_id)
    assert "is finished" in app.title[0].value and "Finishing" not in texts(app)


def test_run_page__continues_as_a_new_run_from_its_model(open_page, store):
    run = make_completed_run(store, "first", epochs=2)
    store.run_paths(run.run_id).model.mkdir()
    app = open_page("run", run=run.run_id)
    app.button(key="run_continue").click().run()
    draft = app.session_state[state.START_DRAFT]
    assert draft["model.name_or_path"] == str(store.run_paths(run.run_id).model.absolute())
    assert (draft["name"], draft["data.name_or_path"]) == (None, "sample:digits")
    assert draft["training.num_train_epochs"] == 2


def test_run_page__no_model_no_new_run_from_it(open_page, store):
    run = make_completed_run(store)
    assert "Continue as a new run" not in labels(open_page("run", run=run.run_id))


def test_run_page__timeline_has_every_action_in_words(open_page, store):
    run = make_paused_run(store, PauseReason.PERSON, 120)
    app = open_page("run", run=run.run_id)
    app.button(key="run_resume").click().run()
    timeline_ = next(one.value for one in app.main.markdown if "Created" in one.value)
    order = ["Created", "Started", "Training began", "Paused: a person paused it", "Put into the queue again"]
    places = [timeline_.index(one) for one in order]
    assert places == sorted(places) and "by a person, on the page" in timeline_


def test_run_page__discarded(open_page, store):
    run = make_running_run(store)
    store.change_state(run.run_id, [RunState.RUNNING], RunState.DISCARDED, by="supervisor")
    app = open_page("run", run=run.run_id)
    assert "was discarded" in app.title[0].value
    assert labels(app) == ["Repeat with changes", "Delete this run"]


def test_time_left__a_pause_is_no_part_of_the_pace(store):
    run = make_running_run(store, "digits-live", epochs_done=1)
    begin = datetime.fromisoformat(run.started_at)
    seconds = {10: -3600, 20: -3590, 30: 1, 40: 11, 50: 21}  # step: second; an hour between 20 and 30
    times = [(begin + timedelta(seconds=one)).isoformat(timespec="milliseconds") for one in seconds.values()]
    points = pd.DataFrame({"step": list(seconds), "time": times})
    # One second a step since it goes on, and 270 steps of 320 to go.
    assert headlines.seconds_left(run, points, now=begin + timedelta(seconds=21)) == pytest.approx(270)


def test_run_page__a_name_with_markdown_in_it(open_page, store):
    run = make_queued_run(store, "*bold* :red[x] `code`")
    title = open_page("run", run=run.run_id).title[0].value
    assert r"\*bold\*" in title and r"\:red\[x\]" in title


def test_run_page__two_classes_of_a_few_images(open_page, store, tmp_path):
    run = make_completed_run(store, "tiny", data=str(make_image_folder(tmp_path / "images")), epochs=1)
    app = open_page("run", run=run.run_id)
    assert not app.exception and "is finished" in app.title[0].value


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
