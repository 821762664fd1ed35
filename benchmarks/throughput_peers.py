"""The loops that `benchmarks/throughput.py` measures itself against, each in a process of its own.

    python benchmarks/throughput_peers.py resident|plain|transformers|fastai FOLDER --model DIR
                                          --size 224 --batch 16 --steps 30 --workers 0

FOLDER has one folder a class. All train the same network with SGD for so many steps. Nothing of
this project is imported, so that any environment with torch and transformers will do. Prints one JSON line:
images a second from step 2 to the last, the share of that time in which the loop waited for its images,
seconds until the first step, and seconds in all.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BORN = time.perf_counter()
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
RATE, MOMENTUM = 0.001, 0.9


class Clock:
    """Counts images and seconds from step 2 on, and what of it was waited for."""

    def __init__(self) -> None:
        self._images, self._waited, self._steps = 0, 0.0, 0
        self._first = self._second = self._last = BORN
        self._idle_since: float | None = None

    def fetching(self) -> None:
        """Before the images of a step are fetched."""
        self._idle_since = time.perf_counter()

    def fetched(self) -> None:
        """When they are there."""
        if self._steps == 0:
            self._first = time.perf_counter()
        elif self._idle_since is not None:
            self._waited += time.perf_counter() - self._idle_since

    def stepped(self, images: int) -> None:
        """After a step."""
        self._last, self._steps = time.perf_counter(), self._steps + 1
        if self._steps == 1:
            self._second = self._last
        else:
            self._images += images

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The batches of a loader, timed."""
        self.fetching()
        for batch in loader:
            self.fetched()
            yield batch
            self.fetching()

    def answer(self) -> dict[str, float]:
        """What is printed."""
        seconds = self._last - self._second
        return {
            "images_per_second": self._images / seconds,
            "waiting_share": self._waited / seconds,
            "first_step_s": self._first - BORN,
            "whole_s": self._last - BORN,
        }


def resident(asked: argparse.Namespace) -> dict[str, float]:
    """The bare step on one batch that lies in memory, in the better memory format: the limit."""
    import torch

    model = _model(asked).train()
    layout = torch.channels_last if asked.network == "convnet" else torch.contiguous_format
    model.to(memory_format=layout)
    pixels = torch.randn(asked.batch, 3, asked.size, asked.size).contiguous(memory_format=layout)
    labels = torch.arange(asked.batch) % 2
    return _loop(model, [(pixels, labels)] * asked.steps)


def plain(asked: argparse.Namespace) -> dict[str, float]:
    """A tutorial's loop: ImageFolder, torchvision's transforms, DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    images = datasets.ImageFolder(
        str(asked.folder),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(asked.size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        ),
    )
    loader = DataLoader(images, batch_size=asked.batch, shuffle=True, num_workers=asked.workers)
    return _loop(_model(asked).train(), itertools.islice(loader, asked.steps))


def transformers(asked: argparse.Namespace) -> dict[str, float]:
    """The way of transformers' image classification example: `datasets`, transforms on access, Trainer."""
    import datasets
    import torch
    from torchvision import transforms
    from transformers import Trainer, TrainerCallback, TrainingArguments

    data = datasets.load_dataset("imagefolder", data_dir=str(asked.folder), split="train")
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(asked.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def on_access(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            "pixel_values": [change(image.convert("RGB")) for image in rows["image"]],
            "labels": rows["label"],
        }

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }

    clock = Clock()

    class Watch(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.fetched()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.stepped(asked.batch)
            clock.fetching()

    with tempfile.TemporaryDirectory() as aside:
        args = TrainingArguments(
            output_dir=aside, max_steps=asked.steps, per_device_train_batch_size=asked.batch, optim="sgd",
            optim_args=f"momentum={MOMENTUM}", learning_rate=RATE, remove_unused_columns=False,
            report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
            dataloader_num_workers=asked.workers,
        )  # fmt: skip
        Trainer(
            model=_model(asked), args=args, train_dataset=data.with_transform(on_access),
            data_collator=collate, callbacks=[Watch()],
        ).train()  # fmt: skip
    return clock.answer()


def fastai(asked: argparse.Namespace) -> dict[str, float]:
    """A Learner on ImageDataLoaders, whose items are cropped and whose batches are augmented by fastai."""
    import torch
    from fastai.vision.all import (
        SGD,
        Callback,
        CancelFitException,
        CrossEntropyLossFlat,
        ImageDataLoaders,
        Learner,
        Normalize,
        RandomResizedCrop,
        aug_transforms,
    )

    class Logits(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=pixels).logits

    clock = Clock()

    class Watch(Callback):
        def before_epoch(self) -> None:
            clock.fetching()

        def before_batch(self) -> None:
            clock.fetched()

        def after_batch(self) -> None:
            clock.stepped(len(self.yb[0]))
            clock.fetching()
            if self.iter + 1 == asked.steps:
                raise CancelFitException

    loaders = ImageDataLoaders.from_folder(
        asked.folder, train=".", valid_pct=0.01, bs=asked.batch, item_tfms=RandomResizedCrop(asked.size),
        batch_tfms=[*aug_transforms(size=asked.size), Normalize.from_stats(MEAN, STD)],
        num_workers=asked.workers,
    )  # fmt: skip
    learner = Learner(
        loaders, Logits(_model(asked)), loss_func=CrossEntropyLossFlat(), opt_func=SGD, lr=RATE, cbs=[Watch()]
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)
    return clock.answer()


def _loop(model: Any, loader: Iterable[Any]) -> dict[str, float]:
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    clock = Clock()
    for pixels, labels in clock.batches(loader):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, labels).backward()
        optimizer.step()
        clock.stepped(len(labels))
    return clock.answer()


def _model(asked: argparse.Namespace) -> Any:
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(
        asked.model, num_labels=2, ignore_mismatched_sizes=True
    )


PEERS = {"resident": resident, "plain": plain, "transformers": transformers, "fastai": fastai}


def main() -> None:
    """Runs one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--network", choices=["convnet", "vit"], required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    print(json.dumps(PEERS[asked.peer](asked)))


if __name__ == "__main__":
    main()
