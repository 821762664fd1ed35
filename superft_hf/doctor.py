"""Why a run failed, and what to do: an exception becomes a sentence, a hint, log lines and remedies.

The worker, the supervisor and a run in the foreground store what `diagnose` says. Nothing here raises: a
failure that cannot be explained keeps its class name and its first line.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from superft_hf import errors
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub_failures import scrub
from superft_hf.raw_errors import behind_death, explain_raw, lost_place
from superft_hf.records import Failure
from superft_hf.run_remedies import remedies_for

LOG_LINES = 20
LOG_BYTES = 64_000
MAX_LINE = 500

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links
    r"|\x1b[@-Z\\-_]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_WITHOUT_NEXT_STEP = (
    errors.HubError,
    errors.DownloadError,
    errors.CudaDriverError,
    errors.DiskFullError,
    errors.SharedMemoryError,
    errors.OpenFilesError,
    errors.AccessError,
)
"""Errors of the surroundings: when they are mended, the run goes on as it is."""


def diagnose(error: BaseException, config: RunConfig | None = None, log: Path | None = None) -> Failure:
    """Explains why a run failed.

    Args:
        error: What was raised, or what the supervisor found.
        config: Of the run, as decided where that is known: remedies are computed from it.
        log: The run's log; its last lines are kept with the failure.

    Returns:
        Kind, message, hint, at most 20 lines of the log, and remedies whose changes are complete.
    """
    lines = () if log is None else last_lines(log)
    known = _explained(error, config, lines, log)
    if known is None:
        failure = Failure.of(error)
        return replace(failure, message=masked(_first_words(error, failure.message)), log=lines)
    return Failure(
        known.kind,
        masked(known.message),
        masked(_with_resume(known)),
        log=lines,
        remedies=() if config is None else remedies_for(known, config),
    )


def last_lines(log: Path, limit: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log that hold words, oldest first; nothing when it cannot be read.

    Only its end is read. A progress bar leaves its last state; colours and other control sequences are left
    out, and tokens masked.

    Args:
        log: The file.
        limit: How many lines at most.
    """
    try:
        with log.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - LOG_BYTES))
            text = opened.read(LOG_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ()
    if size > LOG_BYTES:  # the first line was cut somewhere
        text = text.partition("\n")[2] or text
    lines = (_CONTROL.sub("", _last_state(line)).rstrip() for line in text.split("\n"))
    spoken = [line for line in lines if any(letter.isalpha() for letter in line)]
    return tuple(masked(_shortened(line)) for line in spoken[-limit:])


def masked(text: str) -> str:
    """A text without anything that looks like a token of the Hub.

    Example:
        >>> masked("Bearer hf_abcdefgh12")
        'Bearer hf_…'
    """
    return scrub(text)


def _explained(
    error: BaseException, config: RunConfig | None, lines: Sequence[str], log: Path | None
) -> SuperFTError | None:
    """The error in our words; None when it is not known."""
    place = None if log is None else log.parent
    if isinstance(error, errors.WorkerDiedError):
        return behind_death(error, config, lines, place)
    known = error if isinstance(error, SuperFTError) else None
    if known is None or known.message.startswith("Caught "):  # by a loader process, which wraps it
        known = explain_raw(error, config, place) or known
    return lost_place(known or error, config) or known


def _with_resume(error: SuperFTError) -> str:
    """The hint; where nothing is wrong with the run itself, it ends with what to do then."""
    says_it = "resume" in error.hint.lower()
    if says_it or not isinstance(error, _WITHOUT_NEXT_STEP):
        return error.hint
    return f"{error.hint} Then resume the run.".strip()


def _first_words(error: BaseException, message: str) -> str:
    """Of an error that a loader process wrapped, what it is about: its last line."""
    text = str(error.args[0] if error.args else error)  # str() of a KeyError adds quotes
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:MAX_LINE] if lines and lines[0].startswith("Caught ") else message


def _last_state(line: str) -> str:
    """What a terminal shows of a line in which a progress bar was drawn again and again."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def _shortened(line: str) -> str:
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"
