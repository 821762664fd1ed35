"""`superft`: the same verbs as the pages, for scripts and terminals.

Results go to stdout, everything else to stderr. Every refused input exits 1 with a sentence and a hint; its
traceback is in the home's log. 2 means a wrong command line. No command asks questions.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

from superft_hf import (
    __version__,
    cli_again,
    cli_cache,
    cli_compare,
    cli_decide,
    cli_errors,
    cli_history,
    cli_hub,
    cli_join,
    cli_layers,
    cli_lr_find,
    cli_marks,
    cli_publish,
    cli_queue,
    cli_report,
    cli_runs,
    cli_show,
    cli_suggest,
    cli_suspects,
    cli_system,
    cli_train,
    cli_trio,
    cli_verbs,
)
from superft_hf.cli_parser import RUN_HELP, Commands, add_command
from superft_hf.cli_words import Call, say_error
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.ready import READY_WORKER
from superft_hf.errors import SuperFTError
from superft_hf.paths import HOME_VARIABLE, HomePaths, home_dir
from superft_hf.records import RunState
from superft_hf.starting_points import EXAMPLES
from superft_hf.store_queue import Move

_LOG_BYTES = 1_000_000
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, launcher: Launcher | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `superft`; None takes them from the process.
        launcher: Starts the workers of `superft train`.

    Returns:
        The exit code.
    """
    asked = make_parser().parse_args(arguments)
    call = Call(home_dir(asked.home), launcher or Launcher(ready=READY_WORKER))
    _set_up_logging()
    try:
        code = asked.verb(asked, call)
        sys.stdout.flush()
        return code
    except SuperFTError as error:
        _log_traceback(call.home)
        say_error(error.message, error.hint)
    except KeyboardInterrupt:
        say_error("Stopped.", "")
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the top of a process
        log = _log_traceback(call.home)
        hint = "This is a fault of superft" + (f"; the details are in {log}." if log else ".")
        say_error(f"{type(error).__name__}: {error}", hint)
    return 1


def make_parser() -> argparse.ArgumentParser:
    """The command line, with every command."""
    parser = argparse.ArgumentParser(prog="superft", description="Fine-tunes whole vision networks.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--home", metavar="DIR", help=f"folder of the runs; else {HOME_VARIABLE}, else ./runs"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_system(commands)
    _add_hub(commands)
    _add_begin(commands)
    _add_runs(commands)
    _add_verbs(commands)
    _add_queue(commands)
    for module in (
        cli_suggest, cli_join, cli_lr_find, cli_errors, cli_history, cli_decide, cli_suspects, cli_marks,
        cli_compare, cli_report, cli_layers, cli_trio,
    ):  # fmt: skip
        module.add_commands(commands)
    _add_publish(commands)
    return parser


def _add_system(commands: Commands) -> None:
    serve = add_command(commands, "serve", cli_system.serve, "serve the dashboard, and see to the supervisor")
    serve.add_argument(
        "--port", type=int, help=f"by default the first free one from {cli_system.DEFAULT_PORT}"
    )
    add_command(
        commands, "doctor", cli_system.doctor, "report versions, devices, disk and connection", json=True
    )
    text = "list what is kept of prepared images, or clear it"
    cli_cache.cache_arguments(add_command(commands, "cache", cli_cache.cache, text, json=True))
    text = "look after the process that starts queued runs"
    supervisor = commands.add_parser("supervisor", help=text, description=f"{text.capitalize()}.")
    own = supervisor.add_subparsers(metavar="COMMAND", required=True)
    add_command(
        own, "status", cli_system.supervisor_status, "say whether the home has a supervisor", json=True
    )
    add_command(own, "start", cli_system.supervisor_start, "start the supervisor, also after a stop")
    text = "end the supervisor until it is started again; workers go on"
    cli_system.stop_arguments(add_command(own, "stop", cli_system.supervisor_stop, text))


def _add_hub(commands: Commands) -> None:
    cli_hub.find_arguments(
        add_command(commands, "find", cli_hub.find, "search the Hugging Face Hub", json=True)
    )
    cli_hub.model_arguments(add_command(commands, "model", cli_hub.model, "describe a model", json=True))


def _add_begin(commands: Commands) -> None:
    init = add_command(commands, "init", cli_train.init, "print a complete, commented configuration")
    init.add_argument("--model", default=cli_train.SAMPLE_MODEL, help="default: %(default)s")
    init.add_argument("--data", default=cli_train.SAMPLE_DATA, help="default: %(default)s")
    init.add_argument("--example", choices=sorted(EXAMPLES), help="a worked example instead")
    check = add_command(
        commands, "check", cli_train.check, "look at a configuration and its images", json=True
    )
    submit = add_command(commands, "submit", cli_train.submit, "queue a run, and print its id")
    train = add_command(commands, "train", cli_train.train, "run in the foreground, with a progress bar")
    text = "queue a new run that begins with the weights of a completed one"
    again = [add_command(commands, "continue", cli_again.continue_run, text)]
    text = "queue a run with the configuration of another, changed by a remedy or by hand"
    again.append(add_command(commands, "repeat", cli_again.repeat, text))
    again[1].add_argument(
        "--remedy",
        metavar="N",
        help="number of a failure's remedy, or code of advice, as `superft show` has it",
    )
    cli_again.marks_arguments(again[1])
    for parser in again:
        parser.add_argument("run", metavar="RUN", help=RUN_HELP)
        cli_again.again_arguments(parser)
    for parser in (submit, *again):
        cli_train.priority_argument(parser)
    cli_train.check_arguments(check)
    for parser in (check, submit, train):
        cli_train.config_argument(parser)


def _add_runs(commands: Commands) -> None:
    runs = add_command(commands, "runs", cli_runs.runs, "list the runs, newest first", json=True)
    runs.add_argument(
        "--state", action="append", choices=[str(state) for state in RunState], default=[],
        help="only runs in this state; may be given several times",
    )  # fmt: skip
    show = add_command(
        commands, "show", cli_show.show, "show one run, its failure, remedies and advice", json=True
    )
    predict = add_command(
        commands, "predict", cli_runs.predict, "say what a run's model sees in images", json=True
    )
    delete = add_command(commands, "delete", cli_runs.delete, "remove a run that has ended, with its files")
    for parser in (show, predict, delete):
        parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    cli_show.show_arguments(show)
    predict.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    predict.add_argument("--plain", action="store_true", help="without the run's operating point")


def _add_verbs(commands: Commands) -> None:
    for name, verb, text in (
        ("finish", cli_verbs.finish, "end runs at their next step, evaluated, with what is best so far"),
        ("pause", cli_verbs.pause, "pause runs at their next step; resumed, they go on as if never paused"),
        ("resume", cli_verbs.resume, "queue paused or failed runs again, from their last checkpoint"),
        ("stop-hard", cli_verbs.stop_hard, "end the processes of runs that do not answer"),
        ("discard", cli_verbs.discard, "stop runs and remove their weights; their records stay"),
    ):
        cli_verbs.wish_arguments(add_command(commands, name, verb, text))


def _add_queue(commands: Commands) -> None:
    queue = add_command(
        commands, "queue", cli_queue.queue, "list what is at work and what waits, in order", json=True
    )
    cli_queue.queue_arguments(queue)
    hold = add_command(commands, "hold", cli_verbs.hold, "keep a queued run from being started")
    let_go = add_command(commands, "let-go", cli_verbs.let_go, "let a held run start in its turn")
    move = add_command(commands, "move", cli_verbs.move, "move a queued run among the others")
    for parser in (hold, let_go, move):
        parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    move.add_argument("where", choices=[str(where) for where in Move])


def _add_publish(commands: Commands) -> None:
    push = add_command(
        commands, "push", cli_publish.push_run, "publish a run on the Hugging Face Hub", json=True
    )
    export = add_command(
        commands, "export", cli_publish.export_run, "write a run's model to a folder", json=True
    )
    cli_publish.add_arguments(push, export)


def _set_up_logging() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("superft_hf").setLevel(logging.INFO)


def _log_traceback(home: Path) -> Path | None:
    """Writes the present exception into the home's log, if there is a home that can be written to."""
    path = HomePaths(home).command_log
    if not home.is_dir() or not os.access(home, os.W_OK):
        return None
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handler.handleError = lambda record: None  # a full disk: the terminal has the sentence all the same
    log = logging.Logger("command")  # of its own: the terminal shall not show it
    log.addHandler(handler)
    log.exception("superft %s", " ".join(_without_secrets(sys.argv[1:])))
    handler.close()
    return path


def _without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command without the address of a webhook, with which anybody could write there."""
    told = [
        "…" if before.startswith("--we") else word for before, word in zip(["", *words], words, strict=False)
    ]
    return ["--webhook=…" if word.startswith("--we") and "=" in word else word for word in told]


if __name__ == "__main__":
    sys.exit(main())
