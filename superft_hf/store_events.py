"""What happened to runs, which processes work on them, and the settings of the home."""

import json
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.records import LOOKED_AT_TEST, Event, HomeSettings, ProcessRecord
from superft_hf.store_base import StoreBase, now

_GONE = "deleted run "
"""Before the run id of a look whose run was deleted; its detail then holds the fingerprints of its images."""

# Python writes a float that is no number as NaN or Infinity, which SQLite does not read as JSON.
_FACTS = "replace(replace(replace(runs.facts, '-Infinity', 'null'), 'Infinity', 'null'), 'NaN', 'null')"
_TEST = f"json_extract({_FACTS}, '$.split_fingerprints.test')"
_DATA = f"json_extract({_FACTS}, '$.fingerprint')"

_FIRST_LOOKS = f"""
SELECT run_id, time, test, data, is_gone FROM (
    SELECT events.run_id, min(events."row") AS "row", events.time, 0 AS is_gone,
        {_TEST} AS test, {_DATA} AS data
    FROM events JOIN runs ON runs.run_id = events.run_id
    WHERE events.what = :what GROUP BY events.run_id
    UNION ALL
    SELECT substr(run_id, length(:gone) + 1), "row", time, 1,
        json_extract(detail, '$.test'), json_extract(detail, '$.data')
    FROM events WHERE what = :what AND run_id LIKE :gone || '%'
) ORDER BY "row"
"""


@dataclass(frozen=True)
class Look:
    """The first time that a run's test figures were shown to a person.

    Attributes:
        run_id: The run.
        time: UTC, ISO 8601.
        test: Fingerprint of its test set; empty for runs of earlier versions.
        data: Fingerprint of all its images; empty where unknown.
        is_gone: Whether the run was deleted since.
    """

    run_id: str
    time: str
    test: str
    data: str
    is_gone: bool


class EventTable(StoreBase):
    """Events, processes, settings."""

    def add_event(self, run_id: str, *, by: str, what: str, detail: str = "") -> None:
        """Adds a line to the run's history."""
        with self._write() as connection:
            connection.execute(new_event(run_id, by, what, detail))

    def look_at_test(self, run_id: str, *, by: str, detail: str = "") -> None:
        """Notes that a person is shown the run's test figures; reading them again is no further look.

        One statement: of two who look at the same moment, one is noted.
        """
        table = schema.events
        looks = sa.select(table.c.row).where(table.c.run_id == run_id, table.c.what == LOOKED_AT_TEST)
        values = [sa.literal(one) for one in (run_id, now(), by, LOOKED_AT_TEST, detail)]
        look = sa.insert(table).from_select(
            ["run_id", "time", "by", "what", "detail"], sa.select(*values).where(~looks.exists())
        )
        with self._write() as connection:
            connection.execute(look)

    def runs_looked_at(self) -> set[str]:
        """The runs whose test figures were shown to a person, deleted ones included."""
        return {look.run_id for look in self.first_looks()}

    def first_looks(self) -> list[Look]:
        """Every first look at the test figures of a run, oldest first, by one query.

        A deleted run's is among them: what was seen stays seen.
        """
        rows = self._select(sa.text(_FIRST_LOOKS).bindparams(what=LOOKED_AT_TEST, gone=_GONE))
        return [
            Look(row["run_id"], row["time"], row["test"] or "", row["data"] or "", bool(row["is_gone"]))
            for row in rows
        ]

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


def keep_look(run_id: str) -> sa.TextClause:
    """The statement, before a run's rows are deleted, that keeps its look at test in the vault's account."""
    return sa.text(_KEEP_LOOK).bindparams(kept=f"{_GONE}{run_id}", run=run_id, what=LOOKED_AT_TEST)


_KEEP_LOOK = f"""
UPDATE events SET run_id = :kept, detail = (
    SELECT json_object('test', {_TEST}, 'data', {_DATA}) FROM runs WHERE run_id = :run
) WHERE run_id = :run AND what = :what
"""


def new_event(run_id: str, by: str, what: str, detail: str) -> sa.Insert:
    """The statement that adds a line to a run's history."""
    return sa.insert(schema.events).values(run_id=run_id, time=now(), by=by, what=what, detail=detail)
