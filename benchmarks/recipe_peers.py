"""The peers of `benchmarks/recipe.py`, each as its own documentation has it, in a process of its own.

    python -m benchmarks.recipe_peers fastai|transformers|plain FOLDER --size 128 --seconds 100 --seed 0
                                      --model DIR

Each measures a few of its own steps first and then trains the whole epochs that fit into the seconds, with
its schedule set for them; evaluations are made as it makes them by default. Prints one JSON line: accuracy on
test (and on eval), epochs, seconds.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

PROBE_STEPS = 6


def main() -> None:
    """Runs one peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--model", required=True)
    asked = parser.parse_args()
    print(json.dumps(PEERS[asked.peer](asked)))


def plain(asked: argparse.Namespace) -> dict[str, Any]:
    """A tutorial's loop with the worked example's optimizer: SGD 0.001, momentum 0.9; batch 32."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    torch.manual_seed(asked.seed)
    as_tensor = transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB")),
            transforms.Resize((asked.size, asked.size)),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    parts = {
        name: datasets.ImageFolder(str(asked.folder / name), as_tensor) for name in ("train", "eval", "test")
    }
    model = _model(asked.model, len(parts["train"].classes)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    loader = DataLoader(parts["train"], batch_size=32, shuffle=True)

    def step(pixels: Any, labels: Any) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, labels).backward()
        optimizer.step()

    state = {name: value.clone() for name, value in model.state_dict().items()}
    pace, seen = 0.0, 0
    for number, (pixels, labels) in enumerate(loader):
        begun = time.perf_counter()
        step(pixels, labels)
        if number:
            pace, seen = pace + time.perf_counter() - begun, seen + 1
        if number == PROBE_STEPS:
            break
    model.load_state_dict(state)
    optimizer.state.clear()
    epochs = max(1, round(asked.seconds / (len(loader) * pace / seen)))
    begun = time.perf_counter()
    for _ in range(epochs):
        for pixels, labels in loader:
            step(pixels, labels)
    seconds = time.perf_counter() - begun
    model.eval()
    found = {}
    for name in ("eval", "test"):
        right = 0
        with torch.no_grad():
            for pixels, labels in DataLoader(parts[name], batch_size=64):
                right += int((model(pixel_values=pixels).logits.argmax(1) == labels).sum())
        found[name] = right / len(parts[name])
    return {"accuracy": found["test"], "eval_accuracy": found["eval"], "epochs": epochs, "seconds": seconds}


def transformers(asked: argparse.Namespace) -> dict[str, Any]:
    """What the image classification example of transformers does, with its README's options.

    Random resized crops and mirroring for training, resize and centre crop for evaluation, AdamW at 2e-5
    falling linearly, batch 8, an evaluation each epoch, the best epoch's weights at the end.
    """
    from transformers import TrainerCallback, set_seed

    set_seed(asked.seed)
    data, steps = _example_images(asked)
    aside = tempfile.TemporaryDirectory()

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.times.append(time.perf_counter())

    clock, probe = Clock(), _example_trainer(asked, data, aside.name, 1, PROBE_STEPS)
    probe.add_callback(clock)
    probe.train()
    step_s = (clock.times[-1] - clock.times[0]) / (len(clock.times) - 1)
    begun = time.perf_counter()
    probe.evaluate()
    eval_s = time.perf_counter() - begun
    epochs = max(1, round(asked.seconds / (steps * step_s + eval_s)))
    set_seed(asked.seed)
    real = _example_trainer(asked, data, aside.name, epochs)
    begun = time.perf_counter()
    real.train()
    seconds = time.perf_counter() - begun
    found = {name: real.evaluate(data[name])["eval_accuracy"] for name in ("eval", "test")}
    return {"accuracy": found["test"], "eval_accuracy": found["eval"], "epochs": epochs, "seconds": seconds}


EXAMPLE_BATCH = 8


def _example_images(asked: argparse.Namespace) -> tuple[Any, int]:
    """The example's data sets with its transforms, and the updates of one epoch."""
    import datasets
    from torchvision import transforms as tv

    splits = ("train", "eval", "test")
    files = {name: str(asked.folder / name / "**") for name in splits}
    data = datasets.load_dataset("imagefolder", data_files=files)
    last = [tv.ToTensor(), tv.Normalize(mean=[0.5] * 3, std=[0.5] * 3)]
    random = tv.Compose([tv.RandomResizedCrop(asked.size), tv.RandomHorizontalFlip(), *last])
    whole = tv.Compose([tv.Resize(asked.size), tv.CenterCrop(asked.size), *last])

    def views(transform: Any) -> Any:
        return lambda rows: {
            "pixel_values": [transform(image.convert("RGB")) for image in rows["image"]],
            "labels": rows["label"],
        }

    for name in splits:
        data[name].set_transform(views(random if name == "train" else whole))
    return data, math.ceil(len(data["train"]) / EXAMPLE_BATCH)


def _example_trainer(
    asked: argparse.Namespace, data: Any, folder: str, epochs: int, most_steps: int = -1
) -> Any:
    """The example's Trainer; with `most_steps` one that only trains, to be timed."""
    import numpy as np
    import torch
    from transformers import Trainer, TrainingArguments

    watched = "epoch" if most_steps < 0 else "no"
    args = TrainingArguments(
        output_dir=folder, num_train_epochs=epochs, max_steps=most_steps, eval_strategy=watched,
        save_strategy=watched, load_best_model_at_end=watched == "epoch", save_total_limit=3,
        per_device_train_batch_size=EXAMPLE_BATCH, per_device_eval_batch_size=EXAMPLE_BATCH,
        learning_rate=2e-5, remove_unused_columns=False, seed=asked.seed, report_to="none",
        logging_steps=1000, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    return Trainer(
        model=_model(asked.model, data["train"].features["label"].num_classes), args=args,
        train_dataset=data["train"], eval_dataset=data["eval"],
        data_collator=lambda rows: {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        },
        compute_metrics=lambda found: {
            "accuracy": float((np.argmax(found.predictions, 1) == found.label_ids).mean())
        },
    )  # fmt: skip


def fastai(asked: argparse.Namespace) -> dict[str, Any]:
    """`vision_learner` and `fine_tune` with the library's own augmentation, rates and batch of 64."""
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        set_seed,
        vision_learner,
    )

    set_seed(asked.seed, reproducible=True)

    def loaders() -> Any:
        return ImageDataLoaders.from_folder(
            asked.folder, train="train", valid="eval", item_tfms=Resize(asked.size),
            batch_tfms=[*aug_transforms(size=asked.size), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
            bs=64, num_workers=0,
        )  # fmt: skip

    def learner(parts: Any) -> Any:
        made = vision_learner(
            parts, "tf_efficientnet_lite0", pretrained=False, normalize=False, metrics=accuracy
        )
        source = _model(asked.model, 2).timm_model.state_dict()
        body = made.model[0]
        target = body.model if hasattr(body, "model") else body
        missing = target.load_state_dict(
            {name: value for name, value in source.items() if not name.startswith("classifier")}, strict=False
        )
        if missing.missing_keys:
            raise SystemExit(f"fastai's body lacks {missing.missing_keys[:3]}")
        made.freeze()
        return made

    parts = loaders()
    probe = learner(parts)
    steps = len(parts.train)
    with probe.no_bar(), probe.no_logging():
        probe.fit_one_cycle(1, 1e-4)
        begun = time.perf_counter()
        probe.unfreeze()
        probe.fit_one_cycle(1, 1e-4)
        epoch_s = time.perf_counter() - begun
    epochs = max(1, round(asked.seconds / epoch_s) - 1)  # one more with the head alone comes first
    set_seed(asked.seed, reproducible=True)
    real = learner(loaders())
    begun = time.perf_counter()
    with real.no_bar(), real.no_logging():
        real.fine_tune(epochs)
    seconds = time.perf_counter() - begun
    found = {}
    for name in ("eval", "test"):
        items = sorted((asked.folder / name).rglob("*.png"))
        labelled = parts.test_dl(items, with_labels=True)
        found[name] = float(real.validate(dl=labelled)[1])
    return {
        "accuracy": found["test"], "eval_accuracy": found["eval"], "epochs": epochs + 1, "seconds": seconds,
        "steps": steps * (epochs + 1),
    }  # fmt: skip


def _model(folder: str, num_labels: int) -> Any:
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(
        folder, num_labels=num_labels, ignore_mismatched_sizes=True
    )


PEERS = {"plain": plain, "transformers": transformers, "fastai": fastai}

if __name__ == "__main__":
    main()
