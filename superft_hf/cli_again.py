"""The commands that make a run of another: continue (from its weights), repeat (with a remedy or changes)."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from superft_hf.cli_show import find_advice
from superft_hf.cli_train import queue_run
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, say
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.errors import ConfigError, DataError, ModelNotFoundError, StateError
from superft_hf.mark_places import places_of
from superft_hf.marks import plan
from superft_hf.records import Remedy, RunRecord, RunState
from superft_hf.settings import all_settings
from superft_hf.store import RunStore
from superft_hf.verbs import RESUME

_TEXT_KINDS = ("str", "choice")
_NAME_LENGTH = 120


def continue_run(asked: argparse.Namespace, call: Call) -> int:
    """Queues a new run that begins with the weights of a completed one, and prints its id."""
    store, record = find_run(asked.run, call)
    if record.state is not RunState.COMPLETED:
        hint = "Choose a completed run: `superft runs --state completed` lists them."
        if record.state in RESUME.states:
            hint = f"Let it go on with `{call.command('resume', record.run_id)}`."
        raise StateError(f"The run {record.name} is {record.state}, so it has no model yet.", hint=hint)
    model = store.run_paths(record.run_id).model
    if not model.is_dir():
        raise ModelNotFoundError(f"The folder {model} is gone.", hint="Train the run again.")
    changes = {
        "name": f"{record.name}, continued",
        "model.name_or_path": str(model.absolute()),
        "model.revision": "main",
        **_asked_changes(asked),
    }
    return queue_run(store, changed(store.read_config(record.run_id), changes), asked.priority, call)


def repeat(asked: argparse.Namespace, call: Call) -> int:
    """Queues a new run with the configuration of another, changed as asked, and prints its id."""
    store, record = find_run(asked.run, call)
    changes = {"name": f"{record.name}, again"}
    if asked.with_marks is not None:
        changes = _apply_marks(store, record, asked, call)
    if asked.remedy is not None:
        changes |= _find_remedy(store, record, asked.remedy).changes
    changes |= _asked_changes(asked)
    return queue_run(store, changed(store.read_config(record.run_id), changes), asked.priority, call)


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """A configuration with other values of some settings, by dotted key.

    Raises:
        ConfigError: If there is no such setting, or a value is refused.
    """
    values = config.model_dump(mode="json")
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        target = values.setdefault(group, {}) if group else values
        if not isinstance(target, dict) or isinstance(values.get(key), dict):
            raise ConfigError(
                f"{key} is not a setting.", hint="`superft init` prints every setting with its limits."
            )
        target[name] = value
    return make_config(values)


def again_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what both commands take."""
    parser.add_argument("--name", help="of the new run")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], dest="changes",
        help="other values of settings, such as training.learning_rate=1e-5",
    )  # fmt: skip


def marks_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares how `repeat` takes the marks on the run's images into account."""
    parser.add_argument(
        "--with-marks", choices=["exclude", "correct"],
        help="leave the marked images out, or correct the labels that are marked as wrong",
    )  # fmt: skip
    parser.add_argument(
        "--ambiguous-too", action="store_true", help="leave out images that are marked as ambiguous, too"
    )
    parser.add_argument("--test-too", action="store_true", help="let the marks change the test set, too")


def _apply_marks(store: RunStore, record: RunRecord, asked: argparse.Namespace, call: Call) -> dict[str, Any]:
    """The changes that the marks on a run's images come to, which are told. Raises DataError for none."""
    is_correcting = asked.with_marks == "correct"
    marks = store.read_marks(record.data)
    found = plan(
        store.read_config(record.run_id), marks, with_corrections=is_correcting,
        include_ambiguous=asked.ambiguous_too, include_test=asked.test_too,
        places=places_of(store.run_paths(record.run_id), [mark.example_id for mark in marks]),
    )  # fmt: skip
    words = " ".join([*found.done(), *found.left_alone()])
    if not found.changes:
        raise DataError(
            f"The marks on {record.data} change nothing in this run.",
            hint=words
            if marks
            else f"There are none. Mark images with `{call.command('mark', record.run_id)} …`.",
        )
    say(words)
    suffix = "with corrected labels" if is_correcting else "without marked images"
    return {"name": f"{record.name}, {suffix}"[:_NAME_LENGTH], **found.changes}


def _asked_changes(asked: argparse.Namespace) -> dict[str, Any]:
    return _parse(asked.changes) | ({"name": asked.name} if asked.name else {})


def _parse(pairs: Sequence[str]) -> dict[str, Any]:
    """`training.seed=3` as {"training.seed": 3}: values as in the YAML. Raises ConfigError."""
    texts = {one.key for one in all_settings() if one.kind in _TEXT_KINDS}
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        key = key.strip()
        if not sign or not key:
            raise ConfigError(
                f"{pair!r} is no change of a setting.",
                hint="Write the setting's whole name, =, and the value: --set training.learning_rate=1e-5.",
            )
        is_text = key in texts and text != "null"
        changes[key] = text if is_text else _value(key, text)
    return changes


def _value(key: str, text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The value {text!r} of {key} cannot be read.", hint="Write it as in the YAML file, in quotes."
        ) from error


def _find_remedy(store: RunStore, record: RunRecord, asked: str) -> Remedy:
    """The remedy of a failure by its number, or of a piece of advice by its code. Raises ConfigError."""
    failure = record.failure.remedies if record.failure else ()
    known = {str(number): remedy for number, remedy in enumerate(failure, 1)}
    known |= {one.code: one.remedy for one in find_advice(record, store) if one.remedy}
    if asked not in known:
        has = f"It has {', '.join(known)}" if known else "It has none"
        raise ConfigError(
            f"The run {record.name} has no remedy {asked!r}.",
            hint=f"{has}; `superft show` says what each does, and --set changes any setting.",
        )
    return known[asked]
