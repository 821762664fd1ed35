"""Giving single images another label, once their bytes are known: `data.relabel`.

The splits are cut by the labels that the images came with, so that a correction moves no image. As for
`data.exclude`, an entry names bytes: all copies of an image get the new label, in the split that the entry
names or in all. What names a split goes before what does not.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.image_set import ImageSplit

_SHOWN_NAMES = 10


def require_classes(data: DataConfig, class_names: Sequence[str]) -> None:
    """Sees to it that every corrected label is a class.

    Args:
        data: Its `relabel` is looked at.
        class_names: Of the set, after its classes were merged and left out.

    Raises:
        DataError: If one is not; it names the class, how many images were to get it, and what there is.
    """
    known = set(class_names)
    unknown = dict.fromkeys(name for name in data.relabel.values() if name not in known)
    if not unknown:
        return
    name = next(iter(unknown))
    count = sum(one == name for one in data.relabel.values())
    images = "an image is" if count == 1 else f"{count:,} images are"
    others = f", and {len(unknown) - 1:,} other unknown names" if len(unknown) > 1 else ""
    raise DataError(
        f"By data.relabel {images} of {name!r}{others}, which is no class of {data.name_or_path}.",
        hint=f"{_instead(name, data, class_names)} Change data.relabel.",
    )


def relabelled(
    split: ImageSplit,
    name: str,
    short_ids: Sequence[str],
    relabel: Mapping[str, str],
    class_names: Sequence[str],
) -> tuple[ImageSplit, set[str]]:
    """A split with corrected labels.

    Args:
        split: N images.
        name: train, eval or test.
        short_ids: First 16 hexadecimal digits of each image's SHA-256, N of them.
        relabel: `data.relabel`.
        class_names: Names by class id; every value of `relabel` is among them.

    Returns:
        The split, and the entries of `relabel` that an image answers to.
    """
    if not relabel:
        return split, set()
    ids = {one: index for index, one in enumerate(class_names)}
    labels, used = split.labels.copy(), set[str]()
    for index, short in enumerate(short_ids):
        entries = [entry for entry in (f"{name}:{short}", short) if entry in relabel]
        if entries:
            labels[index] = ids[relabel[entries[0]]]
            used.update(entries)
    return replace(split, labels=labels), used


def unused(entries: Iterable[str], used: Collection[str]) -> tuple[str, ...]:
    """The entries of `data.exclude` or `data.relabel` that no image answers to.

    Whoever names an image by each split where it may stand has used the entry when one of them is used.

    Example:
        >>> unused(["train:aa", "eval:aa", "bb", "test:cc"], ["eval:aa"])
        ('bb', 'test:cc')
    """
    answered = {entry.rpartition(":")[2] for entry in used}
    return tuple(sorted({entry for entry in entries if entry.rpartition(":")[2] not in answered}))


def _instead(name: str, data: DataConfig, class_names: Sequence[str]) -> str:
    """What the person may have meant."""
    if name in data.exclude_classes:
        return "data.exclude_classes leaves that class out."
    if name in data.merge_classes:
        return f"data.merge_classes counts it as {data.merge_classes[name]!r}."
    close = difflib.get_close_matches(name, class_names, 1)
    if close:
        return f"Did you mean {close[0]!r}?"
    few = ", ".join(class_names[:_SHOWN_NAMES]) + (", …" if len(class_names) > _SHOWN_NAMES else "")
    return f"There is {few}."
