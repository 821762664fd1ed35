"""The vault of the test set: what was seen of it, and by how many choices it has been worn.

What stays true: test figures are shown to a person only after the first look at them is noted, as an event of
the run; and beside them stands how many runs had been opened on the same test set before. With each look it
becomes likelier that the best of several figures is so by chance. Deleting a run takes no look back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from superft_hf.records import RunRecord
from superft_hf.store import RunStore
from superft_hf.store_events import Look
from superft_hf.words import counted

TEST = "test"
SEALED = "test sealed"
_TEST_VALUE = re.compile(r"""(\btest_\w+["']?[ :=]+)-?(?:\d[\d.]*(?:e[+-]?\d+)?|nan|inf)""", re.IGNORECASE)


@dataclass(frozen=True)
class Standing:
    """How it stands with the test figures of a run.

    Attributes:
        is_open: Whether they were shown to a person.
        opened_at: When, UTC, ISO 8601; None while sealed.
        num_earlier: Other runs opened on the same test set before; for a sealed run: so far.
        run_ids: Those runs, in the order in which they were opened; deleted ones among them.
        fingerprint: Of the test set, else of all images where a run does not tell its test set.
        is_by_split: Whether all runs in question tell their test set. Runs of earlier versions do not: they
            count when all their images are equal.
    """

    is_open: bool
    opened_at: str | None
    num_earlier: int
    run_ids: tuple[str, ...]
    fingerprint: str
    is_by_split: bool = True


def standing(store: RunStore, record: RunRecord) -> Standing:
    """How it stands with the test figures of a run, by one query."""
    return standings(store, [record])[record.run_id]


def standings(store: RunStore, records: Sequence[RunRecord]) -> dict[str, Standing]:
    """The same for many runs, by one query."""
    looks = store.first_looks()
    return {record.run_id: _standing(record, looks) for record in records}


def open_test(store: RunStore, record: RunRecord, by: str, detail: str = "") -> Standing:
    """Notes that the test figures of a run are shown to a person; only the first time is a look.

    Args:
        store: Where the run is.
        record: The run.
        by: Who looks: `page`, `show`, `demo`, `report`.
        detail: Where the figures are shown, when that is not plain.

    Raises:
        HomeError: If the look cannot be noted; then the figures must not be shown.
    """
    if has_test(record):
        store.look_at_test(record.run_id, by=by, detail=detail)
    return standing(store, record)


def has_test(record: RunRecord) -> bool:
    """Whether there is anything to seal: figures of the test set."""
    return bool(record.evaluation.get(TEST))


def words(found: Standing) -> str:
    """What stands beside test figures.

    Example:
        >>> words(Standing(True, "2026-11-24T12:00:00+00:00", 2, ("a", "b"), "0f"))
        'test opened on 24 Nov 2026; 2 runs had been opened on this same test set before'
        >>> words(Standing(False, None, 1, ("a",), "0f"))
        'test sealed; 1 run has been opened on this same test set so far'
    """
    among = "this same test set" if found.is_by_split else "these same images"
    if found.is_open and found.opened_at:
        verb = "runs had" if found.num_earlier > 1 else "run had"
        number = f"{found.num_earlier:,}" if found.num_earlier else "no"
        return f"test opened on {day(found.opened_at)}; {number} {verb} been opened on {among} before"
    if not found.num_earlier:
        return f"{SEALED}; no run has been opened on {among} yet"
    verb = "has" if found.num_earlier == 1 else "have"
    return f"{SEALED}; {counted(found.num_earlier, 'run')} {verb} been opened on {among} so far"


def day(iso: str) -> str:
    """A day in the time zone of this machine, such as `24 Nov 2026`."""
    local = datetime.fromisoformat(iso).astimezone()
    return f"{local.day} {local:%b %Y}"


def sealed_figures(record: RunRecord, *, is_open: bool) -> dict[str, dict[str, float]]:
    """The figures of a run by split, without those of a sealed test set."""
    return {split: dict(figures) for split, figures in record.evaluation.items() if is_open or split != TEST}


def is_test_key(key: str) -> bool:
    """Whether a metric is a test figure: a sealed run does not show it."""
    return key.startswith(f"{TEST}_")


def seal_text(text: str) -> str:
    """A log without the values of test metrics.

    Example:
        >>> seal_text("{'test_loss': 0.0331, 'eval_loss': 0.02} test_accuracy = 1e-3")
        "{'test_loss': sealed, 'eval_loss': 0.02} test_accuracy = sealed"
    """
    return _TEST_VALUE.sub(r"\1sealed", text)


def _standing(record: RunRecord, looks: Sequence[Look]) -> Standing:
    test, data = _fingerprints(record)
    opened_at, earlier = None, []
    for look in looks:
        if look.run_id == record.run_id:
            opened_at = look.time
            break
        if (test == look.test) if test and look.test else bool(data) and data == look.data:
            earlier.append(look)
    is_by_split = bool(test) and all(look.test for look in earlier)
    return Standing(
        opened_at is not None, opened_at, len(earlier), tuple(look.run_id for look in earlier),
        test or data, is_by_split,
    )  # fmt: skip


def _fingerprints(record: RunRecord) -> tuple[str, str]:
    """Of the test set, and of all images; empty where a run does not tell."""
    by_split = record.facts.get("split_fingerprints") or {}
    return by_split.get(TEST) or "", record.facts.get("fingerprint") or ""
