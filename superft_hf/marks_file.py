"""Marks as CSV, out and in: for a spreadsheet, a colleague, another home."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields

from superft_hf.errors import DataError
from superft_hf.marks import SPLITS
from superft_hf.records import Mark, MarkKind
from superft_hf.words import counted

COLUMNS = tuple(one.name for one in fields(Mark))
REQUIRED = ("example_id", "kind")
MAX_BYTES = 50_000_000

_EXAMPLE_ID = re.compile(r"[0-9a-f]{16}(-[1-9][0-9]*)?")
_MAX_TEXT = 2000
_SHOWN_PROBLEMS = 5
_DELIMITERS = (",", ";", "\t")
"""Spreadsheets of some languages write a semicolon."""

_MEND = "Nothing was imported. Mend these lines; `superft marks --csv FILE` writes a file that is right."


def to_csv(marks: Iterable[Mark]) -> str:
    """Marks with a head of COLUMNS, one a row; `from_csv` reads them back."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(mark), "kind": str(mark.kind)} for mark in marks)
    return out.getvalue()


def from_csv(
    text: str,
    data: str | None = None,
    *,
    is_other_data_kept: bool = True,
    class_names: Mapping[str, Collection[str]] | None = None,
) -> list[Mark]:
    """Reads marks; all of them or none.

    Args:
        text: Of a file with a head. Only `example_id` and `kind` are needed, if `data` is given.
        data: The images that rows without `data` are on.
        is_other_data_kept: Whether rows may be on other images than `data`; otherwise all are on it,
            whatever they say: its folder may lie elsewhere now.
        class_names: Names by `data`, where they are known: a corrected class must be among them.

    Raises:
        DataError: If a row is refused; it names the lines and what is the matter with each.
    """
    text = text.removeprefix("\ufeff")
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count), strict=True
    )
    marks: list[Mark] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    line = 1
    try:
        missing = [one for one in REQUIRED if one not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"Line 1 has no column {' and no column '.join(missing)}.",
                hint="The first line names the columns: example_id and kind at least.",
            )
        line = reader.line_num + 1
        for row in reader:
            try:
                mark = _mark(row, data, is_other_data_kept=is_other_data_kept, class_names=class_names or {})
                earlier = seen.setdefault((mark.data, mark.example_id), line)
                if earlier != line:
                    raise ValueError(f"the image of line {earlier:,} again")
                marks.append(mark)
            except ValueError as error:
                problems.append(f"Line {line:,}: {error}.")
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(f"Line {line:,}: {error}.")
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        also = f" And {counted(more, 'other line')}." if more > 0 else ""
        raise DataError(" ".join(problems[:_SHOWN_PROBLEMS]) + also, hint=_MEND)
    return marks


def _mark(
    row: Mapping[str | None, str | None],
    data: str | None,
    *,
    is_other_data_kept: bool,
    class_names: Mapping[str, Collection[str]],
) -> Mark:
    """One row. Raises ValueError, saying what is the matter."""
    if None in row:
        raise ValueError("more fields than the first line names")
    values = {name: (row.get(name) or "").strip() for name in COLUMNS}
    long = next((name for name, value in values.items() if len(value) > _MAX_TEXT), None)
    if long:
        raise ValueError(f"{long} has more than {_MAX_TEXT:,} characters")
    if not _EXAMPLE_ID.fullmatch(values["example_id"]):
        raise ValueError(f"{values['example_id']!r} is no example id, such as 0123456789abcdef")
    name = values["data"] if is_other_data_kept and values["data"] else data or values["data"]
    if not name:
        raise ValueError("data is empty, so nobody knows whose image it is")
    kind, split = parse_kind(values["kind"]), values["split"] or "train"
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, but must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    corrected = values["corrected"] or None
    require_correction(kind, corrected, values["label"], class_names.get(name))
    return Mark(
        name, values["example_id"], kind, corrected, values["label"], split, values["image"],
        values["run_id"], values["note"], values["by"] or "import", values["time"],
    )  # fmt: skip


def parse_kind(text: str) -> MarkKind:
    """A kind as it is typed: `wrong label`, `wrong-label`. Raises ValueError, naming those that there are."""
    try:
        return MarkKind(text.strip().lower().replace("-", " ").replace("_", " "))
    except ValueError as error:
        raise ValueError(f"kind is {text!r}, but must be one of {', '.join(MarkKind)}") from error


def require_correction(
    kind: MarkKind, corrected: str | None, label: str, class_names: Collection[str] | None
) -> None:
    """Sees to it that a corrected class makes sense.

    Args:
        kind: Of the mark.
        corrected: The class that the image really shows, or None.
        label: The class that it counts as; empty when unknown.
        class_names: The classes that there are; None when unknown.

    Raises:
        ValueError: If it does not, saying why.
    """
    if corrected is None:
        return
    if kind is not MarkKind.WRONG_LABEL:
        raise ValueError(f"a corrected class goes with a wrong label only, not with {kind!s}")
    if corrected == label:
        raise ValueError(f"the corrected class {corrected!r} is the label that it has")
    if class_names and corrected not in class_names:
        raise ValueError(f"{corrected!r} is no class of these images")
