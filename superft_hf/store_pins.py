"""Pinned baselines: for each set of images, the run that the others are measured against."""

import json

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.store_base import StoreBase

_KIND = "baseline"


class PinTable(StoreBase):
    """Pins, each a row of its own beside the settings of the home."""

    def pin_baseline(self, data: str, run_id: str) -> None:
        """Makes a run the baseline of its set of images, in place of an earlier one.

        Args:
            data: The images, as `data.name_or_path` of the run.
            run_id: The run.
        """
        row = {"key": json.dumps([_KIND, data]), "value": json.dumps(run_id)}
        with self._write() as connection:
            connection.execute(sa.insert(schema.settings).prefix_with("OR REPLACE").values(row))

    def unpin_baseline(self, data: str) -> bool:
        """Forgets the baseline of a set of images, and returns whether there was one."""
        table = schema.settings
        gone = sa.delete(table).where(table.c.key == json.dumps([_KIND, data]))
        with self._write() as connection:
            return connection.execute(gone).rowcount == 1

    def read_baselines(self) -> dict[str, str]:
        """The baselines: run ids by set of images. A run that was deleted since is left out."""
        table, runs = schema.settings, schema.runs
        query = sa.select(table).where(table.c.key.startswith(f'["{_KIND}", ', autoescape=True))
        pins = {json.loads(row["key"])[1]: json.loads(row["value"]) for row in self._select(query)}
        there = sa.select(runs.c.run_id).where(runs.c.run_id.in_(list(pins.values())))
        run_ids = {row["run_id"] for row in self._select(there)}
        return {data: run_id for data, run_id in pins.items() if run_id in run_ids}
