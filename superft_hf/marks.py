"""What marks on images come to in a new run.

What stays true: nobody's mark changes a test set unless that is asked for, since runs are compared on it; and
what a run leaves out or corrects already stays so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superft_hf.config import DataConfig, RunConfig
from superft_hf.config_file import MAX_BYTES
from superft_hf.errors import ConfigError
from superft_hf.records import Mark, MarkKind
from superft_hf.words import counted

SPLITS = ("train", "eval", "test")
ID_LENGTH = 16
"""Characters of an example id without the number of a copy."""

_LEAVE_OUT = object()
_BYTES_AN_ENTRY = 8
"""Of a setting's YAML, besides the entry itself."""


@dataclass(frozen=True)
class Places:
    """Where images stand in one run.

    Attributes:
        counts: By short id, how many images with these bytes are in each split that has any.
        known: The splits whose images are known at all.
    """

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What a run without the marked images, or with corrected labels, would do otherwise.

    Attributes:
        changes: New values of `data.exclude` and `data.relabel` by dotted key; empty when nothing changes.
        left_out: Images that are left out in addition, by split.
        relabelled: Images that get another label, by split.
        num_done: Marks that the run obeys already.
        num_on_test: Marks on images of test, which stay as they are.
        num_ambiguous: Marks that say ambiguous, whose images stay.
        num_elsewhere: Marks on images that are in no split of the run.
    """

    changes: dict[str, Any]
    left_out: Mapping[str, int]
    relabelled: Mapping[str, int]
    num_done: int
    num_on_test: int
    num_ambiguous: int
    num_elsewhere: int

    @property
    def changes_eval(self) -> bool:
        """Whether eval will be another set of images and labels."""
        return bool(self.left_out.get("eval") or self.relabelled.get("eval"))

    def done(self) -> list[str]:
        """What the run will do otherwise, in sentences with numbers."""
        sentences = []
        if self.left_out:
            sentences.append(f"Leaves out {_by_split(self.left_out)}.")
        if self.relabelled:
            sentences.append(f"Corrects the labels of {_by_split(self.relabelled)}.")
        if not self.changes:
            sentences.append("Changes nothing.")
        if self.num_done:
            sentences.append(f"{counted(self.num_done, 'mark')} the run obeys already.")
        return sentences

    def left_alone(self) -> list[str]:
        """Which marks change nothing, and why, in sentences with numbers."""
        return [
            f"{counted(number, 'mark')} {one if number == 1 else several}."
            for number, one, several in (
                (self.num_ambiguous, "says ambiguous: its image stays", "say ambiguous: their images stay"),
                (
                    self.num_on_test,
                    "is on a test image, which stays, since runs are compared on test",
                    "are on test images, which stay, since runs are compared on test",
                ),
                (
                    self.num_elsewhere,
                    "is on an image that this run does not have",
                    "are on images that this run does not have",
                ),
            )
            if number
        ]


def changes(config: RunConfig, marks: Iterable[Mark], with_corrections: bool) -> dict[str, Any]:
    """The settings of a run again without the marked images, or with their labels corrected; see `plan`."""
    return plan(config, marks, with_corrections=with_corrections).changes


def plan(
    config: RunConfig,
    marks: Iterable[Mark],
    *,
    with_corrections: bool,
    include_ambiguous: bool = False,
    include_test: bool = False,
    places: Places | None = None,
) -> Plan:
    """What a run again without the marked images, or with their labels corrected, would change.

    Bad images and excluded ones are left out always. A wrong label is corrected where that is asked for and
    the class is known; otherwise its image is left out. An id names bytes, so that copies share a fate.

    Args:
        config: The run to repeat; what it leaves out or corrects already stays so.
        marks: On images of its data.
        with_corrections: Whether labels are corrected rather than left out.
        include_ambiguous: Whether images marked as ambiguous are left out, too.
        include_test: Whether images of test are left out or corrected, too.
        places: Where the images stand in the run; without them, each entry names train and eval, and the
            numbers follow the splits at the time of marking.

    Raises:
        ConfigError: If more images are named than a configuration can hold.
    """
    draft = _Draft(config.data, places or Places(), include_test=include_test)
    num_ambiguous = 0
    corrections: list[tuple[Mark, str]] = []
    for mark in marks:
        verdict = _verdict(mark, config.data, with_corrections=with_corrections)
        if mark.kind is MarkKind.AMBIGUOUS and not include_ambiguous:
            num_ambiguous += 1
        elif verdict is None:
            draft.num_done += 1
        elif verdict is _LEAVE_OUT:
            draft.apply(mark, None)
        else:
            corrections.append((mark, str(verdict)))
    for mark, corrected in corrections:  # after all others: a copy that is left out is not corrected
        draft.apply(mark, corrected)
    _require_room(draft)
    return Plan(
        draft.changes(), draft.left_out, draft.relabelled, draft.num_done, draft.num_on_test, num_ambiguous,
        draft.num_elsewhere,
    )  # fmt: skip


def final_class(name: str, data: DataConfig) -> str | None:
    """The class that one of the source counts as in a run; None when the run leaves it out.

    Example:
        >>> data = DataConfig(name_or_path="x", merge_classes={"Cat": "cat"}, exclude_classes=["emu"])
        >>> final_class("Cat", data), final_class("dog", data), final_class("emu", data)
        ('cat', 'dog', None)
    """
    names = [name]
    while data.merge_classes.get(names[-1], names[-1]) not in names:
        names.append(data.merge_classes[names[-1]])
    return None if {names[0], names[-1]} & set(data.exclude_classes) else names[-1]


def short_id(example_id: str) -> str:
    """An example id without the number of a copy."""
    return example_id[:ID_LENGTH]


def _verdict(mark: Mark, data: DataConfig, *, with_corrections: bool) -> object:
    """_LEAVE_OUT, the name of the class that the image shall have, or None when it has it."""
    if mark.kind is not MarkKind.WRONG_LABEL or not with_corrections or mark.corrected is None:
        return _LEAVE_OUT
    corrected = final_class(mark.corrected, data)
    if corrected is None:
        return _LEAVE_OUT
    return None if corrected == final_class(mark.label, data) else corrected


class _Draft:
    """The two settings while marks are applied, and what they come to."""

    def __init__(self, data: DataConfig, places: Places, *, include_test: bool) -> None:
        self._data, self._places, self._include_test = data, places, include_test
        self.exclude, self.relabel = list(data.exclude), dict(data.relabel)
        self._excluded = set(data.exclude)
        self.left_out: dict[str, int] = {}
        self.relabelled: dict[str, int] = {}
        self.num_done = self.num_on_test = self.num_elsewhere = 0

    def apply(self, mark: Mark, corrected: str | None) -> None:
        short = short_id(mark.example_id)
        counts = self._counts(mark)
        reached = counts if self._include_test else {one: n for one, n in counts.items() if one != "test"}
        if not counts:
            is_out = any(one.rpartition(":")[2] == short for one in self._data.exclude)
            self.num_done += is_out
            self.num_elsewhere += not is_out
        elif not reached:
            self.num_on_test += 1
        else:
            waiting = [one for one in reached if not self._is_done(short, one, corrected)]
            if not waiting:
                self.num_done += 1
                return
            keys = self._keys(short, reached)
            if corrected is None:
                new = [key for key in keys if key not in self._excluded]
                self.exclude += new
                self._excluded.update(new)
            else:
                self._correct(short, keys, corrected)
            target = self.left_out if corrected is None else self.relabelled
            for one in waiting:
                target[one] = target.get(one, 0) + reached[one]

    def changes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.exclude != self._data.exclude:
            found["data.exclude"] = self.exclude
        if self.relabel != self._data.relabel:
            found["data.relabel"] = self.relabel
        return found

    def _counts(self, mark: Mark) -> dict[str, int]:
        """Images with the mark's bytes by split, as far as that is known."""
        found = dict(self._places.counts.get(short_id(mark.example_id), {}))
        if found:
            return found
        unknown = [one for one in SPLITS if one not in self._places.known]
        if mark.split in unknown:
            return {mark.split: 1}
        return {"train": 1} if "train" in unknown else {}

    def _keys(self, short: str, reached: Mapping[str, int]) -> list[str]:
        """How the image is named: by its id alone where that reaches no test image by chance."""
        is_test_known = "test" in self._places.known
        is_in_test = "test" in self._places.counts.get(short, {})
        if self._include_test or (is_test_known and not is_in_test):
            return [short]
        return [f"{one}:{short}" for one in (reached if is_test_known else ("train", "eval"))]

    def _is_done(self, short: str, split: str, corrected: str | None) -> bool:
        """Whether the run leaves the image out already, or has its label corrected in this way."""
        named = (f"{split}:{short}", short)
        if any(one in self._excluded for one in named):
            return True
        return (
            corrected is not None
            and next((self.relabel[one] for one in named if one in self.relabel), None) == corrected
        )

    def _correct(self, short: str, keys: Sequence[str], corrected: str) -> None:
        if keys == [short]:  # what names a split would go before it
            for one in SPLITS:
                self.relabel.pop(f"{one}:{short}", None)
        self.relabel |= dict.fromkeys(keys, corrected)


def _require_room(draft: _Draft) -> None:
    size = sum(len(one) + _BYTES_AN_ENTRY for one in draft.exclude)
    size += sum(len(one) + len(name) + _BYTES_AN_ENTRY for one, name in draft.relabel.items())
    if size > MAX_BYTES // 2:
        raise ConfigError(
            f"{counted(len(draft.exclude) + len(draft.relabel), 'image')} are more than a configuration can "
            "name.",
            hint="Remove them from the images themselves, or correct their labels there; the marks as CSV "
            "name them.",
        )


def _by_split(numbers: Mapping[str, int]) -> str:
    """Such as `3 images of train and 1 of eval`."""
    parts = [(one, numbers[one]) for one in SPLITS if numbers.get(one)]
    first = f"{counted(parts[0][1], 'image')} of {parts[0][0]}"
    others = [f"{number:,} of {split}" for split, number in parts[1:]]
    return " and ".join([", ".join([first, *others[:-1]]), *others[-1:]])
