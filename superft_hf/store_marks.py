"""What people noted on single images, by set of images: a mark outlives the run it was made on."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from superft_hf import schema
from superft_hf.records import Mark, MarkKind
from superft_hf.store_base import StoreBase, now

_KEYS_A_STATEMENT = 500


class MarkTable(StoreBase):
    """Marks on images."""

    def set_mark(self, mark: Mark) -> Mark:
        """Keeps a mark, in place of an earlier one on the same image, and returns it with its time."""
        return self.set_marks([mark])[0]

    def set_marks(self, marks: Iterable[Mark]) -> list[Mark]:
        """Keeps several marks, all or none, each in place of an earlier one on the same image.

        Returns:
            The marks with their time, which is now.
        """
        moment = now()
        kept = [replace(mark, time=moment) for mark in marks]
        if kept:
            values = [{**asdict(mark), "kind": str(mark.kind)} for mark in kept]
            with self._write() as connection:
                connection.execute(sa.insert(schema.marks).prefix_with("OR REPLACE"), values)
        return kept

    def remove_marks(self, data: str, example_ids: Collection[str]) -> int:
        """Forgets the marks on these images of a set, and returns how many there were."""
        table, found = schema.marks, 0
        with self._write() as connection:
            for keys in _parts(list(example_ids)):
                gone = sa.delete(table).where(table.c.data == data, table.c.example_id.in_(keys))
                found += connection.execute(gone).rowcount
        return found

    def read_marks(self, data: str | None = None) -> list[Mark]:
        """The marks on a set of images, or on all, oldest first."""
        table = schema.marks
        query = sa.select(table).order_by(table.c.time, table.c.data, table.c.example_id)
        if data is not None:
            query = query.where(table.c.data == data)
        return [Mark(**{**row, "kind": MarkKind(row["kind"])}) for row in self._select(query)]


def _parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _KEYS_A_STATEMENT] for start in range(0, len(keys), _KEYS_A_STATEMENT)]
