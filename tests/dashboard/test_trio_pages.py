"""Full, head only and from scratch by one click, and the line that says what full training bought."""

import pytest

from dashboard import state
from superft_hf import trio, vault
from superft_hf.engine import control
from superft_hf.records import RunState
from tests.factories import (
    make_completed_run,
    make_image_folder,
    make_queued_run,
    make_running_run,
)


@pytest.fixture
def queue(store, monkeypatch):
    """Submits without looking at model and images."""
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)
    return store


@pytest.fixture
def three(store):
    """Full is better than both others."""
    return [
        make_completed_run(store, "cells, full", epochs=6),
        make_completed_run(store, "cells, head only", epochs=6, hidden=4, strategy="head"),
        make_completed_run(store, "cells, from scratch", epochs=6, hidden=4, pretrained=False),
    ]


def link(*runs):
    return ",".join(run.run_id for run in runs)


def keys(app):
    return [button.key for button in app.button]


def label(app, key):
    return app.button(key=key).label


def test_run_page__what_is_missing_is_queued_and_all_are_compared(open_page, queue):
    full = make_completed_run(queue, "cells", epochs=1)
    head = make_queued_run(queue, "mine", epochs=1, strategy="head")
    app = open_page("run", run=full.run_id)
    assert label(app, "run_trio") == "Compare with head only and from scratch"
    app.button(key="run_trio").click().run()
    scratch = next(run for run in queue.list_runs() if run.name == "cells, from scratch")
    assert scratch.state is RunState.QUEUED and len(queue.list_runs()) == 3
    assert app.query_params["runs"] == link(head, full, scratch)
    assert app.title[0].value == (
        "What full training buys is not known yet: full is completed, head only is queued and from scratch "
        "is queued."
    )
    assert not app.exception


def test_run_page__a_refusal_is_shown_and_nothing_is_queued(open_page, store, monkeypatch):
    full = make_completed_run(store, "cells", epochs=1)
    monkeypatch.setattr(control, "prepare", _refuse)
    app = open_page("run", run=full.run_id)
    app.button(key="run_trio").click().run()
    assert any("The weights are gone" in one.value for one in app.main.markdown)
    assert len(store.list_runs()) == 1


def _refuse(config, home, progress=None, token=None):
    from superft_hf.errors import ModelNotFoundError

    raise ModelNotFoundError("The weights are gone.", hint="Fetch them.")


def test_run_page__the_head_alone_is_compared_with_the_others(open_page, three):
    app = open_page("run", run=three[1].run_id)
    assert label(app, "run_trio") == "Compare with full and from scratch"
    app.button(key="run_trio").click().run()
    assert app.title[0].value.startswith("Full training:")


def test_run_page__a_run_that_is_none_of_the_three_has_no_button(open_page, store):
    run = make_completed_run(store, "odd", epochs=1, strategy="head", pretrained=False)
    assert "run_trio" not in keys(open_page("run", run=run.run_id))


def test_compare_page__what_full_training_bought_in_any_order(open_page, store, three):
    accuracy, gains = trio.gains(store, trio.of_runs(store, three))
    for order in (three, three[::-1]):
        app = open_page("compare", runs=link(*order))
        assert app.title[0].value == trio.in_words(accuracy, gains, 125.7)
        assert "points above head only" in app.title[0].value
        assert "Holm" in app.caption[0].value and not app.exception


def test_compare_page__two_of_them_are_enough(open_page, three):
    app = open_page("compare", runs=link(three[1], three[0]))
    assert app.title[0].value.startswith("Full training:") and "from scratch" not in app.title[0].value
    assert label(app, "compare_trio") == "Add from scratch"
    app.button(key="compare_trio").click().run()
    assert "above from scratch" in app.title[0].value and "compare_trio" not in keys(app)


def test_compare_page__without_the_full_run_it_is_a_plain_comparison(open_page, three):
    app = open_page("compare", runs=link(three[1], three[2]))
    assert not app.title[0].value.startswith("Full training")
    assert label(app, "compare_trio") == "Add full"


def test_compare_page__one_run_alone_offers_the_group(open_page, three):
    app = open_page("compare", runs=three[0].run_id)
    assert label(app, "compare_trio") == "Add head only and from scratch"
    app.button(key="compare_trio").click().run()
    assert app.title[0].value.startswith("Full training:")


def test_compare_page__another_epoch_is_compared_as_it_is(open_page, three):
    steps = {f"compare_step_A_{three[0].run_id}": three[0].best_step // 6}
    app = open_page("compare", steps, runs=link(*three))
    assert not app.title[0].value.startswith("Full training")


def test_compare_page__a_sealed_test_stays_sealed_and_an_opened_one_is_worded(open_page, store, three):
    app = open_page("compare", {"compare_split": "test"}, runs=link(*three))
    assert "sealed" in app.title[0].value
    for run in three:
        vault.open_test(store, run, by="test")
    app = open_page("compare", {"compare_split": "test"}, runs=link(*three))
    test = three[0].evaluation["test"]["accuracy"]
    assert app.title[0].value.startswith(f"Full training: {100 * test:.1f} %")
    assert any("spoils the test set" in one.value for one in app.main.markdown)


def test_compare_page__what_is_still_to_come(open_page, store, three):
    running = make_running_run(store, "again", epochs=6, epochs_done=0, strategy="head")
    app = open_page("compare", runs=link(three[0], running, three[2]))
    assert "above from scratch" in app.title[0].value
    assert any("So far: head only is running" in one.value for one in app.main.markdown)


def open_start(open_page, data, **changes):
    names = {"model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": str(data)}
    return open_page("start", session={state.START_DRAFT: {**names, **changes}})


def test_start_page__three_runs_by_one_click_and_their_comparison(open_page, store, tmp_path):
    app = open_start(open_page, make_image_folder(tmp_path / "pets"), name="pets")
    app.button(key="start_trio").click().run()
    made = {run.name: run.run_id for run in store.list_runs()}
    assert set(made) == {"pets, full", "pets, head only", "pets, from scratch"}
    order = ("pets, head only", "pets, full", "pets, from scratch")
    assert app.query_params["runs"] == ",".join(made[name] for name in order)
    assert app.title[0].value.startswith("What full training buys is not known yet") and not app.exception


def test_start_page__what_blocks_a_start_blocks_all_three(open_page, store, tmp_path):
    folder = make_image_folder(tmp_path / "pets")
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    app = open_start(open_page, folder)
    assert app.button(key="start_trio").disabled and store.list_runs() == []
