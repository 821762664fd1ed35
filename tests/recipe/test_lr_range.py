"""The formulas of the range test, on curves whose answers are known."""

import math

import numpy as np
import pytest

from superft_hf.preflight.lr_find import LrRange, rounded
from superft_hf.recipe import lr_range
from superft_hf.recipe.lr_range import HIGHEST, LOWEST, has_diverged, num_steps, rate_at, smoothed

SHARP = 0.0
"""β of no smoothing, so that the places of the curves below stay where they are."""


def rates(count: int) -> list[float]:
    return [rate_at(step, count) for step in range(count)]


def curve(count: int, start: float, end: float) -> list[float]:
    """2 up to the rate `start`, then falling evenly in log(rate) to 1 at `end`, then rising tenfold."""
    found = []
    for rate in rates(count):
        if rate < start:
            found.append(2.0)
        elif rate <= end:
            found.append(2.0 - math.log(rate / start) / math.log(end / start))
        else:
            found.append(1.0 + 10 * math.log10(rate / end))
    return found


def test_the_rates_rise_by_one_factor_from_the_lowest_to_the_highest():
    found = rates(100)
    assert found[0] == LOWEST == 1e-7 and found[-1] == pytest.approx(HIGHEST) == 10.0
    assert np.ptp(np.diff(np.log(found))) < 1e-9


@pytest.mark.parametrize(("updates", "expected"), [(1000, 100), (13, 100), (10, 80), (7, 56), (2, 50)])
def test_few_images_make_a_shorter_test(updates, expected):
    assert num_steps(updates) == expected


def test_smoothing_is_the_corrected_moving_average():
    # β = 0.9: m = 0.3, 0.57, 0.513 + 0.6; divided by 0.1, 0.19, 0.271.
    assert smoothed([3.0, 3.0, 6.0], 0.9) == pytest.approx([3.0, 3.0, (0.9 * 0.57 + 0.6) / 0.271])


def test_a_loss_diverges_at_four_times_its_least_or_when_it_is_no_number():
    assert not has_diverged([2.0, 1.0, 4.0]) and has_diverged([2.0, 1.0, 4.01])
    assert has_diverged([2.0, math.nan]) and has_diverged([2.0, math.inf])
    assert not has_diverged([2.0])


def test_the_valley_is_the_middle_of_the_fall():
    values = curve(81, start=1e-4, end=10**-0.7)
    # Ten places a decade: flat up to place 30, then down by 1/33 a place to place 63. A tenth of the fall is
    # done after place 33. Of the 31 values from there, the formula takes 63 − 31 + ⌊31/3⌋ + ⌊31/6⌋ = 47.
    assert lr_range.valley(rates(81), values, SHARP) == pytest.approx(10**-2.3)


def test_a_long_drift_before_the_fall_does_not_draw_the_valley_down():
    """As pre-trained networks have it; fastai's valley begins with it, at a rate that hardly learns."""
    drift = [2.02 - 0.0005 * step for step in range(41)]
    fall = [2.0 - 0.05 * step for step in range(1, 21)]
    values = [*drift, *fall, *[10.0] * 10]
    assert fastai_valley(values[7:-5]) + 7 < 40
    found = rates(71).index(lr_range.valley(rates(71), values, SHARP))
    assert 46 < found < 56, "the middle of places 41 to 60, or nearly"


def test_from_where_the_fall_begins_the_valley_is_fastais():
    noise = np.random.default_rng(0).normal(0, 0.03, 100)
    noise[:63] = 0.0  # flat before it falls
    values = np.array(curve(100, start=1e-2, end=0.5)) + noise
    usable = values[10:-5]
    least = int(usable.argmin())
    begin = int(np.flatnonzero(usable[:least] >= 2.0 - 0.1 * (2.0 - usable[least]))[-1])
    place = 10 + begin + fastai_valley(usable[begin:])
    assert lr_range.valley(rates(100), values.tolist(), SHARP) == rates(100)[place]


def fastai_valley(losses) -> int:
    """The double loop as it stands in fastai.callback.schedule."""
    lengths, max_end, max_start = [1] * len(losses), 0, 0
    for i in range(1, len(losses)):
        for j in range(0, i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[max_end] < lengths[i]:
                max_end = i
                max_start = max_end - lengths[max_end]
    sections = (max_end - max_start) / 3
    return max_start + int(sections) + int(sections / 2)


def test_the_steepest_fall_lies_within_the_fall_and_not_at_a_lucky_batch_after_it():
    values = curve(81, start=1e-3, end=1e-1)
    assert 1e-3 < lr_range.steepest(rates(81), values, SHARP) < 1e-1
    values[70] = 1.1  # one batch while it diverges: from 10 down to nearly the least
    assert 1e-3 < lr_range.steepest(rates(81), values, SHARP) < 1e-1


def test_the_steepest_place_is_the_middle_of_the_steep_part():
    """Falls slowly from 1e-5 on, and ten times as fast from 1e-3 to 1e-2, which is 20 places."""
    values = [
        2.0 - 0.05 * max(0.0, math.log10(one / 1e-5)) - 0.5 * min(max(0.0, math.log10(one / 1e-3)), 1.0)
        for one in rates(161)
    ]
    found = lr_range.steepest(rates(161), values, SHARP)
    assert 1e-3 * 10 ** (4 / 20) <= found * 1.001 <= 1e-2, "a window of 9 that lies in the steep part"


@pytest.mark.parametrize("find", [lr_range.valley, lr_range.steepest])
def test_what_does_not_fall_or_only_by_chance_suggests_nothing(find):
    flat = [2.0 + 0.001 * (step % 3) for step in range(60)]
    assert find(rates(60), flat, 0.9) is None
    assert find(rates(3), [2.0, 1.0, 0.5], 0.9) is None
    for seed in range(50):  # noise of a small batch, whose smoothed least lies 3 to 6 % below its mean
        noise = 2.3 + np.random.default_rng(seed).normal(0, 0.15, 80)
        assert find(rates(80), noise.tolist(), 0.9) is None
    falling = noise - np.linspace(0, 1, 80) ** 2
    assert find(rates(80), falling.tolist(), 0.9) is not None


def test_the_memory_of_the_smoothing_is_a_tenth_of_the_test():
    assert [1 / (1 - lr_range.beta_of(steps)) for steps in (50, 100)] == pytest.approx([5, 10])


def range_of(**changes) -> LrRange:
    values = {
        "learning_rates": (1e-7, 1e-6), "losses": (2.0, 1.0), "smoothed": (2.0, 1.0), "is_diverged": True,
        "steepest": 0.00231, "valley": 0.000316, "family": "convnet", "batch_size": 32,
        "learning_rate": 0.001, "device": "2 CPU cores", "duration_s": 12.0,
    }  # fmt: skip
    return LrRange(**{**values, **changes})


def test_a_convnet_gets_a_suggestion_and_a_transformer_a_hint_and_both_are_told_why():
    suggestion, hint = range_of(), range_of(family="transformer")
    assert suggestion.suggestion == hint.suggestion == 0.00032
    assert suggestion.verdict.startswith("Suggested: 0.00032") and not suggestion.is_hint
    assert hint.verdict.startswith("A hint only") and "warm-up" in hint.reason and hint.is_hint


def test_what_did_not_fall_is_told():
    nothing = range_of(valley=None, steepest=None)
    assert nothing.suggestion is None and "cannot suggest" in nothing.verdict
    assert "rule's choice stands" in nothing.reason


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0012589, 0.0013), (9.96e-5, 1e-4), (3.0, 1.0), (1e-7, 1e-7)]
)
def test_rates_have_two_digits_and_stay_within_the_setting(rate, expected):
    assert rounded(rate) == pytest.approx(expected)
