"""Groups of seeds, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from superft_hf.evaluation.seeds import (
    MAX_SEED,
    compare_groups,
    in_words,
    mean_in_words,
    next_seeds,
    summarise,
)


def test_summarise__mean_deviation_and_students_interval():
    found = summarise([0.90, 0.92, 0.97])
    assert found.mean == pytest.approx(0.93)
    assert found.deviation == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    expected = stats.t.interval(0.95, 2, loc=found.mean, scale=stats.sem([0.90, 0.92, 0.97]))
    assert (found.low, found.high) == pytest.approx(expected)


def test_summarise__one_seed_says_nothing_of_the_deviation():
    found = summarise([0.9, math.nan])
    assert (found.values, found.deviation, found.low, found.high) == ((0.9,), None, None, None)
    assert mean_in_words(found) == "90.0 %"


def test_summarise__nothing_at_all():
    with pytest.raises(ValueError, match="no value"):
        summarise([math.nan])


def test_compare_groups__as_scipys_welch_test():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.90, 0.01, 4), generator.normal(0.93, 0.03, 6)
    found = compare_groups(first.tolist(), second.tolist())
    test = stats.ttest_ind(second, first, equal_var=False)
    ends = test.confidence_interval()
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))
    assert found.difference.value == pytest.approx(second.mean() - first.mean())
    assert found.sizes == (4, 6)


def test_compare_groups__needs_two_of_each():
    assert compare_groups([0.9], [0.8, 0.9]) is None
    assert compare_groups([0.9, math.nan], [0.8, 0.9]) is None


def test_compare_groups__without_any_deviation():
    same = compare_groups([0.9, 0.9], [0.9, 0.9])
    assert (same.difference.value, same.p_value) == (0.0, 1.0)
    other = compare_groups([0.9, 0.9], [0.8, 0.8])
    assert other.difference.value == pytest.approx(-0.1) and other.p_value == 0.0


def test_in_words():
    sure = compare_groups([0.90, 0.901, 0.899], [0.95, 0.951, 0.949])
    assert in_words(sure, "one", "two").startswith(
        "Over seeds, the 3 runs of two are better than the 3 of one: +5.0 points of eval accuracy on average"
    )
    vague = compare_groups([0.90, 0.95, 0.85], [0.91, 0.94, 0.80])
    assert "are not shown to be worse than" in in_words(vague, "one", "two")


def test_next_seeds__skip_those_that_are_taken_and_begin_again_at_the_end():
    assert next_seeds({42, 43, 45}, 3, after=42) == [44, 46, 47]
    assert next_seeds({MAX_SEED, 0}, 2, after=MAX_SEED - 1) == [1, 2]
