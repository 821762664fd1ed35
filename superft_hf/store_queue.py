"""What persons want of runs: requests on them, and the order of the queue."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.errors import StateError
from superft_hf.records import LIVE_STATES, TERMINAL_STATES, PauseReason, Request, RunRecord, RunState
from superft_hf.store_base import StoreBase, now
from superft_hf.store_events import new_event

REQUEST_STATES: Mapping[Request, tuple[RunState, ...]] = {
    Request.FINISH: LIVE_STATES,
    Request.PAUSE: LIVE_STATES,
    Request.STOP_HARD: LIVE_STATES,
    Request.DISCARD: tuple(state for state in RunState if state not in TERMINAL_STATES),
}
"""The states in which something may be asked of a run."""

RESUMABLE_STATES = (RunState.PAUSED, RunState.FAILED)

_INSTEAD = {
    RunState.QUEUED: "It waits: hold it with `superft hold`, or discard it.",
    RunState.PAUSED: "Resume it with `superft resume`, or discard it.",
    RunState.FAILED: "Resume it with `superft resume`, or discard it.",
    RunState.COMPLETED: "It has ended; `superft delete` removes it.",
    RunState.DISCARDED: "It has ended; `superft delete` removes it.",
    RunState.STARTING: "It is at work: finish, pause or discard it.",
    RunState.RUNNING: "It is at work: finish, pause or discard it.",
}


class Move(StrEnum):
    """Where to in the queue."""

    FIRST = "first"
    UP = "up"
    DOWN = "down"
    LAST = "last"


class QueueTable(StoreBase):
    """Requests, and the queue."""

    def set_request(self, run_id: str, request: Request, *, by: str) -> RunRecord:
        """Records what a person asks of a run; the worker or the supervisor obeys.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If the request does not fit the state, or the run is being discarded.
        """
        table = schema.runs
        allowed = [str(state) for state in REQUEST_STATES[request]]
        with self._write() as connection:
            change = sa.update(table).where(
                table.c.run_id == run_id,
                table.c.state.in_(allowed),
                sa.func.coalesce(table.c.request, "") != str(Request.DISCARD),
            )
            if connection.execute(change.values(request=str(request))).rowcount == 1:
                connection.execute(new_event(run_id, by, f"asked to {request}", ""))
                is_recorded = True
            else:
                is_recorded = False
        record = self.get_run(run_id)
        is_going = record.request == Request.DISCARD and record.state not in TERMINAL_STATES
        if is_recorded or (request is Request.DISCARD and is_going):
            return record
        if is_going:
            raise _being_discarded(record)
        raise StateError(
            f"The run {record.name} is {record.state}: it cannot be asked to {request}.",
            hint=_INSTEAD[record.state],
        )

    def requeue(self, run_id: str, *, by: str) -> RunRecord:
        """Puts a paused or failed run into the queue again, with its configuration as it is.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If it is neither, or is being discarded.
        """
        table = schema.runs
        change = sa.update(table).where(
            table.c.run_id == run_id,
            table.c.state.in_([str(state) for state in RESUMABLE_STATES]),
            sa.func.coalesce(table.c.request, "") != str(Request.DISCARD),
        )
        is_shutdown = table.c.pause_reason == str(PauseReason.SHUTDOWN)
        values: dict[str, Any] = {
            "state": str(RunState.QUEUED), "queued_at": now(), "ended_at": None, "failure": None,
            "pause_reason": None, "waiting_for": None, "is_held": False,
            "request": sa.case((is_shutdown, table.c.request), else_=None),
        }  # fmt: skip
        with self._write() as connection:
            is_changed = connection.execute(change.values(values)).rowcount == 1
            if is_changed:
                connection.execute(new_event(run_id, by, "resumed", ""))
        record = self.get_run(run_id)
        if not is_changed and record.request == Request.DISCARD and record.state in RESUMABLE_STATES:
            raise _being_discarded(record)
        if not is_changed:
            raise StateError(
                f"The run {record.name} is {record.state}: it cannot be resumed.",
                hint=_INSTEAD[record.state],
            )
        return record

    def set_held(self, run_id: str, is_held: bool, *, by: str) -> None:
        """Holds a queued run back, or lets it go. Raises StateError if it is not queued."""
        self._change_queued(run_id, {"is_held": is_held}, "held" if is_held else "let go", by)

    def set_priority(self, run_id: str, priority: int, *, by: str) -> None:
        """Queued runs of a higher priority start first. Raises StateError if it is not queued."""
        self._change_queued(run_id, {"priority": priority}, f"priority {priority}", by)

    def move(self, run_id: str, where: Move, *, by: str) -> None:
        """Moves a queued run among the others; a move beyond an end changes nothing.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If it is not queued.
        """
        table = schema.runs
        order = sa.select(table.c.run_id, table.c.priority, table.c.queued_at).where(
            table.c.state == str(RunState.QUEUED)
        )
        order = order.order_by(table.c.priority.desc(), table.c.queued_at, table.c.rowid)
        with self._write() as connection:
            rows = [dict(row) for row in connection.execute(order).mappings()]
            names = [row["run_id"] for row in rows]
            if run_id in names:
                old = names.index(run_id)
                new = {
                    Move.FIRST: 0, Move.UP: max(0, old - 1), Move.DOWN: min(len(rows) - 1, old + 1),
                    Move.LAST: len(rows) - 1,
                }[where]  # fmt: skip
                names.insert(new, names.pop(old))
                # The places stay, and the runs change places: whatever their priorities were.
                for name, place in zip(names, rows, strict=True):
                    values = {"priority": place["priority"], "queued_at": place["queued_at"]}
                    connection.execute(sa.update(table).where(table.c.run_id == name).values(values))
                if new != old:
                    connection.execute(new_event(run_id, by, f"moved {where}", ""))
                return
        self._refuse_unqueued(run_id)

    def _change_queued(self, run_id: str, values: Mapping[str, Any], what: str, by: str) -> None:
        table = schema.runs
        with self._write() as connection:
            change = sa.update(table).where(table.c.run_id == run_id, table.c.state == str(RunState.QUEUED))
            if connection.execute(change.values(**values)).rowcount == 1:
                connection.execute(new_event(run_id, by, what, ""))
                return
        self._refuse_unqueued(run_id)

    def _refuse_unqueued(self, run_id: str) -> None:
        record = self.get_run(run_id)
        raise StateError(
            f"The run {record.name} is {record.state}, not queued.", hint="Only queued runs wait."
        )


def _being_discarded(record: RunRecord) -> StateError:
    return StateError(f"The run {record.name} is being discarded.", hint="Its record stays.")


def kept_request(table: sa.Table, reason: str | None) -> sa.ColumnElement[Any]:
    """What is left of a request once a run is paused.

    The wish to discard it, and after a shutdown, from which it goes on by itself, the wish to finish it.
    """
    kept = [str(Request.DISCARD), *([str(Request.FINISH)] if reason == PauseReason.SHUTDOWN else [])]
    return sa.case((table.c.request.in_(kept), table.c.request), else_=None)
