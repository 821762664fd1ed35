"""The features of the images of an evaluation: caught while it runs, and written beside its predictions.

They are what the head reads. Nothing is computed for them: a hook looks at what passes by, so predictions and
figures are the same with it and without. Of several views of an image (`augmentation.test_time`) those of the
first are kept, which is the image as it is.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import nn

from superft_hf.paths import RunPaths

logger = logging.getLogger(__name__)

MAX_BYTES = 512 * 2**20
"""Of a file; larger ones are not written."""


class FeatureCatcher:
    """Catches what a layer reads, batch by batch, as long as it listens.

    Args:
        layer: The layer whose input is caught; None: nothing is caught.
        paths: The files of the run.
    """

    def __init__(self, layer: nn.Module | None, paths: RunPaths) -> None:
        self._layer = layer
        self._paths = paths
        self._last: torch.Tensor | None = None
        self._parts: list[np.ndarray] = []
        self._num_images = 0
        self._problem = "" if layer is not None else "the layer that makes the logits is not known"

    @contextmanager
    def listening(self, num_images: int) -> Iterator[None]:
        """Catches the features of an evaluation of so many images."""
        self._parts, self._num_images, self._last = [], num_images, None
        if self._layer is None:
            yield
            return
        self._problem = ""
        handle = self._layer.register_forward_pre_hook(self._catch)
        try:
            yield
        finally:
            handle.remove()
            self._last = None

    def take(self, num_rows: int) -> torch.Tensor | None:
        """What was caught in the first forward pass since the last call, shape (B, D), dtype float32.

        None when nothing fits: then nothing of this evaluation is written. All processes of a run find the
        same, since their batches have one shape.

        Args:
            num_rows: B.
        """
        caught, self._last = self._last, None
        if self._layer is None or self._problem:
            return None
        if caught is None:
            self._problem = "the layer that makes the logits was not passed"
            return None
        if caught.dim() == 4 and caught.shape[2:] == (1, 1):
            caught = caught.flatten(1)
        if caught.dim() != 2 or len(caught) != num_rows:
            self._problem = f"the features of a batch have the shape {tuple(caught.shape)}"
            return None
        if 2 * self._num_images * caught.shape[1] > MAX_BYTES:
            self._problem = f"{self._num_images} × {caught.shape[1]} values are over {MAX_BYTES // 2**20} MiB"
            return None
        return caught.float()

    def keep(self, features: torch.Tensor) -> None:
        """Notes the gathered features of a batch of all processes, shape (B, D)."""
        self._parts.append(normalized(features.cpu().numpy()))

    def write(self, split: str, step: int, former: int | None) -> None:
        """Writes what was caught, aside and then renamed, and removes files that nobody needs any more.

        Args:
            split: eval or test.
            step: The global step of the evaluation.
            former: The global step of the best checkpoint before this one, whose file stays: a run that is
                resumed from there may end there. None: there is none.
        """
        found = np.concatenate(self._parts) if self._parts else np.zeros((0, 0), np.float16)
        self._parts = []
        path = self._paths.embeddings_file(split, step)
        if self._problem or len(found) != self._num_images:
            reason = self._problem or f"{len(found)} of {self._num_images} images were caught"
            logger.info("no features of %s are kept: %s", split, reason)
            return
        aside = path.with_suffix(".writing")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as opened:
                np.save(opened, found)
                opened.flush()
                os.fsync(opened.fileno())
            aside.replace(path)
        except OSError as error:  # a run goes on without them
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            logger.warning("the features of %s cannot be written: %s", split, error)
            return
        self._tidy(split, {step, former})

    def discard(self) -> None:
        """Forgets what was caught: this evaluation is not the best so far."""
        self._parts = []

    def keep_best(self, step: int | None) -> None:
        """Removes the eval files of all checkpoints but the best; called when training is over."""
        if step is not None:
            self._tidy("eval", {step})

    def _catch(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if self._last is None:
            self._last = inputs[0].detach()

    def _tidy(self, split: str, steps: set[int | None]) -> None:
        for other in self._paths.embeddings_steps(split):
            if other not in steps:
                self._paths.embeddings_file(split, other).unlink(missing_ok=True)


def normalized(features: np.ndarray) -> np.ndarray:
    """Features of length 1 as they are kept.

    Args:
        features: Shape (N, D), any float type.

    Returns:
        Shape (N, D), dtype float16; rows without length stay 0, rows that are not finite become NaN.
    """
    values = features.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
        found = np.divide(values, lengths, out=np.zeros_like(values), where=lengths != 0)
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found.astype(np.float16)
