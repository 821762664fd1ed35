"""Filters that people saved by name, by set of images.

Each is a row of its own in the table of settings, so that two tabs that save at once do not undo each other.
"""

import json
from typing import Any

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.store_base import StoreBase

_KIND = "filter"


class FilterTable(StoreBase):
    """Saved filters."""

    def read_filters(self, data: str) -> dict[str, Any]:
        """What was saved for a set of images, by name in alphabetical order."""
        table = schema.settings
        query = sa.select(table).where(table.c.key.startswith(_prefix(data), autoescape=True))
        found = {json.loads(row["key"])[2]: json.loads(row["value"]) for row in self._select(query)}
        return dict(sorted(found.items(), key=lambda item: (item[0].casefold(), item[0])))

    def save_filter(self, data: str, name: str, value: Any) -> None:
        """Saves a value for JSON by name, in place of an earlier one."""
        row = {"key": json.dumps([_KIND, data, name]), "value": json.dumps(value)}
        with self._write() as connection:
            connection.execute(sa.insert(schema.settings).prefix_with("OR REPLACE").values(row))

    def delete_filter(self, data: str, name: str) -> bool:
        """Forgets one, and returns whether there was one."""
        table = schema.settings
        gone = sa.delete(table).where(table.c.key == json.dumps([_KIND, data, name]))
        with self._write() as connection:
            return connection.execute(gone).rowcount == 1


def _prefix(data: str) -> str:
    return json.dumps([_KIND, data])[:-1] + ","
