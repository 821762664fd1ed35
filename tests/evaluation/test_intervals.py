import pytest

from superft_hf.evaluation.intervals import wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (398, 446, 0.8602, 0.9179),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_known_intervals(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=1e-4)


def test_of_nothing_nothing_is_known():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_an_interval_stays_within_0_and_1():
    for total in (1, 2, 3, 1000):
        for successes in (0, total):
            low, high = wilson_interval(successes, total)
            assert 0 <= low <= successes / total <= high <= 1
