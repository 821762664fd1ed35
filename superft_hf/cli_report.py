"""The commands that write reports and start baselines."""

import argparse
from pathlib import Path

from superft_hf import frozen_baseline
from superft_hf.cli_parser import RUN_HELP, Commands, add_command, add_run
from superft_hf.cli_train import image_bar
from superft_hf.cli_verbs import find_run
from superft_hf.cli_words import Call, say, stopped_hint
from superft_hf.records import RunState


def add_commands(commands: Commands) -> None:
    """Declares them."""
    text = "write a run, or several compared, as one HTML file, or their tables as CSV"
    parser = add_command(commands, "report", report, text)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help=f"{RUN_HELP}; others are compared with the first"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the HTML file; else report-RUN.html in this folder"
    )
    parser.add_argument("--csv", metavar="FOLDER", type=Path, help="write the tables as CSV instead")
    parser.add_argument(
        "--test", action="store_true", help="open the test figures of these runs, which is noted"
    )
    parser.add_argument(
        "--pictures", metavar="N", type=_whole, default=0,
        help="put the N worst eval mistakes of each run in as small pictures; else none",
    )  # fmt: skip
    text = "queue the frozen-backbone baseline of a run: the same with its head trained alone"
    add_run(add_command(commands, "baseline", baseline, text))


def report(asked: argparse.Namespace, call: Call) -> int:
    """Writes a report and prints where it lies."""
    # plotly.js is 5 MB, and other commands need none of it.
    from superft_hf.reports import report as reports

    store, _ = find_run(asked.runs[0], call)
    if asked.test:
        for run_id in asked.runs[1:]:
            store.get_run(run_id)  # no look before all of them are there
        reports.open_tests(store, asked.runs, by="report")
    if asked.csv is not None:
        for path in reports.write_tables(store, asked.runs, asked.csv):
            print(path)
        return 0
    path = asked.output or Path(reports.report_name(asked.runs))
    reports.write_report(path, reports.make_report(store, asked.runs, num_pictures=asked.pictures))
    print(path)
    return 0


def _whole(written: str) -> int:
    """A number of pictures. Raises ValueError, which argparse words."""
    number = int(written)
    if number < 0:
        raise ValueError
    return number


def baseline(asked: argparse.Namespace, call: Call) -> int:
    """Queues the frozen-backbone baseline of a run, and prints the id of that run."""
    store, record = find_run(asked.run, call)
    with image_bar() as on_image:
        found = frozen_baseline.queue(store, record, by="command line", progress=on_image)
    if found.state is RunState.COMPLETED:
        say(f"{found.name} is the frozen-backbone baseline of {record.name}, and is completed already.")
    else:
        say(f"{found.name} is {found.state}.{stopped_hint(call)}")
    print(found.run_id)
    return 0
