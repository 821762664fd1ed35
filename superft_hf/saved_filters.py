"""Filters of images with a name, kept in the home for each set of images.

They keep the names of the classes, not only their numbers, so that a filter never comes to mean other classes
where a run has left some out; and that only marked images are wanted, not which were marked at the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from superft_hf.errors import FilterError
from superft_hf.evaluation.prediction_filter import Filter
from superft_hf.store import RunStore

MAX_NAME = 60


@dataclass(frozen=True)
class SavedFilter:
    """A filter as it is kept.

    Attributes:
        chosen: The filter, without images of its own when only marked ones are wanted.
        is_marked_only: Whether only images that are marked at the moment of reading are wanted.
    """

    chosen: Filter
    is_marked_only: bool = False


def save(store: RunStore, data: str, name: str, saved: SavedFilter, class_names: Sequence[str]) -> None:
    """Keeps a filter, in place of an earlier one of this name.

    Args:
        store: The store of the home.
        data: The images, as `data.name_or_path` of the run.
        name: What a person calls it.
        saved: The filter.
        class_names: Names by class id, to which the filter's numbers belong.

    Raises:
        FilterError: If the name is empty or too long.
    """
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME:
        raise FilterError(f"its name has {len(name)} letters, not 1 to {MAX_NAME}")
    value = {
        "filter": saved.chosen.to_json(),
        "is_marked_only": saved.is_marked_only,
        "labels": [class_names[one] for one in saved.chosen.labels],
        "predictions": [class_names[one] for one in saved.chosen.predictions],
    }
    store.save_filter(data, name, value)


def delete(store: RunStore, data: str, name: str) -> bool:
    """Forgets a filter, and returns whether there was one."""
    return store.delete_filter(data, name)


def read_saved(
    store: RunStore, data: str, class_names: Sequence[str] | None = None
) -> dict[str, SavedFilter]:
    """The filters of a set of images by name, as they are kept.

    Args:
        store: The store of the home.
        data: The images.
        class_names: Names by class id of the run on which they are used: a filter on a class that this run
            does not know is left out. None leaves the numbers as they were saved.
    """
    found = {}
    for name, value in store.read_filters(data).items():
        try:
            found[name] = _saved(value, class_names)
        except (FilterError, KeyError, TypeError):  # of another version: no reason to lose the others
            continue
    return found


def read(store: RunStore, data: str, class_names: Sequence[str] | None = None) -> dict[str, Filter]:
    """The filters of a set of images by name, ready for `prediction_query`: see `read_saved`."""
    saved = read_saved(store, data, class_names)
    marked = None
    if any(one.is_marked_only for one in saved.values()):
        marked = frozenset(mark.example_id for mark in store.read_marks(data))
    return {
        name: replace(one.chosen, example_ids=marked) if one.is_marked_only else one.chosen
        for name, one in saved.items()
    }


def _saved(value: dict[str, Any], class_names: Sequence[str] | None) -> SavedFilter:
    chosen = Filter.from_json(value["filter"])
    if class_names is not None:
        ids = {name: index for index, name in enumerate(class_names)}
        chosen = replace(
            chosen,
            labels=tuple(ids[name] for name in value["labels"]),
            predictions=tuple(ids[name] for name in value["predictions"]),
        )
    return SavedFilter(chosen, bool(value["is_marked_only"]))
