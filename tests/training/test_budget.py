"""What fits into a time budget: by numbers, and with real runs, which keep theirs."""

import time

import pytest

from superft_hf.config_file import read_config
from superft_hf.recipe import rules
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training import bench, budget, prepare, resolve
from superft_hf.training.budget import Amount, Pace, fitting_epochs, smaller_sizes, total_s
from superft_hf.training.image_classification.losses import ClassificationLoss
from superft_hf.training.image_classification.views import ImageViews
from superft_hf.training.resume import RunContext

AMOUNT = Amount(train_batches=20, eval_batches=4, test_batches=8)
PACE = Pace(train_batch_s=1.0, eval_batch_s=0.5, train_first_s=0.25, eval_first_s=0.5, save_s=2.0)
# An epoch: 20 + 4 × 0.5 + 2 = 24 s. Once: 20 × 0.25 + 12 × 0.5 opening, 8 × 0.5 test, 2 × 2 saving = 19 s.


@pytest.mark.parametrize(("budget_s", "epochs"), [(43, 1), (42.9, 0), (67, 2), (90.9, 2), (1e6, 30), (-5, 0)])
def test_fitting_epochs(budget_s, epochs):
    assert fitting_epochs(PACE, budget_s, AMOUNT) == epochs
    assert fitting_epochs(PACE, 1e6, AMOUNT, most=100) == 100


def test_total_s():
    assert total_s(PACE, AMOUNT, epochs=3) == 3 * 24 + 19


def test_smaller_sizes__five_epochs_by_the_number_of_pixels():
    # 5 × 24 + 19 = 139 s at 224 px; a quarter of the time is half the side.
    assert list(smaller_sizes(PACE, 139 / 4, AMOUNT, 224)) == [96, 64]
    assert list(smaller_sizes(PACE, 139 * 0.99, AMOUNT, 224)) == [192, 160, 128, 96, 64]
    assert list(smaller_sizes(PACE, -10, AMOUNT, 224)) == [64]


@pytest.mark.parametrize(
    ("asked", "size", "can"), [(None, 224, True), (224, 224, False), (None, None, False), (None, 64, False)]
)
def test_can_shrink__only_what_was_left_to_the_rule(tiny_config, asked, size, can):
    assert budget.can_shrink(tiny_config(model={"image_size": asked}), size) is can


def test_measure_pace__loader_processes_work_beside_the_step(monkeypatch):
    class Stand:
        def usual_step_s(self, variant):
            return 1.0

        def first_load_s(self):
            return 3.0, 2.0

        def eval_s(self, variant):
            return 5.0, 4.0

    alone = budget.measure_pace(Stand(), None, 0, weights_bytes=100_000_000)
    assert alone == Pace(3.002, 4.0, 1.0, 1.0, 1.8)
    helped = budget.measure_pace(Stand(), None, 4, weights_bytes=0)
    assert helped == Pace(1.002, 4.0, 0.25, 0.25, 0.3)


@pytest.fixture
def slow_steps(monkeypatch):
    """Steps that take 1 ms for every 32 × 32 pixels of an image."""

    def step_times(self, variant, count=0):
        return [(self.task.image_size / 32) ** 2 / 1000]

    monkeypatch.setattr(bench.Bench, "_step_times", step_times)
    monkeypatch.setattr(bench.Bench, "first_load_s", lambda self: (0.0, 0.0))
    monkeypatch.setattr(bench.Bench, "eval_s", lambda self, variant: (0.0, 0.0))
    monkeypatch.setattr(budget, "DISK_BYTES_S", 1e12)
    monkeypatch.setattr(budget, "STEP_OVERHEAD_S", 0.0)
    monkeypatch.setattr(budget, "EPOCH_OVERHEAD_S", 0.0)


@pytest.fixture
def prepared(store, monkeypatch):
    """What is decided about a run, with so many seconds left."""

    def make(config, left_s):
        monkeypatch.setattr(prepare._Budget, "_left_s", lambda self: left_s)
        record = store.create_run(config, by="test", state=RunState.STARTING)
        scan = scan_images(load_images(config.data, store.home), config.data)
        context = RunContext(store, record.run_id)
        return prepare.prepare(context, resolve.decide_devices(config), scan, is_resumed=False)

    return make


def test_a_smaller_size_where_five_epochs_do_not_fit(tiny_config, prepared, slow_steps, monkeypatch):
    """42 images in batches of 8 are 6 updates; at 160 px each takes 25 ms, so that 5 epochs take 750 ms."""
    monkeypatch.setitem(rules._RULES, "model.image_size", lambda config, case: (160, "of the test"))
    config = tiny_config("resnet", training={"time_budget_s": 10.0})
    for left_s, size, epochs in ((0.8, 160, 5), (0.3, 96, 5), (0.01, 64, 1), (10.0, 160, 30)):
        found = prepared(config, left_s)
        assert (found.task.image_size, found.config.model.image_size) == (size, size)
        assert found.config.training.num_train_epochs == epochs
        assert found.config.training.time_budget_s is None


def test_a_size_that_a_person_set_stays(tiny_config, prepared, slow_steps):
    config = tiny_config("resnet", model={"image_size": 160}, training={"time_budget_s": 10.0})
    found = prepared(config, 0.1)
    assert (found.config.model.image_size, found.config.training.num_train_epochs) == (160, 1)


def test_what_follows_from_the_epochs_is_decided_again(tiny_config, prepared, slow_steps):
    """The rule's decay of the averaged weights goes by the number of updates."""
    config = tiny_config("resnet", training={"time_budget_s": 10.0, "ema_decay": None})
    decays = {left_s: prepared(config, left_s).config.training.ema_decay for left_s in (0.02, 10.0)}
    by_rule = {
        epochs: prepared(
            tiny_config("resnet", training={"num_train_epochs": epochs, "ema_decay": None}), 0
        ).config.training.ema_decay
        for epochs in (3, 30)
    }
    assert list(decays.values()) == list(by_rule.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_run_keeps_its_budget(name, tiny_config, train, store, make_folder, monkeypatch):
    """Batches of a length of their own, since how fast a machine is while it is tested is not known."""
    for kind, seconds in ((ClassificationLoss, 0.12), (ImageViews, 0.25)):
        monkeypatch.setattr(kind, "__call__", _after(seconds, kind.__call__))
    images = make_folder({"a": 120, "b": 120}, name="many")
    config = tiny_config(
        name,
        data={"name_or_path": str(images)},
        training={"time_budget_s": 25.0, "per_device_eval_batch_size": 12},
        early_stopping={"patience": None},
    )
    record = train(config)
    resolved = read_config(store.run_paths(record.run_id).resolved)
    # 168 images in batches of 8, and 3 batches of evaluation: about 3.8 s an epoch.
    assert 4 <= resolved.training.num_train_epochs == record.num_train_epochs <= 6
    assert record.worked_s < 1.15 * 25
    assert record.worked_s + record.worked_s / record.num_train_epochs > 0.9 * 25


def _after(seconds, call):
    def late(*args):
        time.sleep(seconds)
        return call(*args)

    return late
