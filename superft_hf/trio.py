"""Full, head only and from scratch: three runs that say what training every layer of a trained network buys.

All three have the same images, split, seed and image size. Settings that a person chose are the same, too;
those that are left to the rule are chosen for each by itself, since a rate that suits the head alone would
hold back the whole network, and the other way round: each is trained as it should be trained. Nothing notes
that they belong together: it is read from what they were asked to do, see `superft_hf.kinship`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.engine import control
from superft_hf.errors import StateError, SuperFTError
from superft_hf.evaluation.comparison import (
    PairedComparison,
    compare,
    ends_in_words,
    holm,
    is_shown,
    join,
    signed,
)
from superft_hf.kinship import family_key, relatives
from superft_hf.preflight.report import Progress
from superft_hf.recipe.decided import decided_config
from superft_hf.records import RunRecord, RunState
from superft_hf.run_pairs import kept_step, read_side
from superft_hf.store import RunStore
from superft_hf.words import counted, percent

SETTINGS = ("model.strategy", "model.head_epochs", "model.pretrained")
"""All that the runs of a trio may differ in, besides the name."""

FEW_IMAGES_A_CLASS = 50
"""With fewer training images a class than this, it is no surprise when training every layer buys nothing."""

_NAME_LENGTH = 120
_HEAD, _AUTO, _FULL = "head", "auto", "full"
_USEFUL = (
    RunState.COMPLETED, RunState.RUNNING, RunState.STARTING, RunState.QUEUED, RunState.PAUSED,
)  # fmt: skip
"""States in which a run is one of a trio, the one to go by first; of the others it is missing."""


class Part(StrEnum):
    """One of the three; the value ends the name of its run."""

    FULL = "full"
    HEAD = "head only"
    SCRATCH = "from scratch"


@dataclass(frozen=True)
class Trio:
    """The three runs, as far as they are there: None stands for one that is missing."""

    runs: Mapping[Part, RunRecord | None]

    @property
    def present(self) -> list[RunRecord]:
        """The runs that are there, the full one first."""
        return [run for run in map(self.runs.get, Part) if run is not None]

    @property
    def missing(self) -> list[Part]:
        """The parts that no run is."""
        return [part for part in Part if self.runs.get(part) is None]

    @property
    def run_ids(self) -> list[str]:
        """Of the runs that are there, the full one first."""
        return [run.run_id for run in self.present]

    def part_of(self, run_id: str) -> Part | None:
        """Which part a run is."""
        return next((part for part, run in self.runs.items() if run and run.run_id == run_id), None)


@dataclass(frozen=True)
class Gain:
    """What full training has over one of the others on the same images.

    Attributes:
        part: Head only or from scratch.
        accuracy: Of that run, on the images in common.
        found: The comparison, of the full run as B.
        p_value: Corrected for the number of comparisons.
    """

    part: Part
    accuracy: float
    found: PairedComparison
    p_value: float


def part_of(values: Mapping[str, Any], strategy: str | None = None) -> Part | None:
    """Which part of a trio a configuration is; None: it is none of the three, or not decided yet.

    Args:
        values: Nested, as `RunStore.read_config_values` gives them.
        strategy: What `auto` was decided to be.

    Example:
        >>> part_of({"model": {"strategy": "gradual", "pretrained": True}})
        <Part.FULL: 'full'>
        >>> part_of({"model": {"strategy": "auto", "pretrained": True}})
    """
    asked = values["model"]["strategy"]
    found = strategy if asked == _AUTO else asked
    if found is None:
        return None
    if found == _HEAD:  # the head of a network that was never trained is no part of the question
        return Part.HEAD if values["model"]["pretrained"] else None
    return Part.FULL if values["model"]["pretrained"] else Part.SCRATCH


def configs(
    config: RunConfig, name: str | None = None, parts: Sequence[Part] = tuple(Part)
) -> list[RunConfig]:
    """The configurations of some parts of the trio of one.

    Args:
        config: The settings that they share.
        name: Of all three, without what tells them apart; None: that of the configuration, or of its model.
        parts: Which of them.
    """
    model = config.model.name_or_path.rstrip("/").removeprefix("sample:").rsplit("/", 1)[-1]
    base = base_name(name or config.name or model)
    made = []
    for part in parts:
        values = config.model_dump(mode="json")
        end = f", {part}"
        values["name"] = base[: _NAME_LENGTH - len(end)] + end
        strategy = _HEAD if part is Part.HEAD else _FULL
        if part is Part.FULL and config.model.strategy not in (_HEAD, _AUTO):
            strategy = config.model.strategy  # gradual and head-then-full train every layer, too
        values["model"] |= {"strategy": strategy, "pretrained": part is not Part.SCRATCH}
        made.append(make_config(values))
    return made


def base_name(name: str) -> str:
    """The name of a run without what tells the parts of a trio apart.

    Example:
        >>> base_name("cells, head only"), base_name("cells")
        ('cells', 'cells')
    """
    return next((name.removesuffix(f", {part}") for part in Part if name.endswith(f", {part}")), name)


def start(
    store: RunStore,
    config: RunConfig,
    by: str = "page",
    progress: Progress | None = None,
    token: str | None = None,
) -> list[RunRecord]:
    """Queues all three runs of a configuration: full, head only, from scratch.

    Args:
        store: Where the runs go.
        config: The settings that they share; its own strategy counts for the full one alone.
        by: Who asks, for the runs' events.
        progress: Hears how many images are open, and of how many.
        token: A person's token for the Hub, which no run ever sees.

    Raises:
        SuperFTError: If something blocks the start; then no run is created.
    """
    return control.submit_many(store, configs(config), by, progress, token)


def find(
    store: RunStore,
    run_id: str,
    records: Sequence[RunRecord] | None = None,
    all_values: Mapping[str, Mapping[str, Any]] | None = None,
) -> Trio:
    """The trio that a run belongs to, found by the settings of all runs.

    Of several runs that are the same part, the given one comes first, then those that have completed, then
    the newest.

    Args:
        store: Where the runs are.
        run_id: The run.
        records: All runs, newest first, when they are at hand.
        all_values: The configurations of all runs, likewise.
    """
    records = store.list_runs() if records is None else records
    one = next((run for run in records if run.run_id == run_id), None) or store.get_run(run_id)
    alike = [run for run in records if (run.model, run.data) == (one.model, one.data)]
    wanted = {*(run.run_id for run in alike), run_id}
    known = store.read_config_values(wanted) if all_values is None else all_values
    own = known.get(run_id, {})
    values = {  # most of them are told apart by this, which is quick
        key: known[key]
        for key in wanted & known.keys()
        if all(known[key][group] == own.get(group) for group in ("data", "training"))
    }
    family = set(relatives(run_id, values, SETTINGS)) & values.keys()
    candidates: dict[Part, list[RunRecord]] = {part: [] for part in Part}
    for run in (run for run in alike if run.run_id in family):
        part = part_of(values[run.run_id], _decided_strategy(store, run, values[run.run_id]))
        if part is not None and (run.state in _USEFUL or run.run_id == run_id):
            candidates[part].append(run)

    def order(run: RunRecord) -> tuple[bool, int]:
        return run.run_id != run_id, _USEFUL.index(run.state) if run.state in _USEFUL else len(_USEFUL)

    return Trio({part: min(runs, key=order, default=None) for part, runs in candidates.items()})


def of_runs(store: RunStore, records: Sequence[RunRecord]) -> Trio | None:
    """The trio that some runs are, or two of it with the full one among them; None when they are another set.

    Args:
        store: Where the runs are.
        records: The runs, in any order.
    """
    values = store.read_config_values([run.run_id for run in records])
    if not 2 <= len(values) == len(records) <= len(Part):
        return None
    if len({family_key(one, SETTINGS) for one in values.values()}) > 1:
        return None
    parts = {
        part_of(values[run.run_id], _decided_strategy(store, run, values[run.run_id])): run for run in records
    }
    if None in parts or len(parts) < len(records) or Part.FULL not in parts:
        return None
    return Trio({part: parts.get(part) for part in Part})


def complete(
    store: RunStore,
    run_id: str,
    by: str = "page",
    progress: Progress | None = None,
    token: str | None = None,
) -> Trio:
    """Queues what is missing of the trio of a run.

    Args:
        store: Where the runs are.
        run_id: The run, whose settings the others share.
        by: Who asks, for the runs' events.
        progress: Hears how many images are open, and of how many.
        token: A person's token for the Hub, which no run ever sees.

    Returns:
        The trio, which has all three now.

    Raises:
        StateError: If the run is none of the three.
        SuperFTError: If something blocks the start; then no run is created.
    """
    record, trio = store.get_run(run_id), find(store, run_id)
    if trio.part_of(run_id) is None:
        raise StateError(
            f"The run {record.name} is neither full, nor head only, nor from scratch.",
            hint="Once its strategy is decided, or from another run, the three can be started.",
        )
    missing = trio.missing
    if not missing:
        return trio
    asked = configs(store.read_config(run_id), record.name, missing)
    made = control.submit_many(store, asked, by, progress, token)
    return Trio({**trio.runs, **dict(zip(missing, made, strict=True))})


def gains(store: RunStore, trio: Trio, split: str = "eval") -> tuple[float, list[Gain]] | None:
    """The accuracy of the full run, and what it has over each of the others that was evaluated, too.

    The kept checkpoints are compared image by image, as everywhere; p-values are corrected by Holm.

    Args:
        store: Where the runs are.
        trio: The runs.
        split: eval or test; whoever asks for test notes the look.

    Returns:
        None when full training cannot be compared with any of them yet.
    """
    full = trio.runs.get(Part.FULL)
    side = _side(store, full, split)
    if side is None:
        return None
    found = []
    for part in (Part.HEAD, Part.SCRATCH):
        other = _side(store, trio.runs.get(part), split)
        joined = join(other, side) if other is not None else None
        if joined is not None and len(joined.labels):
            compared = compare(joined, other.example_ids)
            found.append(Gain(part, float(joined.right_a.mean()), compared, compared.p_value))
    if not found:
        return None
    corrected = holm([one.p_value for one in found])
    accuracy = float((side.labels == side.predictions).mean())
    return accuracy, [
        Gain(one.part, one.accuracy, one.found, p) for one, p in zip(found, corrected, strict=True)
    ]


def in_words(accuracy: float, found: Sequence[Gain], per_class: float | None = None) -> str:
    """What full training bought, in a sentence or two.

    Args:
        accuracy: Of the full run.
        found: What it has over the others, at least one.
        per_class: Mean number of training images of a class, where it is known.

    Example:
        >>> better = PairedComparison(400, (), (), (), 0.061, 0.03, 0.09, 0.001)
        >>> in_words(0.923, [Gain(Part.HEAD, 0.862, better, 0.001)])
        'Full training: 92.3 %, 6.1 points above head only.'
    """
    shown = [one for one in found if is_shown(one.found, one.p_value)]
    above = [one for one in shown if one.found.difference > 0]
    unit = " points"
    words = [f"{_points(one)}{unit if not place else ''} above {one.part}" for place, one in enumerate(above)]
    rest = [_not_above(one, is_sure=one in shown) for one in found if one not in above]
    told = "; ".join([*([" and ".join(words)] if words else []), *rest])
    is_head_enough = any(one.part is Part.HEAD for one in found if one not in above)
    few = ""
    if is_head_enough and per_class is not None and per_class < FEW_IMAGES_A_CLASS:
        images = counted(round(per_class), "training image")
        few = f" With {images} a class the head alone is often enough."
    return f"Full training: {percent(accuracy)}, {told}.{few}"


def method_in_words(found: Sequence[Gain]) -> str:
    """How it was found: the intervals, the images, the test."""
    ends = ", ".join(
        f"against {one.part} {signed(one.found.difference)} points, 95 % interval {ends_in_words(one.found)}"
        for one in found
    )
    total = counted(min(one.found.num_examples for one in found), "image")
    several = " with Holm's correction for the two comparisons" if len(found) > 1 else ""
    return (
        f"{ends[0].upper()}{ends[1:]}, on the same {total} by paired bootstrap. Better and worse by "
        f"McNemar's exact test at 5 %{several}. Settings that nobody chose are the rule's for each of them."
    )


def images_a_class(trio: Trio) -> float | None:
    """Mean number of training images of a class; None until a run has counted them."""
    for run in trio.present:
        classes, train = run.facts.get("class_names"), run.facts.get("counts", {}).get("train")
        if classes and train:
            return train / len(classes)
    return None


def _not_above(one: Gain, *, is_sure: bool) -> str:
    """Words for a run that full training does not beat."""
    if is_sure:
        return f"{_points(one)} points below {one.part}, which is better at {percent(one.accuracy)}"
    return (
        f"not shown to beat {one.part} at {percent(one.accuracy)} ({signed(one.found.difference)} points, "
        f"95 % interval {ends_in_words(one.found)})"
    )


def _points(one: Gain) -> str:
    return f"{100 * abs(one.found.difference):.1f}"


def _decided_strategy(store: RunStore, run: RunRecord, values: Mapping[str, Any]) -> str | None:
    """What `auto` became; None before a run has begun, and where that is not needed."""
    paths = store.run_paths(run.run_id)
    if values["model"]["strategy"] != _AUTO or not paths.resolved.exists():
        return None
    try:
        return decided_config(paths).model.strategy
    except SuperFTError:
        return None


def _side(store: RunStore, record: RunRecord | None, split: str) -> Any:
    """The kept predictions of a run; None without any, or when their file is gone."""
    if record is None:
        return None
    paths = store.run_paths(record.run_id)
    step = kept_step(record, paths, split)
    if step is None:
        return None
    try:
        return read_side(paths.prediction_file(split, step))
    except SuperFTError:
        return None
