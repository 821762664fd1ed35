"""Exporting a finished model to ONNX, checked against PyTorch on real images.

Run as `python -m superft_hf.training.export_onnx HOME RUN FOLDER`, it fills the folder and prints the check
as JSON. What is written is refused when it does not compute what the network computes.
"""

import inspect
import json
import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedModel,
)

from superft_hf.config import RunConfig
from superft_hf.errors import PublishError, SuperFTError
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.paths import BundlePaths, RunPaths
from superft_hf.recipe.decided import decided_config
from superft_hf.records import Failure, RunRecord
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference
from superft_hf.store import RunStore
from superft_hf.training.image_classification.pixels import eval_pixels, read_pixel_map
from superft_hf.words import VIEWS

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a logit, as a share of the largest logit (of 1, if that is smaller)."""

NUM_IMAGES = 8
MAX_SINGLE_FILE_BYTES = 1_800_000_000
"""Protocol buffers hold 2 GB at most; larger weights lie in a file beside the network."""

_FILES = BundlePaths()


class _Logits(torch.nn.Module):
    """A classifier that takes `pixel_values` and returns `logits`, and nothing else."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def export(store: RunStore, run_id: str, folder: Path) -> dict[str, Any]:
    """Writes `model.onnx`, labels, preprocessing and a README.

    Args:
        store: Where the run is.
        run_id: A completed run.
        folder: Exists and is empty.

    Returns:
        The check: num_images, are_real, max_abs_difference, tolerance, opset.

    Raises:
        PublishError: If the network cannot be exported, or what was exported differs from it.
    """
    record, paths = store.get_run(run_id), store.run_paths(run_id)
    model = AutoModelForImageClassification.from_pretrained(paths.model).eval()
    processor = AutoImageProcessor.from_pretrained(paths.model)
    preprocessing = describe_preprocessing(processor)
    images = _real_images(record, paths)
    pixels = (
        torch.stack([eval_pixels(processor, image) for image in images])
        if images
        else torch.randn(NUM_IMAGES, 3, preprocessing["height"], preprocessing["width"])
    )
    network = _Logits(model).eval()
    opset = write_network(network, pixels, folder / _FILES.onnx)
    check = {"num_images": len(pixels), "are_real": bool(images), "opset": opset}
    check |= compare(network, pixels, folder / _FILES.onnx)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    _write_json(folder / _FILES.labels, names)
    _write_json(folder / _FILES.preprocessing, preprocessing)
    text = _readme(record, check, len(names)) + _about_views(decided_config(paths))
    (folder / _FILES.readme).write_text(text, encoding="utf-8")
    return check


def write_network(network: torch.nn.Module, pixels: torch.Tensor, path: Path) -> int:
    """Exports a network with any batch size.

    Args:
        network: From `pixel_values` to `logits`.
        pixels: Shape (B, 3, H, W), B at least 2: a batch of one would be taken for a constant.
        path: Where to.

    Returns:
        The version of ONNX's operators.

    Raises:
        PublishError: If it has operations that ONNX lacks.
    """
    size_bytes = sum(one.numel() * one.element_size() for one in network.parameters())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (pixels[:2],), dynamo=True, verbose=False,
                input_names=["pixel_values"], output_names=["logits"],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
            )  # fmt: skip
        program.save(path, external_data=size_bytes > MAX_SINGLE_FILE_BYTES)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        NotImplementedError,
        torch.onnx.errors.OnnxExporterError,
    ) as error:
        raise PublishError(
            f"This network cannot be exported to ONNX: {str(error).strip().splitlines()[0][:300]}",
            hint="Use `--format hub`; the folder works wherever PyTorch does.",
        ) from error
    return int(program.model.opset_imports[""])


def compare(network: torch.nn.Module, pixels: torch.Tensor, path: Path) -> dict[str, float]:
    """Compares an exported network with the one in PyTorch, image by image and in batches of 1 and all.

    Returns:
        max_abs_difference of all logits, and the tolerance that it is within.

    Raises:
        PublishError: If it is above, or a class changes where that is no matter of rounding.
    """
    with torch.inference_mode():
        wanted = network(pixels).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = pixels.numpy()
    together = session.run(["logits"], {"pixel_values": values})[0]
    alone = np.concatenate(
        [
            session.run(["logits"], {"pixel_values": values[index : index + 1]})[0]
            for index in range(len(values))
        ]
    )
    difference = float(max(np.abs(together - wanted).max(), np.abs(alone - wanted).max()))
    tolerance = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    if not difference <= tolerance:  # also for a NaN
        raise PublishError(
            f"The exported network differs from the one in PyTorch: by {difference:.2g} in a logit, "
            f"{tolerance:.2g} is allowed.",
            hint="Nothing was kept. Use `--format hub`, and report the network's architecture.",
        )
    return {"max_abs_difference": difference, "tolerance": tolerance}


def describe_preprocessing(processor: BaseImageProcessor) -> dict[str, Any]:
    """How an RGB image becomes `pixel_values`, in numbers; see `pixel_values` for how to read them.

    Returns:
        resize: `{"shortest_edge": …}`, or `{"height": …, "width": …}`; resample: Pillow's name of the
        filter; height and width of the middle that is cut out; crop_offset: how half a pixel beside it is
        rounded, `floor` or `round`; mean and std of each channel, for values in [0, 1].

    Raises:
        PublishError: If the processor reorders the channels, which few can read.
    """
    pixel_map = read_pixel_map(processor)
    if not torch.equal(pixel_map.matrix, torch.diag(pixel_map.matrix.diagonal())):
        raise PublishError(
            "The image processor of this model reorders the colours, which preprocessing.json cannot say.",
            hint="Use `--format hub`.",
        )
    std = 1 / (255 * pixel_map.matrix.diagonal())
    resize, resample = _resizing(processor, pixel_map.height, pixel_map.width)
    return {
        "resize": resize,
        "resample": resample,
        "crop_offset": "round" if hasattr(processor, "val_transforms") else "floor",  # as torchvision, or not
        "height": pixel_map.height,
        "width": pixel_map.width,
        "mean": [round(float(value), 6) for value in -pixel_map.offset * std],
        "std": [round(float(value), 6) for value in std],
    }


def pixel_values(image: Image.Image, spec: dict) -> np.ndarray:
    """Turns an image into a batch of one, as preprocessing.json says: float32 of shape (1, 3, H, W)."""
    if "shortest_edge" in spec["resize"]:
        edge = spec["resize"]["shortest_edge"]
        size = (edge * image.width // min(image.size), edge * image.height // min(image.size))
    else:
        size = (spec["resize"]["width"], spec["resize"]["height"])
    image = image.convert("RGB").resize(size, Image.Resampling[spec["resample"].upper()])
    rounded = {"floor": math.floor, "round": round}[spec["crop_offset"]]
    left = rounded((image.width - spec["width"]) / 2)
    top = rounded((image.height - spec["height"]) / 2)
    image = image.crop((left, top, left + spec["width"], top + spec["height"]))
    values = (np.asarray(image) / 255 - spec["mean"]) / spec["std"]
    return values.transpose(2, 0, 1)[None].astype(np.float32)


def _resizing(processor: BaseImageProcessor, height: int, width: int) -> tuple[dict[str, int], str]:
    """Size before the middle is cut out, and the filter: of timm's transform, or of the settings."""
    steps = getattr(getattr(processor, "val_transforms", None), "transforms", None)
    if steps:
        size = getattr(steps[0], "size", None)
        resample = str(getattr(processor, "data_config", {}).get("interpolation") or "bilinear")
        if isinstance(size, int):
            return {"shortest_edge": size}, resample
        return dict(zip(("height", "width"), size or (height, width), strict=True)), resample
    size = getattr(processor, "size", None) or {}
    resample = Image.Resampling(int(getattr(processor, "resample", None) or 2)).name.lower()
    edge = size.get("shortest_edge")
    if edge and getattr(
        processor, "crop_pct", None
    ):  # ConvNext's rule: small images are cut, large ones are not
        edge = int(edge / processor.crop_pct) if edge < 384 else None
    if edge:
        return {"shortest_edge": int(edge)}, resample
    return {"height": size.get("height", height), "width": size.get("width", width)}, resample


def _real_images(record: RunRecord, paths: RunPaths) -> list[Image.Image]:
    """Some eval images of the run, evenly spread; empty when they are gone."""
    config = decided_config(paths)
    steps = paths.prediction_steps("eval")
    step = record.best_step if record.best_step in steps else steps[-1] if steps else None
    found: list[Image.Image] = []
    try:
        rows = read_predictions(paths.prediction_file("eval", step)) if step is not None else []
        for index in np.linspace(0, len(rows) - 1, min(NUM_IMAGES, len(rows))).astype(int):
            found.append(open_rgb(open_reference(config.data, rows["image"].iloc[index])))
    except (SuperFTError, ValueError) as error:
        logger.warning("the images of the run cannot be opened (%s): the check takes random ones", error)
        return []
    return found if len(found) > 1 else []


def _readme(record: RunRecord, check: dict[str, Any], num_classes: int) -> str:
    images = f"{check['num_images']} eval images" if check["are_real"] else "random pixels"
    return f"""# {record.name}, as ONNX

`{_FILES.onnx}` takes `pixel_values` (float32, any batch size) and returns `logits` of {num_classes} classes;
their names are in `{_FILES.labels}`, by position. It was compared with the network in PyTorch on {images}:
the logits differ by {check["max_abs_difference"]:.1e} at most, and {check["tolerance"]:.1e} was allowed. It
uses version {check["opset"]} of the ONNX operators.

```python
import json
import math

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


{inspect.getsource(pixel_values).strip()}


labels = json.load(open("{_FILES.labels}"))
spec = json.load(open("{_FILES.preprocessing}"))
session = onnxruntime.InferenceSession("{_FILES.onnx}")
image = ImageOps.exif_transpose(Image.open("photo.jpg"))
logits = session.run(["logits"], {{"pixel_values": pixel_values(image, spec)}})[0][0]
shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for index in shares.argsort()[::-1][:5]:
    print(f"{{labels[index]}}: {{shares[index]:.1%}}")
```

Resizing by Pillow and by PyTorch differ in the last digits: so do the shares.
"""


def _about_views(config: RunConfig) -> str:
    """What the README says of a run that looks at images in several ways; empty for any other."""
    views = VIEWS.get(config.augmentation.test_time)
    if views is None:
        return ""
    return f"""
The run's own figures are with test-time augmentation: logits averaged over {views}. The network in
`{_FILES.onnx}` looks at what it is given once; to repeat those figures, run it on each view and average the
logits.
"""


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(home: str, run_id: str, folder: str) -> int:
    """Prints the check, or the error, as JSON. Returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        found = export(RunStore(Path(home)), run_id, Path(folder))
    except SuperFTError as error:
        sys.stdout.write(json.dumps({"error": vars(Failure.of(error))}) + "\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
