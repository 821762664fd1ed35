"""The process that sends a run to the Hub for a page: `python -m superft_hf.publish.push_child`.

It reads what to do as JSON from stdin and the token from its environment, and prints one JSON object a line.
It goes on when nobody listens any more: a commit that was begun is made, and the run remembers it.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from superft_hf.errors import SuperFTError
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.push import push
from superft_hf.records import Failure
from superft_hf.store import RunStore

TOKEN_VARIABLE = "HF_TOKEN"
_SAY_EVERY_S = 0.2


def main() -> int:
    """Sends, and says how it went. Returns the exit status."""
    asked = json.loads(sys.stdin.read())
    hear = _Throttle()
    try:
        found = push(
            RunStore(Path(asked["home"])), asked["run_id"], asked["repo_id"],
            PublishOptions(**asked["options"]),
            token=os.environ.get(TOKEN_VARIABLE), by=asked["by"], progress=hear,
        )  # fmt: skip
    except SuperFTError as error:
        _say({"event": "failed", **vars(Failure.of(error))})
        return 1
    _say({"event": "done", **vars(found)})
    return 0


class _Throttle:
    """Tells of progress some times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next or done >= total:
            self._next = time.monotonic() + _SAY_EVERY_S
            _say({"event": "progress", "done": done, "total": total})


def _say(values: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # whoever listened is gone
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
