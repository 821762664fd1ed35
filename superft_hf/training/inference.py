"""Asking a finished model: used by *Try it* through a child process, and by `superft predict`.

Run as `python -m superft_hf.training.inference [--plain] [--test-time MODE] FOLDER IMAGE…`, it prints a JSON
list: with the operating point that is kept beside the model, or with `--plain` without it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedModel,
)

from superft_hf.errors import BadImageError, ModelNotFoundError, SuperFTError
from superft_hf.evaluation import decision as decisions
from superft_hf.records import Failure
from superft_hf.sources.folder import read_file
from superft_hf.sources.images import open_rgb
from superft_hf.training.image_classification.views import ImageViews

BATCH = 16
TOP_K = 5


def predict(
    model_folder: str, encoded_images: Sequence[bytes], test_time: str = "none"
) -> tuple[list[str], np.ndarray]:
    """What a model says about some images, before anything is made of it.

    Args:
        model_folder: The `model/` folder of a run.
        encoded_images: Image files as bytes.
        test_time: The run's `augmentation.test_time`: the views of an image whose logits are averaged.

    Returns:
        The names of its C classes by id, and logits of shape (N, C), dtype float32.

    Raises:
        BadImageError: If one is not a readable image; its position stands for its name.
        ModelNotFoundError: If the folder holds no model.
    """
    images = [_open(encoded, f"number {number}") for number, encoded in enumerate(encoded_images, start=1)]
    return predict_images(model_folder, images, test_time)


def predict_images(
    model_folder: str, images: Sequence[Image.Image], test_time: str = "none"
) -> tuple[list[str], np.ndarray]:
    """As `predict`, for RGB images."""
    model, processor = _load(model_folder, model_stamp(model_folder))
    views = ImageViews(test_time)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    found = [np.zeros((0, len(names)), dtype=np.float32)]
    for start in range(0, len(images), BATCH):
        inputs = processor(images=list(images[start : start + BATCH]), return_tensors="pt")
        with torch.inference_mode():
            found.append(views(model, inputs["pixel_values"]).float().numpy())
    return names, np.concatenate(found)


@lru_cache(maxsize=2)
def _load(model_folder: str, stamp: float) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Model and processor of a folder; `stamp` makes a rewritten folder a new one."""
    model = AutoModelForImageClassification.from_pretrained(model_folder).eval()
    return model, AutoImageProcessor.from_pretrained(model_folder)


def model_stamp(model_folder: str) -> float:
    """Changes when a folder's model is written anew; a cache key. Raises ModelNotFoundError."""
    try:
        return (Path(model_folder) / "config.json").stat().st_mtime
    except OSError as error:
        raise ModelNotFoundError(
            f"There is no model in {model_folder}.", hint="Choose a run that is completed."
        ) from error


def _open(encoded: bytes, name: str) -> Image.Image:
    try:
        return open_rgb(encoded)
    except ValueError as error:
        raise BadImageError([name], str(error)) from error


def main(model_folder: str, paths: Sequence[str], *, is_plain: bool, test_time: str) -> int:
    """Prints the answers, or the error, as JSON. Returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        images = [_open(read_file(path), path) for path in paths]
        names, logits = predict_images(model_folder, images, test_time)
        kept = None if is_plain else decisions.read(Path(model_folder) / decisions.FILE_NAME, names)
        found = decisions.answer(logits, names, kept, TOP_K)
    except SuperFTError as error:
        sys.stdout.write(json.dumps({"error": vars(Failure.of(error))}) + "\n")
        return 1
    answers = [
        {
            "image": path,
            "decision": one.label,
            "abstained": not one.is_sure,
            "operating_point": kept is not None,
            "test_time": test_time,
            "predictions": [{"label": label, "probability": value} for label, value in one.predictions],
        }
        for path, one in zip(paths, found, strict=True)
    ]
    sys.stdout.write(json.dumps(answers) + "\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--test-time", choices=["none", "mirror", "crops"], default="none")
    parser.add_argument("folder")
    parser.add_argument("images", nargs="+")
    asked = parser.parse_args()
    sys.exit(main(asked.folder, asked.images, is_plain=asked.plain, test_time=asked.test_time))
