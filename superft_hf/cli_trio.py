"""`superft trio`: full, head only and from scratch, to see what training every layer buys."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from superft_hf import trio
from superft_hf.cli_parser import Commands, add_command
from superft_hf.cli_train import image_bar
from superft_hf.cli_verbs import BY, find_run
from superft_hf.cli_words import Call, say, stopped_hint, write_json
from superft_hf.config_file import read_config
from superft_hf.store import RunStore
from superft_hf.trio import Part, Trio
from superft_hf.words import counted

_FILES = (".yaml", ".yml")


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "train full, head only and from scratch with equal images, and say what full training buys"
    parser = add_command(commands, "trio", start_trio, text, json=True)
    parser.add_argument(
        "source", metavar="CONFIG.yaml|RUN",
        help="a configuration, of which all three are queued, or a run, of which those that are missing are",
    )  # fmt: skip


def start_trio(asked: argparse.Namespace, call: Call) -> int:
    """Queues what is missing, prints the three ids (full, head only, from scratch), and what came out."""
    if asked.source.endswith(_FILES) or Path(asked.source).is_file():
        config = read_config(Path(asked.source))
        store, known = call.open_store(), []
        with image_bar() as on_image:
            made = trio.start(store, config, BY, on_image)
        found = Trio(dict(zip(Part, made, strict=True)))
    else:
        store, record = find_run(asked.source, call)
        known = trio.find(store, record.run_id).run_ids
        with image_bar() as on_image:
            found = trio.complete(store, record.run_id, BY, on_image)
    new = [run_id for run_id in found.run_ids if run_id not in known]
    if new:
        say(f"Queued {counted(len(new), 'run')}.{stopped_hint(call)}")
    answer = trio.gains(store, found)
    if answer is not None:
        say(trio.in_words(*answer, trio.images_a_class(found)))
    else:
        say(f"What full training buys: `{call.command('compare', *found.run_ids)}`, once they are evaluated.")
    if asked.json:
        write_json(_as_json(store, found, new))
    else:
        for run_id in found.run_ids:
            print(run_id)
    return 0


def _as_json(store: RunStore, found: Trio, new: list[str]) -> dict[str, Any]:
    answer = trio.gains(store, found)
    return {
        "runs": {str(part): run.run_id if run else None for part, run in found.runs.items()},
        "queued": new,
        "accuracy": answer[0] if answer else None,
        "gains": [{**asdict(one), "part": str(one.part)} for one in answer[1]] if answer else [],
        "words": trio.in_words(*answer, trio.images_a_class(found)) if answer else None,
    }
