"""`superft errors`: the images of an evaluation, by default the worst mistakes."""

import argparse
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superft_hf import vault
from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import BY, find_run
from superft_hf.cli_words import STDOUT, Call, plain, say, short, write_csv, write_json, write_table
from superft_hf.errors import ConfigError, StateError
from superft_hf.evaluation.prediction_files import read_class_names
from superft_hf.evaluation.prediction_filter import Filter, Outcome
from superft_hf.records import RunRecord, RunState
from superft_hf.sources.load import shown_reference
from superft_hf.store import RunStore
from superft_hf.words import NOTHING, counted, loss, percent

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 20
_SORTS = ("loss", "confidence", "margin")


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "list the images of an evaluation, by default the worst mistakes"
    parser = add_command(commands, "errors", errors, text, json=True)
    add_run(parser)
    parser.add_argument(
        "--split", choices=["eval", "test"], default="eval",
        help="test is a look at the test set: it is noted in the run",
    )  # fmt: skip
    parser.add_argument(
        "--epoch-step", type=int, metavar="STEP", help="the evaluation at this global step; else the best"
    )
    for name, what in (("--true", "of this class"), ("--predicted", "taken for this class")):
        parser.add_argument(
            name, metavar="CLASS", action="append", default=[], help=f"only images {what}; again for more"
        )
    parser.add_argument(
        "--outcome", choices=[str(one) for one in Outcome], default=str(Outcome.WRONG),
        help="whether the prediction is the label (default: wrong)",
    )  # fmt: skip
    for name, what in (("--min-confidence", "at least"), ("--max-confidence", "at most")):
        parser.add_argument(
            name, type=float, metavar="SHARE", help=f"{what} so sure, as a fraction such as 0.9"
        )
    parser.add_argument("--text", default="", help="a part of the image's name, in upper or lower case")
    parser.add_argument("--sort", choices=_SORTS, default="loss", help="highest first (default: loss)")
    parser.add_argument("--ascending", action="store_true", help="lowest first instead")
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"at most so many (default: {_SHOWN}; all of them with --csv)"
    )
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write them as CSV; - for the terminal")


def errors(asked: argparse.Namespace, call: Call) -> int:
    """Lists images."""
    from superft_hf.evaluation import prediction_query  # polars: not for every command

    store, record = find_run(asked.run, call)
    _check(asked)
    step = _step(store, record, asked)
    path = store.run_paths(record.run_id).prediction_file(asked.split, step)
    chosen = _filter(asked, read_class_names(path))
    if asked.sort == "margin" and not prediction_query.has_margin(path):
        raise ConfigError(
            f"The file {path.name} is of an earlier version and has no margins.",
            hint="Sort by loss or confidence.",
        )
    if asked.split == vault.TEST:
        say(vault.words(vault.open_test(store, record, BY, "superft errors")))
    order = prediction_query.Order(asked.sort, not asked.ascending)
    positions = prediction_query.find(path, chosen, order)
    limit = asked.limit or (None if asked.csv else _SHOWN)
    marks = {mark.example_id: str(mark.kind) for mark in store.read_marks(record.data)}
    images = prediction_query.table(path, positions[:limit], marks)
    total = prediction_query.count(path)
    if asked.csv is not None:
        write_csv(asked.csv, images.write_csv(), counted(len(images), "image"))
    if asked.json:
        write_json(_as_json(record, asked.split, step, images, len(positions), total))
        return 0
    if asked.csv is None and len(images):
        _write_images(images, store, record)
    say(_found_words(asked, record, step, len(positions), total, len(images)))
    return 0


def _check(asked: argparse.Namespace) -> None:
    for name, value in (
        ("--min-confidence", asked.min_confidence),
        ("--max-confidence", asked.max_confidence),
    ):
        if value is not None and not 0 <= value <= 1:  # NaN is no share either
            raise ConfigError(
                f"{name} {value:g} is no share.", hint="Give a fraction from 0 to 1, such as 0.9."
            )
    if (
        None not in (asked.min_confidence, asked.max_confidence)
        and asked.min_confidence > asked.max_confidence
    ):
        raise ConfigError("--min-confidence is above --max-confidence.", hint="Exchange them.")
    if asked.json and asked.csv == STDOUT:
        raise ConfigError("--json and --csv - both write to the terminal.", hint="Give the CSV a file.")
    if asked.limit is not None and asked.limit < 1:
        raise ConfigError(f"--limit {asked.limit} shows nothing.", hint="Give 1 or more.")


def _step(store: RunStore, record: RunRecord, asked: argparse.Namespace) -> int:
    """The global step of the evaluation that is asked for. Raises StateError or ConfigError."""
    steps = store.run_paths(record.run_id).prediction_steps(asked.split)
    if not steps:
        hint = "Test is evaluated once, at the end of a run that completes."
        if asked.split == "eval":
            hint = "The first evaluation comes at the end of the first epoch."
        if record.state is RunState.FAILED:
            hint = "`superft show` says why it failed."
        raise StateError(f"The run {record.name} has not been evaluated on {asked.split}.", hint=hint)
    if asked.epoch_step is None:
        return record.best_step if record.best_step in steps else steps[-1]
    if asked.epoch_step not in steps:
        known = ", ".join(map(str, steps if len(steps) <= 12 else [*steps[:5], "…", *steps[-5:]]))
        raise ConfigError(
            f"The run {record.name} has no {asked.split} evaluation at step {asked.epoch_step}.",
            hint=f"There is one at each of these: {known}.",
        )
    return asked.epoch_step


def _filter(asked: argparse.Namespace, class_names: Sequence[str]) -> Filter:
    confidence = None
    if asked.min_confidence is not None or asked.max_confidence is not None:
        low = 0.0 if asked.min_confidence is None else asked.min_confidence
        confidence = (low, math.inf if asked.max_confidence is None else asked.max_confidence)
    return Filter(
        labels=tuple(_class_id(name, class_names) for name in asked.true),
        predictions=tuple(_class_id(name, class_names) for name in asked.predicted),
        outcome=asked.outcome,
        confidence=confidence,
        text=asked.text,
    )


def _class_id(name: str, class_names: Sequence[str]) -> int:
    """The number of a class. Raises ConfigError."""
    if name in class_names:
        return list(class_names).index(name)
    like = difflib.get_close_matches(name, class_names, 3, 0.5) or list(class_names)[:5]
    raise ConfigError(f"There is no class {name!r}.", hint=f"Such as: {', '.join(like)}.")


def _as_json(
    record: RunRecord, split: str, step: int, images: "pl.DataFrame", num_found: int, total: int
) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "split": split,
        "step": step,
        "found": num_found,
        "total": total,
        "images": [{**row, "mark": row["mark"] or None} for row in images.to_dicts()],
    }


def _write_images(images: "pl.DataFrame", store: RunStore, record: RunRecord) -> None:
    data = store.read_config(record.run_id).data
    rows = [
        [
            row["example_id"],
            short(plain(row["label"]), 24),
            short(plain(row["prediction"]), 24),
            NOTHING if math.isnan(row["confidence"]) else percent(row["confidence"]),
            NOTHING if math.isnan(row["loss"]) else loss(row["loss"]),
            row["mark"],
            short(plain(shown_reference(data, row["image"])), 48),
        ]
        for row in images.to_dicts()
    ]
    write_table(["example_id", "true", "predicted", "confidence", "loss", "mark", "image"], rows)


def _found_words(
    asked: argparse.Namespace, record: RunRecord, step: int, num_found: int, total: int, num_shown: int
) -> str:
    place = f"{record.name} on {asked.split} at step {step}"
    if not num_found:
        is_right = asked.outcome == Outcome.WRONG and set(asked.true) & set(asked.predicted)
        hint = " What was recognised is with --outcome right." if is_right else ""
        return f"No image of {counted(total, 'image')} of {place} fits.{hint}"
    more = f" The first {num_shown:,} are shown." if num_shown < num_found and not asked.csv else ""
    return f"{num_found:,} of {counted(total, 'image')} of {place}.{more}"
