"""RunStore: runs, metrics and events of one home, in SQLite.

What stays true: a state changes by compare-and-set only, so that two writers cannot both win and a late
click cannot rewrite a finished run. Writes begin with BEGIN IMMEDIATE: a transaction that reads first and
writes later fails at once with "database is locked" when another writer came between, whatever the timeout.
"""

import json
import math
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, read_config
from superft_hf.errors import RunNotFoundError, StateError
from superft_hf.paths import HomePaths, RunPaths, make_home
from superft_hf.records import (
    LIVE_STATES,
    LOOKED_AT_TEST,
    TERMINAL_STATES,
    UNFINISHED_STATES,
    Event,
    Failure,
    ProcessRecord,
    Request,
    RunRecord,
    RunState,
)

_ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_JSON_COLUMNS = ("failure", "evaluation", "facts")


class RunStore:
    """The records of one home.

    Args:
        home: The folder; created when missing.

    Raises:
        HomeError: If the folder cannot be written to.
        SchemaVersionError: If another version of the program wrote the database.
    """

    def __init__(self, home: Path) -> None:
        self.home = make_home(home)
        self.paths = HomePaths(self.home)
        self._engine = schema.open_database(self.paths.database)

    def run_paths(self, run_id: str) -> RunPaths:
        """The files of a run. Raises RunNotFoundError for an id that is not of our making."""
        return self.paths.run(run_id)

    # Runs

    def create_run(self, config: RunConfig, *, by: str, state: RunState = RunState.QUEUED) -> RunRecord:
        """Writes a new run's folder and row.

        Args:
            config: What to run; kept as config.yaml, complete.
            by: Who asked, for the run's events: `page`, `command line`.
            state: QUEUED, or STARTING for a run that its creator starts itself.

        Returns:
            The new run.
        """
        created_at = _now()
        run_id = self._make_folder()
        paths = self.run_paths(run_id)
        paths.config.write_text(dump_config(config, commented=True), encoding="utf-8")
        row = {
            "run_id": run_id, "name": config.name or run_id, "state": str(state), "task": config.task,
            "model": config.model.name_or_path, "data": config.data.name_or_path, "created_at": created_at,
            "started_at": created_at if state in LIVE_STATES else None,
            "best_metric": config.early_stopping.metric,
        }  # fmt: skip
        with self._write() as connection:
            connection.execute(sa.insert(schema.runs).values(row))
            connection.execute(_event(run_id, by, "created", ""))
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> RunRecord:
        """One run. Raises RunNotFoundError."""
        found = self._select(sa.select(schema.runs).where(schema.runs.c.run_id == run_id))
        if not found:
            raise RunNotFoundError(run_id)
        return _record(found[0])

    def has_run(self, run_id: str) -> bool:
        """Whether there is such a run."""
        return bool(self._select(sa.select(schema.runs.c.run_id).where(schema.runs.c.run_id == run_id)))

    def list_runs(
        self, states: Collection[RunState] | None = None, *, request: Request | None = None
    ) -> list[RunRecord]:
        """All runs, newest first; or those in some states, or of which something is asked."""
        query = sa.select(schema.runs).order_by(schema.runs.c.created_at.desc(), schema.runs.c.rowid.desc())
        if states is not None:
            query = query.where(schema.runs.c.state.in_([str(state) for state in states]))
        if request is not None:
            query = query.where(schema.runs.c.request == str(request))
        return [_record(row) for row in self._select(query)]

    def read_config(self, run_id: str) -> RunConfig:
        """The configuration as asked."""
        return read_config(self.run_paths(run_id).config)

    def change_state(
        self, run_id: str, old: Collection[RunState], new: RunState, *, by: str, **columns: Any
    ) -> bool:
        """Moves a run from one of `old` to `new`, together with other columns, or does nothing.

        Args:
            run_id: The run.
            old: States from which the change is allowed.
            new: The state after it.
            by: Who does it, for the run's events.
            columns: Further columns of the row to set with it, such as `failure`.

        Returns:
            Whether the run was in one of `old`, and so is in `new` now.
        """
        moment = _now()
        columns = {**columns, "state": str(new)}
        if new is RunState.STARTING:
            columns |= {"started_at": moment, "waiting_for": None}
        if new in TERMINAL_STATES or new is RunState.FAILED:
            columns["ended_at"] = moment
        table = schema.runs
        change = (
            sa.update(table)
            .where(table.c.run_id == run_id, table.c.state.in_([str(state) for state in old]))
            .values(_columns(columns))
        )
        with self._write() as connection:
            is_changed = connection.execute(change).rowcount == 1
            if is_changed:
                failure = columns.get("failure")
                detail = failure.message if isinstance(failure, Failure) else ""
                connection.execute(_event(run_id, by, str(new), detail))
        return is_changed

    def update_run(self, run_id: str, **columns: Any) -> None:
        """Sets columns other than the state: progress, best value, facts."""
        if "state" in columns:
            raise ValueError("the state changes by change_state only")
        table = schema.runs
        with self._write() as connection:
            connection.execute(sa.update(table).where(table.c.run_id == run_id).values(_columns(columns)))

    def set_request(self, run_id: str, request: Request, *, by: str) -> RunRecord:
        """Records what a person asks of a run; the supervisor obeys.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If the run has ended in a way that the request does not fit.
        """
        table = schema.runs
        allowed = [str(state) for state in RunState if state not in TERMINAL_STATES]
        with self._write() as connection:
            change = sa.update(table).where(table.c.run_id == run_id, table.c.state.in_(allowed))
            is_recorded = connection.execute(change.values(request=str(request))).rowcount == 1
            if is_recorded:
                connection.execute(_event(run_id, by, f"asked to {request}", ""))
        record = self.get_run(run_id)
        if not is_recorded:
            raise StateError(
                f"The run {record.name} is {record.state}: it cannot be asked to {request}.",
                hint="`superft delete` removes a run that has ended.",
            )
        return record

    def set_held(self, run_id: str, is_held: bool, *, by: str) -> None:
        """Holds a queued run back, or lets it go. Raises StateError if it is not queued."""
        table = schema.runs
        with self._write() as connection:
            change = sa.update(table).where(table.c.run_id == run_id, table.c.state == str(RunState.QUEUED))
            if connection.execute(change.values(is_held=is_held)).rowcount == 1:
                connection.execute(_event(run_id, by, "held" if is_held else "let go", ""))
                return
        record = self.get_run(run_id)
        raise StateError(
            f"The run {record.name} is {record.state}, not queued.", hint="Only queued runs wait."
        )

    def delete_run(self, run_id: str) -> None:
        """Removes a run that is not at work, with its folder.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If it is queued or live.
        """
        record = self.get_run(run_id)
        table = schema.runs
        allowed = [str(state) for state in RunState if state not in UNFINISHED_STATES]
        with self._write() as connection:
            gone = sa.delete(table).where(table.c.run_id == run_id, table.c.state.in_(allowed))
            if connection.execute(gone).rowcount != 1:
                raise StateError(
                    f"The run {record.name} is {record.state}.", hint="Discard it first, then delete it."
                )
            for other in (schema.metrics, schema.events, schema.processes):
                connection.execute(sa.delete(other).where(other.c.run_id == run_id))
        shutil.rmtree(self.run_paths(run_id).folder, ignore_errors=True)

    # Metrics

    def log_metrics(self, run_id: str, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Adds one point a key; a point that is there already is replaced, and counts as new for readers."""
        if not values:
            return
        moment = _now()
        rows = [
            {
                "run_id": run_id,
                "step": step,
                "epoch": epoch,
                "key": key,
                "value": float(value),
                "time": moment,
            }
            for key, value in values.items()
        ]
        with self._write() as connection:
            connection.execute(sa.insert(schema.metrics).prefix_with("OR REPLACE"), rows)

    def read_metrics(
        self, run_id: str, after_row: int = 0, keys: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The points of a run that came after a row, in the order in which they were logged.

        Args:
            run_id: The run.
            after_row: The largest `row` seen so far; 0 reads all.
            keys: Only these keys; None reads all.

        Returns:
            Columns row (int), step (int), epoch (float), key (str), value (float), time (str).
        """
        table = schema.metrics
        query = sa.select(table.c.row, table.c.step, table.c.epoch, table.c.key, table.c.value, table.c.time)
        query = query.where(table.c.run_id == run_id, table.c.row > after_row).order_by(table.c.row)
        if keys is not None:
            query = query.where(table.c.key.in_(list(keys)))
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        points = pd.DataFrame(rows, columns=["row", "step", "epoch", "key", "value", "time"])
        return points.astype({"row": "int64", "step": "int64", "epoch": "float64", "value": "float64"})

    def last_metric_row(self, run_id: str) -> int:
        """The largest `row` of a run's metrics; 0 when there are none. A cache key for its curves."""
        table = schema.metrics
        found = self._select(sa.select(sa.func.max(table.c.row).label("row")).where(table.c.run_id == run_id))
        return found[0]["row"] or 0

    def last_values(self, run_id: str) -> dict[str, float]:
        """The last value of each key; NaN where it was not a number."""
        table = schema.metrics
        newest = (
            sa.select(table.c.key, sa.func.max(table.c.step).label("step"))
            .where(table.c.run_id == run_id)
            .group_by(table.c.key)
            .subquery()
        )
        query = sa.select(table.c.key, table.c.value).join(
            newest, (table.c.key == newest.c.key) & (table.c.step == newest.c.step)
        )
        rows = self._select(query.where(table.c.run_id == run_id))
        return {row["key"]: _number(row["value"]) for row in rows}

    def sparklines(self, run_ids: Sequence[str], key: str) -> dict[str, list[float]]:
        """One key's values in the order of the steps, by run."""
        table = schema.metrics
        query = sa.select(table.c.run_id, table.c.value).where(
            table.c.run_id.in_(run_ids), table.c.key == key
        )
        lines: dict[str, list[float]] = {}
        for row in self._select(query.order_by(table.c.run_id, table.c.step)):
            lines.setdefault(row["run_id"], []).append(_number(row["value"]))
        return lines

    # Events and processes

    def add_event(self, run_id: str, *, by: str, what: str, detail: str = "") -> None:
        """Adds a line to the run's history."""
        with self._write() as connection:
            connection.execute(_event(run_id, by, what, detail))

    def look_at_test(self, run_id: str, *, by: str, detail: str = "") -> None:
        """Notes that a person is shown the run's test figures; reading them again is no further look."""
        if not any(event.what == LOOKED_AT_TEST for event in self.read_events(run_id)):
            self.add_event(run_id, by=by, what=LOOKED_AT_TEST, detail=detail)

    def runs_looked_at(self) -> set[str]:
        """The runs whose test figures were shown to a person."""
        table = schema.events
        query = sa.select(table.c.run_id).where(table.c.what == LOOKED_AT_TEST).distinct()
        return {row["run_id"] for row in self._select(query)}

    def read_events(self, run_id: str) -> list[Event]:
        """The run's history, oldest first."""
        table = schema.events
        rows = self._select(sa.select(table).where(table.c.run_id == run_id).order_by(table.c.row))
        return [Event(row["time"], row["by"], row["what"], row["detail"]) for row in rows]

    def record_process(self, run_id: str, process: ProcessRecord) -> None:
        """Notes a process that works on the run."""
        values = {"run_id": run_id, "pid": process.pid, "started": process.started, "role": process.role}
        with self._write() as connection:
            connection.execute(sa.insert(schema.processes).prefix_with("OR REPLACE").values(values))

    def read_processes(self, run_id: str) -> list[ProcessRecord]:
        """The processes noted for the run, whether alive or not."""
        table = schema.processes
        rows = self._select(sa.select(table).where(table.c.run_id == run_id))
        return [ProcessRecord(row["pid"], row["started"], row["role"]) for row in rows]

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _make_folder(self) -> str:
        """Makes the folder of a new run and returns its id, one that no run had before."""
        while True:
            letters = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
            run_id = f"{datetime.now(UTC):%Y%m%d-%H%M}-{letters}"
            try:
                self.run_paths(run_id).folder.mkdir()
            except FileExistsError:  # a thousand runs in one minute meet this
                continue
            return run_id

    def _select(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _number(value: float | None) -> float:
    """SQLite keeps a NaN as null."""
    return math.nan if value is None else value


def _event(run_id: str, by: str, what: str, detail: str) -> sa.Insert:
    return sa.insert(schema.events).values(run_id=run_id, time=_now(), by=by, what=what, detail=detail)


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turns records and mappings into the JSON text that their columns hold."""
    made = dict(values)
    for name in _JSON_COLUMNS:
        if name in made and made[name] is not None:
            value = made[name]
            made[name] = json.dumps(vars(value) if isinstance(value, Failure) else value)
    return made


def _record(row: Mapping[str, Any]) -> RunRecord:
    values = {key: value for key, value in row.items() if key != "rowid"}
    failure = json.loads(values["failure"]) if values["failure"] else None
    return RunRecord(
        **{
            **values,
            "state": RunState(values["state"]),
            "is_held": bool(values["is_held"]),
            "failure": Failure(**failure) if failure else None,
            "evaluation": json.loads(values["evaluation"] or "{}"),
            "facts": json.loads(values["facts"] or "{}"),
        }
    )
