"""Full, head only and from scratch: their settings, how they find each other, and what is said of them."""

import pytest

from superft_hf import trio
from superft_hf.config_file import changed_settings, dump_config, make_config
from superft_hf.engine import control
from superft_hf.errors import ModelNotFoundError, StateError
from superft_hf.evaluation.comparison import PairedComparison
from superft_hf.frozen_baseline import find as find_baseline
from superft_hf.recipe.case import Case
from superft_hf.recipe.rules import decide, undecided
from superft_hf.records import RunState
from superft_hf.trio import Gain, Part
from tests.factories import make_completed_run, make_config_values, make_queued_run, make_running_run


@pytest.fixture
def queue(store, monkeypatch):
    """Submits without looking at model and images, and starts no supervisor."""
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)
    monkeypatch.setattr(control, "ensure_supervisor", lambda home: None)
    return store


def plain_config(**model):
    """Model and images, and everything else left to the rule."""
    return make_config(
        {"model": {"name_or_path": "microsoft/resnet-18", **model}, "data": {"name_or_path": "sample:digits"}}
    )


def strategies(made):
    return [(one.model.strategy, one.model.pretrained) for one in made]


def test_the_three_differ_in_what_is_asked_and_in_nothing_else():
    config = plain_config()
    full, head, scratch = trio.configs(config)
    assert strategies((full, head, scratch)) == [("full", True), ("head", True), ("full", False)]
    names = [one.name for one in (full, head, scratch)]
    assert names == ["resnet-18, full", "resnet-18, head only", "resnet-18, from scratch"]
    for one in (full, head, scratch):
        keys = {setting.key for setting, _, _ in changed_settings(config, one)}
        assert keys <= {"name", "model.strategy", "model.pretrained"}
        assert set(undecided(one)) == set(undecided(config)) - {"model.strategy"}


@pytest.mark.parametrize("family", ["convnet", "transformer"])
@pytest.mark.parametrize("side", [28, 100, 500, None])
def test_images_and_size_are_equal_and_rates_are_each_ones_own(family, side):
    case = Case(num_train=600, class_counts=(300, 300), picture_side=side, family=family, own_size=224)
    full, head, scratch = (decide(one, case) for one in trio.configs(plain_config()))
    assert full.model.image_size == head.model.image_size == scratch.model.image_size
    assert full.data == head.data == scratch.data
    assert full.training.seed == head.training.seed == scratch.training.seed
    chosen = trio.configs(plain_config().model_copy(update={"training": full.training}))
    assert {one.training.learning_rate for one in chosen} == {full.training.learning_rate}  # as it was set


def test_a_gradual_run_stays_gradual_and_long_names_keep_what_tells_them_apart():
    made = trio.configs(plain_config(strategy="gradual"), "n" * 120)
    assert [one.model.strategy for one in made] == ["gradual", "head", "full"]
    assert {len(one.name) for one in made} == {120}
    assert made[1].name.endswith("nn, head only")
    assert trio.configs(plain_config(strategy="head"))[0].model.strategy == "full"


def test_names_are_not_added_twice():
    made = trio.configs(plain_config(), "cells, head only", [Part.FULL, Part.SCRATCH])
    assert [one.name for one in made] == ["cells, full", "cells, from scratch"]


@pytest.mark.parametrize(
    ("strategy", "pretrained", "part"),
    [
        ("full", True, Part.FULL), ("gradual", True, Part.FULL), ("head-then-full", True, Part.FULL),
        ("head", True, Part.HEAD), ("full", False, Part.SCRATCH), ("head", False, None), ("auto", True, None),
    ],
)  # fmt: skip
def test_which_part_a_run_is(strategy, pretrained, part):
    assert trio.part_of({"model": {"strategy": strategy, "pretrained": pretrained}}) is part


def test_start_queues_all_three(queue):
    made = trio.start(queue, plain_config(), by="test")
    assert [one.state for one in made] == [RunState.QUEUED] * 3
    found = trio.find(queue, made[1].run_id)
    assert found.run_ids == [one.run_id for one in made] and found.missing == []
    assert found.part_of(made[2].run_id) is Part.SCRATCH


def test_a_refusal_creates_no_run(store, monkeypatch):
    def refuse(config, home, progress=None, token=None):
        raise ModelNotFoundError("gone", hint="")

    monkeypatch.setattr(control, "prepare", refuse)
    with pytest.raises(ModelNotFoundError):
        trio.start(store, plain_config(), by="test")
    assert store.list_runs() == []


def test_only_what_is_missing_is_queued(queue):
    full = make_completed_run(queue, "cells", epochs=1)
    head = make_queued_run(queue, "another name", epochs=1, strategy="head")
    make_queued_run(queue, "other seed", epochs=1, strategy="full", pretrained=False, seed=7)
    assert trio.find(queue, full.run_id).missing == [Part.SCRATCH]
    found = trio.complete(queue, full.run_id, by="test")
    assert found.run_ids[:2] == [full.run_id, head.run_id]
    scratch = found.runs[Part.SCRATCH]
    assert (scratch.name, scratch.state) == ("cells, from scratch", RunState.QUEUED)
    assert trio.complete(queue, scratch.run_id, by="test").run_ids == found.run_ids
    assert len(queue.list_runs()) == 4


def test_the_head_is_the_frozen_backbone_of_the_full_run(queue):
    full, head, _ = trio.start(queue, plain_config(), by="test")
    assert find_baseline(queue, full).pending.run_id == head.run_id


def test_a_run_that_failed_or_was_discarded_is_missing(queue):
    full = make_completed_run(queue, "cells", epochs=1)
    head = make_queued_run(queue, "cells, head only", epochs=1, strategy="head")
    queue.change_state(head.run_id, [RunState.QUEUED], RunState.DISCARDED, by="test")
    assert trio.find(queue, full.run_id).missing == [Part.HEAD, Part.SCRATCH]


def test_an_undecided_strategy_counts_once_it_is_decided(queue):
    run = make_running_run(queue, "cells", epochs_done=0, strategy="auto")
    with pytest.raises(StateError, match="cells is neither full"):
        trio.complete(queue, run.run_id, by="test")
    decided = make_config(make_config_values(name="cells", strategy="head"))
    queue.run_paths(run.run_id).resolved.write_text(dump_config(decided), encoding="utf-8")
    assert trio.find(queue, run.run_id).part_of(run.run_id) is Part.HEAD
    assert [one.name for one in trio.complete(queue, run.run_id, by="test").present] == [
        "cells, full", "cells", "cells, from scratch",
    ]  # fmt: skip


def test_a_set_of_runs_is_a_trio_or_is_not(store):
    full = make_queued_run(store, "a")
    head, scratch = (
        make_queued_run(store, "b", strategy="head"),
        make_queued_run(store, "c", pretrained=False),
    )
    other = make_queued_run(store, "d", strategy="head", seed=9)
    assert trio.of_runs(store, [scratch, full, head]).run_ids == [full.run_id, head.run_id, scratch.run_id]
    assert trio.of_runs(store, [head, full]).missing == [Part.SCRATCH]
    for runs in ([full], [head, scratch], [full, other], [full, head, other], [full, full]):
        assert trio.of_runs(store, runs) is None


def test_the_gains_are_those_of_a_comparison_image_by_image(store):
    full = make_completed_run(store, "a", epochs=6)
    head = make_completed_run(store, "b", epochs=6, hidden=4, strategy="head")
    found = trio.find(store, full.run_id)
    accuracy, gains = trio.gains(store, found)
    assert accuracy == pytest.approx(full.accuracy) and [one.part for one in gains] == [Part.HEAD]
    assert gains[0].found.difference == pytest.approx(full.accuracy - head.accuracy)
    assert gains[0].p_value == gains[0].found.p_value and gains[0].accuracy == pytest.approx(head.accuracy)
    assert trio.gains(store, trio.find(store, make_queued_run(store, "c", seed=3).run_id)) is None
    assert trio.images_a_class(found) == full.facts["counts"]["train"] / 10


def gain(part, difference, low, high, p_value, accuracy=0.8):
    fixed = ("x",)
    return Gain(part, accuracy, PairedComparison(400, fixed, (), (), difference, low, high, p_value), p_value)


BETTER_HEAD = gain(Part.HEAD, 0.061, 0.03, 0.09, 0.001)
BETTER_SCRATCH = gain(Part.SCRATCH, 0.15, 0.1, 0.2, 0.001)
EQUAL_HEAD = gain(Part.HEAD, 0.01, -0.02, 0.04, 0.5, accuracy=0.913)
WORSE_HEAD = gain(Part.HEAD, -0.04, -0.07, -0.01, 0.01, accuracy=0.963)


@pytest.mark.parametrize(
    ("found", "per_class", "words"),
    [
        (
            [BETTER_HEAD, BETTER_SCRATCH], 10,
            "Full training: 92.3 %, 6.1 points above head only and 15.0 above from scratch.",
        ),
        ([BETTER_SCRATCH], 10, "Full training: 92.3 %, 15.0 points above from scratch."),
        (
            [EQUAL_HEAD, BETTER_SCRATCH], 12.4,
            "Full training: 92.3 %, 15.0 points above from scratch; not shown to beat head only at 91.3 % "
            "(+1.0 points, 95 % interval −2.0 to +4.0). With 12 training images a class the head alone is "
            "often enough.",
        ),
        (
            [WORSE_HEAD], 500,
            "Full training: 92.3 %, 4.0 points below head only, which is better at 96.3 %.",
        ),
        (
            [WORSE_HEAD], 8,
            "Full training: 92.3 %, 4.0 points below head only, which is better at 96.3 %. With 8 training "
            "images a class the head alone is often enough.",
        ),
    ],
)  # fmt: skip
def test_the_sentence_is_honest(found, per_class, words):
    assert trio.in_words(0.923, found, per_class) == words


def test_a_correction_for_two_comparisons_may_take_a_victory_back():
    once = gain(Part.HEAD, 0.03, 0.001, 0.06, 0.04)
    corrected = Gain(Part.HEAD, 0.893, once.found, 0.08)
    assert "3.0 points above head only" in trio.in_words(0.923, [once])
    assert "not shown to beat head only" in trio.in_words(0.923, [corrected])


def test_how_it_was_found():
    assert trio.method_in_words([BETTER_HEAD, BETTER_SCRATCH]) == (
        "Against head only +6.1 points, 95 % interval +3.0 to +9.0, against from scratch +15.0 points, 95 % "
        "interval +10.0 to +20.0, on the same 400 images by paired bootstrap. Better and worse by McNemar's "
        "exact test at 5 % with Holm's correction for the two comparisons. Settings that nobody chose are "
        "the rule's for each of them."
    )
