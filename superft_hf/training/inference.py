"""Asking a finished model: used by *Try it* through a child process, and by `superft predict`.

Run as `python -m superft_hf.training.inference FOLDER IMAGE…`, it prints a JSON list.
"""

import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

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
from superft_hf.records import Failure
from superft_hf.sources.folder import read_file
from superft_hf.sources.images import open_rgb

BATCH = 16


def predict(
    model_folder: str, encoded_images: Sequence[bytes], top_k: int = 5
) -> list[list[tuple[str, float]]]:
    """The most probable classes of some images.

    Args:
        model_folder: The `model/` folder of a run.
        encoded_images: Image files as bytes.
        top_k: How many classes an image.

    Returns:
        For each image its classes with their probabilities (fractions), most probable first.

    Raises:
        BadImageError: If one is not a readable image; its position stands for its name.
        ModelNotFoundError: If the folder holds no model.
    """
    images = [_open(encoded, f"number {number}") for number, encoded in enumerate(encoded_images, start=1)]
    return predict_images(model_folder, images, top_k)


def predict_images(
    model_folder: str, images: Sequence[Image.Image], top_k: int = 5
) -> list[list[tuple[str, float]]]:
    """As `predict`, for RGB images."""
    model, processor = _load(model_folder, _stamp(model_folder))
    names = model.config.id2label
    found = []
    for start in range(0, len(images), BATCH):
        inputs = processor(images=list(images[start : start + BATCH]), return_tensors="pt")
        with torch.inference_mode():
            probabilities = model(pixel_values=inputs["pixel_values"]).logits.float().softmax(dim=-1)
        values, indices = probabilities.topk(min(top_k, probabilities.shape[-1]))
        for row_values, row_indices in zip(values.tolist(), indices.tolist(), strict=True):
            found.append(
                [(names[index], value) for index, value in zip(row_indices, row_values, strict=True)]
            )
    return found


@lru_cache(maxsize=2)
def _load(model_folder: str, stamp: float) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Model and processor of a folder; `stamp` makes a rewritten folder a new one."""
    model = AutoModelForImageClassification.from_pretrained(model_folder).eval()
    return model, AutoImageProcessor.from_pretrained(model_folder)


def _stamp(model_folder: str) -> float:
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


def main(model_folder: str, paths: Sequence[str]) -> int:
    """Prints the answers, or the error, as JSON. Returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        images = [_open(read_file(path), path) for path in paths]
        answers = [
            {"image": path, "predictions": [{"label": label, "probability": value} for label, value in found]}
            for path, found in zip(paths, predict_images(model_folder, images), strict=True)
        ]
    except SuperFTError as error:
        sys.stdout.write(json.dumps({"error": vars(Failure.of(error))}) + "\n")
        return 1
    sys.stdout.write(json.dumps(answers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
