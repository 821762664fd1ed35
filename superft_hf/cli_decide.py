"""The commands that set how a model's probabilities become answers: calibrate, thresholds, curves."""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from superft_hf import decisions, vault
from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, say, write_json, write_table
from superft_hf.decisions import Measured
from superft_hf.errors import ConfigError, DataNotFoundError
from superft_hf.evaluation import curves as curves_of
from superft_hf.evaluation.calibration import (
    Calibration,
    Temperature,
    fit_temperature,
    judge_temperature,
    log_sum_exp,
    measure,
)
from superft_hf.evaluation.decision import MAX_BAND, Decision, in_words
from superft_hf.evaluation.operating_points import Outcome, outcome
from superft_hf.evaluation.threshold_search import suggest_thresholds
from superft_hf.records import RunRecord
from superft_hf.store import RunStore
from superft_hf.words import NOTHING, percent

BY = "command line"
_CURVE_POINTS = 1000


def add_commands(commands: Commands) -> None:
    """Declares them."""
    text = "measure the calibration of a run, and fit a temperature on eval"
    calibrate_parser = add_command(commands, "calibrate", calibrate, text, json=True)
    add_run(calibrate_parser)
    calibrate_parser.add_argument("--save", action="store_true", help="keep the temperature with the model")
    text = "choose thresholds by what mistakes cost on eval, and say what they lead to"
    parser = add_command(commands, "thresholds", thresholds, text, json=True)
    add_run(parser)
    parser.add_argument(
        "--cost", metavar="CLASS=FP:FN", nargs="+", action="extend", default=[],
        help="costs of a false positive and a false negative, 1:1 by default; thresholds are suggested",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", metavar="CLASS=P", nargs="+", action="extend", default=[],
        help="set thresholds by hand",
    )  # fmt: skip
    parser.add_argument(
        "--abstain-band", metavar="B", type=float,
        help=f"answer only where a threshold is exceeded by so much, 0 to {MAX_BAND:g}",
    )  # fmt: skip
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--save", action="store_true", help="keep them with the model")
    end.add_argument("--reset", action="store_true", help="remove the operating point, temperature and all")
    text = "list the areas under the curves of each class on eval, or write the curves"
    curves_parser = add_command(commands, "curves", curves, text, json=True)
    add_run(curves_parser)
    curves_parser.add_argument("--class", metavar="C", dest="class_name", help="only this class")
    curves_parser.add_argument("--csv", metavar="FILE", type=Path, help="write the points of the curves")


def calibrate(asked: argparse.Namespace, call: Call) -> int:
    """Measures calibration before and after the temperature that fits eval best."""
    store, record = find_run(asked.run, call)
    by_split = _measured(store, record)
    on_eval = by_split["eval"]
    kept = decisions.current(store.run_paths(record.run_id), on_eval)
    fitted = fit_temperature(on_eval.logits, on_eval.labels)
    pairs = {
        split: (measure(one.logits, one.labels), measure(one.logits, one.labels, fitted.value))
        for split, one in by_split.items()
    }
    change = None
    if "test" in by_split and fitted.value != 1:
        change = judge_temperature(by_split["test"].logits, by_split["test"].labels, fitted.value)
    is_saved = asked.save and _save_temperature(store, record, kept, fitted, by_split)
    if asked.json:
        write_json(
            {
                "temperature": fitted.value,
                "reason": fitted.reason or None,
                "saved_temperature": fitted.value if is_saved else kept.temperature,
                "change_of_test_log_loss": asdict(change) if change else None,
                **{split: _pair(*pair) for split, pair in pairs.items()},
            }
        )
        return 0
    words = f"Temperature {fitted.value:.3f}, fitted on {fitted.num_images:,} eval images."
    print(f"No temperature is fitted: {fitted.reason}." if fitted.reason else words)
    _write_calibration(pairs, is_fitted=not fitted.reason)
    if change is not None:
        print(
            f"On test it changes the log loss by {change.difference:+.4f} (95 % interval {change.low:+.4f} "
            f"to {change.high:+.4f}; negative is better)."
        )
    return 0


def thresholds(asked: argparse.Namespace, call: Call) -> int:
    """Shows what an operating point leads to: the saved one, or one that the arguments describe."""
    store, record = find_run(asked.run, call)
    if asked.reset:
        there = decisions.remove(store, record, by=BY)
        say("The operating point is removed." if there else "There is no operating point to remove.")
        if asked.json:
            write_json({"removed": there})
        return 0
    by_split = _measured(store, record)
    on_eval = by_split["eval"]
    decision = _asked_decision(asked, decisions.current(store.run_paths(record.run_id), on_eval), on_eval)
    if asked.save:
        decision = decisions.save(store, record, decision, by_split, by=BY)
        say("Saved: `superft predict`, Try it and the published card use it from now on.")
    found = {
        split: (
            outcome(one.logits, one.labels, decision.without_thresholds()),
            outcome(one.logits, one.labels, decision),
        )
        for split, one in by_split.items()
    }
    if asked.json:
        write_json(_thresholds_json(decision, found))
        return 0
    for line in in_words(decision):
        print(line)
    _write_outcomes(found)
    return 0


def curves(asked: argparse.Namespace, call: Call) -> int:
    """Lists areas under the curves, or writes the curves of one class or all."""
    store, record = find_run(asked.run, call)
    one = _measured(store, record)["eval"]
    probabilities = np.exp(one.logits - log_sum_exp(one.logits)[:, None])
    chosen = range(len(one.class_names)) if asked.class_name is None else [_class(one, asked.class_name)]
    found = curves_of.average(probabilities, one.labels)
    rows = [curves_of.class_rows(found, one.class_names, one.labels)[label] for label in chosen]
    if asked.csv is not None:
        _write_curves(asked.csv, probabilities, one, chosen)
        say(f"Wrote {asked.csv}.")
    if asked.json:
        averages = {} if asked.class_name is not None else {
            "macro": {"auc": found.macro_auc, "average_precision": found.macro_average_precision},
            "micro": None if found.micro is None else {
                "auc": found.micro.auc, "average_precision": found.micro.average_precision,
                "is_binned": found.is_binned,
            },
        }  # fmt: skip
        write_json({"split": "eval", "step": one.step, "classes": rows, **averages})
        return 0
    table = [
        (row["class"], f"{row['images']:,}", _number(row["auc"]), _number(row["average_precision"]))
        for row in rows
    ]
    if asked.class_name is None:
        macro = (_number(found.macro_auc), _number(found.macro_average_precision))
        table.append(("macro average", "", *macro))
        if found.micro is not None:
            micro = (_number(found.micro.auc), _number(found.micro.average_precision))
            table.append(("micro average", "", *micro))
    write_table(("CLASS", "IMAGES", "AUC", "AVERAGE PRECISION"), table)
    return 0


def _save_temperature(
    store: RunStore, record: RunRecord, kept: Decision, fitted: Temperature, by_split: Mapping[str, Measured]
) -> bool:
    """Keeps a temperature that was fitted. Returns whether it is kept."""
    if fitted.reason:
        say("Nothing is saved, since no temperature is fitted.")
        return False
    if abs(kept.temperature - fitted.value) < 1e-9:
        say("This temperature is saved already.")
        return True
    decision = replace(kept.without_thresholds(), temperature=fitted.value)
    decisions.save(store, record, decision, by_split, by=BY)
    say(f"Saved: temperature {fitted.value:.4f}.")
    if not kept.takes_likeliest:
        say("The thresholds, chosen at another temperature, are taken back: choose them again.")
    return True


def _measured(store: RunStore, record: RunRecord) -> dict[str, Measured]:
    """Eval, and test when a person has looked at it before: to ask for thresholds is no look."""
    paths = store.run_paths(record.run_id)
    found = decisions.read_measured(record, paths, "eval")
    if found is None:
        raise DataNotFoundError(
            f"The run {record.name} has no eval predictions of its best epoch.",
            hint="Wait for its first evaluation, or choose another run: `superft runs`.",
        )
    made = {"eval": found}
    if vault.standing(store, record).is_open:
        try:
            test = decisions.read_measured(record, paths, "test")
        except DataNotFoundError as error:
            say(f"Note: {error.message}")
            return made
        if test is not None:
            made["test"] = test
    return made


def _asked_decision(asked: argparse.Namespace, kept: Decision, one: Measured) -> Decision:
    """What the arguments ask for, on top of what is kept. Raises ConfigError."""
    decision = kept
    if asked.cost:
        costs_fp = kept.false_positive_costs.astype(float).copy()
        costs_fn = kept.false_negative_costs.astype(float).copy()
        for name, text in _pairs(asked.cost, "--cost cat=1:5"):
            first, sign, second = text.partition(":")
            label = _class(one, name)
            costs_fp[label] = _float(first, "a cost")
            costs_fn[label] = _float(second if sign else first, "a cost")
        decision = replace(decision, costs_fp=tuple(costs_fp.tolist()), costs_fn=tuple(costs_fn.tolist()))
    if asked.abstain_band is not None:
        if not 0 <= asked.abstain_band <= MAX_BAND:
            raise ConfigError(
                f"The abstain band {asked.abstain_band:g} is out of range.",
                hint=f"Give a number from 0 to {MAX_BAND:g}.",
            )
        decision = replace(decision, abstain_band=asked.abstain_band)
    if asked.cost:
        decision = replace(decision, thresholds=suggest_thresholds(one.logits, one.labels, decision))
    if asked.threshold:
        decision = replace(decision, thresholds=_limits(asked.threshold, decision, one))
    return replace(decision, figures={})


def _limits(pairs: Sequence[str], decision: Decision, one: Measured) -> tuple[float, ...]:
    limits = decision.limits.copy()
    for name, text in _pairs(pairs, "--threshold cat=0.7"):
        label, value = _class(one, name), _float(text, "a threshold")
        if not 0 < value <= 1 or (decision.num_classes == 2 and value == 1):
            raise ConfigError(
                f"The threshold {value:g} is out of range.", hint="Give a probability between 0 and 1."
            )
        limits[label] = value
        if decision.num_classes == 2:
            limits[1 - label] = 1 - value
    return tuple(limits.tolist())


def _pairs(texts: Sequence[str], example: str) -> list[tuple[str, str]]:
    """`CLASS=…`, split at the last `=`: class names may hold one."""
    made = []
    for text in texts:
        name, sign, value = text.rpartition("=")
        if not sign or not name:
            raise ConfigError(f"{text!r} names no class with a value.", hint=f"Write it as {example}.")
        made.append((name, value))
    return made


def _float(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not {what}.", hint="Give a number.") from error
    if not np.isfinite(value) or value < 0:
        raise ConfigError(f"{text!r} is not {what}.", hint="Give a number that is not negative.")
    return value


def _class(one: Measured, name: str) -> int:
    if name in one.class_names:
        return one.class_names.index(name)
    shown = ", ".join(one.class_names[:12]) + (" …" if len(one.class_names) > 12 else "")
    raise ConfigError(f"The run has no class {name!r}.", hint=f"It has {shown}.")


def _pair(before: Calibration, after: Calibration) -> dict[str, Any]:
    return {"before": _calibration_json(before), "after": _calibration_json(after)}


def _calibration_json(found: Calibration) -> dict[str, Any]:
    bins = zip(found.bins.confidence, found.bins.accuracy, found.bins.size, strict=True)
    values = {key: value for key, value in vars(found).items() if key != "bins"}
    return values | {
        "bins": [
            {"confidence": float(sure), "accuracy": float(right), "images": int(size)}
            for sure, right, size in bins
        ]
    }


def _write_calibration(pairs: Mapping[str, tuple[Calibration, Calibration]], *, is_fitted: bool) -> None:
    head = [""]
    for split in pairs:
        head += [f"{split} before", f"{split} after"] if is_fitted else [split]
    rows = []
    for title, key, words in (
        ("calibration error", "ece", percent),
        ("class by class", "ece_classwise", percent),
        ("Brier score", "brier", _number),
        ("log loss", "log_loss", _number),
        ("mean confidence", "mean_confidence", percent),
        ("accuracy", "accuracy", percent),
    ):
        cells = [
            words(getattr(one, key)) for pair in pairs.values() for one in (pair if is_fitted else pair[:1])
        ]
        rows.append([title, *cells])
    write_table(head, rows)


def _thresholds_json(decision: Decision, found: Mapping[str, tuple[Outcome, Outcome]]) -> dict[str, Any]:
    return {
        "decision": {
            "temperature": decision.temperature,
            "thresholds": dict(zip(decision.class_names, decision.limits.tolist(), strict=True)),
            "takes_likeliest": decision.takes_likeliest,
            "abstain_band": decision.abstain_band,
            "costs": {
                name: {"false_positive": fp, "false_negative": fn}
                for name, fp, fn in zip(
                    decision.class_names, decision.false_positive_costs.tolist(),
                    decision.false_negative_costs.tolist(), strict=True,
                )
            },
            "chosen_on": asdict(decision.chosen_on),
        },
        **{
            split: {
                "likeliest": _outcome_json(plain, decision),
                "operating_point": _outcome_json(own, decision),
            }
            for split, (plain, own) in found.items()
        },
    }  # fmt: skip


def _outcome_json(one: Outcome, decision: Decision) -> dict[str, Any]:
    names = decision.class_names
    return {
        "num_images": one.num_images,
        "coverage": one.coverage,
        "accuracy": one.accuracy,
        "cost": one.cost,
        "recall": dict(zip(names, one.recall.tolist(), strict=True)),
        "precision": dict(zip(names, one.precision.tolist(), strict=True)),
        "abstained": dict(zip(names, one.abstained.tolist(), strict=True)),
    }


def _write_outcomes(found: Mapping[str, tuple[Outcome, Outcome]]) -> None:
    head, columns = [""], []
    for split, (plain, own) in found.items():
        head += [f"{split}, likeliest class", f"{split}, operating point"]
        columns += [plain, own]
    rows = [
        ["answered", *(percent(one.coverage) for one in columns)],
        ["right, of the answered", *(percent(one.accuracy) for one in columns)],
        ["wrong", *(f"{one.num_answered - one.num_right:,}" for one in columns)],
        ["not sure", *(f"{one.num_images - one.num_answered:,}" for one in columns)],
        ["cost", *(f"{one.cost:,.6g}" for one in columns)],
    ]
    write_table(head, rows)


def _write_curves(path: Path, probabilities: np.ndarray, one: Measured, chosen: Sequence[int]) -> None:
    """One row a point, at most 1,000 of each class and curve; thresholds where both counts change."""
    try:
        with path.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["class", "threshold", "recall", "false_positive_rate", "precision"])
            for label in chosen:
                found = curves_of.count(probabilities[:, label], one.labels == label)
                if found is None:
                    continue
                places = np.unique(
                    np.linspace(0, len(found.thresholds) - 1, min(len(found.thresholds), _CURVE_POINTS))
                    .round()
                    .astype(int)
                )
                columns = (found.thresholds, found.recall, found.false_positive_rate, found.precision)
                for place in places:
                    writer.writerow([one.class_names[label], *(float(values[place]) for values in columns)])
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Give another file."
        ) from error


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"
