"""The commands that compare runs: compare (image by image), seeds (more of one run), pin (the baseline)."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from superft_hf import trio, vault
from superft_hf.cli_parser import RUN_HELP, Commands, add_command, add_run
from superft_hf.cli_train import image_bar
from superft_hf.cli_verbs import BY, find_run
from superft_hf.cli_words import Call, say, stopped_hint, write_json, write_table
from superft_hf.engine import control
from superft_hf.errors import DataNotFoundError, StateError
from superft_hf.evaluation import seeds as seed_groups
from superft_hf.evaluation.comparison import (
    Difference,
    Joined,
    PairedComparison,
    compare,
    ends_in_words,
    f1_difference,
    holm,
    in_words,
    is_shown,
    join,
    relabelled_in_words,
    signed,
)
from superft_hf.records import RunRecord
from superft_hf.run_pairs import cost_in_words, kept_step, more_seeds, read_side
from superft_hf.run_pairs import seed_groups as groups_of
from superft_hf.store import RunStore
from superft_hf.words import accuracy_interval, counted, duration, loss, percent, run_duration_s

SPLITS = ("eval", "test")


@dataclass(frozen=True)
class _Compared:
    """A run against the first one; its p-value is corrected for the number of comparisons."""

    record: RunRecord
    joined: Joined
    found: PairedComparison
    f1: Difference
    p_value: float = 1.0


def add_commands(commands: Commands) -> None:
    """Declares them."""
    parser = add_command(
        commands, "compare", compare_runs,
        "say which of two runs is better, image by image; of several, each against the first", json=True,
    )  # fmt: skip
    parser.add_argument("run", metavar="A", help=RUN_HELP)
    parser.add_argument("others", metavar="B", nargs="+", help="the runs that are measured against A")
    parser.add_argument(
        "--split", choices=SPLITS, default="eval",
        help="test opens the test figures of all of them, which is noted; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--common", action="store_true",
        help="compare runs whose test sets differ, on the images in common",
    )  # fmt: skip
    parser = add_command(
        commands, "seeds", queue_seeds, "queue a run again with further seeds, and print their ids"
    )
    add_run(parser)
    parser.add_argument("-n", type=int, default=2, metavar="N", help="how many; default: %(default)s")
    parser = add_command(
        commands, "pin", pin, "make a run the baseline of its images; without a run, list the baselines",
        json=True,
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", nargs="?", help=RUN_HELP)
    parser.add_argument("--remove", action="store_true", help="remove the pin of this run's images instead")


def compare_runs(asked: argparse.Namespace, call: Call) -> int:
    """Compares runs image by image."""
    store, first = find_run(asked.run, call)
    others = [store.get_run(run_id) for run_id in asked.others]
    records = [first, *others]
    if len({one.run_id for one in records}) < len(records):
        raise StateError("A run cannot be compared with itself.", hint="Name each run once.")
    steps = {one.run_id: _step(store, one, asked.split) for one in records}
    compared = _compare_all(store, first, others, steps, asked)
    if asked.split == "test":
        for one in records:
            vault.open_test(store, one, by=BY, detail="compare")
    warnings = _warnings(records, compared, asked.split)
    if asked.json:
        write_json(_as_json(records, compared, steps, asked.split, warnings))
        return 0
    bought = trio.of_runs(store, records)
    answer = trio.gains(store, bought, asked.split) if bought else None
    if bought and answer:
        print(trio.in_words(*answer, trio.images_a_class(bought)))
    for one in compared:
        print(_sentence(first, one, asked.split, is_alone=len(compared) == 1))
    print()
    _write_figures(store, records, steps, asked.split)
    print()
    _write_changes(compared)
    if len(compared) > 1:
        text = "comparisons with A; what they show holds at 5 % for all of them together (Holm)"
        say(f"{len(compared)} {text}.")
    for text in warnings:
        say(f"Warning: {text}")
    return 0


def queue_seeds(asked: argparse.Namespace, call: Call) -> int:
    """Queues a run again with seeds that none of its group has."""
    store, record = find_run(asked.run, call)
    known = {one.run_id: one for one in store.list_runs()}
    values = store.read_config_values()
    configs = more_seeds(store, record.run_id, asked.n, values)
    group = groups_of(values)[record.run_id]
    with image_bar() as on_image:
        made = control.submit_many(store, configs, by=BY, progress=on_image)
    cost = cost_in_words([known[one] for one in group if one in known], asked.n)
    say(f"Queued {cost}.{stopped_hint(call)}")
    for one in made:
        print(one.run_id)
    return 0


def pin(asked: argparse.Namespace, call: Call) -> int:
    """Pins a baseline, removes the pin, or lists the pins."""
    if asked.run is None:
        store = call.find_store()
        pins = store.read_baselines() if store else {}
        if asked.json:
            write_json(pins)
        elif store and pins:
            rows = [[data, run_id, store.get_run(run_id).name] for data, run_id in pins.items()]
            write_table(["images", "baseline", "name"], rows)
        else:
            say("No baseline is pinned. `superft pin RUN` makes a run the baseline of its images.")
        return 0
    store, record = find_run(asked.run, call)
    if asked.remove:
        if not store.unpin_baseline(record.data):
            raise StateError(f"No baseline of {record.data} is pinned.", hint="`superft pin` lists the pins.")
        say(f"{record.data} has no baseline any more.")
    else:
        store.pin_baseline(record.data, record.run_id)
        say(f"{record.name} is the baseline of {record.data}: the Compare page shows all others against it.")
    if asked.json:
        write_json(store.read_baselines())
    return 0


def _step(store: RunStore, record: RunRecord, split: str) -> int:
    """Raises DataNotFoundError when there is no such evaluation."""
    step = kept_step(record, store.run_paths(record.run_id), split)
    if step is not None and (split == "eval" or vault.has_test(record)):
        return step
    if split == "test":
        raise DataNotFoundError(
            f"The run {record.name} has no test results.",
            hint="Test is evaluated once, at the end of a run that completes. Compare on eval instead.",
        )
    raise DataNotFoundError(
        f"The run {record.name} has no evaluation to compare yet.",
        hint="Its first one comes at the end of an epoch.",
    )


def _compare_all(
    store: RunStore,
    first: RunRecord,
    others: Sequence[RunRecord],
    steps: dict[str, int],
    asked: argparse.Namespace,
) -> list[_Compared]:
    """Raises StateError where two runs cannot be compared, or only on the images in common."""
    sides = {
        one.run_id: read_side(store.run_paths(one.run_id).prediction_file(asked.split, steps[one.run_id]))
        for one in (first, *others)
    }
    made = []
    for one in others:
        joined = join(sides[first.run_id], sides[one.run_id])
        if not len(joined.labels):
            raise StateError(
                f"{first.name} and {one.name} have no {asked.split} image in common with the same label.",
                hint="Runs on the same images with the same split seed can be compared.",
            )
        if asked.split == "test" and not joined.has_all and not asked.common:
            raise StateError(
                f"{first.name} and {one.name} were tested on different images.",
                hint=f"--common compares them on the {counted(joined.num_common, 'image')} in common.",
            )
        found = compare(joined, sides[first.run_id].example_ids)
        made.append(_Compared(one, joined, found, f1_difference(joined)))
    corrected = holm([one.found.p_value for one in made])
    return [
        _Compared(one.record, one.joined, one.found, one.f1, p)
        for one, p in zip(made, corrected, strict=True)
    ]


def _warnings(records: Sequence[RunRecord], compared: Sequence[_Compared], split: str) -> list[str]:
    """What has to be known with the answer."""
    made = []
    for one in compared:
        names = f"{records[0].name} and {one.record.name}"
        if one.joined.num_relabelled:
            made.append(f"{names}: {relabelled_in_words(one.joined.num_relabelled)}")
        if not one.joined.has_all:
            a, b = one.joined.sizes
            common = counted(one.joined.num_common, "image")
            made.append(
                f"{names} were not evaluated on the same {split} images: they have {common} in common, of "
                f"{a:,} and {b:,}."
            )
    if split == "test":
        best = max(records, key=lambda one: -1.0 if one.accuracy is None else one.accuracy)
        made.append(
            "Whoever chooses between runs by these figures spoils the test set. The best of them on eval is "
            f"{best.name} with {percent(best.accuracy)}."
        )
    return made


def _sentence(first: RunRecord, one: _Compared, split: str, *, is_alone: bool) -> str:
    p_value = one.found.p_value if is_alone else one.p_value
    words = in_words(one.found, first.name, one.record.name, f"of {split} accuracy", p_value)
    test = f"McNemar's exact test, {seed_groups.p_in_words(p_value)}{'' if is_alone else ' by Holm'}"
    images = f"on {counted(one.found.num_examples, 'image')}"
    macro = f"macro F1 {signed(one.f1.value)}, {ends_in_words(one.f1)}"
    return f"{words} ({images}; {test}; {macro})."


def _write_figures(store: RunStore, records: Sequence[RunRecord], steps: dict[str, int], split: str) -> None:
    """A row a run: the figures at the kept checkpoint, and the last value beside the best."""
    rows = []
    for letter, one in zip(map(chr, range(ord("A"), ord("A") + len(records))), records, strict=True):
        at, last = _figures(store, one, steps[one.run_id], split), store.last_values(one.run_id)
        size = int(one.facts.get("counts", {}).get(split, 0))
        row = [
            letter, one.name, percent(at.get("accuracy")), accuracy_interval(at.get("accuracy"), size),
            percent(at.get("f1_macro")), loss(at.get("loss")),
        ]  # fmt: skip
        if split == "eval":
            row.append(percent(last.get("eval_accuracy")))
        rows.append([*row, duration(run_duration_s(one))])
    head = ["", "run", "accuracy", "95 % interval", "macro F1", "loss"]
    write_table([*head, *(["last accuracy"] if split == "eval" else []), "duration"], rows)


def _write_changes(compared: Sequence[_Compared]) -> None:
    rows = [
        [
            one.record.name, *(f"{len(ids):,}" for ids in (one.found.fixed, one.found.broken)),
            f"{len(one.found.both_wrong):,}", signed(one.found.difference), ends_in_words(one.found),
            seed_groups.p_in_words(one.p_value),
        ]
        for one in compared
    ]  # fmt: skip
    write_table(["against A", "fixed", "broken", "both wrong", "points", "95 % interval", ""], rows)


def _figures(store: RunStore, record: RunRecord, step: int, split: str) -> dict[str, float]:
    """The figures of one evaluation, without the split in their names."""
    if split == "test":
        return dict(record.evaluation.get("test", {}))
    points = store.read_metrics(record.run_id)
    at = points[(points["step"] == step) & points["key"].str.startswith("eval_")]
    return dict(zip(at["key"].str.removeprefix("eval_"), at["value"], strict=True))


def _as_json(
    records: Sequence[RunRecord],
    compared: Sequence[_Compared],
    steps: dict[str, int],
    split: str,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Everything, with the ids of the images."""
    return {
        "split": split,
        "runs": [
            {"run_id": one.run_id, "name": one.name, "step": steps[one.run_id], "eval_accuracy": one.accuracy}
            for one in records
        ],
        "comparisons": [
            {
                "a": records[0].run_id, "b": one.record.run_id, **asdict(one.found),
                "f1_macro": asdict(one.f1), "p_value_holm": one.p_value, "num_common": one.joined.num_common,
                "is_shown": is_shown(one.found, one.p_value),
            }
            for one in compared
        ],
        "warnings": list(warnings),
    }  # fmt: skip
