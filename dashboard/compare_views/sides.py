"""Which runs are compared, by which split and epoch, and why two of them may not be comparable."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import examples, formats, readers, state
from dashboard.compare_views import pairs
from dashboard.compare_views.figures import epoch_in_words
from dashboard.compare_views.view import Pair, RunSide
from superft_hf import vault
from superft_hf.errors import DataNotFoundError
from superft_hf.records import RunRecord
from superft_hf.run_pairs import kept_step


@dataclass(frozen=True)
class Obstacle:
    """Why A and B are not compared image by image.

    Attributes:
        title: What stands in the way, in Markdown.
        advice: What to do, in Markdown.
        way: What a person may ask for: `open test`, `compare on common`, or nothing.
        num_common: Images in common, for `compare on common`.
    """

    title: str
    advice: str
    way: str = ""
    num_common: int = 0


def choose_split() -> str:
    """Eval, unless test is asked for."""
    chosen = st.segmented_control(
        "Split", ["eval", "test"], default="eval", required=True, key="compare_split",
        format_func=lambda one: f":violet[{one}]" if one == "eval" else f":green[:material/lock:] {one}",
    )  # fmt: skip
    return chosen or "eval"


def make(records: Sequence[RunRecord], split: str) -> list[RunSide]:
    """The sides, A first; of A and B the epoch can be chosen on eval."""
    standings = vault.standings(readers.store(), records) if split == "test" else {}
    is_twice = len(records) == 2 and records[0].run_id == records[1].run_id
    made = []
    for place, (letter, record) in enumerate(zip(string.ascii_uppercase, records, strict=False)):
        paths = readers.run_paths(record.run_id)
        step = kept_step(record, paths, split)
        steps = paths.prediction_steps(split)
        if split == "eval" and place < 2 and len(steps) > 1:
            other = steps[-1] if steps[-1] != step else steps[0]
            step = _choose_step(letter, record, steps, other if is_twice and place == 0 else step)
        is_sealed = split == "test" and not standings[record.run_id].is_open
        made.append(RunSide(letter, record, split, step, is_sealed))
    return made


def _choose_step(letter: str, record: RunRecord, steps: list[int], default: int | None) -> int | None:
    points = readers.metrics(record.run_id)
    words = {one: epoch_in_words(RunSide(letter, record, "eval", one), points) for one in steps}
    key = f"compare_step_{letter}_{record.run_id}"
    index = steps.index(default) if default in steps else len(steps) - 1
    return st.selectbox(
        f"{letter} at epoch", steps, index=index, format_func=lambda one: words[one], key=key, width=132,
        help="The epoch whose predictions are compared; at first the best one.",
    )  # fmt: skip


def find_pair(sides: Sequence[RunSide]) -> tuple[Pair | None, Obstacle | None]:
    """A and B image by image, or why not."""
    first, second = sides[:2]
    split = first.split
    obstacle = _missing(sides[:2]) or (_sealed(sides[:2]) if split == "test" else None)
    if obstacle is not None:
        return None, obstacle
    try:
        evaluations = [
            examples.evaluation(one.record.run_id, split, one.step or 0) for one in (first, second)
        ]
        common = pairs.joined(*evaluations)
        if not len(common.labels):
            return None, _nothing_in_common(first, second, common.num_common)
        if split == "test" and not common.has_all and not _is_asked(first, second):
            return None, _other_test_set(first, second, common.num_common)
        return pairs.load(*evaluations), None
    except DataNotFoundError as error:
        return None, Obstacle(formats.worded(error.message), formats.worded(error.hint))


def compare_on_common(first: RunSide, second: RunSide) -> None:
    """Notes that a person asked to compare two runs on the test images in common."""
    asked = state.get_value(state.COMPARE_COMMON, ())
    state.put_value(state.COMPARE_COMMON, (*asked, _ids(first, second)))


def _is_asked(first: RunSide, second: RunSide) -> bool:
    return _ids(first, second) in state.get_value(state.COMPARE_COMMON, ())


def _ids(first: RunSide, second: RunSide) -> frozenset[str]:
    return frozenset((first.record.run_id, second.record.run_id))


def _missing(sides: Sequence[RunSide]) -> Obstacle | None:
    for side in sides:
        if side.step is not None and (side.split == "eval" or vault.has_test(side.record)):
            continue
        name = formats.plain(side.record.name)
        if side.split == "eval":
            advice = (
                "Its first evaluation comes at the end of an epoch. Curves and settings stand below."
                if side.record.is_unfinished
                else "It ended before its first evaluation. Its curves and settings stand below."
            )
            return Obstacle(f"{name} has no evaluation to compare yet.", advice)
        return Obstacle(
            f"{name} has no test results.",
            "Test is evaluated once, at the end of a run that completes. Compare on eval instead.",
        )
    return None


def _sealed(sides: Sequence[RunSide]) -> Obstacle | None:
    sealed = list(dict.fromkeys(formats.plain(one.record.name) for one in sides if one.is_sealed))
    if not sealed:
        return None
    verb = "is" if len(sealed) == 1 else "are"
    return Obstacle(
        f"Test of {' and '.join(sealed)} {verb} sealed.",
        "Test images had no part in training or choosing, so their figures are what to expect of new images. "
        "Whoever looks at them to choose between runs spoils that: choose on eval, then look at the test "
        "figures of the one that was chosen. Each first look is noted in the run, and counted.",
        "open test",
    )


def _other_test_set(first: RunSide, second: RunSide, num_common: int) -> Obstacle:
    names = " and ".join(formats.plain(one.record.name) for one in (first, second))
    return Obstacle(
        f"{names} were tested on different images.",
        "Their test figures cannot be set against each other: one of the two sets may be easier. On the "
        f"{formats.counted(num_common, 'image')} in common they can; images that one of them saw in "
        "training may be among these.",
        "compare on common", num_common,
    )  # fmt: skip


def _nothing_in_common(first: RunSide, second: RunSide, num_common: int) -> Obstacle:
    a, b = formats.plain(first.record.name), formats.plain(second.record.name)
    if num_common:
        return Obstacle(
            f"{a} and {b} call all {formats.counted(num_common, 'image')} in common differently.",
            "Not one image has the same class as its label in both, so no answer can be compared.",
        )
    figures = ""
    if first.split == "eval":
        both = (formats.percent(one.record.accuracy) for one in (first, second))
        figures = f": {' and '.join(both)}"
    return Obstacle(
        f"{a} and {b} share no {first.split} image{figures}.",
        "They were evaluated on different images, so their accuracies say little about which is better. "
        "Runs on the same images with the same split seed can be compared image by image.",
    )
