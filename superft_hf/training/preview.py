"""The first batch of a run as the network will see it: same images, same draws, same code path."""

import io
from pathlib import Path

import torch
from PIL import Image

from superft_hf.config import RunConfig
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.training import resolve
from superft_hf.training.image_classification.pixels import PixelMap
from superft_hf.training.sampling import EpochSampler
from superft_hf.training.tasks import make_task_run


def augmented_batch(config_json: str, home: str, limit: int = 16, epoch: int = 0) -> list[tuple[bytes, str]]:
    """The images that begin an epoch, after augmentation and normalisation.

    Args:
        config_json: The RunConfig as JSON.
        home: Where zips are unpacked.
        limit: How many images at most; never more than one batch.
        epoch: Counted from 0.

    Returns:
        For each image a PNG and its class name. The PNG is made back from `pixel_values`, so it shows what
        the network is given, with colours as they were before the normalisation.

    Raises:
        SuperFTError: If model or images cannot be loaded.
    """
    config = resolve.pin_revisions(RunConfig.model_validate_json(config_json), Path(home))
    scan = _scan(config, Path(home))
    config = resolve.decide_recipe(config, scan.images)
    task = make_task_run(config, scan)
    dataset = task.train_dataset()
    sampler = EpochSampler(len(dataset), config.training.seed)
    sampler.set_epoch(epoch)
    count = min(limit, config.training.per_device_train_batch_size, len(dataset))
    keys = [key for key, _ in zip(sampler, range(count), strict=False)]
    batch = task.batch_maker()(
        task.collator("contiguous")([dataset[key] for key in keys]), step=epoch, max_steps=epoch + 1
    )
    names = scan.images.class_names
    return [
        (as_png(pixels, task.pixel_map), names[label])
        for pixels, label in zip(batch["pixel_values"], batch["labels"].tolist(), strict=True)
    ]


def as_png(pixel_values: torch.Tensor, pixel_map: PixelMap) -> bytes:
    """Makes a picture of normalised pixels of shape (3, H, W), undoing the normalisation."""
    inverse, plain = torch.linalg.inv(pixel_map.matrix), pixel_values - pixel_map.offset.view(3, 1, 1)
    values = torch.einsum("ij,jhw->ihw", inverse, plain)
    colours = values.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(colours.contiguous().numpy()).save(out, "PNG", compress_level=1)
    return out.getvalue()


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
