"""The frozen-backbone baseline of a run: the same run with the head trained alone, which is a run of its own.

It answers what training all layers has brought on these images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from superft_hf.engine.control import submit_many
from superft_hf.errors import StateError
from superft_hf.evaluation.baselines import FROZEN_STRATEGY, frozen_runs, is_frozen
from superft_hf.preflight import report as preflight
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore

NAME = "frozen backbone"
_STRATEGY = "model.strategy"


@dataclass(frozen=True)
class FrozenBaseline:
    """How it stands with the baseline of a run.

    Attributes:
        completed: The newest run that is one and has completed; None without one.
        pending: The newest that is one and still queued, live or paused; None without one.
        is_itself: Whether the run trains its head alone, and so is such a baseline itself.
    """

    completed: RunRecord | None
    pending: RunRecord | None
    is_itself: bool


def find(store: RunStore, record: RunRecord, records: Sequence[RunRecord] | None = None) -> FrozenBaseline:
    """Looks for the baseline of a run.

    Args:
        store: Where the runs are.
        record: The run.
        records: All runs, newest first, when they are known already.
    """
    listed = store.list_runs() if records is None else records
    with_head = store.runs_with_setting(_STRATEGY, FROZEN_STRATEGY)
    alike = {
        one.run_id: one
        for one in listed
        if one.run_id in with_head and (one.model, one.data) == (record.model, record.data)
    }
    values = store.read_config_values([*alike, record.run_id])
    if record.run_id not in values:
        return FrozenBaseline(None, None, is_itself=False)
    frozen = set(frozen_runs(record.run_id, values))
    found = [one for run_id, one in alike.items() if run_id in frozen]
    return FrozenBaseline(
        next((one for one in found if one.state is RunState.COMPLETED and one.evaluation), None),
        next((one for one in found if one.is_unfinished or one.state is RunState.PAUSED), None),
        is_itself=is_frozen(values[record.run_id]),
    )


def queue(
    store: RunStore,
    record: RunRecord,
    by: str,
    progress: preflight.Progress | None = None,
    token: str | None = None,
) -> RunRecord:
    """Queues the baseline of a run, or gives the one that is queued, at work or completed already.

    Args:
        store: Where the runs are.
        record: The run.
        by: Who asks, for the new run's events.
        progress: Hears how many images are open, and of how many.
        token: A person's token for the Hub, which no run ever sees.

    Raises:
        StateError: If the run trains its head alone.
        SuperFTError: If something blocks the start.
    """
    found = find(store, record)
    if found.is_itself:
        raise StateError(
            f"The run {record.name} trains its head alone: it is a frozen-backbone baseline itself.",
            hint="Choose a run that trains all layers.",
        )
    there = found.completed or found.pending
    if there is not None:
        return there
    config = store.read_config(record.run_id)
    changed = config.model_copy(
        update={
            "name": f"{record.name}, {NAME}",
            "model": config.model.model_copy(update={"strategy": FROZEN_STRATEGY}),
        }
    )
    return submit_many(store, [changed], by=by, progress=progress, token=token)[0]
