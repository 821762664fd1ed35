import pandas as pd
import pytest

from superft_hf.evaluation.comparison import compare_predictions


def predictions(ids: str, labels: list[int], predicted: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"example_id": list(ids), "label": labels, "prediction": predicted})


def test_examples_are_joined_by_id_whatever_their_order():
    first = predictions("abcd", [0, 0, 1, 1], [0, 1, 0, 0])  # a right; b, c, d wrong
    second = predictions("dcbax", [1, 1, 0, 0, 0], [1, 0, 0, 1, 0])  # d, b right; c, a wrong
    found = compare_predictions(first, second)
    assert found.num_examples == 4
    assert (set(found.fixed), found.broken, found.both_wrong) == ({"b", "d"}, ("a",), ("c",))
    assert found.difference == pytest.approx(0.25)
    assert found.low <= found.difference <= found.high
    assert found.p_value == pytest.approx(1.0)  # 2 against 1 of 3


def test_equal_predictions_differ_in_nothing():
    one = predictions("abc", [0, 1, 2], [0, 1, 1])
    found = compare_predictions(one, one)
    assert (found.fixed, found.broken, found.both_wrong) == ((), (), ("c",))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1.0)


def test_mcnemars_exact_test_by_hand():
    ids = [f"{number:02d}" for number in range(20)]
    labels = [0] * 20
    first = pd.DataFrame({"example_id": ids, "label": labels, "prediction": [1] * 10 + [0] * 10})
    second = pd.DataFrame({"example_id": ids, "label": labels, "prediction": [0] * 10 + [0] * 9 + [1]})
    found = compare_predictions(first, second)
    assert (len(found.fixed), len(found.broken)) == (10, 1)
    assert found.p_value == pytest.approx(2 * (1 + 11) / 2**11)
    assert found.difference == pytest.approx(9 / 20)
    assert 0.15 < found.low < 0.3 and 0.6 < found.high < 0.75


def test_the_interval_is_the_same_each_time():
    first, second = predictions("abcd", [0] * 4, [0, 1, 1, 1]), predictions("abcd", [0] * 4, [0, 0, 1, 1])
    assert compare_predictions(first, second) == compare_predictions(first, second)


def test_no_image_in_common():
    with pytest.raises(ValueError, match="no image in common"):
        compare_predictions(predictions("a", [0], [0]), predictions("b", [0], [0]))
