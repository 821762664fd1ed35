"""`superft history`: what became of the images of a run from epoch to epoch."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, say, short, write_csv, write_json, write_table
from superft_hf.errors import ConfigError, DataNotFoundError, StateError
from superft_hf.evaluation import history
from superft_hf.evaluation.history import Answers, Group
from superft_hf.evaluation.prediction_files import read_class_names, read_texts
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.words import count, counted, percent

NEWEST, BEST = "newest", "best"
NAMES = {str(group).replace(" ", "-"): group for group in Group}
_SPLIT = "eval"
_SHOWN = 40
"""Images in the terminal; `--json` and `--csv` have all."""


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "say which eval images were learned late, forgotten or never learned"
    parser = add_command(commands, "history", history_of, text, json=True)
    add_run(parser)
    parser.add_argument("--list", choices=list(NAMES), metavar="LIST", help=f"the images: {', '.join(NAMES)}")
    parser.add_argument(
        "--until", default=NEWEST, metavar="STEP",
        help="count the epochs up to this one: a global step, newest (the default) or best",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the images, one row each")


def history_of(asked: argparse.Namespace, call: Call) -> int:
    """Shows the summary, or one list."""
    store, record = find_run(asked.run, call)
    paths = store.run_paths(record.run_id)
    answers = _read(record, paths, asked.until)
    if asked.csv is not None:
        images = _images(paths, answers, asked.list)
        write_csv(asked.csv, images.to_csv(index=False), counted(len(images), "image"))
    if asked.json:
        write_json(_as_json(record, paths, answers, asked.list))
    elif asked.list:
        _write_images(_images(paths, answers, asked.list), asked.list)
    elif asked.csv is None:
        _write_summary(record, answers)
    return 0


def _read(record: RunRecord, paths: RunPaths, until: str) -> Answers:
    steps = paths.prediction_steps(_SPLIT)
    if not steps:
        raise DataNotFoundError(
            f"The run {record.name} has not been evaluated yet.", hint="Wait for the end of its first epoch."
        )
    last = _step(record, steps, until)
    used = [step for step in steps if step <= last]
    if len(used) < 2:
        raise StateError(
            f"Two evaluations are needed to see what changed; up to step {last:,} there is one.",
            hint="Wait for the next epoch, or count further with --until newest.",
        )
    return history.read_answers([paths.prediction_file(_SPLIT, step) for step in used])


def _step(record: RunRecord, steps: list[int], until: str) -> int:
    if until == NEWEST:
        return steps[-1]
    if until == BEST:
        return record.best_step if record.best_step in steps else steps[-1]
    if not until.isdecimal() or int(until) not in steps:
        raise ConfigError(
            f"There is no evaluation at step {until!r}.",
            hint=f"Choose one of {', '.join(map(str, steps[:20]))}, or newest or best.",
        )
    return int(until)


def _images(paths: RunPaths, answers: Answers, name: str | None) -> pd.DataFrame:
    """The images of a list, or all, one row each, as of the last evaluation that is counted."""
    last = answers.steps[-1]
    path = paths.prediction_file(_SPLIT, last)
    names = read_class_names(path)
    codes = history.groups(answers)
    found = range(len(codes)) if name is None else history.members(answers, NAMES[name]).tolist()
    columns = list(found)
    texts = read_texts(path, answers.rows_at(last, columns)) if columns else read_texts(path, [])
    learned = history.learned_at(answers)[columns]
    right = answers.is_right[:, columns].sum(axis=0)
    groups = list(Group)
    return pd.DataFrame(
        {
            "example_id": texts["example_id"].tolist(),
            "image": texts["image"].tolist(),
            "label": [names[one] for one in answers.labels[columns]],
            "prediction": [names[one] for one in answers.predictions[-1, columns]],
            "group": [str(groups[one]) for one in codes[columns]],
            "num_right": right,
            "num_evaluations": len(answers.steps),
            "learned_at_step": pd.array(
                [answers.steps[one] if one >= 0 else None for one in learned], dtype="Int64"
            ),
            "forgetting_events": history.forgetting_events(answers)[columns],
            "disagreement": history.disagreement(answers)[columns].round(4),
        }
    )


def _as_json(record: RunRecord, paths: RunPaths, answers: Answers, name: str | None) -> dict[str, Any]:
    flow, sizes = history.flow(answers), history.group_sizes(answers).iloc[-1]
    total = len(answers.labels)
    found: dict[str, Any] = {
        "run_id": record.run_id, "split": _SPLIT, "num_images": total, "late_share": history.LATE_SHARE,
        "groups": {
            key: {"count": int(sizes[str(group)]), "share": _share(sizes[str(group)], total)}
            for key, group in NAMES.items()
        },
        "evaluations": [
            {
                "step": int(row.step), "accuracy": _share(row.right, total),
                "gained": int(row.gained), "lost": int(row.lost),
            }
            for row in flow.itertuples()
        ],
    }  # fmt: skip
    if name is not None:
        images = _images(paths, answers, name).astype(object)
        found["list"] = name
        found["images"] = images.where(images.notna(), None).to_dict("records")
    return found


def _share(size: int, total: int) -> float | None:
    return int(size) / total if total else None


def _write_summary(record: RunRecord, answers: Answers) -> None:
    sizes, flow, total = history.group_sizes(answers).iloc[-1], history.flow(answers), len(answers.labels)
    print(
        f"{record.name}: {counted(total, 'eval image')} over {len(answers.steps)} evaluations, "
        f"{counted(int(sizes[str(Group.FORGOTTEN)]), 'image')} learned and then forgotten."
    )
    print()
    rows = [
        [str(group), count(sizes[str(group)]), percent(_share(sizes[str(group)], total))] for group in Group
    ]
    write_table(["", "images", "share"], rows)
    print()
    rows = [
        [count(row.step), percent(_share(row.right, total)), count(row.gained), count(row.lost)]
        for row in flow.itertuples()
    ]
    write_table(["step", "right", "became right", "became wrong"], rows)


def _write_images(images: pd.DataFrame, name: str) -> None:
    if images.empty:
        say(f"No image is in the list {name}.")
        return
    rows = [
        [
            short(row.image, 48), row.label, row.prediction, f"{row.num_right} of {row.num_evaluations}",
            str(row.forgetting_events),
        ]
        for row in images.head(_SHOWN).itertuples()
    ]  # fmt: skip
    write_table(["image", "label", "prediction", "right in", "forgotten"], rows)
    if len(images) > _SHOWN:
        say(f"and {len(images) - _SHOWN:,} more; --json and --csv list them.")
