"""The vault: what counts as a look, how many there were before, and that nothing takes one back."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from superft_hf import vault
from superft_hf.config import RunConfig
from superft_hf.records import LOOKED_AT_TEST, RunRecord, RunState
from superft_hf.store import RunStore

FIGURES = {"eval": {"accuracy": 0.9}, "test": {"accuracy": 0.8}}


@pytest.fixture
def make_run(store, config_of):
    """`make_run("a", test="0f", data="aa")`: a completed run with these fingerprints."""

    def make(name: str, test: str | None = "0f", data: str | None = "aa", figures=FIGURES) -> RunRecord:
        run = store.create_run(config_of("x", name=name), by="test", state=RunState.STARTING)
        facts = {"fingerprint": data} | ({"split_fingerprints": {"test": test}} if test else {})
        store.change_state(
            run.run_id, (RunState.STARTING,), RunState.COMPLETED, by="worker", evaluation=figures, facts=facts
        )
        return store.get_run(run.run_id)

    return make


def test_a_run_is_sealed_until_it_is_opened_and_then_stands_where_it_came(store, make_run):
    first, second, third = make_run("a"), make_run("b"), make_run("c")
    assert vault.words(vault.standing(store, first)) == (
        "test sealed; no run has been opened on this same test set yet"
    )
    opened = vault.open_test(store, first, by="page")
    assert opened.is_open and opened.num_earlier == 0 and opened.fingerprint == "0f"
    assert "no run had been opened on this same test set before" in vault.words(opened)
    assert vault.words(vault.standing(store, second)) == (
        "test sealed; 1 run has been opened on this same test set so far"
    )
    vault.open_test(store, third, by="show", detail="--test")
    opened = vault.open_test(store, second, by="report")
    assert opened.run_ids == (first.run_id, third.run_id)
    assert "; 2 runs had been opened on this same test set before" in vault.words(opened)
    assert vault.standing(store, first).num_earlier == 0  # later looks do not change what came before it


def test_reading_again_is_no_look(store, make_run):
    run = make_run("a")
    first = vault.open_test(store, run, by="page")
    assert vault.open_test(store, run, by="card") == first
    looks = [event for event in store.read_events(run.run_id) if event.what == LOOKED_AT_TEST]
    assert [(look.by, look.detail) for look in looks] == [("page", "")]


def test_of_many_who_look_at_once_one_is_noted(store, make_run, home):
    run = make_run("a")
    stores = [RunStore(home) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: vault.open_test(one, run, by="page"), stores))
    for one in stores:
        one.close()
    assert [event.what for event in store.read_events(run.run_id)].count(LOOKED_AT_TEST) == 1


def test_a_run_without_test_figures_has_nothing_to_open(store, make_run):
    run = make_run("a", figures={"eval": {"accuracy": 0.9}})
    assert not vault.open_test(store, run, by="page").is_open
    assert not vault.has_test(run)


def test_another_test_set_does_not_count(store, make_run):
    vault.open_test(store, make_run("other", test="ff", data="bb"), by="page")
    # The same images in all, but other ones among them as test.
    vault.open_test(store, make_run("other cut", test="ee", data="aa"), by="page")
    assert vault.standing(store, make_run("a")).num_earlier == 0


def test_a_run_of_an_earlier_version_is_held_against_all_its_images_and_says_so(store, make_run):
    old, new = make_run("old", test=None), make_run("new")
    vault.open_test(store, old, by="page")
    found = vault.standing(store, new)
    assert found.num_earlier == 1 and not found.is_by_split
    assert vault.words(found) == "test sealed; 1 run has been opened on these same images so far"
    vault.open_test(store, new, by="page")
    assert vault.standing(store, make_run("older", test=None)).run_ids == (old.run_id, new.run_id)
    # What is not known is not held to be equal.
    assert vault.standing(store, make_run("oldest", test=None, data=None)).num_earlier == 0


def test_deleting_a_run_does_not_unsee_its_test_figures(store, make_run):
    seen, unseen, later = make_run("seen"), make_run("unseen"), make_run("later")
    old = make_run("old", test=None)
    for run in (seen, old):
        vault.open_test(store, run, by="page")
    for run in (seen, unseen, old):
        store.delete_run(run.run_id)
    found = vault.standing(store, later)
    assert found.run_ids == (seen.run_id, old.run_id)
    assert store.read_events(seen.run_id) == [] and store.read_events(unseen.run_id) == []
    assert vault.open_test(store, later, by="page").num_earlier == 2


def test_a_thousand_runs_are_one_query(store, make_run):
    runs = [make_run(f"run {number}") for number in range(30)]
    for run in runs[:20]:
        vault.open_test(store, run, by="page")
    asked: list[str] = []
    sa.event.listen(store._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    found = vault.standings(store, store.list_runs())
    assert [sentence for sentence in asked if "events" in sentence] and len(asked) == 2  # list_runs and this
    assert [found[run.run_id].num_earlier for run in runs] == [*range(20), *[20] * 10]


def test_sealed_figures_are_left_out(store, make_run):
    run = make_run("a")
    assert vault.sealed_figures(run, is_open=False) == {"eval": {"accuracy": 0.9}}
    assert vault.sealed_figures(run, is_open=True) == FIGURES
    assert [key for key in ("test_loss", "eval_loss", "loss", "testing") if vault.is_test_key(key)] == [
        "test_loss"
    ]


def test_a_figure_that_is_no_number_does_not_break_the_account(store, make_run, config_of: RunConfig):
    run = make_run("a")
    store.update_run(run.run_id, facts={"fingerprint": "aa", "traits": {"share": float("nan")}})
    assert json.loads("NaN") != json.loads("NaN")  # Python writes it so, though it is no JSON
    vault.open_test(store, run, by="page")
    assert vault.standing(store, make_run("b")).num_earlier == 1
