"""What happened to runs, which processes work on them, and the settings of the home."""

import json
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.records import LOOKED_AT_TEST, Event, HomeSettings, ProcessRecord
from superft_hf.store_base import StoreBase, now


class EventTable(StoreBase):
    """Events, processes, settings."""

    def add_event(self, run_id: str, *, by: str, what: str, detail: str = "") -> None:
        """Adds a line to the run's history."""
        with self._write() as connection:
            connection.execute(new_event(run_id, by, what, detail))

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

    def forget_processes(self, run_id: str) -> None:
        """Removes the processes noted for a run, all of which are gone, before it is started again."""
        table = schema.processes
        with self._write() as connection:
            connection.execute(sa.delete(table).where(table.c.run_id == run_id))

    def read_settings(self) -> HomeSettings:
        """The home's settings; what was never set has its default."""
        known = {field.name for field in fields(HomeSettings)}
        rows = self._select(sa.select(schema.settings))
        return HomeSettings(**{row["key"]: json.loads(row["value"]) for row in rows if row["key"] in known})

    def change_settings(self, **values: Any) -> HomeSettings:
        """Sets some of the home's settings and returns all."""
        HomeSettings(**values)  # a name that is none of theirs is a fault of ours
        rows = [{"key": key, "value": json.dumps(value)} for key, value in values.items()]
        with self._write() as connection:
            connection.execute(sa.insert(schema.settings).prefix_with("OR REPLACE"), rows)
        return self.read_settings()


def new_event(run_id: str, by: str, what: str, detail: str) -> sa.Insert:
    """The statement that adds a line to a run's history."""
    return sa.insert(schema.events).values(run_id=run_id, time=now(), by=by, what=what, detail=detail)
