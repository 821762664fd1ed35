"""Classes, labels, splits and groups: what their counts and names tell before any training."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.preflight.subject import Subject, extended, listed
from superft_hf.records import Finding, Remedy
from superft_hf.words import counted

SMALL_CLASS = 10
IMBALANCE = 5.0
SMALL_SPLIT = 500
MANY_CLASSES = 20
"""Fewer classes are never taken for a mistaken column."""

_NUMBER = re.compile(r"-?\d+([.,]\d+)?([eE][-+]?\d+)?")


def find(subject: Subject) -> Iterator[Finding]:
    """Everything about classes and splits."""
    yield _missing(subject)
    yield from _sizes(subject)
    yield from _names(subject)
    yield from _label_doubts(subject)
    yield from _left_out_rows(subject)
    yield from _groups(subject)
    yield from _small_eval(subject)


def _missing(subject: Subject) -> Finding:
    counts = subject.images.counts()
    used = [name for name in subject.images.class_names if any(part[name] for part in counts.values())]
    missing = [
        f"{name} of {split}" for split, by_class in counts.items() for name in used if not by_class[name]
    ]
    if not missing:
        return Finding("fine", "Every class is in train, eval and test", code="missing-classes")
    times = "A" if len(missing) == 1 else f"{len(missing):,} times a"
    return Finding(
        "know", f"{times} class has no image in a split.",
        f"Missing: {listed(missing)}. Its figures cannot be known there.",
        "Add images, or cut other splits.", code="missing-classes", remedies=subject.cut_anew(),
    )  # fmt: skip


def _sizes(subject: Subject) -> Iterator[Finding]:
    counts = {name: n for name, n in subject.images.counts()["train"].items() if n}
    tiny = [name for name, n in counts.items() if n < SMALL_CLASS]
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if tiny:
        yield _tiny(subject, tiny, counts)
        if len(counts) - len(tiny) < 2:
            return
        smallest = min((name for name in counts if name not in tiny), key=counts.__getitem__)
    span = f"{counts[smallest]:,} to {counts[largest]:,} training images"
    is_uneven = counts[largest] > IMBALANCE * counts[smallest]
    if is_uneven and subject.config.training.class_weights != "none":
        title = f"Classes are uneven, which class weights make up for: {span}"
        yield Finding("fine", title, code="imbalance")
    elif is_uneven:
        ratio = counts[largest] / counts[smallest]
        yield Finding(
            "know", f"Class {largest} has {ratio:.1f} × the images of class {smallest}.",
            "Rare classes will be missed more often.", "Set training.class_weights to balanced.",
            code="imbalance",
            remedies=(Remedy("Balance the classes by weights", {"training.class_weights": "balanced"}),),
        )  # fmt: skip
    elif not tiny:
        yield Finding("fine", f"Classes are even: {span}", code="imbalance")


def _tiny(subject: Subject, tiny: list[str], counts: Mapping[str, int]) -> Finding:
    remedies: tuple[Remedy, ...] = ()
    if len(counts) - len(tiny) >= 2:
        title = f"Leave class {tiny[0]} out" if len(tiny) == 1 else f"Leave these {len(tiny):,} classes out"
        more = extended(subject.config.data.exclude_classes, tiny)
        remedies = (Remedy(title, {"data.exclude_classes": more}),)
    first = tiny[0]
    title = (
        f"Class {first} has {counted(counts[first], 'training image')}."
        if len(tiny) == 1
        else f"{len(tiny):,} classes have fewer than {SMALL_CLASS} training images."
    )
    words = [f"{name} ({counts[name]})" for name in tiny]
    text = (
        "It will hardly be learned." if len(tiny) == 1 else f"They will hardly be learned: {listed(words)}."
    )
    return Finding(
        "know", title, text, "Add images, or leave it out.", code="tiny-classes", remedies=remedies
    )


def _names(subject: Subject) -> Iterator[Finding]:
    """Names that differ by case and spaces only are most often one class, written in two ways."""
    alike: dict[str, list[str]] = {}
    for name in subject.images.class_names:
        alike.setdefault(re.sub(r"[\s_-]+", "", name).casefold() or name, []).append(name)
    several = [names for names in alike.values() if len(names) > 1]
    if not several:
        return
    counts = np.bincount(subject.labels, minlength=len(subject.images.class_names))
    size = dict(zip(subject.images.class_names, counts.tolist(), strict=True))
    merged = dict(subject.config.data.merge_classes)
    for names in several:
        kept = max(names, key=size.__getitem__)
        merged |= {name: kept for name in names if name != kept}
    words = [" and ".join(repr(name) for name in names) for names in several]
    left = len(subject.images.class_names) - sum(len(names) - 1 for names in several)
    remedies = (Remedy("Merge them", {"data.merge_classes": merged}),) if left > 1 else ()
    yield Finding(
        "know", f"{counted(len(several), 'class', 'classes')} may be written in several ways.",
        f"These differ by case or spaces only: {listed(words)}.", "Merge them.", code="similar-names",
        remedies=remedies,
    )  # fmt: skip


def _label_doubts(subject: Subject) -> Iterator[Finding]:
    names, total = subject.images.class_names, len(subject)
    if len(names) <= MANY_CLASSES:
        return
    are_numbers = all(_NUMBER.fullmatch(name) for name in names)
    has_fractions = are_numbers and any(not name.lstrip("-").isdecimal() for name in names)
    if len(names) > total / 2:
        title = f"There are nearly as many classes as images: {len(names):,} for {total:,}."
        text = "A column of names or numbers of images may have been taken for the labels."
    elif has_fractions:
        title = f"The {len(names):,} class names are measured numbers, such as {names[0]} and {names[-1]}."
        text = "Each value would be a class of its own; a network that measures is another task."
    else:
        return
    hint = "Set data.label_column, or sort the values into classes."
    yield Finding("know", title, text, hint, code="label-doubt")


def _left_out_rows(subject: Subject) -> Iterator[Finding]:
    images, scan = subject.images, subject.scan
    if images.num_unlabelled:
        rows = counted(images.num_unlabelled, "row")
        have = "has" if images.num_unlabelled == 1 else "have"
        yield Finding("know", f"{rows} {have} no label.", "They are left out.", code="unlabelled")
    if images.num_missing:
        rows = counted(images.num_missing, "row")
        yield Finding(
            "know", f"{rows} of the table name files that do not exist.", "They are left out.",
            "Put the files back, or remove the rows.", code="missing-files",
        )  # fmt: skip
    data = subject.config.data
    if scan.unused_exclusions:
        kept = [one for one in data.exclude if one not in scan.unused_exclusions]
        yield _idle("data.exclude", scan.unused_exclusions, kept, "unused-exclusions")
    if scan.unused_relabels:
        rest = {one: name for one, name in data.relabel.items() if one not in scan.unused_relabels}
        yield _idle("data.relabel", scan.unused_relabels, rest, "unused-relabels")


def _idle(setting: str, entries: Sequence[str], kept: list[str] | dict[str, str], code: str) -> Finding:
    """Entries that name no image, and the remedy that removes them."""
    words, match = counted(len(entries), "entry", "entries"), "matches" if len(entries) == 1 else "match"
    return Finding(
        "know", f"{words} of {setting} {match} no image.",
        f"Such as {entries[0]}: the images may have changed since.",
        code=code, remedies=(Remedy("Remove these entries", {setting: kept}),),
    )  # fmt: skip


def _groups(subject: Subject) -> Iterator[Finding]:
    groups = subject.images.groups
    column = subject.config.data.group_column
    if groups is None:
        return
    flat = np.concatenate([groups[name] for name in subject.splits])
    splits: dict[str, set[int]] = {}
    for group, split in zip(flat.tolist(), subject.split_of.tolist(), strict=True):
        if group:
            splits.setdefault(group, set()).add(split)
    torn = sorted(group for group, places in splits.items() if len(places) > 1)
    if torn:
        stand = "stand" if len(torn) > 1 else "stands"
        of_torn = np.flatnonzero(np.isin(flat, np.array(torn, dtype=object)))
        yield Finding(
            "know", f"{counted(len(torn), 'group')} of {column} {stand} on two sides.",
            f"The figures will look better than they are: {listed(torn)}.", "Cut the splits anew, by group.",
            code="torn-groups", num_images=len(of_torn), remedies=subject.cut_anew(),
            images=subject.refs(of_torn.tolist(), lambda one: str(flat[one])),
        )  # fmt: skip
    elif len(splits) >= sum(bool(group) for group in flat.tolist()):
        yield Finding(
            "know", f"No two images share a value of {column}.", "Grouping by it changes nothing.",
            "Choose another data.group_column.", code="idle-groups",
            remedies=(Remedy("Do without groups", {"data.group_column": None}),),
        )  # fmt: skip
    else:
        title = f"No group of {column} stands on two sides: {len(splits):,} groups"
        yield Finding("fine", title, code="torn-groups")


def _small_eval(subject: Subject) -> Iterator[Finding]:
    size = len(subject.images.splits["eval"])
    if size < SMALL_SPLIT:
        low, high = wilson_interval(round(size * 0.95), size)
        yield Finding(
            "know", f"{counted(size, 'eval image')} are few.",
            f"An accuracy of 95 % will be known only to {100 * low:.1f} – {100 * high:.1f} %.",
            "To tell close runs apart, hold back more or repeat with other seeds.", code="few-eval-images",
        )  # fmt: skip
