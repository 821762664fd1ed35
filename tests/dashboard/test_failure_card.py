"""The card of a failed run: words, buttons that open Start with the change made, and the log."""

import doctest
from functools import partial

import pytest

from dashboard import failure_card, state
from superft_hf.doctor import diagnose
from superft_hf.errors import DivergedError, GatedError, OutOfMemoryError
from tests import factories


@pytest.fixture
def draw(draw_card):
    """`draw(run)`: the card alone, and what a pressed button asked for."""
    return partial(draw_card, "failure_card")


def failed(store, error, **changes):
    config = factories.make_config(factories.make_config_values(**changes))
    return factories.make_failed_run(store, failure=diagnose(error, config), **changes)


def test_failure_card__examples():
    assert doctest.testmod(failure_card).failed == 0


def test_failure_card__what_happened_what_to_do_and_a_button_for_each_remedy(store, draw):
    run = failed(store, OutOfMemoryError(32, "cuda:0"))
    page, asked = draw(run)

    assert not page.exception
    assert "Out of memory on cuda:0 with 32 images a step" in page.markdown[0].value.replace("\\", "")
    assert page.markdown[0].value.startswith(":red[:material/error: **")
    assert page.markdown[1].value.replace("\\", "").startswith("Repeat with training.per_device_train_batch")
    assert [one.label for one in page.button] == [
        "Repeat with batch 16 × 2",
        "Repeat and find the batch by itself",
    ]
    assert page.button[0].help.replace("\\", "") == (
        "Opens Start with this run's settings, changed: Images per step 16, Gradient accumulation 2."
    )

    page.button[0].click().run()
    assert asked == [
        (
            run.run_id,
            {"training.per_device_train_batch_size": 16, "training.gradient_accumulation_steps": 2},
        )
    ]


def test_failure_card__without_a_remedy_there_is_no_button(store, draw):
    page, _ = draw(failed(store, GatedError("The model wants its terms accepted.", hint="Accept them.")))
    assert not page.button and "Then resume the run" in page.markdown[1].value


def test_failure_card__the_log_is_shown_as_it_was_kept(store, draw):
    run = factories.make_running_run(store)
    log = store.run_paths(run.run_id).log
    log.write_text("epoch 1\n*** <b>no</b> ***\n", encoding="utf-8")
    failure = diagnose(KeyError("x"), None, log)
    store.change_state(run.run_id, [run.state], "failed", by="worker", failure=failure)
    page, _ = draw(store.get_run(run.run_id))
    assert page.expander[0].label == "The last 2 lines of its log · KeyError"
    assert page.code[0].value == "epoch 1\n*** <b>no</b> ***"


def test_failure_card__of_a_run_that_did_not_fail(store, draw):
    page, _ = draw(factories.make_queued_run(store))
    assert not page.markdown and not page.button


def test_failure_card__its_button_fills_the_form_of_the_start_page(store, open_page):
    run = failed(store, DivergedError(3, 0.003), learning_rate=0.003)
    page = open_page("run", run=run.run_id)
    page.button(key="failure_remedy_0").click().run()

    assert not page.exception
    assert page.get_by_key("start_training_learning_rate").value == 0.0003
    assert page.session_state[state.START_DRAFT]["data.name_or_path"] == "sample:digits"
