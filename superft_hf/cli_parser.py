"""What every part of the command line declares its commands with."""

import argparse
from collections.abc import Callable

from superft_hf.cli_words import Call

Verb = Callable[[argparse.Namespace, Call], int]
Commands = argparse._SubParsersAction  # noqa: SLF001

RUN_HELP = "its id, as `superft runs` lists it"


def add_command(
    commands: Commands, name: str, verb: Verb, text: str, *, json: bool = False
) -> argparse.ArgumentParser:
    """Declares a command.

    Args:
        commands: Where it goes.
        name: As it is typed.
        verb: Does it, and returns the exit code.
        text: What it does, beginning in lower case.
        json: Whether it takes `--json`.
    """
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(verb=verb)
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON value instead")
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declares the argument that names a run."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
