"""Seconds at work: pauses and waiting left out."""

from superft_hf.records import Event
from superft_hf.worked_time import seconds_at_work


def at(seconds: int) -> str:
    return f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}+00:00"


def history(*steps: tuple[int, str]) -> list[Event]:
    return [Event(at(seconds), "worker", what) for seconds, what in steps]


def test_a_pause_does_not_count():
    events = history(
        (0, "created"), (100, "starting"), (110, "running"), (160, "paused"), (170, "queued"),
        (1000, "starting"), (1010, "running"), (1100, "completed"),
    )  # fmt: skip
    moments = [at(one) for one in (100, 130, 160, 500, 1000, 1020, 1100)]
    assert seconds_at_work(events, moments).tolist() == [0, 30, 60, 60, 60, 80, 160]


def test_a_run_at_work_goes_on_and_one_that_has_ended_does_not():
    assert seconds_at_work(history((0, "starting")), [at(40)]).tolist() == [40]
    assert seconds_at_work(history((0, "starting"), (10, "failed")), [at(40)]).tolist() == [10]


def test_without_a_start_time_counts_from_the_first_point():
    assert seconds_at_work([], [at(5), at(9)]).tolist() == [0, 4]
    assert seconds_at_work([], []).tolist() == []
