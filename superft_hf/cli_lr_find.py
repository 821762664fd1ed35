"""`superft lr-find`: the learning-rate range test of a configuration."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from superft_hf.cli_parser import Commands, add_command
from superft_hf.cli_train import config_argument, fetch_bar
from superft_hf.cli_words import Call, write_json, write_table
from superft_hf.config_file import read_config
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.preflight.child import Hear
from superft_hf.preflight.lr_find import LrRange, find, rounded
from superft_hf.words import duration

ROWS = 12
"""Points of the curve that are printed."""


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "raise the learning rate from update to update, to see where the loss falls and where it diverges"
    config_argument(add_command(commands, "lr-find", lr_find, text, json=True))


def lr_find(asked: argparse.Namespace, call: Call) -> int:
    """Prints the curve and what it suggests. Nothing is stored, and no run is created."""
    config = read_config(asked.config)
    if not is_here(config):
        with fetch_bar() as on_bytes:
            config = fetch(config, progress=on_bytes)
    with _update_bar() as hear:
        found = find(config, call.home, hear)
    if asked.json:
        write_json({**asdict(found), "suggestion": found.suggestion, "is_hint": found.is_hint,
                    "verdict": found.verdict, "reason": found.reason})  # fmt: skip
        return 0
    write_table(("LEARNING RATE", "LOSS", "SMOOTHED"), _rows(found))
    print(f"{found.verdict} {found.reason}")
    print(_about(found))
    return 0


def _rows(found: LrRange) -> list[tuple[str, ...]]:
    """Points spread over the curve, with the last."""
    last = len(found.smoothed) - 1
    places = sorted({round(place * last / (ROWS - 1)) for place in range(ROWS)})
    return [
        (f"{found.learning_rates[one]:.1e}", f"{found.losses[one]:.4f}", f"{found.smoothed[one]:.4f}")
        for one in places
    ]


def _about(found: LrRange) -> str:
    end = "ended by a loss that diverged" if found.is_diverged else "the loss never diverged"
    steep = "" if found.steepest is None else f" The loss falls fastest at {rounded(found.steepest):g}."
    return (
        f"The run as it is would train with {found.learning_rate:g}.{steep} {len(found.smoothed)} updates of "
        f"{found.batch_size} images on {found.device}, {end}, in {duration(found.duration_s)}."
    )


@contextmanager
def _update_bar() -> Iterator[Hear]:
    """A bar over the updates; it ends early when the loss diverges."""
    with tqdm(desc="starting", unit="update", leave=False, dynamic_ncols=True) as bar:

        def hear(point: dict[str, Any]) -> None:
            bar.total = point["steps"]
            bar.set_description(f"rate {point['learning_rate']:.1e}", refresh=False)
            bar.set_postfix(loss=f"{point['loss']:.4f}", refresh=False)
            bar.update(point["step"] - bar.n)

        yield hear
