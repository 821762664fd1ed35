"""Opening every image once, before any time is spent on training."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import BadImageError
from superft_hf.sources.image_set import ImageSet, ImageSplit
from superft_hf.sources.images import example_ids
from superft_hf.sources.load import check_classes, shown_reference
from superft_hf.sources.traits import Looked, Looker, Traits, collect

THREADS = 4

_BLOCK = 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be decoded.

    Attributes:
        split: train, eval or test.
        reference: Finds it again, see `superft_hf.sources.places.open_reference`.
        example_id: The first 16 hexadecimal digits of its SHA-256.
        label: Its class name.
        problem: Why it cannot be decoded.
    """

    split: str
    reference: str
    example_id: str
    label: str
    problem: str


@dataclass(frozen=True)
class Scan:
    """What opening every image showed.

    Attributes:
        images: The set without the images that were skipped or left out.
        example_ids: By split, one id an image in the split's order.
        bad: The files that cannot be decoded.
        num_left_out: Images left out by `data.exclude`.
        unused_exclusions: Entries of `data.exclude` that no image answers to.
        fingerprint: SHA-256 over the ids and class names of all splits: equal for equal data.
        image_sizes: Widths and heights by split, shape (N, 2), dtype int64.
        traits: By split; empty unless the scan was deep.
    """

    images: ImageSet
    example_ids: Mapping[str, list[str]]
    bad: tuple[BadFile, ...]
    num_left_out: int
    unused_exclusions: tuple[str, ...]
    fingerprint: str
    image_sizes: Mapping[str, np.ndarray]
    traits: Mapping[str, Traits]

    @property
    def skipped(self) -> tuple[str, ...]:
        """References of the files that cannot be decoded."""
        return tuple(one.reference for one in self.bad)


def scan_images(images: ImageSet, data: DataConfig, progress: Progress | None = None) -> Scan:
    """Decodes every image of a set.

    Args:
        images: What to open.
        data: Its `on_bad_image` says whether unreadable images are left out; its `exclude` names others.
        progress: Called now and then with the number of images opened and of all.

    Raises:
        BadImageError: If images are unreadable and may not be skipped; it names them.
        DataNotFoundError: If a file is gone.
        DataError: If too little is left after skipping.
    """
    scan = open_images(images, data, progress)
    if scan.bad and data.on_bad_image == "error":
        names = [shown_reference(data, one.reference) for one in scan.bad]
        raise BadImageError(names, scan.bad[0].problem)
    check_classes(scan.images, data)
    return scan


def open_images(
    images: ImageSet,
    data: DataConfig,
    progress: Progress | None = None,
    *,
    is_deep: bool = False,
    seen: dict[str, Looked] | None = None,
) -> Scan:
    """Like scan_images, but bad files are only told, and whatever is left is not judged.

    Args:
        images: What to open.
        data: Its `exclude` names images to leave out.
        progress: Called now and then with the number of images opened and of all.
        is_deep: Whether the traits are wanted, which takes about twice the time.
        seen: Kept by the caller from one look of this depth to the next; see Looker.

    Raises:
        DataNotFoundError: If a file is gone.
    """
    total = sum(len(split) for split in images.splits.values())
    looker, done = Looker(is_deep=is_deep, seen=seen), 0
    looked: dict[str, list[Looked]] = {}
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes without holding the interpreter's lock
        for name, split in images.splits.items():
            looked[name] = []
            for one in _in_blocks(pool, looker, split):
                looked[name].append(one)
                done += 1
                if progress and (done % 50 == 0 or done == total):
                    progress(done, total)
    return _result(images, looked, data.exclude, is_deep=is_deep)


def _in_blocks(pool: ThreadPoolExecutor, looker: Looker, split: ImageSplit) -> Iterator[Looked]:
    """Looks at all images in order; a pool's queue of a million entries would take a gigabyte."""
    for start in range(0, len(split), _BLOCK):
        block = range(start, min(start + _BLOCK, len(split)))
        yield from pool.map(lambda index: looker.look(split.encoded(index)), block)


def _result(
    images: ImageSet, looked: Mapping[str, list[Looked]], exclude: Sequence[str], *, is_deep: bool
) -> Scan:
    splits, ids, sizes, traits = {}, {}, {}, {}
    bad: list[BadFile] = []
    unused, num_left_out = set(exclude), 0
    whole = hashlib.sha256()
    for name, found in looked.items():
        split = images.splits[name]
        left_out = _left_out(name, found, exclude, unused)
        num_left_out += len(left_out)
        bad += [
            _bad_file(images, name, index, one)
            for index, one in enumerate(found)
            if one.problem is not None and index not in left_out
        ]
        kept = [index for index, one in enumerate(found) if one.problem is None and index not in left_out]
        splits[name] = split.select(np.array(kept, dtype=np.int64))
        ids[name] = example_ids([found[index].digest for index in kept])
        sizes[name] = np.array([(found[index].width, found[index].height) for index in kept]).reshape(-1, 2)
        if is_deep:
            traits[name] = collect([found[index].traits for index in kept])
        for one, label in zip(ids[name], splits[name].labels.tolist(), strict=True):
            whole.update(f"{name} {one} {images.class_names[label]}\n".encode())
    return Scan(
        replace(images, splits=splits), ids, tuple(bad), num_left_out, tuple(sorted(unused)),
        whole.hexdigest(), sizes, traits,
    )  # fmt: skip


def _left_out(name: str, found: Sequence[Looked], exclude: Sequence[str], unused: set[str]) -> set[int]:
    """Positions of a split's images that `exclude` names; what it uses is taken out of `unused`."""
    if not exclude:
        return set()
    entries = set(exclude)
    positions = set()
    for index, one in enumerate(found):
        answers = {one.digest[:16], f"{name}:{one.digest[:16]}"} & entries
        if answers:
            positions.add(index)
            unused -= answers
    return positions


def _bad_file(images: ImageSet, name: str, index: int, one: Looked) -> BadFile:
    split = images.splits[name]
    label = images.class_names[int(split.labels[index])]
    return BadFile(name, split.reference(index), one.digest[:16], label, one.problem or "")
