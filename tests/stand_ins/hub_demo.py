"""`make run HUB=standin`: the whole dashboard with no network, on a Hub that lives on this machine.

The Hub's folder and the client's cache lie below the home, apart from a person's own, so that neither their
downloads nor their token is touched; deleting the home deletes both.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from superft_hf.paths import HOME_VARIABLE, home_dir, make_home
from tests.hub_stand_in import READ_TOKEN, STRANGER_TOKEN, TOKENS, WRITE_TOKEN, HubStandIn
from tests.stand_ins.hub_content import fill_hub

PORT = 8765
FOLDER = "stand-in-hub"
RIGHTS = {
    WRITE_TOKEN: "may push to tester/… and acme/…, and open what is gated",
    READ_TOKEN: "may read the same, but push nothing",
    STRANGER_TOKEN: "is another person: no gated or private files, and no pushing to acme",
}
REMOVED = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE",
           "HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH")  # fmt: skip


def main(arguments: list[str]) -> int:
    """Serves the Hub and the dashboard until the dashboard ends; `arguments` are `superft serve`'s."""
    home = make_home(home_dir())
    root = filled(home / FOLDER / "repositories")
    # A supervisor keeps the variables it was started with: neither one from before may serve this Hub's
    # runs, nor this one's those of a later day.
    _stop_supervisor(home)
    with HubStandIn(root, port=_free(PORT)) as hub:
        say(hub.url, root)
        command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "serve", *arguments]
        dashboard = subprocess.Popen(command, env=environment(hub.url, home))
        signal.signal(signal.SIGTERM, lambda *_: dashboard.terminate())
        try:
            dashboard.wait()
        except KeyboardInterrupt:  # Ctrl-C reaches the dashboard as well, which ends by itself.
            dashboard.wait(20)
        _stop_supervisor(home)
    return 0


def _stop_supervisor(home: Path) -> None:
    command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "supervisor", "stop"]
    subprocess.run(command, capture_output=True, check=False)


def filled(root: Path) -> Path:
    """The folder of repositories: made on the first call, kept with whatever was pushed since."""
    if not root.is_dir():
        sys.stdout.write("Filling the stand-in Hub, once for this home …\n")
        sys.stdout.flush()
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as aside:
            fill_hub(Path(aside) / root.name)
            shutil.move(Path(aside) / root.name, root)
    return root


def environment(url: str, home: Path) -> dict[str, str]:
    """A process's variables in which the stand-in is the Hub."""
    kept = {key: value for key, value in os.environ.items() if key not in REMOVED}
    # No proxy stands between two processes of one machine.
    return {
        **kept, "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", HOME_VARIABLE: str(home),
        "HF_HOME": str(home / FOLDER / "huggingface"), "NO_PROXY": "127.0.0.1,localhost",
    }  # fmt: skip


def say(url: str, root: Path) -> None:
    """Tells what was started, and which tokens may be typed."""
    lines = [f"The stand-in Hub answers at {url}, out of {root}."]
    lines += ["Its tokens, to be typed into the dashboard's sidebar (reading needs none):"]
    lines += [f"  {token}  {TOKENS[token]['name']} {rights}" for token, rights in RIGHTS.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _free(port: int) -> int:
    """The port, or 0 when somebody has it: addresses of pushed models should stay the same."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=1):
            return 0
    except OSError as error:
        return 0 if hasattr(error, "code") else port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
