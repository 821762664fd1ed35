"""The first batch of a run as the network will see it: same images, same draws, same code path."""

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from superft_hf.config import RunConfig
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.training import resolve
from superft_hf.training.arguments import updates_per_epoch
from superft_hf.training.image_classification.pixels import PixelMap
from superft_hf.training.sampling import ExampleKey, make_sampler
from superft_hf.training.tasks import make_task_run


def augmented_batch(config_json: str, home: str, limit: int = 16, epoch: int = 0) -> list[tuple[bytes, str]]:
    """The images that begin an epoch, after augmentation and normalisation.

    Args:
        config_json: The RunConfig as JSON.
        home: Where zips are unpacked.
        limit: How many images at most; never more than one batch.
        epoch: Counted from 0.

    Returns:
        For each image a PNG and its label in words, see label_words. The PNG is made back from
        `pixel_values`, so it shows what the network is given, with colours as they were before the
        normalisation.

    Raises:
        SuperFTError: If model or images cannot be loaded.
    """
    config = resolve.pin_revisions(RunConfig.model_validate_json(config_json), Path(home))
    scan = _scan(config, Path(home))
    config = resolve.decide_recipe(config, scan.images)
    task = make_task_run(config, scan)
    dataset = task.train_dataset()
    sampler = make_sampler(len(dataset), config.training.seed, task.balanced_by)
    sampler.set_epoch(epoch)
    # One more than is shown: a mixed image shows a part of the next one of its batch.
    keys = list(islice(sampler, min(limit + 1, config.training.per_device_train_batch_size)))
    updates = updates_per_epoch(config, len(dataset))
    batch = task.batch_maker()(
        task.collator("contiguous")(_items(dataset, keys)),
        step=epoch * updates, max_steps=(config.training.num_train_epochs or 1) * updates,
    )  # fmt: skip
    names = scan.images.class_names
    shown = islice(zip(batch["pixel_values"], batch["labels"], strict=True), limit)
    return [(as_png(pixels, task.pixel_map), label_words(label, names)) for pixels, label in shown]


def label_words(label: torch.Tensor, class_names: Sequence[str]) -> str:
    """A label in words: a class name, or those of a mixed image, such as "70 % cat, 30 % dog".

    Args:
        label: A class id, shape (), or shares of the classes, shape (C,).
        class_names: By class id.

    Example:
        >>> label_words(torch.tensor([0.3, 0.7, 0.0]), ["dog", "cat", "owl"])
        '70 % cat, 30 % dog'
    """
    if label.dim() == 0:
        return class_names[int(label)]
    shares = {name: round(100 * share) for name, share in zip(class_names, label.tolist(), strict=True)}
    parts = sorted((item for item in shares.items() if item[1]), key=lambda item: -item[1])
    return parts[0][0] if len(parts) == 1 else ", ".join(f"{share} % {name}" for name, share in parts)


def as_png(pixel_values: torch.Tensor, pixel_map: PixelMap) -> bytes:
    """Makes a picture of normalised pixels of shape (3, H, W), undoing the normalisation."""
    inverse, plain = torch.linalg.inv(pixel_map.matrix), pixel_values - pixel_map.offset.view(3, 1, 1)
    values = torch.einsum("ij,jhw->ihw", inverse, plain)
    colours = values.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(colours.contiguous().numpy()).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _items(dataset: Dataset, keys: Sequence[ExampleKey]) -> Any:
    """What a loader hands to the collator."""
    at_once = getattr(dataset, "__getitems__", None)
    return at_once(keys) if at_once is not None else [dataset[key] for key in keys]


def _scan(config: RunConfig, home: Path) -> Scan:
    """The images without opening them, unless some are left out, which moves the others, or relabelled."""
    images = load_images(config.data, home)
    data = config.data
    if data.exclude or data.relabel or data.on_bad_image == "skip":
        return scan_images(images, config.data)
    unknown = {name: [""] * len(split) for name, split in images.splits.items()}
    return Scan(
        images=images, example_ids=unknown, bad=(), num_left_out=0, unused_exclusions=(), fingerprint="",
        split_fingerprints={}, image_sizes={}, traits={},
    )  # fmt: skip
