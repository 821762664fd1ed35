"""The commands about marks on images: marks, mark, unmark, marks-import."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import BY, find_run
from superft_hf.cli_words import Call, plain, say, short, write_csv, write_json, write_table
from superft_hf.errors import ConfigError, DataError, DataNotFoundError
from superft_hf.mark_places import Seen, find_seen
from superft_hf.marks_file import MAX_BYTES, from_csv, parse_kind, require_correction, to_csv
from superft_hf.records import Mark, MarkKind, RunRecord
from superft_hf.store import RunStore
from superft_hf.words import NOTHING, counted

_SHOWN_IDS = 5


def add_commands(commands: Commands) -> None:
    """Declares them."""
    listing = add_command(commands, "marks", marks, "list what people noted on images", json=True)
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--data", metavar="NAME", help="only on these images, as data.name_or_path has them")
    which.add_argument("--run", metavar="RUN", help="only on the images of this run")
    listing.add_argument("--csv", metavar="FILE", type=Path, help="write them as CSV; - for the terminal")

    making = add_command(commands, "mark", mark, "note what is the matter with images of a run")
    making.add_argument(
        "--kind", required=True, metavar="KIND",
        help="one of " + ", ".join(kind.replace(" ", "-") for kind in MarkKind),
    )  # fmt: skip
    making.add_argument("--corrected", metavar="CLASS", help="the class that they really show")
    making.add_argument("--note", default="", help="free text")
    removing = add_command(commands, "unmark", unmark, "forget the marks on images of a run")
    for parser in (making, removing):
        add_run(parser)
        parser.add_argument(
            "example_ids", metavar="EXAMPLE_ID", nargs="+", help="as `superft errors` lists them"
        )

    reading = add_command(commands, "marks-import", import_marks, "read marks from a CSV")
    reading.add_argument("file", metavar="FILE", type=Path, help="as `superft marks --csv` writes it")
    reading.add_argument(
        "--data", metavar="NAME", help="take all rows for these images, whatever they say themselves"
    )


def marks(asked: argparse.Namespace, call: Call) -> int:
    """Lists marks, oldest first."""
    data = asked.data
    if asked.run is not None:
        store, record = find_run(asked.run, call)
        data = record.data
    else:
        store = call.find_store()
    found = store.read_marks(data) if store else []
    if asked.csv is not None:
        write_csv(asked.csv, to_csv(found), counted(len(found), "mark"))
    if asked.json:
        write_json([asdict(one) for one in found])
    elif asked.csv is None and found:
        _write_marks(found, with_data=data is None)
    if not found:
        say(f"No image{f' of {data}' if data else ''} is marked.")
    return 0


def mark(asked: argparse.Namespace, call: Call) -> int:
    """Marks images of a run, all of them or none."""
    store, record = find_run(asked.run, call)
    ids = list(dict.fromkeys(asked.example_ids))
    try:
        kind = parse_kind(asked.kind)
    except ValueError as error:
        raise ConfigError(f"The {error}.", hint="Give one of them as --kind.") from error
    seen = _find(store, record, ids)
    for one in ids:
        try:
            require_correction(kind, asked.corrected, seen[one].label, _class_names(record))
        except ValueError as error:
            hint = "See the classes with `superft show RUN --json`, in facts."
            raise DataError(f"{one}: {error}.", hint=hint) from error
    store.set_marks(_mark(record, one, seen[one], kind, asked) for one in ids)
    say(f"{counted(len(ids), 'image')} of {record.data} marked: {kind}.")
    return 0


def unmark(asked: argparse.Namespace, call: Call) -> int:
    """Forgets marks, all of those named or none."""
    store, record = find_run(asked.run, call)
    ids = list(dict.fromkeys(asked.example_ids))
    marked = {one.example_id for one in store.read_marks(record.data)}
    unmarked = [one for one in ids if one not in marked]
    if unmarked:
        raise DataNotFoundError(
            f"{_listed(unmarked)} of {record.data} {'is' if len(unmarked) == 1 else 'are'} not marked.",
            hint=f"`{call.command('marks', '--run', record.run_id)}` lists the marks.",
        )
    say(f"{counted(store.remove_marks(record.data, ids), 'mark')} removed.")
    return 0


def import_marks(asked: argparse.Namespace, call: Call) -> int:
    """Reads marks from a CSV, all of them or none."""
    text = _read(asked.file)
    store = call.open_store()
    names = {record.data: _class_names(record) for record in store.list_runs() if _class_names(record)}
    found = from_csv(text, asked.data, is_other_data_kept=asked.data is None, class_names=names)
    earlier = {(one.data, one.example_id) for one in store.read_marks()}
    replaced = sum((one.data, one.example_id) in earlier for one in found)
    store.set_marks(found)
    say(
        f"{counted(len(found), 'mark')} imported"
        + (f", {replaced:,} in place of an earlier one." if replaced else ".")
    )
    return 0


def _find(store: RunStore, record: RunRecord, ids: Sequence[str]) -> dict[str, Seen]:
    """Where the images are seen. Raises DataNotFoundError, naming those that the run does not have."""
    seen = find_seen(store, record, ids)
    unknown = [one for one in ids if one not in seen]
    if unknown:
        raise DataNotFoundError(
            f"The run {record.name} has no image {_listed(unknown)}.",
            hint="Nothing was marked. `superft errors RUN` lists images with their example ids.",
        )
    return seen


def _mark(record: RunRecord, example_id: str, seen: Seen, kind: MarkKind, asked: argparse.Namespace) -> Mark:
    return Mark(
        record.data, example_id, kind, asked.corrected, seen.label, seen.split, seen.image, seen.run_id,
        asked.note.strip(), BY,
    )  # fmt: skip


def _class_names(record: RunRecord) -> list[str]:
    """Empty until the worker has noted them."""
    return record.facts.get("class_names", [])


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN_IDS:,} more" if len(ids) > _SHOWN_IDS else ""
    return ", ".join(ids[:_SHOWN_IDS]) + more


def _write_marks(found: Sequence[Mark], *, with_data: bool) -> None:
    head = ["EXAMPLE", "KIND", "LABEL", "CORRECTED", "SPLIT", "IMAGE", "NOTE", *(["IMAGES"] * with_data)]
    rows = [
        [
            one.example_id, str(one.kind), short(one.label) or NOTHING, short(one.corrected or NOTHING),
            one.split, short(one.image) or NOTHING, short(one.note), *([short(one.data)] * with_data),
        ]
        for one in found
    ]  # fmt: skip
    write_table(head, [[plain(cell) for cell in row] for row in rows])


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"The file {path} is too large to hold marks.", hint="Give a CSV of marks.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataNotFoundError(
            f"The file {path} cannot be read: {error.strerror or error}.",
            hint="`superft marks --csv FILE` writes one.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"The file {path} is not UTF-8 text.", hint="Save it as CSV with UTF-8.") from error
