"""Opening every image once, before any time is spent on training."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import BadImageError
from superft_hf.paths import HomePaths
from superft_hf.sources.catalogue import Catalogue, catalogue
from superft_hf.sources.image_set import ImageSet, ImageSplit
from superft_hf.sources.images import example_ids
from superft_hf.sources.load import check_classes, shown_reference
from superft_hf.sources.relabel import relabelled, require_classes, unused
from superft_hf.sources.scan_cache import ScanCache
from superft_hf.sources.traits import Looked, Looker, Traits, collect
from superft_hf.words import counted

logger = logging.getLogger(__name__)

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
        images: The set without the images that were skipped or left out, with corrected labels.
        example_ids: By split, one id an image in the split's order.
        bad: The files that cannot be decoded.
        num_left_out: Images left out by `data.exclude`.
        unused_exclusions: Entries of `data.exclude` that no image answers to.
        fingerprint: SHA-256 over the ids and class names of all splits: equal for equal data.
        split_fingerprints: The same of each split on its own.
        image_sizes: Widths and heights by split, shape (N, 2), dtype int64.
        traits: By split; empty unless the scan was deep.
        num_relabelled: Images whose label `data.relabel` changed, among those that are left.
        unused_relabels: Entries of `data.relabel` that no image answers to.
        catalogue: All images that can be opened, also those left out; None when they were not opened.
        home: Whose caches may keep prepared images of the set; None: nobody's.
    """

    images: ImageSet
    example_ids: Mapping[str, list[str]]
    bad: tuple[BadFile, ...]
    num_left_out: int
    unused_exclusions: tuple[str, ...]
    fingerprint: str
    split_fingerprints: Mapping[str, str]
    image_sizes: Mapping[str, np.ndarray]
    traits: Mapping[str, Traits]
    num_relabelled: int = 0
    unused_relabels: tuple[str, ...] = ()
    catalogue: Catalogue | None = None
    home: Path | None = None

    @property
    def skipped(self) -> tuple[str, ...]:
        """References of the files that cannot be decoded."""
        return tuple(one.reference for one in self.bad)


def scan_images(
    images: ImageSet,
    data: DataConfig,
    progress: Progress | None = None,
    *,
    home: Path | None = None,
    is_part: bool = False,
) -> Scan:
    """Decodes every image of a set.

    Args:
        images: What to open.
        data: Its `on_bad_image` says whether unreadable images are left out; its `exclude` names others, its
            `relabel` those with another label.
        progress: Called now and then with the number of images opened and of all.
        home: Remembers what was seen, so that the next look opens only what is new, and keeps prepared images
            of whole sets; None: nothing is kept.
        is_part: Whether the images are a sample of a set, which need not be fit to train on by itself.

    Raises:
        BadImageError: If images are unreadable and may not be skipped; it names them.
        DataNotFoundError: If a file is gone.
        DataError: If too little is left after skipping, or a corrected label is no class.
    """
    scan = open_images(images, data, progress, home=home)
    if scan.bad and data.on_bad_image == "error":
        names = [shown_reference(data, one.reference) for one in scan.bad]
        raise BadImageError(names, scan.bad[0].problem)
    if not is_part or any(not len(split) for split in scan.images.splits.values()):
        check_classes(scan.images, data)
    return scan if is_part else replace(scan, home=home)


def log_changes(scan: Scan) -> None:
    """Tells the log what `data.exclude` and `data.relabel` did, and which of their entries did nothing."""
    if scan.num_left_out:
        logger.info("data.exclude leaves out %s", counted(scan.num_left_out, "image"))
    if scan.num_relabelled:
        logger.info("data.relabel gives %s another label", counted(scan.num_relabelled, "image"))
    for name, entries in (("exclude", scan.unused_exclusions), ("relabel", scan.unused_relabels)):
        if entries:
            logger.warning(
                "no image answers to %s of data.%s, such as %s: the images may have changed since",
                *(counted(len(entries), "entry", "entries"), name, entries[0]),
            )


def open_images(
    images: ImageSet,
    data: DataConfig,
    progress: Progress | None = None,
    *,
    home: Path | None = None,
    is_deep: bool = False,
    seen: dict[str, Looked] | None = None,
) -> Scan:
    """Like scan_images, but bad files are only told, and whatever is left is not judged.

    Args:
        images: What to open.
        data: Its `exclude` names images to leave out, its `relabel` those with another label.
        progress: Called now and then with the number of images opened and of all.
        home: As for scan_images.
        is_deep: Whether the traits are wanted, which takes about twice the time.
        seen: Kept by the caller from one look of this depth to the next; see Looker.

    Raises:
        DataNotFoundError: If a file is gone.
        DataError: If a corrected label is no class.
    """
    require_classes(data, images.class_names)
    total = sum(len(split) for split in images.splits.values())
    looker, done = Looker(is_deep=is_deep, seen=seen), 0
    looked: dict[str, list[Looked]] = {}
    # Pillow decodes without holding the interpreter's lock.
    with ThreadPoolExecutor(THREADS) as pool, _remembering(home) as cache:
        for name, split in images.splits.items():
            looked[name] = []
            for one in _in_blocks(pool, looker, cache, split, is_deep=is_deep):
                looked[name].append(one)
                done += 1
                if progress and (done % 50 == 0 or done == total):
                    progress(done, total)
    return _result(images, looked, data, is_deep=is_deep)


def _remembering(home: Path | None) -> AbstractContextManager[ScanCache | None]:
    """The looks of a home; a home that is not there is not made for them."""
    return ScanCache(HomePaths(home).scan_cache) if home is not None and home.is_dir() else nullcontext()


def _in_blocks(
    pool: ThreadPoolExecutor, looker: Looker, cache: ScanCache | None, split: ImageSplit, *, is_deep: bool
) -> Iterator[Looked]:
    """Looks at all images in order; a pool's queue of a million entries would take a gigabyte."""
    for start in range(0, len(split), _BLOCK):
        block, begun_at = range(start, min(start + _BLOCK, len(split))), time.time()
        identities = list(pool.map(split.identity, block)) if cache else [None] * len(block)
        known = cache.find(identities, is_deep=is_deep) if cache else [None] * len(block)
        unknown = [index for index, one in zip(block, known, strict=True) if one is None]
        opened = pool.map(lambda index: looker.look(split.encoded(index)), unknown)
        added = []
        for identity, one in zip(identities, known, strict=True):
            if one is None:
                one = next(opened)
                added.append((identity, one))
            yield one
        if cache:
            cache.add(added, begun_at)


def _result(images: ImageSet, looked: Mapping[str, list[Looked]], data: DataConfig, *, is_deep: bool) -> Scan:
    splits, ids, sizes, traits = {}, {}, {}, {}
    bad: list[BadFile] = []
    excluding, relabelling = set[str](), set[str]()
    num_left_out = num_relabelled = 0
    whole, fingerprints = hashlib.sha256(), {}
    everything = catalogue(
        (one.digest, one.width, one.height)
        for found in looked.values()
        for one in found
        if one.problem is None
    )
    for name, found in looked.items():
        short_ids = [one.digest[:16] for one in found]
        split, used = relabelled(
            images.splits[name], images.origin(name), short_ids, data.relabel, images.class_names
        )
        relabelling |= used
        left_out, used = _left_out(images.origin(name), short_ids, data.exclude)
        excluding |= used
        num_left_out += len(left_out)
        rest = [index for index in range(len(found)) if index not in left_out]
        bad += [
            _bad_file(split, name, index, found[index], images.class_names)
            for index in rest
            if found[index].problem is not None
        ]
        kept = [index for index in rest if found[index].problem is None]
        splits[name] = split.select(np.array(kept, dtype=np.int64))
        num_relabelled += int((split.labels[kept] != images.splits[name].labels[kept]).sum())
        ids[name] = example_ids([found[index].digest for index in kept])
        sizes[name] = np.array([(found[index].width, found[index].height) for index in kept]).reshape(-1, 2)
        if is_deep:
            traits[name] = collect([found[index].traits for index in kept])
        of_split = hashlib.sha256()
        for one, label in zip(ids[name], splits[name].labels.tolist(), strict=True):
            line = f"{one} {images.class_names[label]}\n"
            of_split.update(line.encode())
            whole.update(f"{name} {line}".encode())
        fingerprints[name] = of_split.hexdigest()
    return Scan(
        replace(images, splits=splits), ids, tuple(bad), num_left_out, unused(data.exclude, excluding),
        whole.hexdigest(), fingerprints, sizes, traits, num_relabelled, unused(data.relabel, relabelling),
        everything,
    )  # fmt: skip


def _left_out(name: str, short_ids: Sequence[str], exclude: Sequence[str]) -> tuple[set[int], set[str]]:
    """Positions of a split's images that `exclude` names, and the entries that name them."""
    entries = set(exclude)
    positions, used = set[int](), set[str]()
    for index, short in enumerate(short_ids if entries else ()):
        answers = {short, f"{name}:{short}"} & entries
        if answers:
            positions.add(index)
            used |= answers
    return positions, used


def _bad_file(split: ImageSplit, name: str, index: int, one: Looked, class_names: Sequence[str]) -> BadFile:
    label = class_names[int(split.labels[index])]
    return BadFile(name, split.reference(index), one.digest[:16], label, one.problem or "")
