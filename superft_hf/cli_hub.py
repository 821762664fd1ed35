"""The commands that look at the Hub: find, model. They read; a token is never asked for, nor shown."""

import argparse
from dataclasses import asdict

from superft_hf.cli_words import Call, say, say_error, write_json, write_table
from superft_hf.config import TrainingConfig
from superft_hf.errors import TokenRefusedError
from superft_hf.hub import search
from superft_hf.hub.memory import training_memory_bytes
from superft_hf.hub.models import inspect_model
from superft_hf.hub.records import HubEntry
from superft_hf.hub.search import Query
from superft_hf.hub.tokens import find_token
from superft_hf.records import ModelInfo
from superft_hf.words import NOTHING, count, size

USUAL_BATCH = 32
"""What the rule chooses for all but small sets, on a CPU."""

KINDS = {"models": search.MODEL, "data": search.DATASET}
MAX_LIMIT = 100


def find_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft find` takes."""
    parser.add_argument("what", choices=list(KINDS), help="models, or data sets")
    parser.add_argument("text", nargs="*", help="words of the name")
    parser.add_argument("--author", default="", help="user or organisation")
    parser.add_argument("--library", default="", help=f"such as {' or '.join(search.LIBRARIES)}; of models")
    parser.add_argument("--licence", default="", help="such as apache-2.0")
    sizes = [*search.MODEL_SIZES, *search.DATA_SIZES]
    parser.add_argument("--size", default="", metavar="RANGE", help=f"such as {sizes[1]} or {sizes[5]}")
    parser.add_argument("--task", default=search.CLASSIFICATION, help="default: %(default)s; any: all")
    parser.add_argument(
        "--sort", choices=list(search.SORTS), default="downloads", help="default: %(default)s"
    )
    parser.add_argument("--limit", type=_limit, default=20, help="default: %(default)s")
    parser.add_argument("--cursor", help="next_cursor of the page before, from --json")


def model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft model` takes."""
    parser.add_argument("model", metavar="NAME", help="Hub id, folder or sample")
    parser.add_argument("--revision", default="main", help="branch, tag or commit; default: %(default)s")
    parser.add_argument(
        "--batch-size", type=int, default=USUAL_BATCH, help="for the estimate of memory; default: %(default)s"
    )


def find(asked: argparse.Namespace, call: Call) -> int:
    """Searches the Hub; without it, what is on this machine."""
    query = Query(
        KINDS[asked.what], " ".join(asked.text), asked.author, asked.library, asked.licence, asked.size,
        asked.task, asked.sort, asked.cursor, asked.limit,
    )  # fmt: skip
    page = search.search(query, _token())
    if asked.json:
        write_json(asdict(page))
    elif page.entries:
        head = ["Name", "Size", "Licence", "Library", "Downloads", "Likes", "Changed"]
        write_table(head, [_row(one) for one in page.entries])
    if page.note:
        say(page.note)
    if not page.entries:
        say("Nothing found. Use fewer words or filters.")
    return 0


def model(asked: argparse.Namespace, call: Call) -> int:
    """Describes a model without loading its weights; 1 when it cannot be trained."""
    info = inspect_model(asked.model, asked.revision)
    optim = TrainingConfig.model_fields["optim"].default
    # The rule averages the weights wherever the optimizer does not do so itself.
    memory = training_memory_bytes(info, asked.batch_size, None, optim, is_averaged=True)
    if asked.json:
        write_json({**asdict(info), "training_memory_bytes": memory})
    else:
        for label, text in _lines(info, memory, asked.batch_size):
            print(f"{label:<16} {text}")
    if info.problem:
        say_error(info.problem, info.hint)
    return 1 if info.problem else 0


def _token() -> str | None:
    """This machine's token; one that can be none is told of, and the search goes on without."""
    try:
        found = find_token()
    except TokenRefusedError as error:
        say_error(error.message, error.hint)
        return None
    return found[0] if found else None


def _row(one: HubEntry) -> list[str]:
    marks = [word for word, is_so in (("gated", one.is_gated), ("private", one.is_private)) if is_so]
    name = f"{one.repo_id} ({', '.join(marks)})" if marks else one.repo_id
    return [
        name, one.size or NOTHING, one.licence or NOTHING, one.library or NOTHING, count(one.downloads),
        count(one.likes), one.last_modified[:10] or NOTHING,
    ]  # fmt: skip


def _lines(info: ModelInfo, memory: int | None, batch_size: int) -> list[tuple[str, str]]:
    classes = count(info.num_labels) + (f": {', '.join(info.class_names)}" if info.class_names else "")
    return [
        ("Model", info.title if info.source == "sample" else info.name_or_path),
        ("What", info.description),
        ("Task", info.task or NOTHING),
        ("Library", info.library or NOTHING),
        ("Parameters", count(info.num_parameters)),
        ("Weights", size(info.size_bytes) + ("" if info.has_safetensors else ", no safetensors")),
        ("Input", f"{info.image_size} × {info.image_size} px" if info.image_size else NOTHING),
        ("Memory", f"about {size(memory)} at batch {batch_size}" if memory else NOTHING),
        ("Classes", classes),
        ("Licence", info.licence or NOTHING),
        ("Gated", "yes" if info.is_gated else "no"),
        ("Downloads", count(info.downloads)),
        ("Likes", count(info.likes)),
        ("Changed", info.last_modified[:10] or NOTHING),
        ("Commit", info.revision or NOTHING),
    ]


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"between 1 and {MAX_LIMIT}")
    return number
