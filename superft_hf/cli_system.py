"""The commands about the installation: serve, supervisor, doctor."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from superft_hf.cli_verbs import BY, WAIT_S
from superft_hf.cli_words import Call, say, sentence, write_json
from superft_hf.engine import control
from superft_hf.engine.devices import cpu_cores, list_gpus
from superft_hf.errors import HubError, MissingPackageError, StateError
from superft_hf.hub.tokens import identify
from superft_hf.paths import HOME_VARIABLE, HomePaths
from superft_hf.records import LIVE_STATES
from superft_hf.sources.cache_room import list_caches
from superft_hf.words import NOTHING, counted

DEFAULT_PORT = 8501
STACK = (
    "superft-hf", "torch", "torchvision", "transformers", "accelerate", "datasets", "evaluate", "timm",
    "schedulefree", "huggingface-hub", "safetensors", "streamlit", "plotly", "pandas", "numpy",
    "scikit-learn", "pillow", "sqlalchemy", "pydantic",
)  # fmt: skip
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smbfs",
    "smb3",
    "fuse.sshfs",
    "afs",
    "9p",
    "lustre",
    "gpfs",
    "glusterfs",
)

_HUB_TIMEOUT_S = 3.0
_START_TIMEOUT_S = 10.0


def serve(asked: argparse.Namespace, call: Call) -> int:
    """Becomes the dashboard's web server."""
    app = _find_app()
    call.open_store().close()
    if control.supervisor_status(call.home).is_stopped:
        say("The supervisor was stopped; it is started again.")
        control.start_supervisor(call.home)
    else:
        control.expect_run(call.home)
    port = asked.port or _free_port()
    if not _is_free(port):
        raise StateError(
            f"Port {port} of this machine is taken.", hint="Choose another with --port, or leave it out."
        )
    print(f"Dashboard: http://localhost:{port}", flush=True)
    os.environ[HOME_VARIABLE] = str(call.home)
    command = [sys.executable, "-m", "streamlit", "run", str(app), "--server.port", str(port)]
    command += ["--server.address", "localhost", "--server.headless", "true"]
    # Replaces this process, so that whoever ends `superft serve` ends the web server and nothing is left.
    os.execv(sys.executable, [*command, "--browser.gatherUsageStats", "false"])


def supervisor_start(asked: argparse.Namespace, call: Call) -> int:
    """Starts the supervisor, also where a person stopped it."""
    call.open_store().close()
    control.start_supervisor(call.home)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (pid := control.supervisor_pid(call.home)) is None:
        if time.monotonic() >= deadline:
            raise StateError(
                "The supervisor does not come up.", hint=f"Its log is {HomePaths(call.home).supervisor_log}."
            )
        time.sleep(0.05)
    say(f"The supervisor of {call.home} is process {pid}.")
    return 0


def supervisor_status(asked: argparse.Namespace, call: Call) -> int:
    """Says whether the home has a supervisor."""
    status = control.supervisor_status(call.home)
    if asked.json:
        write_json({"pid": status.pid, "is_stopped": status.is_stopped, "is_needed": status.is_needed})
    elif status.pid is not None:
        print(f"The supervisor of {call.home} is process {status.pid}.")
    elif status.is_stopped:
        waits = " Runs wait for it." if status.is_needed else ""
        again = call.command("supervisor", "start")
        print(f"The supervisor of {call.home} was stopped.{waits} `{again}` starts it again.")
    else:
        print(f"No supervisor works in {call.home}. One starts when a run needs it.")
    return 0


def supervisor_stop(asked: argparse.Namespace, call: Call) -> int:
    """Ends the supervisor until it is started again; workers go on, or are paused if asked."""
    pid = control.stop_supervisor(call.home)
    say(f"No supervisor works in {call.home}." if pid is None else "The supervisor has ended.")
    store = call.find_store()
    if store is None:
        return 0
    if asked.pause_runs:
        say("Waiting for the runs to pause at their next step …")
        for record in control.pause_all(store, BY, asked.timeout):
            say(sentence(record))
    elif live := store.list_runs(LIVE_STATES):
        say(f"{counted(len(live), 'run')} at work will go on; --pause-runs pauses them.")
    say(f"None is started by itself until `{call.command('supervisor', 'start')}`.")
    return 0


def stop_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft supervisor stop` takes."""
    parser.add_argument(
        "--pause-runs", action="store_true", help="also pause every run at work, and wait for it"
    )
    parser.add_argument(
        "--timeout", type=float, default=WAIT_S, metavar="S",
        help="of --pause-runs, in seconds; default: %(default)g",
    )  # fmt: skip


def doctor(asked: argparse.Namespace, call: Call) -> int:
    """Reports versions, devices, disk and connection; 1 when something is missing."""
    report = _examine(call.home)
    if asked.json:
        write_json(report)
    else:
        for label, text in _lines(report):
            print(f"{label:<16} {text}")
    for problem in report["problems"]:
        say(f"Problem: {problem}")
    return 1 if report["problems"] else 0


def _find_app() -> Path:
    found = importlib.util.find_spec("dashboard")
    folders = list(found.submodule_search_locations or []) if found else []
    app = Path(folders[0], "app.py") if folders else None
    if app is None or not app.is_file():
        raise MissingPackageError(
            "The dashboard is not installed beside superft_hf.", hint="`pip install -r requirements.txt`"
        )
    return app


def _free_port() -> int:
    return next((port for port in range(DEFAULT_PORT, DEFAULT_PORT + 100) if _is_free(port)), DEFAULT_PORT)


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _examine(home: Path) -> dict[str, Any]:
    versions = {name: _version(name) for name in STACK}
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    file_system = _file_system(place)
    problems = [f"{name} is not installed." for name in STACK if not versions[name]]
    is_writable = _is_writable(place)
    if not is_writable:
        problems.append(f"The home {home} cannot be written to; choose another with --home.")
    if file_system in NETWORK_FILE_SYSTEMS:
        problems.append(f"The home {home} lies on a network disk ({file_system}); SQLite needs a local one.")
    memory, hub = psutil.virtual_memory(), _hub()
    caches = list_caches(HomePaths(home).image_caches)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions,
        "gpus": [asdict(gpu) for gpu in list_gpus()],
        "cpu_cores": cpu_cores(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "home": str(home),
        "home_is_writable": is_writable,
        "home_file_system": file_system,
        "disk_free_bytes": shutil.disk_usage(place).free,
        "image_caches": len(caches),
        "image_cache_bytes": sum(one.size_bytes for one in caches),
        "supervisor_pid": control.supervisor_pid(home),
        "hub": hub,
        "hub_user": _hub_user() if hub["is_reachable"] else {"name": None, "words": NOTHING},
        "problems": problems,
    }


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    gpus = [f"GPU {gpu['index']}: {gpu['name']}, {_gib(gpu['memory_bytes'])}" for gpu in report["gpus"]]
    memory = f"{_gib(report['memory_bytes'])}, {_gib(report['memory_available_bytes'])} of it free"
    disk = f"{_gib(report['disk_free_bytes'])} free on {report['home_file_system'] or 'unknown file system'}"
    caches = f"{_gib(report['image_cache_bytes'])} in {counted(report['image_caches'], 'cache')}"
    writable = "" if report["home_is_writable"] else ", not writable"
    return [
        ("Python", report["python"]),
        ("System", report["system"]),
        *((name, version or "not installed") for name, version in report["versions"].items()),
        ("GPUs", "; ".join(gpus) or "none"),
        ("CPU cores", str(report["cpu_cores"])),
        ("Memory", memory),
        ("Home", report["home"] + writable),
        ("Disk", disk),
        ("Prepared images", caches),
        ("Supervisor", f"process {report['supervisor_pid']}" if report["supervisor_pid"] else "none at work"),
        ("Hub", f"{report['hub']['address']}: {report['hub']['words']}"),
        ("Hub user", report["hub_user"]["words"]),
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _file_system(folder: Path) -> str:
    """The type of the file system that holds a folder; empty when unknown."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    resolved = folder.resolve()
    return next((mounts[place] for place in (resolved, *resolved.parents) if place in mounts), "")


def _hub() -> dict[str, Any]:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return {"address": address, "is_reachable": False, "words": "switched off by HF_HUB_OFFLINE"}
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return {"address": address, "is_reachable": False, "words": f"not reachable ({reason})"}
    return {"address": address, "is_reachable": True, "words": "reachable"}


def _hub_user() -> dict[str, Any]:
    """Whom the Hub takes us for, and with which rights; never with which token."""
    try:
        found = identify()
    except HubError as error:
        return {"name": None, "words": error.message}
    if found is None:
        return {"name": None, "words": "no token; reading works"}
    groups = f", member of {', '.join(found.organisations)}" if found.organisations else ""
    return {
        **asdict(found),
        "words": f"{found.name}, {found.role or 'unknown'} token from {found.source}{groups}",
    }


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
