"""The commands that look for wrong labels and weak parts of the images: suspects, folds, slices."""

import argparse
import csv
import sys
from typing import Any

import numpy as np
import pandas as pd

from superft_hf import folds, label_review, slice_review, vault
from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import BY, find_run
from superft_hf.cli_words import Call, say, short, stopped_hint, write_json, write_table
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import slices
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.sources.load import shown_reference
from superft_hf.words import counted, duration, interval, percent, points

_LIMIT = 50
_SHOWN_SLICES = 15


def add_commands(commands: Commands) -> None:
    """Declares them."""
    parser = add_command(commands, "suspects", suspects, "list images whose labels may be wrong", json=True)
    add_run(parser)
    parser.add_argument("--train", action="store_true", help="of train, by the run's folds; else of eval")
    parser.add_argument(
        "--limit", type=int, default=_LIMIT, metavar="N", help="at most so many; default: %(default)s"
    )
    parser.add_argument("--csv", action="store_true", help="print a CSV instead")
    parser = add_command(
        commands, "folds", start_folds,
        "queue runs that each hold a part of train out, or say how far they are", json=True,
    )  # fmt: skip
    add_run(parser)
    parser.add_argument(
        "-k", type=int, metavar="N", help="parts to cut train into; without it only the state is told"
    )
    parser = add_command(
        commands, "slices", weak_slices, "list parts of the images on which a run does worse", json=True
    )
    add_run(parser)
    parser.add_argument(
        "--split", choices=["eval", "test"], default="eval", help="default: %(default)s; test is a look at it"
    )


def suspects(asked: argparse.Namespace, call: Call) -> int:
    """Lists images by how doubtful their labels are."""
    store, record = find_run(asked.run, call)
    if asked.train:
        review = label_review.of_folds(store, folds.fold_runs(store, record.run_id))
    else:
        step = _step(record, store.run_paths(record.run_id), "eval")
        review = label_review.of_evaluation(store.run_paths(record.run_id), record.run_id, "eval", step)
    listed = review.listed.head(max(asked.limit, 0))
    say(_summary(review, "train" if asked.train else "eval"))
    if asked.json:
        write_json(
            {
                "num_images": review.num_images, "num_issues": review.found.num_issues,
                "num_dropped": review.found.num_dropped, "num_folds": review.num_folds,
                "num_folds_done": review.num_done, "suspects": _records(listed),
            }
        )  # fmt: skip
    elif asked.csv:
        _write_csv(listed)
    else:
        data = store.read_config(record.run_id).data
        rows = [
            [
                one.example_id, short(shown_reference(data, one.image), 44), one.label, one.suggested,
                "yes" if one.is_issue else "", one.reason,
            ]
            for one in listed.itertuples()
        ]  # fmt: skip
        write_table(["EXAMPLE", "IMAGE", "LABEL", "SUGGESTED", "DOUBTED", "WHY"], rows)
    return 0


def start_folds(asked: argparse.Namespace, call: Call) -> int:
    """Queues the folds of a run that are missing, or tells their state."""
    store, record = find_run(asked.run, call)
    started = folds.start(store, record.run_id, asked.k, by=BY) if asked.k is not None else []
    found = folds.fold_runs(store, record.run_id, asked.k)
    if asked.json:
        write_json(
            {
                "num_folds": found.num_folds, "is_complete": found.is_complete,
                "started": [run.run_id for run in started],
                "folds": [
                    {"fold": fold, "run_id": run.run_id if run else None, "state": state}
                    for fold, (run, state) in enumerate(zip(found.by_fold, found.states(), strict=True))
                ],
            }
        )  # fmt: skip
        return 0
    if not found.num_folds:
        command = call.command("folds", record.run_id, "-k", "5")
        say(f"{record.name} has no folds yet: `{command}` queues them.")
        return 0
    rows = [
        [str(fold + 1), state, run.run_id if run else "–"]
        for fold, (run, state) in enumerate(zip(found.by_fold, found.states(), strict=True))
    ]
    write_table(["FOLD", "STATE", "RUN"], rows)
    if started:
        expected = folds.expected_seconds(record, found.num_folds)
        time = f" About {duration(expected)} of work." if expected else ""
        say(f"{counted(len(started), 'run')} queued.{time}{stopped_hint(call)}")
    return 0


def weak_slices(asked: argparse.Namespace, call: Call) -> int:
    """Lists the slices of a split, the worst first."""
    store, record = find_run(asked.run, call)
    paths, split = store.run_paths(record.run_id), asked.split
    step = _step(record, paths, split)
    if split == vault.TEST:
        say(vault.words(vault.open_test(store, record, by="slices")))
    saved = slice_review.saved_positions(store, record.data, paths, split, step)
    found = slice_review.review(paths, split, step, saved)
    table = found.table
    if found.examples is None:
        say("Nothing but classes and saved filters is known of these images: a new run notes the rest.")
    say(slices.in_words(table))
    if asked.json:
        write_json(_records(table))
        return 0
    write_table(
        [
            "SLICE",
            "KIND",
            "IMAGES",
            "WRONG",
            "ACCURACY",
            "95 % INTERVAL",
            "TO THE REST",
            "P, CORRECTED",
            "WORSE",
        ],
        [_slice_row(one) for one in table.head(_SHOWN_SLICES).itertuples()],
    )
    return 0


def _summary(review: label_review.Review, split: str) -> str:
    issues = f"{counted(review.found.num_issues, 'label')} of {review.num_images:,} in {split}"
    parts = [f"About {issues} {'is' if review.found.num_issues == 1 else 'are'} estimated to be wrong."]
    if review.num_done < review.num_folds:
        parts.append(f"Only {review.num_done} of {review.num_folds} folds are done so far.")
    if review.found.num_dropped:
        parts.append(f"{counted(review.found.num_dropped, 'image')} without finite probabilities left out.")
    return " ".join([*parts, "Doubt is no proof: look at each image."])


def _slice_row(one: Any) -> list[str]:
    return [
        short(one.slice, 40), one.kind, f"{one.num_images:,}", f"{one.num_wrong:,}", percent(one.accuracy),
        interval(one.low, one.high), points(one.difference), f"{one.p_adjusted:.2g}",
        "yes" if one.is_shown else "",
    ]  # fmt: skip


def _step(record: RunRecord, paths: RunPaths, split: str) -> int:
    steps = paths.prediction_steps(split)
    if not steps:
        raise DataNotFoundError(
            f"The run {record.name} has no predictions on {split} yet.",
            hint="They are written at the end of each epoch; test comes at the end of the run.",
        )
    return record.best_step if record.best_step in steps else steps[-1]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def _write_csv(table: pd.DataFrame) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.itertuples(index=False))
