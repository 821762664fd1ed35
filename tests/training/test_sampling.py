from collections import Counter

import numpy as np

from superft_hf.training.sampling import BalancedSampler, EpochSampler, make_sampler

LABELS = np.array([0] * 12 + [1] * 4 + [3] * 1)  # no image of class 2


def keys(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_image_once_an_epoch_in_an_order_of_seed_and_epoch():
    first = keys(EpochSampler(17, seed=1), 3)
    assert sorted(key.index for key in first) == list(range(17)) and {key.epoch for key in first} == {3}
    assert first == keys(EpochSampler(17, seed=1), 3)
    assert first != keys(EpochSampler(17, seed=1), 4) and first != keys(EpochSampler(17, seed=2), 3)


def test_balanced__each_class_equally_often_in_an_epoch_of_the_same_length():
    sampler = BalancedSampler(LABELS, seed=1)
    assert len(sampler) == 17
    for epoch in range(6):
        counts = Counter(LABELS[key.index] for key in keys(sampler, epoch))
        # 17 = 3 · 5 + 2: two of the three classes, in turn, have one more
        assert sorted(counts.values()) == [5, 6, 6] and sorted(counts) == [0, 1, 3]
    total = Counter(LABELS[key.index] for epoch in range(3) for key in keys(sampler, epoch))
    assert set(total.values()) == {17}


def test_balanced__a_function_of_seed_and_epoch():
    later = keys(BalancedSampler(LABELS, seed=1), 5)
    sampler = BalancedSampler(LABELS, seed=1)
    assert [keys(sampler, epoch) for epoch in (0, 5, 2)][1] == later
    assert keys(BalancedSampler(LABELS, seed=2), 5) != later
    assert keys(sampler, 4) != later


def test_balanced__classes_are_mixed():
    labels = [LABELS[key.index] for key in keys(BalancedSampler(LABELS, seed=1), 0)]
    assert labels != sorted(labels)


def test_balanced__no_image_is_drawn_again_before_all_others_of_its_class():
    sampler = BalancedSampler(LABELS, seed=1)
    drawn = Counter()
    for epoch in range(40):
        drawn.update(key.index for key in keys(sampler, epoch))
        for number in (0, 1, 3):
            counts = [drawn[index] for index in np.flatnonzero(number == LABELS)]
            assert max(counts) - min(counts) <= 1


def test_balanced__what_is_drawn_for_an_image_differs_each_time():
    sampler = BalancedSampler(LABELS, seed=1)
    made = [key for epoch in range(10) for key in keys(sampler, epoch)]
    assert len(set(made)) == len(made)


def test_labels_decide_which_sampler_is_made():
    assert type(make_sampler(17, 1)) is EpochSampler
    assert keys(make_sampler(17, 1, LABELS), 2) == keys(BalancedSampler(LABELS, 1), 2)
