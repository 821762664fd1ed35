"""Opening every image once, before any time is spent on training."""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import BadImageError
from superft_hf.sources.images import digest, example_ids, open_rgb
from superft_hf.sources.load import ImageSet, ImageSplit, check_classes, shown_reference

THREADS = 4


@dataclass(frozen=True)
class Scan:
    """What opening every image showed.

    Attributes:
        images: The set without the images that were skipped.
        example_ids: By split, one id an image in the split's order.
        skipped: References of unreadable images that were left out.
        fingerprint: SHA-256 over the ids and class names of all splits: equal for equal data.
        image_sizes: Widths and heights by split, shape (N, 2), dtype int64.
    """

    images: ImageSet
    example_ids: Mapping[str, list[str]]
    skipped: tuple[str, ...]
    fingerprint: str
    image_sizes: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Opened:
    digest: str
    width: int
    height: int
    problem: str | None


def scan_images(
    images: ImageSet, data: DataConfig, progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Decodes every image of a set.

    Args:
        images: What to open.
        data: Its `on_bad_image` says whether unreadable images are left out.
        progress: Called now and then with the number of images opened and of all.

    Raises:
        BadImageError: If images are unreadable and may not be skipped; it names them.
        DataNotFoundError: If a file is gone.
        DataError: If too little is left after skipping.
    """
    total = sum(len(split) for split in images.splits.values())
    done = 0
    opened: dict[str, list[_Opened]] = {}
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes without holding the interpreter's lock
        for name, split in images.splits.items():
            opened[name] = []
            for one in pool.map(lambda index, split=split: _open(split, index), range(len(split))):
                opened[name].append(one)
                done += 1
                if progress and (done % 50 == 0 or done == total):
                    progress(done, total)
    bad = [
        (images.splits[name].reference(index), one.problem)
        for name, found in opened.items()
        for index, one in enumerate(found)
        if one.problem is not None
    ]
    if bad and data.on_bad_image == "error":
        raise BadImageError([shown_reference(data, reference) for reference, _ in bad], bad[0][1])
    scan = _result(images, opened, tuple(reference for reference, _ in bad))
    check_classes(scan.images, data)
    return scan


def _open(split: ImageSplit, index: int) -> _Opened:
    encoded = split.encoded(index)
    try:
        image = open_rgb(encoded)
    except ValueError as error:
        return _Opened("", 0, 0, str(error))
    return _Opened(digest(encoded), image.width, image.height, None)


def _result(images: ImageSet, opened: Mapping[str, list[_Opened]], skipped: tuple[str, ...]) -> Scan:
    splits, ids, sizes = {}, {}, {}
    whole = hashlib.sha256()
    for name, found in opened.items():
        kept = np.array([index for index, one in enumerate(found) if one.problem is None], dtype=np.int64)
        splits[name] = images.splits[name].select(kept)
        ids[name] = example_ids([found[index].digest for index in kept])
        sizes[name] = np.array([(found[index].width, found[index].height) for index in kept]).reshape(-1, 2)
        for one, label in zip(ids[name], splits[name].labels.tolist(), strict=True):
            whole.update(f"{name} {one} {images.class_names[label]}\n".encode())
    return Scan(replace(images, splits=splits), ids, skipped, whole.hexdigest(), sizes)
