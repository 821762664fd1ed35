"""The commands that carry a run away: push (to the Hugging Face Hub) and export (to a folder).

What draws figures and talks to the Hub is imported when it is needed: the other commands start without it.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from superft_hf.cli_words import Call, say, write_json, write_table
from superft_hf.errors import RunNotFoundError
from superft_hf.publish.options import MAX_MISCLASSIFIED, PublishOptions
from superft_hf.store import RunStore
from superft_hf.words import counted, size

if TYPE_CHECKING:
    from superft_hf.publish.push import PushPlan

BY = "command line"

_ACTIONS = {
    "create": "would be created",
    "update": "would be updated by a commit",
    "pull request": "would get a pull request",
    "unknown": "could not be looked at",
}


def push_run(asked: argparse.Namespace, call: Call) -> int:
    """Publishes a run, or says what publishing it would do."""
    from superft_hf.hub.tokens import find_token
    from superft_hf.publish.push import plan, push, result_words

    store = _find_store(asked.run, call)
    options = _options(asked)
    found = find_token()
    token = found[0] if found else None
    planned = plan(store, asked.run, asked.repo_id, options, token)
    for warning in planned.warnings:
        say(f"Note: {warning}")
    if asked.dry_run:
        _note_look(store, asked.run)
        _write_plan(planned, as_json=asked.json)
        return 0
    with _bar(planned.total_bytes) as progress:
        result = push(store, asked.run, asked.repo_id, options, token=token, by=BY, progress=progress)
    if asked.json:
        write_json(vars(result))
        return 0
    say(result_words(result, len(planned.files), planned.total_bytes))
    print(result.url)
    return 0


def export_run(asked: argparse.Namespace, call: Call) -> int:
    """Writes a run's model to a folder."""
    from superft_hf.publish.export import export_hub, export_onnx

    store = _find_store(asked.run, call)
    if asked.format == "onnx":
        say("Exporting and comparing with PyTorch; this takes some seconds.")
        found = export_onnx(store, asked.run, asked.folder, call.launcher)
    else:
        found = export_hub(store, asked.run, asked.folder, _options(asked), by=BY)
    for warning in found.warnings:
        say(f"Note: {warning}")
    if asked.json:
        write_json(found.to_dict())
        return 0
    if found.check:
        images = (
            "eval images" if found.check["are_real"] else "batches of random pixels, as the images are gone"
        )
        say(
            f"Its logits differ from PyTorch's by {found.check['max_abs_difference']:.1e} at most on "
            f"{found.check['num_images']} {images}; {found.check['tolerance']:.1e} is allowed."
        )
    say(f"Wrote {counted(len(found.files), 'file')}, {size(sum(found.files.values()))}.")
    print(found.folder)
    return 0


def add_arguments(push_parser: argparse.ArgumentParser, export_parser: argparse.ArgumentParser) -> None:
    """What the two commands take."""
    for parser in (push_parser, export_parser):
        parser.add_argument("run", metavar="RUN", help="its id, as `superft runs` lists it")
    push_parser.add_argument(
        "repo_id", metavar="OWNER/NAME", help="where on the Hub; OWNER is you, or an organisation"
    )
    push_parser.add_argument(
        "--dry-run", action="store_true", help="show files, sizes and card; send nothing"
    )
    push_parser.add_argument(
        "--public", action="store_true", help="make a new repository public; else private"
    )
    push_parser.add_argument(
        "--pr", action="store_true", help="open a pull request where the repository is there already"
    )
    push_parser.add_argument("--message", default="", help="title of the commit")
    export_parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    export_parser.add_argument(
        "--format", choices=("hub", "onnx"), default="hub",
        help="hub: what push would send; onnx: checked against PyTorch; default: %(default)s",
    )  # fmt: skip
    for parser in (push_parser, export_parser):
        parser.add_argument("--intended-use", metavar="TEXT", default="", help="for the card, Markdown")
        parser.add_argument("--limits", metavar="TEXT", default="", help="for the card, Markdown")
        parser.add_argument("--licence", metavar="ID", default="", help="of the model, such as apache-2.0")
        parser.add_argument(
            "--misclassified", metavar="N", type=int, default=0,
            help=f"put the N worst eval mistakes in as pictures, {MAX_MISCLASSIFIED} at most; else none",
        )  # fmt: skip


def _options(asked: argparse.Namespace) -> PublishOptions:
    return PublishOptions(
        intended_use=asked.intended_use,
        limits=asked.limits,
        licence=asked.licence.strip().lower(),
        num_misclassified=asked.misclassified,
        is_private=not getattr(asked, "public", False),
        as_pull_request=getattr(asked, "pr", False),
        message=getattr(asked, "message", ""),
    ).require_valid()


def _find_store(run_id: str, call: Call) -> RunStore:
    store = call.find_store()
    if store is None:
        raise RunNotFoundError(run_id)
    return store


def _note_look(store: RunStore, run_id: str) -> None:
    """The card that a dry run prints shows the test figures."""
    if store.get_run(run_id).evaluation.get("test"):
        store.look_at_test(run_id, by=BY, detail="shown in the card of a dry run")


def _write_plan(planned: "PushPlan", *, as_json: bool) -> None:
    if as_json:
        write_json(planned.to_dict())
        return
    private = {True: "private", False: "public", None: "of unknown visibility"}[planned.is_private]
    say(f"{planned.repo_id} {_ACTIONS[planned.action]}, {private}. Nothing was sent.")
    rows = [(path, size(found)) for path, found in planned.files.items()]
    rows += [(path, "would be removed") for path in planned.removed]
    write_table(("FILE", "SIZE"), [*rows, ("all", size(planned.total_bytes))])
    print()
    print(planned.card)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr."""
    with tqdm(
        total=total, unit="B", unit_scale=True, desc="Sending", file=sys.stderr, disable=None, leave=False
    ) as bar:

        def hear(done: int, total: int) -> None:
            bar.update(done - bar.n)

        yield hear
