"""Leaving classes out and counting several as one, before any split is cut."""

from collections.abc import Mapping, Sequence

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError

LEFT_OUT = -2
"""A label of images whose class is left out, apart from -1: no label."""


def change_classes(class_names: Sequence[str], data: DataConfig) -> tuple[list[str], np.ndarray]:
    """What `data.merge_classes` and `data.exclude_classes` make of the classes of a source.

    A class is merged first; it is left out when its own name or its new one is to be left out. Ids keep the
    order of the source, a merged class standing where the first of its members stood.

    Args:
        class_names: C names by class id, as the source has them.
        data: Its two settings; mergers may be chained (a into b, b into c).

    Returns:
        The new names by class id, and the new id of each old one, shape (C,), dtype int64: LEFT_OUT for a
        class that is left out.

    Raises:
        DataError: If a setting names a class that there is not, or mergers go in a circle.

    Example:
        >>> data = DataConfig(name_or_path="x", merge_classes={"Cat": "cat"}, exclude_classes=["emu"])
        >>> names, ids = change_classes(["Cat", "cat", "dog", "emu"], data)
        >>> names, ids.tolist()
        (['cat', 'dog'], [0, 0, 1, -2])
    """
    left_out = set(data.exclude_classes)
    known = {*class_names, *data.merge_classes.values()}
    _require_known("merge_classes", [one for one in data.merge_classes if one not in known], class_names)
    finals = {name: _final(name, data.merge_classes) for name in class_names}
    unknown = [one for one in data.exclude_classes if one not in known and one not in finals.values()]
    _require_known("exclude_classes", unknown, class_names)
    kept = [name for name in class_names if not {name, finals[name]} & left_out]
    names = list(dict.fromkeys(finals[name] for name in kept))
    if not names:
        raise DataError(
            f"All classes of {data.name_or_path} are left out.", hint="Change data.exclude_classes."
        )
    ids = {name: index for index, name in enumerate(names)}
    stays = set(kept)
    new = [ids[finals[name]] if name in stays else LEFT_OUT for name in class_names]
    return names, np.array(new, dtype=np.int64)


def _final(name: str, merged: Mapping[str, str]) -> str:
    """Where a chain of mergers ends; a class merged into itself stays."""
    seen = [name]
    while merged.get(seen[-1], seen[-1]) != seen[-1]:
        seen.append(merged[seen[-1]])
        if seen.count(seen[-1]) > 1:
            raise DataError(
                f"data.merge_classes goes in a circle: {' into '.join(seen)}.",
                hint="Let each class be counted as one that is not merged itself.",
            )
    return seen[-1]


def _require_known(setting: str, unknown: Sequence[str], class_names: Sequence[str]) -> None:
    if unknown:
        few = ", ".join(class_names[:10]) + (", …" if len(class_names) > 10 else "")
        raise DataError(
            f"data.{setting} names {', '.join(map(repr, unknown[:5]))}, which is no class; there is {few}.",
            hint=f"Change data.{setting}.",
        )
