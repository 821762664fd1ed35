"""`superft layers`: how far training moved each layer of a run, and its gradients."""

import argparse
import math
from typing import Any

import numpy as np

from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, write_json, write_table
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.layer_history import LayerHistory, in_words, read_history, share_in_words
from superft_hf.records import RunRecord, RunState
from superft_hf.words import count


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "say how far training moved each layer of a run, from the images to the head"
    add_run(add_command(commands, "layers", layers, text, json=True))


def layers(asked: argparse.Namespace, call: Call) -> int:
    """Shows the last values; `--json` has those of every recorded step."""
    store, record = find_run(asked.run, call)
    history = read_history(store.run_paths(record.run_id).layers)
    if history is None:
        raise DataNotFoundError(
            f"The run {record.name} has no record of its layers.",
            hint="It begins with the first point of the training curve."
            if record.is_unfinished
            else "Runs of earlier versions have none, nor have networks that are spread over GPUs.",
        )
    if asked.json:
        write_json(_as_json(record, history))
        return 0
    is_going_on = record.is_unfinished or record.state is RunState.PAUSED
    print(in_words(history, is_going_on=is_going_on))
    print()
    rows = [
        [
            f"{one.name}{' (head)' if one.is_head else ''}", count(one.num_parameters),
            share_in_words(change), share_in_words(gradient),
        ]
        for one, change, gradient in zip(
            history.layers, history.final_changes, history.final_gradients, strict=True
        )
    ]  # fmt: skip
    write_table(["layer", "parameters", "changed by", "gradient"], rows)
    return 0


def _as_json(record: RunRecord, history: LayerHistory) -> dict[str, Any]:
    """Everything; what is not known is null."""
    return {
        "run_id": record.run_id,
        "words": in_words(history, is_going_on=record.is_unfinished),
        "layers": [
            {"name": one.name, "num_parameters": one.num_parameters, "is_head": one.is_head}
            for one in history.layers
        ],
        "steps": history.steps.tolist(),
        "epochs": history.epochs.tolist(),
        "relative_change": _known(history.changes),
        "gradient_norm": _known(history.gradients),
        "weight_norm": _known(history.norms),
    }


def _known(values: np.ndarray) -> list[list[float | None]]:
    return [[one if math.isfinite(one) else None for one in row] for row in values.tolist()]
