"""The history of the images, against counting one image and one epoch at a time."""

import collections
import time

import numpy as np
import pytest

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import history
from superft_hf.evaluation.history import Answers, Group
from superft_hf.evaluation.prediction_files import read_predictions, write_predictions


def answers_of(*columns):
    """One image a word, its epochs as letters: r is right, w is wrong."""
    codes = {"r": 0, "w": 1, "v": 2}
    predictions = np.array([[codes[letter] for letter in column] for column in columns]).T
    return Answers(
        tuple(range(10, 10 * len(predictions) + 1, 10)), np.zeros(len(columns), np.int32), predictions
    )


def random_answers(num_epochs=7, num_images=4000, num_classes=3, seed=0):
    generator = np.random.default_rng(seed)
    return Answers(
        tuple(range(1, num_epochs + 1)),
        generator.integers(0, num_classes, num_images).astype(np.int32),
        generator.integers(0, num_classes, (num_epochs, num_images)).astype(np.int32),
    )


def write(path, predictions, labels=None, ids=None):
    count = len(predictions)
    logits = np.full((count, 3), -2.0, dtype=np.float32)
    logits[np.arange(count), predictions] = 1.0
    ids = [f"{number:016x}" for number in range(count)] if ids is None else ids
    write_predictions(
        path, example_ids=ids, images=ids, labels=np.zeros(count, int) if labels is None else labels,
        logits=logits, is_full=True, class_names=["a", "b", "c"],
    )  # fmt: skip
    return path


def group_by_hand(rights, late_share=0.5):
    if all(rights):
        return Group.ALWAYS_RIGHT
    if not any(rights):
        return Group.NEVER_LEARNED
    if not rights[-1]:
        return Group.FORGOTTEN
    last_wrong = max(number for number, is_right in enumerate(rights, start=1) if not is_right)
    return Group.LEARNED_LATE if last_wrong >= late_share * len(rights) else Group.LEARNED_EARLY


def names(codes):
    return [list(Group)[code] for code in codes]


def test_each_group_by_an_example():
    answers = answers_of("rrrr", "wrrr", "rwrr", "wwrr", "wwwr", "rrrw", "wrww", "wwww")
    assert names(history.groups(answers)) == [
        Group.ALWAYS_RIGHT, Group.LEARNED_EARLY, Group.LEARNED_LATE, Group.LEARNED_LATE, Group.LEARNED_LATE,
        Group.FORGOTTEN, Group.FORGOTTEN, Group.NEVER_LEARNED,
    ]  # fmt: skip
    assert history.learned_at(answers).tolist() == [0, 1, 2, 2, 3, -1, -1, -1]
    assert history.forgetting_events(answers).tolist() == [0, 0, 1, 0, 0, 1, 1, 0]


def test_two_epochs_can_be_late():
    assert names(history.groups(answers_of("wr", "rw", "rr", "ww"))) == [
        Group.LEARNED_LATE, Group.FORGOTTEN, Group.ALWAYS_RIGHT, Group.NEVER_LEARNED,
    ]  # fmt: skip


@pytest.mark.parametrize("late_share", [0.0, 0.3, 0.5, 0.9])
def test_groups_of_random_answers(late_share):
    answers = random_answers()
    by_hand = [group_by_hand(column.tolist(), late_share) for column in answers.is_right.T]
    assert names(history.groups(answers, late_share)) == by_hand
    assert len(set(by_hand)) >= 4, "the case is too easy"


def test_members_are_those_of_the_group_and_what_is_worth_a_look_comes_first():
    answers = random_answers()
    rights = answers.is_right.T.tolist()
    for group in Group:
        expected = [index for index, one in enumerate(rights) if group_by_hand(one) is group]
        found = history.members(answers, group).tolist()
        assert sorted(found) == expected
    forgotten = [sum(rights[one]) for one in history.members(answers, Group.FORGOTTEN)]
    assert forgotten == sorted(forgotten, reverse=True) and len(set(forgotten)) > 1
    late = history.learned_at(answers)[history.members(answers, Group.LEARNED_LATE)].tolist()
    assert late == sorted(late, reverse=True)


def test_sizes_by_epoch_are_those_of_the_shorter_history():
    answers = random_answers(num_epochs=5)
    sizes = history.group_sizes(answers)
    for row, step in enumerate(answers.steps):
        counts = collections.Counter(names(history.groups(answers.until(step))))
        assert [sizes[str(group)][row] for group in Group] == [counts[group] for group in Group]
    assert (sizes[[str(group) for group in Group]].sum(axis=1) == len(answers.labels)).all()


def test_flow_counts_who_changed_sides():
    answers = random_answers()
    flow = history.flow(answers)
    assert flow["right"].tolist() == answers.is_right.sum(axis=1).tolist()
    assert flow["lost"].sum() == history.forgetting_events(answers).sum()
    for epoch in range(1, len(answers.steps)):
        before, now = answers.is_right[epoch - 1], answers.is_right[epoch]
        gained = [i for i in range(len(now)) if now[i] and not before[i]]
        lost = [i for i in range(len(now)) if before[i] and not now[i]]
        assert (flow["gained"][epoch], flow["lost"][epoch]) == (len(gained), len(lost))
        step = answers.steps[epoch]
        assert history.changed_at(answers, step, is_gained=True).tolist() == gained
        assert history.changed_at(answers, step, is_gained=False).tolist() == lost
    assert history.changed_at(answers, answers.steps[0], is_gained=True).tolist() == []


def test_disagreement_is_the_share_without_the_most_frequent_answer():
    answers = random_answers(num_classes=4)
    by_hand = [
        1 - collections.Counter(column.tolist()).most_common(1)[0][1] / len(column)
        for column in answers.predictions.T
    ]
    assert history.disagreement(answers) == pytest.approx(by_hand)
    assert history.disagreement(answers_of("rrrr", "rwrw", "rwvv")).tolist() == [0, 0.5, 0.5]
    assert history.disagreement(answers_of("r", "w")).tolist() == [0, 0]


def test_files_are_read_in_the_order_of_their_steps(tmp_path):
    paths = [write(tmp_path / f"eval-{step}.parquet", [step % 3, 0]) for step in (1000, 20, 300)]
    answers = history.read_answers(paths)
    assert answers.steps == (20, 300, 1000) and answers.num_evaluations == 3
    assert answers.predictions.tolist() == [[2, 0], [0, 0], [1, 0]] and answers.predictions.dtype == np.int32
    assert answers.labels.tolist() == [0, 0] and answers.places is None
    assert answers.rows_at(300, np.array([1])).tolist() == [1]


def test_files_of_different_images_are_joined_by_example(tmp_path):
    first = write(tmp_path / "eval-1.parquet", [0, 1, 2], [0, 1, 0], ids=["a", "b", "c"])
    second = write(tmp_path / "eval-2.parquet", [2, 1, 0, 1], [0, 0, 1, 1], ids=["c", "d", "b", "e"])
    answers = history.read_answers([first, second])
    ids = read_predictions(second)["example_id"].iloc[answers.places[1]].tolist()
    assert ids == ["c", "b"], "those that both hold, in the order of the last"
    assert answers.labels.tolist() == [0, 1]
    assert answers.predictions.tolist() == [[2, 1], [2, 0]]
    assert answers.rows_at(1, np.array([0, 1])).tolist() == [2, 1]
    assert answers.until(1).rows_at(1, np.array([1])).tolist() == [1]


def test_files_without_a_common_image(tmp_path):
    paths = [write(tmp_path / f"eval-{step}.parquet", [0], ids=[str(step)]) for step in (1, 2)]
    answers = history.read_answers(paths)
    assert answers.predictions.shape == (2, 0)
    assert history.groups(answers).tolist() == [] and history.disagreement(answers).tolist() == []


def test_one_evaluation_is_a_history_in_which_nothing_changes(tmp_path):
    answers = history.read_answers([write(tmp_path / "eval-5.parquet", [0, 1])])
    assert answers.predictions.shape == (1, 2)
    assert names(history.groups(answers)) == [Group.ALWAYS_RIGHT, Group.NEVER_LEARNED]
    assert history.forgetting_events(answers).tolist() == [0, 0]


def test_nothing_to_read_and_a_damaged_file_are_sentences(tmp_path):
    with pytest.raises(DataNotFoundError, match="no evaluation yet"):
        history.read_answers([])
    path = write(tmp_path / "eval-1.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataNotFoundError, match=r"eval-1\.parquet cannot be read"):
        history.read_answers([path, write(tmp_path / "eval-2.parquet", [0, 1])])
    with pytest.raises(DataNotFoundError, match=r"eval-1\.parquet cannot be read"):
        history.of_row([path], 0)


def test_of_many_evaluations_some_are_read_the_first_and_last_among_them(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_EPOCHS", 5)
    paths = [write(tmp_path / f"eval-{step}.parquet", [0, step % 3]) for step in range(1, 21)]
    answers = history.read_answers(paths, keep=[7])
    assert answers.steps[0] == 1 and answers.steps[-1] == 20 and 7 in answers.steps
    assert len(answers.steps) == 6 and answers.num_evaluations == 20
    assert answers.predictions[:, 1].tolist() == [step % 3 for step in answers.steps]


def test_of_many_images_fewer_epochs_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_ANSWERS", 12)
    paths = [write(tmp_path / f"eval-{step}.parquet", [0, 1, 2, 0]) for step in range(1, 9)]
    assert history.read_answers(paths).predictions.shape == (3, 4)


def test_until_a_step(tmp_path):
    answers = random_answers(num_epochs=4)
    assert answers.until(3).steps == (1, 2, 3) and answers.until(99).steps == answers.steps
    assert answers.until(2).predictions.tolist() == answers.predictions[:2].tolist()
    with pytest.raises(ValueError, match="after step 0"):
        answers.until(0)


def test_one_image_in_each_evaluation(tmp_path):
    paths = [write(tmp_path / f"eval-{step}.parquet", [step % 3, 1, 0]) for step in (30, 7, 11)]
    found = history.of_row(paths, 0)
    assert found["step"].tolist() == [7, 11, 30] and found["prediction"].tolist() == [1, 2, 0]
    for row in found.itertuples():
        stored = read_predictions(tmp_path / f"eval-{row.step}.parquet").iloc[0]
        assert (row.confidence, row.loss) == (stored["confidence"], stored["loss"])
    with pytest.raises(DataNotFoundError, match="no such row"):
        history.of_row(paths, 3)


def test_one_image_is_followed_by_its_id_where_the_files_differ(tmp_path):
    first = write(tmp_path / "eval-1.parquet", [0, 1, 2], ids=["a", "b", "c"])
    second = write(tmp_path / "eval-2.parquet", [1, 0], ids=["c", "d"])
    assert history.of_row([second, first], 0)["prediction"].tolist() == [2, 1]
    assert history.of_row([second, first], 1)["step"].tolist() == [2]


def test_a_hundred_epochs_of_fifty_thousand_images_are_quick():
    answers = random_answers(num_epochs=100, num_images=50_000, num_classes=1000)
    begin = time.perf_counter()
    history.groups(answers), history.group_sizes(answers), history.flow(answers)
    history.disagreement(answers)
    assert time.perf_counter() - begin < 5, "measured: 0.15 s on a quiet core"
