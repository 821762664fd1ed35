"""Draws are a function of seed, epoch and index, and look like chance."""

import numpy as np

from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws


def test_rows__are_those_of_the_image_in_whatever_batch():
    together = EpochDraws(42).rows(3, np.arange(100))
    for batch in ([5], [99, 5, 0], list(range(50, 80))):
        assert np.array_equal(EpochDraws(42).rows(3, np.array(batch)), together[batch])


def test_rows__each_with_an_epoch_of_its_own():
    mixed = EpochDraws(42).rows(np.array([0, 7, 0]), np.array([4, 4, 9]))
    assert np.array_equal(mixed[0], EpochDraws(42).rows(0, np.array([4]))[0])
    assert np.array_equal(mixed[1], EpochDraws(42).rows(7, np.array([4]))[0])
    assert np.array_equal(mixed[2], EpochDraws(42).rows(0, np.array([9]))[0])


def test_rows__a_known_value_so_that_runs_repeat_under_later_versions():
    # SplitMix64 in plain integers, for image 2 of epoch 1 of seed 7, column MIRROR.
    state = int(np.random.SeedSequence([7, 1]).generate_state(1, np.uint64)[0])
    mask = 2**64 - 1
    value = (state + (2 * NUM_DRAWS + Draw.MIRROR + 1) * 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    value ^= value >> 31
    found = EpochDraws(7).rows(1, np.array([2]))
    assert found.dtype == np.float32
    assert found[0, Draw.MIRROR] == (value >> 40) / 2**24


def test_rows__seed_epoch_index_and_column_all_matter():
    first = EpochDraws(42).rows(0, np.array([0]))[0]
    others = [EpochDraws(43).rows(0, np.array([0]))[0], EpochDraws(42).rows(1, np.array([0]))[0]]
    others.append(EpochDraws(42).rows(0, np.array([1]))[0])
    assert all((first != other).all() for other in others)
    assert len(set(first.tolist())) == NUM_DRAWS


def test_rows__are_uniform_and_independent():
    rows = EpochDraws(1).rows(0, np.arange(20_000))
    assert rows.min() >= 0
    assert rows.max() < 1
    counts = np.stack([np.histogram(column, 10, (0, 1))[0] for column in rows.T])
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)  # five standard deviations
    following = np.hstack([rows[:-1], rows[1:]])
    correlations = np.corrcoef(following.T) - np.eye(2 * NUM_DRAWS)
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)
