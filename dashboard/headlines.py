"""The sentences that open the pages: the answer first, beginning with the run's name."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from dashboard.formats import (
    accuracy_interval,
    count,
    counted,
    duration,
    eval_size,
    percent,
    plain,
    run_duration_s,
)
from superft_hf.evaluation.comparison import (
    Difference,
    PairedComparison,
    ends_in_words,
    in_words,
    signed,
)
from superft_hf.evaluation.seeds import p_in_words
from superft_hf.records import (
    LOOKED_AT_TEST,
    TERMINAL_STATES,
    Event,
    PauseReason,
    Request,
    RunRecord,
    RunState,
)


def of_run(
    record: RunRecord,
    *,
    left_s: float | None = None,
    is_test_open: bool = False,
    checkpoint_step: int | None = None,
) -> str:
    """What has become of a run, in one Markdown sentence.

    Args:
        record: The run.
        left_s: Estimated seconds until its end, where known.
        is_test_open: Whether its test results have been looked at.
        checkpoint_step: Of a paused run: where its newest complete checkpoint stands, None without one.
    """
    name = plain(record.name)
    asked = _asked(record)
    if asked:
        return f"{name} {asked}"
    words = {
        RunState.QUEUED: _queued,
        RunState.STARTING: _starting,
        RunState.FAILED: _failed,
        RunState.DISCARDED: lambda _: "was discarded: its record stays, its weights are gone.",
        RunState.PAUSED: lambda one: _paused(one, checkpoint_step),
    }
    if record.state in words:
        return f"{name} {words[record.state](record)}"
    if record.state is RunState.RUNNING:
        return f"{name} {_running(record, left_s)}"
    return f"{name} {_completed(record, is_test_open)}"


def of_errors(record: RunRecord, split: str, rows: pd.DataFrame, class_names: tuple[str, ...]) -> str:
    """How one evaluation went, and which two classes were confused most often, in Markdown.

    Args:
        record: The run.
        split: eval or test.
        rows: Its predictions: columns label, prediction.
        class_names: Names by class id.
    """
    wrong = int((rows["label"] != rows["prediction"]).sum())
    total = len(rows)
    share = 1 - wrong / total if total else None
    head = (
        f"{plain(record.name)}: {percent(share)} on {split} (95 % interval {accuracy_interval(share, total)})"
    )
    if not wrong:
        return f"{head}, none of {count(total)} wrong."
    label, prediction, times = most_confused(rows, len(class_names))
    pair = f"{plain(class_names[label])} taken for {plain(class_names[prediction])}"
    return f"{head}, {count(wrong)} of {count(total)} wrong. Most confused: {pair}, {counted(times, 'time')}."


def of_comparison(first: str, second: str, found: PairedComparison, split: str = "eval") -> str:
    """Which of two runs is better on the same images, in Markdown.

    Args:
        first: Name of run A.
        second: Name of run B.
        found: The comparison.
        split: eval or test.
    """
    return of_comparison_worded(plain(first), plain(second), found, split)


def of_comparison_worded(first: str, second: str, found: PairedComparison, split: str) -> str:
    """The same of two names that are Markdown already."""
    return f"{in_words(found, first, second, f'of {split} accuracy')}."


def comparison_method(found: PairedComparison, sizes: tuple[int, int], f1: Difference | None = None) -> str:
    """How the comparison was made: images, counts, test, interval.

    Args:
        found: The comparison.
        sizes: Images that A and B were evaluated on.
        f1: The difference of their macro F1s.
    """
    total = count(found.num_examples)
    all_same = sizes == (found.num_examples, found.num_examples)
    images = (
        f"the same {total} images"
        if all_same
        else f"the {total} images that both evaluated (of {count(sizes[0])} and {count(sizes[1])})"
    )
    macro = f" Macro F1: {signed(f1.value)} points, {ends_in_words(f1)}." if f1 is not None else ""
    return (
        f"On {images} B fixes {count(len(found.fixed))} and breaks {count(len(found.broken))}; both miss "
        f"{count(len(found.both_wrong))}. McNemar's exact test: {p_in_words(found.p_value)}. Interval by "
        f"paired bootstrap, 5,000 resamples.{macro}"
    )


def has_looked_at_test(events: Sequence[Event]) -> bool:
    """Whether a run's history says that its test results were looked at."""
    return any(event.what == LOOKED_AT_TEST for event in events)


def most_confused(rows: pd.DataFrame, num_classes: int) -> tuple[int, int, int]:
    """The off-diagonal cell with the most examples: label, prediction, count. Needs a wrong one."""
    wrong = rows[rows["label"] != rows["prediction"]]
    cells, times = np.unique(wrong["label"] * num_classes + wrong["prediction"], return_counts=True)
    top = int(times.argmax())
    return int(cells[top] // num_classes), int(cells[top] % num_classes), int(times[top])


def progress_text(record: RunRecord, left_s: float | None) -> str:
    """The words above the progress bar."""
    epoch = (
        f"Epoch {min(int(record.epoch) + 1, round(record.num_train_epochs))} of {record.num_train_epochs:g}"
    )
    parts = [epoch, f"step {count(record.global_step)} of {count(record.max_steps)}"]
    gone_s = run_duration_s(record)
    if gone_s is not None:
        parts.append(f"{duration(gone_s)} gone")
    if left_s is not None:
        parts.append(_left(left_s))
    return " · ".join(parts)


def seconds_left(record: RunRecord, metrics: pd.DataFrame, now: datetime | None = None) -> float | None:
    """Seconds until the last planned step at the pace so far, evaluations included; None until it is known.

    Args:
        record: The run.
        metrics: Its points: columns step, time.
        now: UTC; by default the present moment.
    """
    if not record.max_steps or record.state is not RunState.RUNNING or metrics.empty:
        return None
    # Of the present start only: a pause is no part of the pace.
    present = metrics[metrics["time"] >= record.started_at] if record.started_at else metrics
    ends = present.drop_duplicates("step", keep="last")
    steps = ends["step"].to_numpy()
    if len(steps) < 2:
        return None
    begin, end = (datetime.fromisoformat(ends["time"].iloc[index]) for index in (0, -1))
    pace_s = (end - begin).total_seconds() / max(int(steps[-1] - steps[0]), 1)
    # At most one point's time is taken off, lest the estimate of a run that stalls runs down to nothing.
    since_s = min(((now or datetime.now(UTC)) - end).total_seconds(), pace_s * int(steps[-1] - steps[-2]))
    return max(0.0, pace_s * (record.max_steps - int(steps[-1])) - since_s)


def _left(seconds: float) -> str:
    return f"about {duration(max(seconds, 1.0))} left"


def _queued(record: RunRecord) -> str:
    if record.is_held:
        return "is held back in the queue."
    return f"waits: {plain(record.waiting_for)}" if record.waiting_for else "waits in the queue."


def _asked(record: RunRecord) -> str:
    """What becomes of a run by a request that is not obeyed yet; empty when there is none."""
    if record.request == Request.DISCARD and record.state not in TERMINAL_STATES:
        return "is being discarded."
    if not record.is_live:
        return ""
    soon = "as soon as it trains" if record.state is RunState.STARTING else "at the next step"
    return {
        Request.PAUSE: f"is asked to pause: it saves everything {soon}.",
        Request.FINISH: f"is asked to finish: it stops {soon}, is evaluated, and keeps its best epoch.",
        Request.STOP_HARD: "is being stopped hard: its processes are ended.",
    }.get(Request(record.request) if record.request else None, "")


def _starting(record: RunRecord) -> str:
    if record.global_step:
        return f"is getting ready to go on from step {count(record.global_step)}."
    return "is getting ready: images and model are being prepared."


def _paused(record: RunRecord, checkpoint_step: int | None) -> str:
    why = f", since {plain(_reason(record.pause_reason))}" if record.pause_reason else ""
    if checkpoint_step is None:
        onward = "it begins anew"
    elif checkpoint_step == record.global_step:
        onward = "it goes on from there"
    else:
        onward = f"it goes on from step {count(checkpoint_step)}"
    when = "when the supervisor is back" if record.pause_reason == PauseReason.SHUTDOWN else "when resumed"
    steps = (
        f"step {count(record.global_step)} of {count(record.max_steps)}" if record.max_steps else "the start"
    )
    return f"is paused at {steps}{why}: {onward} {when}."


def _reason(reason: str) -> str:
    return "there was too little disk space" if reason == PauseReason.DISK else reason


def _failed(record: RunRecord) -> str:
    when = f"in epoch {int(record.epoch) + 1}" if record.global_step else "before its first epoch ended"
    message = record.failure.message if record.failure else "It did not say why."
    return f"failed {when}: {plain(_lower_first(message))}"


def _running(record: RunRecord, left_s: float | None) -> str:
    left = f", {_left(left_s)}" if left_s is not None else ""
    if record.accuracy is None:
        return f"is training: the first evaluation comes at the end of an epoch{left}."
    return f"is training: {percent(record.accuracy)} on eval so far{left}."


def _completed(record: RunRecord, is_test_open: bool) -> str:
    figures = record.evaluation.get("eval", {})
    share, size = figures.get("accuracy", record.accuracy), eval_size(record)
    if share is None:
        return "is finished, without an evaluation."
    between = f" (95 % interval {accuracy_interval(share, size)})" if size else ""
    wrong = f", {count(round((1 - share) * size))} of {count(size)} wrong" if size else ""
    test = record.evaluation.get("test", {}).get("accuracy")
    sealed = "; test sealed" if test is not None else ""
    seen = f"; {percent(test)} on test" if test is not None and is_test_open else sealed
    return f"is finished: {percent(share)} on eval{between}{wrong}{seen}."


def _lower_first(sentence: str) -> str:
    """Joins a sentence to the words before it; one that begins with an acronym or a name of code stays."""
    is_word = len(sentence) > 1 and sentence[0].isupper() and (sentence[1].islower() or sentence[1] == " ")
    return sentence[0].lower() + sentence[1:] if is_word else sentence
