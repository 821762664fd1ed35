"""`superft suggest`: what the rule chooses for a configuration, and why."""

import argparse
from pathlib import Path
from typing import Any

from superft_hf.cli_parser import Commands, add_command
from superft_hf.cli_words import Call, say, write_json, write_table
from superft_hf.config_file import read_config, value_of
from superft_hf.hub.models import require_model
from superft_hf.recipe.case import Case, case_of
from superft_hf.recipe.rules import Choice, suggest, undecided
from superft_hf.settings import find_setting
from superft_hf.sources.load import load_images
from superft_hf.words import counted, significant


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "say what the rule chooses for a configuration, and why"
    parser = add_command(commands, "suggest", suggest_for, text, json=True)
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="see `superft init`")


def suggest_for(asked: argparse.Namespace, call: Call) -> int:
    """Shows every choice; those for settings that the file sets are marked, since they do not count."""
    config = read_config(asked.config)
    info = require_model(config.model.name_or_path, config.model.revision)
    case = case_of(config, info, load_images(config.data, call.home))
    left, found = set(undecided(config)), suggest(config, case)
    if asked.json:
        write_json({"case": _case(case), "suggestions": [_row(one, left) for one in found]})
        return 0
    say(
        f"{counted(case.num_train, 'training image')} in {counted(case.num_classes, 'class', 'classes')}, "
        f"a {case.family}, on {case.device}"
    )
    rows = [
        (
            one.key, _text(one.value),
            "chosen" if one.key in left else f"set: {_text(value_of(config, find_setting(one.key)))}",
            f"because {one.reason}",
        )
        for one in found
    ]  # fmt: skip
    write_table(["Setting", "Suggested", "", ""], rows)
    return 0


def _row(one: Choice, left: set[str]) -> dict[str, Any]:
    return {"key": one.key, "value": one.value, "reason": one.reason, "is_chosen": one.key in left}


def _case(case: Case) -> dict[str, Any]:
    return {
        "num_train": case.num_train, "num_classes": case.num_classes, "picture_side": case.picture_side,
        "family": case.family, "own_size": case.own_size, "device": case.device,
        "num_processes": case.num_processes,
    }  # fmt: skip


def _text(value: Any) -> str:
    return significant(value) if isinstance(value, float) else str(value)
