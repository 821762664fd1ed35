"""RunStore: runs, metrics and events of one home, in SQLite.

What stays true: a state changes by compare-and-set only, so that two writers cannot both win and a late
click cannot rewrite a finished run. Writes begin with BEGIN IMMEDIATE: a transaction that reads first and
writes later fails at once with "database is locked" when another writer came between, whatever the timeout.
"""

import json
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, read_config
from superft_hf.errors import DiskFullError, StateError, StoreError, SuperFTError, is_disk_full
from superft_hf.records import (
    LIVE_STATES,
    TERMINAL_STATES,
    UNFINISHED_STATES,
    Failure,
    Request,
    RunRecord,
    RunState,
)
from superft_hf.store_base import RECORD_COLUMNS, now, to_record
from superft_hf.store_events import EventTable, keep_look, new_event
from superft_hf.store_filters import FilterTable
from superft_hf.store_marks import MarkTable
from superft_hf.store_metrics import MetricTable
from superft_hf.store_pins import PinTable
from superft_hf.store_queue import QueueTable, kept_request

_ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_JSON_COLUMNS = ("failure", "evaluation", "facts")


class RunStore(QueueTable, MetricTable, EventTable, MarkTable, FilterTable, PinTable):
    """The records of one home.

    Args:
        home: The folder; created when missing.

    Raises:
        HomeError: If the folder cannot be written to.
        SchemaVersionError: If another version of the program wrote the database.
    """

    def create_run(
        self, config: RunConfig, *, by: str, state: RunState = RunState.QUEUED, priority: int = 0
    ) -> RunRecord:
        """Writes a new run's folder and row.

        Args:
            config: What to run; kept as config.yaml, complete.
            by: Who asked, for the run's events: `page`, `command line`.
            state: QUEUED, or STARTING for a run that its creator starts itself.
            priority: Of queued runs those of a higher one start first.

        Returns:
            The new run.

        Raises:
            StoreError: If there is no room for it, or the home cannot be written to; nothing is left behind.
        """
        created_at = now()
        run_id = self._make_folder()
        row = {
            "run_id": run_id, "name": config.name or run_id, "state": str(state), "task": config.task,
            "model": config.model.name_or_path, "data": config.data.name_or_path, "created_at": created_at,
            "started_at": created_at if state in LIVE_STATES else None,
            "best_metric": config.early_stopping.metric, "queued_at": created_at, "priority": priority,
            "config": config.model_dump_json(),
        }  # fmt: skip
        try:
            self._write_config(run_id, config)
            with self._write() as connection:
                connection.execute(sa.insert(schema.runs).values(row))
                connection.execute(new_event(run_id, by, "created", ""))
        except BaseException:  # whatever it is: no folder without a row
            shutil.rmtree(self.run_paths(run_id).folder, ignore_errors=True)
            raise
        return self.get_run(run_id)

    def has_run(self, run_id: str) -> bool:
        """Whether there is such a run."""
        return bool(self._select(sa.select(schema.runs.c.run_id).where(schema.runs.c.run_id == run_id)))

    def list_runs(
        self, states: Collection[RunState] | None = None, *, request: Request | None = None
    ) -> list[RunRecord]:
        """All runs, newest first; or those in some states, or of which something is asked."""
        query = sa.select(*RECORD_COLUMNS).order_by(
            schema.runs.c.created_at.desc(), schema.runs.c.rowid.desc()
        )
        if states is not None:
            query = query.where(schema.runs.c.state.in_([str(state) for state in states]))
        if request is not None:
            query = query.where(schema.runs.c.request == str(request))
        return [to_record(row) for row in self._select(query)]

    def read_config(self, run_id: str) -> RunConfig:
        """The configuration as asked."""
        return read_config(self.run_paths(run_id).config)

    def read_config_values(self, run_ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """The configurations of some runs, or of all, as nested values by run id, from the database alone.

        Much faster than `read_config` for many runs. A run of an earlier version whose config.yaml is gone or
        damaged is left out.
        """
        table = schema.runs
        query = sa.select(table.c.run_id, table.c.config)
        if run_ids is not None:
            query = query.where(table.c.run_id.in_(list(run_ids)))
        found = {row["run_id"]: row["config"] for row in self._select(query)}
        for run_id in [one for one, text in found.items() if text is None]:
            try:
                found[run_id] = self.read_config(run_id).model_dump_json()
            except SuperFTError:
                del found[run_id]
                continue
            if not self.is_read_only:
                self.update_run(run_id, config=found[run_id])
        # Through the declaration, so that a setting that came later has its default in all of them.
        return {
            run_id: RunConfig.model_validate_json(text).model_dump(mode="json")
            for run_id, text in found.items()
        }

    def runs_with_setting(self, key: str, value: str | int | float) -> set[str]:
        """The runs whose configuration has this value, and those whose is not in the database yet: one query.

        Args:
            key: Dotted, such as `model.strategy`.
            value: As in the YAML.
        """
        config = schema.runs.c.config
        is_so = sa.func.json_extract(config, f"$.{key}") == value
        found = self._select(sa.select(schema.runs.c.run_id).where(is_so | config.is_(None)))
        return {row["run_id"] for row in found}

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
        moment = now()
        failure = columns.get("failure")
        detail = failure.message if isinstance(failure, Failure) else columns.get("pause_reason") or ""
        table = schema.runs
        columns = {**_columns(columns), "state": str(new)}
        if new is RunState.STARTING:
            columns |= {"started_at": moment, "progress_at": moment, "waiting_for": None}
        if new in TERMINAL_STATES or new is RunState.FAILED:
            columns["ended_at"] = moment
        if new not in LIVE_STATES:
            columns["worked_s"] = table.c.worked_s + _seconds_at_work(table, moment)
        if new is RunState.COMPLETED:
            columns["request"] = None
        if new is RunState.PAUSED:  # obeyed; only a wish to discard outlives it
            columns["request"] = kept_request(table, columns.get("pause_reason"))
        change = (
            sa.update(table)
            .where(table.c.run_id == run_id, table.c.state.in_([str(state) for state in old]))
            .values(columns)
        )
        with self._write() as connection:
            is_changed = connection.execute(change).rowcount == 1
            if is_changed:
                connection.execute(new_event(run_id, by, str(new), detail))
        return is_changed

    def update_run(self, run_id: str, **columns: Any) -> None:
        """Sets columns other than the state: progress, best value, facts."""
        if "state" in columns:
            raise ValueError("the state changes by change_state only")
        table = schema.runs
        with self._write() as connection:
            connection.execute(sa.update(table).where(table.c.run_id == run_id).values(_columns(columns)))

    def delete_run(self, run_id: str) -> None:
        """Removes a run that is not at work, with its folder.

        Raises:
            RunNotFoundError: If there is no such run.
            StateError: If it is queued or live.
        """
        record = self.get_run(run_id)
        try:
            self._delete_rows(record)
        except DiskFullError:
            if record.state not in TERMINAL_STATES:  # it might be resumed meanwhile
                raise
            shutil.rmtree(self.run_paths(run_id).checkpoints, ignore_errors=True)  # room for the deletion
            self._delete_rows(record)
        shutil.rmtree(self.run_paths(run_id).folder, ignore_errors=True)

    def _delete_rows(self, record: RunRecord) -> None:
        table = schema.runs
        allowed = [str(state) for state in RunState if state not in UNFINISHED_STATES]
        with self._write() as connection:
            connection.execute(keep_look(record.run_id))  # deleting a run does not unsee its test figures
            gone = sa.delete(table).where(table.c.run_id == record.run_id, table.c.state.in_(allowed))
            if connection.execute(gone).rowcount != 1:
                raise StateError(
                    f"The run {record.name} is {record.state}.", hint="Discard it first, then delete it."
                )
            for other in (schema.metrics, schema.metric_rows, schema.events, schema.processes):
                connection.execute(sa.delete(other).where(other.c.run_id == record.run_id))

    def _make_folder(self) -> str:
        """Makes the folder of a new run and returns its id, one that no run had before."""
        while True:
            letters = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
            run_id = f"{datetime.now(UTC):%Y%m%d-%H%M}-{letters}"
            try:
                self.run_paths(run_id).folder.mkdir()
            except FileExistsError:  # a thousand runs in one minute meet this
                continue
            except OSError as error:
                raise self._folder_error(error) from error
            return run_id

    def _write_config(self, run_id: str, config: RunConfig) -> None:
        text = dump_config(config, commented=True)
        try:
            self.run_paths(run_id).config.write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._folder_error(error) from error

    def _folder_error(self, error: OSError) -> StoreError:
        if is_disk_full(error):
            return DiskFullError(self.home)
        return StoreError(
            f"The folder {self.home} cannot be written to: {error.strerror or error}.",
            hint="Change its permissions, or choose another with --home.",
        )


def _seconds_at_work(table: sa.Table, moment: str) -> sa.ColumnElement[float]:
    """Seconds since the start of a run that is live at this moment, else 0."""
    is_live = table.c.state.in_([str(state) for state in LIVE_STATES])
    seconds = 86400.0 * (sa.func.julianday(moment) - sa.func.julianday(table.c.started_at))
    return sa.case((is_live, sa.func.coalesce(seconds, 0.0)), else_=0.0)


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turns records and mappings into the JSON text that their columns hold."""
    made = dict(values)
    for name in _JSON_COLUMNS:
        if name in made and made[name] is not None:
            value = made[name]
            made[name] = json.dumps(asdict(value) if isinstance(value, Failure) else value)
    return made
