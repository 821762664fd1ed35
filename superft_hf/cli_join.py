"""`superft join`: this machine's part of a run that several machines train."""

import argparse
from dataclasses import replace

from superft_hf.cli_parser import Commands, add_command, add_run
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, say, say_error
from superft_hf.config_file import read_config
from superft_hf.engine.foreground import wait_for_lease
from superft_hf.engine.machines import Machines, run_here
from superft_hf.engine.processes import RUN_VARIABLE
from superft_hf.errors import StateError


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    text = "train this machine's part of a run of several machines"
    parser = add_command(commands, "join", join, text)
    add_run(parser)
    parser.add_argument(
        "--machine", type=int, required=True, metavar="N", help="number of this machine; the first is 0"
    )


def join(asked: argparse.Namespace, call: Call) -> int:
    """Trains until the run ends; 0 when this machine's processes did."""
    store, record = find_run(asked.run, call)
    paths = store.run_paths(record.run_id)
    config = read_config(paths.resolved if paths.resolved.exists() else paths.config)
    machines = Machines.of(config.hardware, asked.machine)
    if machines.is_first:
        raise StateError(
            "The first machine starts the run by itself.",
            hint="Give the other machines `--machine 1`, `--machine 2` and so on.",
        )
    if not record.is_live:
        raise StateError(
            f"The run {record.name} is {record.state}: there is nothing to join.",
            hint="Start or resume it on the first machine, then join within ten minutes.",
        )
    lease = wait_for_lease(config.hardware, lambda words: say(f"This machine {words}."))
    devices = replace(lease.devices, slots=1)
    environment = call.launcher.environment(store.home, config, devices, machines)
    log = paths.folder / f"worker-machine-{asked.machine}.log"
    say(f"Machine {asked.machine} of {machines.count} joins {record.name} at {machines.address}; log: {log}")
    try:
        code = run_here(
            call.launcher.command(paths, devices, machines)[1:],
            {**environment, RUN_VARIABLE: str(paths.folder)}, log, lease.descriptors,
        )  # fmt: skip
    finally:
        lease.close()
    if code:
        say_error(f"The part of this machine ended with exit code {code}.", f"Its log is {log}.")
    return 1 if code else 0
