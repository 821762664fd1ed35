import math

import pytest
import torch
from torch import nn

from superft_hf.config import TrainingConfig
from superft_hf.settings import find_setting
from superft_hf.training.schedules import make_schedule, rate_factor


def factors(num_steps=10, **settings):
    factor = rate_factor(TrainingConfig(**settings), num_steps)
    return [round(factor(step), 4) for step in range(num_steps)]


RISE = [0.3333, 0.6667]  # (t + 1) / (w + 1), two updates of warm-up
EXPECTED = {
    "constant": [1.0] * 10,
    "constant_with_warmup": [*RISE, *[1.0] * 8],
    # 1 − p for p = 0, ⅛, …
    "linear": [*RISE, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
    "polynomial": [*RISE, 1.0, 0.7656, 0.5625, 0.3906, 0.25, 0.1406, 0.0625, 0.0156],
    # (1 + cos πp) / 2: cos of 22.5° is 0.9239, of 45° 0.7071, of 67.5° 0.3827
    "cosine": [*RISE, 1.0, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381],
    # 1/25, and half of the way from there to 1
    "one_cycle": [0.04, 0.52, 1.0, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381],
    # four updates of cooldown: 1 − √(0, ¼, ½, ¾)
    "warmup_stable_decay": [*RISE, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.2929, 0.134],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_schedule_by_hand(name):
    assert factors(lr_scheduler_type=name, warmup_steps=0.2, cooldown_steps=0.4) == EXPECTED[name]
    assert factors(lr_scheduler_type=name, warmup_steps=2, cooldown_steps=4) == EXPECTED[name]


def test_every_choice_is_tested_here():
    assert set(EXPECTED) == set(find_setting("training.lr_scheduler_type").choices)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_update_is_wasted_and_none_goes_beyond_the_peak(name):
    made = factors(97, lr_scheduler_type=name)
    assert min(made) > 0 and max(made) == 1.0


@pytest.mark.parametrize("optim", ["schedule_free_adamw", "schedule_free_sgd"])
@pytest.mark.parametrize("name", EXPECTED)
def test_schedule_free_optimizers_stay_up_after_the_warm_up(optim, name):
    made = factors(lr_scheduler_type=name, optim=optim, warmup_steps=2)
    assert made[2:] == [1.0] * 8
    assert made[:2] == ([1.0, 1.0] if name == "constant" else RISE)


def test_a_cooldown_longer_than_what_is_left_begins_after_the_warm_up():
    made = factors(4, lr_scheduler_type="warmup_stable_decay", warmup_steps=2, cooldown_steps=100)
    assert made == [0.3333, 0.6667, 1.0, round(1 - math.sqrt(0.5), 4)]


def test_a_warm_up_longer_than_the_run_only_rises():
    assert factors(3, lr_scheduler_type="cosine", warmup_steps=100) == [0.25, 0.5, 0.75]


def test_groups_keep_their_ratio_and_a_resumed_schedule_goes_on():
    config = TrainingConfig(lr_scheduler_type="linear", warmup_steps=0.0)

    def make():
        slow, fast = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        groups = [{"params": [slow], "lr": 0.1}, {"params": [fast], "lr": 0.4}]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        return optimizer, make_schedule(optimizer, config, 4)

    def rates_of(optimizer, schedule, steps):
        found = []
        for _ in range(steps):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
        return found

    optimizer, schedule = make()
    before = rates_of(optimizer, schedule, 2)
    state = optimizer.state_dict(), schedule.state_dict()
    again, resumed = make()
    again.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert [*before, *rates_of(again, resumed, 2)] == [
        [0.1, 0.4], pytest.approx([0.075, 0.3]), pytest.approx([0.05, 0.2]), pytest.approx([0.025, 0.1]),
    ]  # fmt: skip
