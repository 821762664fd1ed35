"""The same picture in two splits, or under two class names.

Exact copies have equal bytes. Near copies, such as one saved again at another size or quality, are found by
their perceptual hashes and then verified on small thumbnails: the limits were chosen so that copies of photos
(JPEG quality 30 to 95, scaled by 0.25 to 1.5) pass, and that no two of 2,223 solar cells, 1,797 scanned
digits or 192 patches of three textures do, alike as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from superft_hf.preflight.subject import Subject, listed
from superft_hf.records import Finding, Remedy
from superft_hf.sources.traits import THUMBNAIL_UNIT
from superft_hf.words import counted

MAX_HASH_DISTANCE = 10
MAX_DIFFERENCE = 0.05
"""Between two thumbnails, in standard deviations: the closest different solar cells have 0.057."""

MAX_LEVELS = 0.6
"""For pictures of little contrast, where compression weighs more: in grey levels of 255; those have 0.78."""

MAX_FLAT_DIFFERENCE = 0.15
MIN_CONTRAST = 2.0
"""Pictures with less are too empty to be told apart."""

MAX_COLOUR_STEP = 4 / 255
MAX_COMPARED = 100_000
"""Pairs grow with the square: these take a quarter of a minute."""

MAX_PAIRS = 100_000

_BLOCK_PAIRS = 2**21
_VERIFIED_AT_ONCE = 2**13


@dataclass(frozen=True)
class _Pairs:
    """Pairs of flat numbers, shape (P, 2), among how many images, and whether these are all there are."""

    numbers: np.ndarray
    num_compared: int
    is_all: bool


def find(subject: Subject) -> Iterator[Finding]:
    """Copies across splits, exact and near, and pictures under two class names."""
    exact = _exact_pairs(subject)
    near = _near_pairs(subject)
    labels = subject.labels
    yield _across(subject, _Pairs(exact, len(subject), is_all=True), "exact-duplicates")
    yield _across(subject, near, "near-duplicates")
    pairs = np.concatenate([exact, near.numbers])
    conflicts = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    yield _conflicts(subject, conflicts)


def _across(subject: Subject, pairs: _Pairs, code: str) -> Finding:
    """Pairs of one class whose halves stand in two splits."""
    labels, splits = subject.labels, subject.split_of
    first, second = pairs.numbers.T
    found = pairs.numbers[(labels[first] == labels[second]) & (splits[first] != splits[second])]
    kind = "exact" if code == "exact-duplicates" else "near"
    if not len(found):
        among = "" if pairs.is_all else f" among {pairs.num_compared:,} of the images"
        return Finding("fine", f"No {kind} copies{among}: train, eval and test share no image", code=code)
    left_out = list(dict.fromkeys(found[:, 0].tolist()))  # the first half is in the earlier split
    is_one = len(left_out) == 1
    places = " and ".join(subject.splits[one] for one in np.unique(splits[left_out]))
    if kind == "exact":
        what = "stands in a later split as well" if is_one else "stand in a later split as well"
    else:
        what = f"{'is' if is_one else 'are'} nearly the same as one of a later split"
    text = "The figures will look better than they are."
    text += "" if pairs.is_all else " There may be more: not all were compared."
    button = f"Leave the {'copy' if is_one else 'copies'} out of {places}"
    return Finding(
        "know", f"{counted(len(left_out), 'image')} of {places} {what}.", text, f"{button}.", code=code,
        images=subject.refs(found.ravel().tolist(), _notes(subject, found)), num_images=len(np.unique(found)),
        remedies=subject.leave_out(left_out, button, only_there=True),
    )  # fmt: skip


def _conflicts(subject: Subject, pairs: np.ndarray) -> Finding:
    if not len(pairs):
        return Finding("fine", "No picture stands under two class names", code="label-conflicts")
    concerned = list(dict.fromkeys(pairs.ravel().tolist()))
    classes = sorted(
        {tuple(sorted((subject.class_name(a), subject.class_name(b)))) for a, b in pairs.tolist()}
    )
    names = [" / ".join(one) for one in classes]
    remedies = subject.leave_out(concerned, "Leave these pictures out")
    if len(subject.images.class_names) > 2:
        remedies += tuple(_merger(subject, one) for one in classes[:3])
    number = len(_clusters(pairs))
    stand = "stands" if number == 1 else "stand"
    return Finding(
        "know", f"{counted(number, 'picture')} {stand} under two class names.",
        f"Classes: {listed(names)}. One of the names is wrong, or the classes overlap.",
        "Mend the names, leave the pictures out, or merge the classes.", code="label-conflicts",
        images=subject.refs(pairs.ravel().tolist(), _notes(subject, pairs)),
        num_images=len(concerned), remedies=remedies,
    )  # fmt: skip


def _merger(subject: Subject, classes: tuple[str, str]) -> Remedy:
    """Counts the class with fewer images as the other."""
    counts = np.bincount(subject.labels, minlength=len(subject.images.class_names))
    size = dict(zip(subject.images.class_names, counts.tolist(), strict=True))
    smaller, larger = sorted(classes, key=size.__getitem__)
    merged = {**subject.config.data.merge_classes, smaller: larger}
    return Remedy(f"Count {smaller} as {larger}", {"data.merge_classes": merged})


def _notes(subject: Subject, pairs: np.ndarray) -> Callable[[int], str]:
    """What each picture belongs with."""
    partner = {b: a for a, b in pairs.tolist()} | {a: b for a, b in pairs.tolist()}
    return lambda one: f"as {subject.shown(partner[one])} ({subject.split_name(partner[one])})"


def _clusters(pairs: np.ndarray) -> list[set[int]]:
    """Pictures that are one, by way of any pair."""
    parent: dict[int, int] = {}

    def root(one: int) -> int:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for first, second in pairs.tolist():
        parent[root(first)] = root(second)
    found: dict[int, set[int]] = {}
    for one in parent:
        found.setdefault(root(one), set()).add(one)
    return list(found.values())


def _exact_pairs(subject: Subject) -> np.ndarray:
    """Pairs of equal bytes: each image with its first copy in a later split, and in another class."""
    keys = list(zip(subject.split_of.tolist(), subject.labels.tolist(), strict=True))
    by_id: dict[str, list[int]] = {}
    for number, one in enumerate(subject.ids):
        by_id.setdefault(one, []).append(number)
    pairs: set[tuple[int, int]] = set()
    for numbers in by_id.values():
        firsts: dict[tuple[int, int], int] = {}
        for number in numbers:
            firsts.setdefault(keys[number], number)
        if len(firsts) > 1:
            pairs.update(pair for number in numbers for pair in _partners(number, keys, firsts))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _partners(
    number: int, keys: Sequence[tuple[int, int]], firsts: Mapping[tuple[int, int], int]
) -> Iterator[tuple[int, int]]:
    """The pairs of one image, the earlier one first; `firsts` has one copy of each split and class."""
    split, label = keys[number]
    later = (one for (place, name), one in firsts.items() if place > split and name == label)
    other = (one for (_, name), one in firsts.items() if name != label)
    for partner in (next(later, None), next(other, None)):
        if partner is not None:
            yield min(number, partner), max(number, partner)


def _near_pairs(subject: Subject) -> _Pairs:
    """Pairs of nearly equal pictures, not of equal bytes, that differ in split or class."""
    hashes, thumbnails = subject.trait("hashes"), subject.trait("thumbnails")
    contrasts, means = subject.trait("contrasts"), subject.trait("means")
    ids = np.unique(np.array(subject.ids), return_inverse=True)[1]
    keys = subject.split_of * (subject.labels.max(initial=0) + 1) + subject.labels
    numbers = np.flatnonzero(contrasts >= MIN_CONTRAST)
    is_all = len(numbers) <= MAX_COMPARED
    if not is_all:
        numbers = np.sort(np.random.default_rng(0).choice(numbers, MAX_COMPARED, replace=False))
    found, size = [np.zeros((0, 2), dtype=np.int64)], 0
    for block in _candidates(hashes[numbers]):
        pairs = numbers[block]
        a, b = pairs.T
        pairs = pairs[(keys[a] != keys[b]) & (ids[a] != ids[b])]
        same = _verified(pairs, thumbnails, contrasts, means)
        found.append(same)
        size += len(same)
        if size > MAX_PAIRS:  # thousands of frames of one scene: what is found says enough
            is_all = False
            break
    return _Pairs(np.concatenate(found), len(numbers), is_all)


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of positions i < j, shape (P, 2), whose hashes differ in few bits; block by block."""
    start = 0
    while start < len(hashes) - 1:
        stop = min(len(hashes), start + max(1, _BLOCK_PAIRS // (len(hashes) - start)))
        distances = np.bitwise_count(hashes[start:stop, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(distances <= MAX_HASH_DISTANCE)
        later = columns > rows
        yield np.stack([rows[later], columns[later]], axis=1) + start
        start = stop


def _verified(
    pairs: np.ndarray, thumbnails: np.ndarray, contrasts: np.ndarray, means: np.ndarray
) -> np.ndarray:
    """The pairs, of shape (P, 2), that are the same picture."""
    low, high = np.sort(contrasts[pairs], axis=1).T
    likely = (high - low <= MAX_FLAT_DIFFERENCE * high) & (
        np.abs(means[pairs[:, 0]] - means[pairs[:, 1]]).max(axis=1, initial=0) <= MAX_COLOUR_STEP
    )
    pairs, low = pairs[likely], low[likely]
    kept = []
    for start in range(0, len(pairs), _VERIFIED_AT_ONCE):
        part = pairs[start : start + _VERIFIED_AT_ONCE]
        step = thumbnails[part[:, 0]].astype(np.float32) - thumbnails[part[:, 1]]
        difference = np.sqrt((step**2).mean(axis=1)) / THUMBNAIL_UNIT
        levels = difference * low[start : start + _VERIFIED_AT_ONCE]
        is_same = (difference < MAX_DIFFERENCE) | ((levels < MAX_LEVELS) & (difference < MAX_FLAT_DIFFERENCE))
        kept.append(part[is_same])
    return np.concatenate(kept) if kept else pairs[:0]
