"""What training changed, on the Run page and in Compare."""

import pytest

from superft_hf.config_file import dump_config, make_config
from tests.factories import (
    make_completed_run,
    make_config_values,
    make_queued_run,
    make_running_run,
    write_layers,
)

LAYERS = ":material/layers: Layers"
NAMES = ("stem", "block_0", "head")


def texts(app):
    return [one.value for one in app.main.markdown]


def charts_of(app):
    return [one.proto.id for one in app.get("plotly_chart")]


def heads(app):
    return [one.value for one in app.subheader]


def test_run_page__the_sentence_the_maps_and_the_table(open_page, store):
    run = make_completed_run(store, "cells", epochs=2)
    write_layers(store, run.run_id, NAMES)
    app = open_page("run", run=run.run_id)
    assert "What training changed" in heads(app) and not app.exception
    assert any(
        r"block\_0, the last one before the head, has changed most: by 2.0 %" in one for one in texts(app)
    )
    assert [name for name in ("changes", "gradients") if any(name in one for one in charts_of(app))] == [
        "changes", "gradients",
    ]  # fmt: skip
    table = next(one.value for one in app.dataframe if "Changed by" in one.value)
    assert table["Layer"].tolist() == ["stem", "block_0", "head (head)"]
    assert table["Changed by"].tolist() == ["0.20 %", "2.0 %", "20 %"]
    assert table["Parameters"].tolist() == ["100", "200", "300"]


def test_run_page__a_live_run_says_so_far_and_grows(open_page, store):
    run = make_running_run(store, "cells", epochs_done=1)
    write_layers(store, run.run_id, NAMES, num_steps=4)
    app = open_page("run", run=run.run_id)
    assert any("has changed most so far" in one for one in texts(app))
    write_layers(store, run.run_id, ("stem", "other", "head"), num_steps=8)
    assert any("other, the last one before the head" in one for one in texts(app.run()))


@pytest.mark.parametrize(
    ("sharding", "words"),
    [("none", "trained before these were watched"), ("fsdp", "spread over GPUs keeps no record")],
)
def test_run_page__a_run_without_a_record(open_page, store, sharding, words):
    run = make_completed_run(store, "old", epochs=1)
    values = {**make_config_values(name="old"), "hardware": {"sharding": sharding}}
    store.run_paths(run.run_id).resolved.write_text(dump_config(make_config(values)), encoding="utf-8")
    app = open_page("run", run=run.run_id)
    assert "What training changed" in heads(app) and any(words in one for one in texts(app))
    assert not app.exception


def test_run_page__nothing_before_the_first_point_and_a_word_at_it(open_page, store):
    waiting = make_queued_run(store, "waits")
    assert "What training changed" not in heads(open_page("run", run=waiting.run_id))
    run = make_running_run(store, "begins", epochs_done=1)
    assert any("next point of the training curve" in one for one in texts(open_page("run", run=run.run_id)))


def test_compare_page__layers_side_by_side(open_page, store):
    full = make_completed_run(store, "all layers", epochs=1)
    head = make_completed_run(store, "the head", epochs=1, strategy="head")
    other = make_completed_run(store, "another net", epochs=1, seed=2)
    older = make_completed_run(store, "older", epochs=1, seed=3)
    write_layers(store, full.run_id, NAMES)
    write_layers(store, head.run_id, NAMES, is_body_frozen=True)
    write_layers(store, other.run_id, ("conv", "fc"))
    runs = ",".join(one.run_id for one in (full, head, other, older))
    app = open_page("compare", {"compare_view": LAYERS}, runs=runs)
    assert any("compare_layers" in one for one in charts_of(app)) and not app.exception
    said = " ".join(texts(app))
    assert "**B the head**: Only the head trained: it has changed by 20 %" in said
    assert "**C another net**: The body has changed by 0.20 %; the head by 20 %. :gray[Not drawn" in said
    assert "**D older**: :gray[has no record of its layers.]" in said


def test_compare_page__no_records_at_all(open_page, store):
    runs = ",".join(make_completed_run(store, f"run {seed}", epochs=1, seed=seed).run_id for seed in (1, 2))
    app = open_page("compare", {"compare_view": LAYERS}, runs=runs)
    assert any("None of these runs has a record of its layers" in one for one in texts(app))
