"""What lies behind an exception of a library or of the system, as one of our errors with the next step.

Libraries say the same thing in many classes and words, so an error is known by `errno` where it has one, else
by marks in its text or in that of what caused it. What is not known stays what it is.
"""

import errno
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from superft_hf import errors
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError, WorkerDiedError
from superft_hf.hub_failures import explain
from superft_hf.oom_kills import KillsFound, find_kills
from superft_hf.recipe.decided import roughly
from superft_hf.sources.places import local_path, looks_like_path
from superft_hf.sources.table import SUFFIXES as TABLES
from superft_hf.words import counted

_OPEN_FILES = ("too many open files", "received 0 items of ancdata")
_SHARED = (
    "bus error", "unable to open shared memory object", "unable to mmap", "shared memory manager",
    "out of shared memory", "unable to write to file </torch_", "unable to allocate shared memory",
)  # fmt: skip
_LOADER_KILLED = re.compile(
    r"DataLoader worker \(pid[^)]*\) (is killed by signal: Killed|exited unexpectedly)"
)
_READ_ONLY = ("read-only file system", "readonly database")
_NO_CODE = ("no kernel image is available", "unsupported toolchain", "not compiled with cuda")
_DRIVER = (
    "cuda driver version is insufficient", "forward compatibility was attempted", "found no nvidia driver",
    "nvidia driver on your system is too old", "driver/library version mismatch",
    "cuda driver initialization failed", "system not yet initialized",
)  # fmt: skip
_MEMORY = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
    "unable to allocate", "_status_alloc_failed",
)  # fmt: skip
_NO_NUMBER = ("returned nan values", "contains nan", "nan or inf", "non-finite")
_IMAGE = ("cannot identify image file", "image file is truncated", "broken data stream", "decompressionbomb")
_HUB_PACKAGES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
_NAMED_FILE = re.compile(r"(?:image file|directory:) '?([^'\n]+?)'?$", re.MULTILINE)
_BRING_BACK = "Bring it back, then resume the run. If it lies elsewhere now, repeat the run with that path."
_WRAPPED = re.compile(r"^(?:[\w.]+\.)?(\w+)(?:: (.*))?$")
_EXCEPTION_LINE = re.compile(r"^(?:\[?rank\d+\]?:?\s*)?((?:[\w.]+\.)?\w*(?:Error|Exception)): (.+)$")

Explanation = Callable[[BaseException, str, RunConfig | None, Path | None], SuperFTError | None]


def explain_raw(
    error: BaseException, config: RunConfig | None = None, place: Path | None = None
) -> SuperFTError | None:
    """Looks through an error and what caused it.

    Args:
        error: Any exception.
        config: Of the run.
        place: The folder of the run, whose disk is named when nothing else is known.

    Returns:
        An error with a hint, or None when it is not known.
    """
    wrapped = _unwrapped(error)
    if wrapped is not None:
        return wrapped
    for one in _chain(error):
        text = str(one)
        for explanation in _EXPLANATIONS:
            found = explanation(one, text, config, place)
            if found is not None:
                return found
    return None


def behind_death(
    error: WorkerDiedError, config: RunConfig | None, lines: Sequence[str], place: Path | None
) -> SuperFTError:
    """Looks for the reason of a death without words: the signal, the system's records, the log's last lines.

    Args:
        error: What is known so far.
        config: Of the run.
        lines: The last lines of its log.
        place: The folder of the run.
    """
    if error.returncode == -signal.SIGBUS:
        return _shared_memory("The worker was ended by a bus error")
    if error.returncode in (None, -signal.SIGKILL):
        killed = _killed(error, find_kills())
        if killed is not None:
            return killed
    said = next((found for line in reversed(lines) if (found := _EXCEPTION_LINE.match(line))), None)
    if said is None or error.returncode == -signal.SIGKILL:
        return error
    return explain_raw(RuntimeError(said[2]), config, place) or error


def lost_place(error: BaseException, config: RunConfig | None) -> SuperFTError | None:
    """The error that names the run's images or model, when their folder or file is not there any more.

    Args:
        error: What was raised: only an error about files or images can have this reason.
        config: Of the run.
    """
    about_files = (errors.DataError, errors.ModelError, FileNotFoundError, NotADirectoryError)
    if config is None or not isinstance(error, about_files):
        return None
    data, model = config.data.name_or_path, config.model.name_or_path
    if not isinstance(error, errors.ModelError) and _is_lost(data):
        return errors.DataNotFoundError(
            f"The images are gone: there is no {data}.",
            hint=_BRING_BACK,
        )
    if not isinstance(error, errors.DataError) and _is_lost(model):
        return errors.ModelNotFoundError(
            f"The model is gone: there is no {model}.",
            hint=_BRING_BACK,
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _unwrapped(error: BaseException) -> SuperFTError | None:
    """One of our errors that was raised in a loader process: torch keeps its name and words as text only."""
    text = str(error).strip()
    if not text.startswith("Caught "):
        return None
    found = _WRAPPED.match(text.splitlines()[-1].strip())
    kind = getattr(errors, found[1], None) if found else None
    if not (isinstance(kind, type) and issubclass(kind, SuperFTError)):
        return None
    made = kind.__new__(kind)  # its own way of wording needs what is not known here
    SuperFTError.__init__(made, found[2] or found[1], hint="The log of the run has the details.")
    return made


def _of_open_files(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    is_known = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    if not is_known and not _has(text, _OPEN_FILES):
        return None
    return errors.OpenFilesError(
        "The system lets the run open no further file.",
        hint="Fewer loader processes need fewer files; `ulimit -n 65536` before the start allows more.",
    )


def _of_shared_memory(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    return _shared_memory("A loader process had no shared memory left") if _has(text, _SHARED) else None


def _of_loaders(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    """A loader process that is gone: torch says no more of it than that."""
    if not _LOADER_KILLED.search(text):
        return None
    return WorkerDiedError(
        "A loader process was ended from outside; the system may have been out of memory.",
        hint="Fewer loader processes, or a smaller batch, need less memory.",
        returncode=-signal.SIGKILL,
    )


def _of_disk(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    filename = getattr(error, "filename", None)
    where = filename or place or "the runs"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EDQUOT or errors.is_disk_full(error):
        return errors.DiskFullError(where)
    if number == errno.EROFS or _has(text, _READ_ONLY):
        return errors.AccessError(
            f"The disk of {where} can only be read.",
            hint="Mount it so that it can be written to; a disk with faults is often made read-only.",
        )
    if isinstance(error, PermissionError) or _has(text, ("permission denied",)):
        return errors.AccessError(
            f"There is no right to use {where}.",
            hint="Give the user that runs the worker the right to read it, and to write where runs lie.",
        )
    return None


def _of_driver(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    choice = "Resume the run then, or repeat it on the CPU."
    if _has(text, _NO_CODE):
        return errors.CudaDriverError(
            f"The installed torch has no code for this GPU: {_first_line(text)}",
            hint=f"Install the torch build that pytorch.org names for this GPU and its driver. {choice}",
        )
    if _has(text, _DRIVER):
        return errors.CudaDriverError(
            f"The GPU's driver and the installed torch do not fit together: {_first_line(text)}",
            hint="Update the NVIDIA driver, or install a torch build for the CUDA version that `nvidia-smi` "
            f"names. {choice}",
        )
    return None


def _of_memory(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    is_known = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not is_known and not _has(text, _MEMORY):
        return None
    device = "the GPU" if _has(text, ("cuda", "cublas", "cudnn", "hiperror", "gpu")) else "the CPU"
    training = roughly(config).training if config else None
    if _is_evaluating(error):
        return errors.EvalOutOfMemoryError(training.per_device_eval_batch_size if training else 1, device)
    return errors.OutOfMemoryError(training.per_device_train_batch_size if training else 1, device)


def _of_numbers(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    if config is None or not (isinstance(error, FloatingPointError) or _has(text, _NO_NUMBER)):
        return None
    return errors.DivergedError(None, roughly(config).training.learning_rate)


def _of_images(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    if not _has(f"{type(error).__name__} {text}", _IMAGE):
        return None
    named = _NAMED_FILE.search(text)
    return errors.BadImageError([named[1] if named else "that was being read"], _first_line(text))


def _of_hub(
    error: BaseException, text: str, config: RunConfig | None, place: Path | None
) -> SuperFTError | None:
    is_known = type(error).__module__.partition(".")[0] in _HUB_PACKAGES
    if not is_known and "huggingface.co" not in text:
        return None
    if not isinstance(error, Exception):
        return None
    if config is None:
        return explain(error, "what the run needs")
    is_data = config.data.name_or_path in text or "dataset" in text
    name = config.data.name_or_path if is_data else config.model.name_or_path
    kind = "dataset" if is_data else "model"
    return explain(error, f"the {'images' if is_data else 'model'} {name}", name, kind)


_EXPLANATIONS: tuple[Explanation, ...] = (
    _of_open_files,  # before shared memory: torch words the one like the other
    _of_shared_memory,  # before the disk: a full /dev/shm has the words of a full disk
    _of_loaders,
    _of_disk,
    _of_driver,
    _of_memory,
    _of_images,
    _of_hub,
    _of_numbers,
)


def _killed(error: WorkerDiedError, kills: KillsFound) -> WorkerDiedError | None:
    """The error with what the system's records tell; None when they tell nothing."""
    hint = "Resume the run; if it happens again, repeat it with a smaller batch, or train fewer runs at once."
    if kills.is_recent:
        return WorkerDiedError(
            "The system was out of memory and ended the worker.", hint=hint, returncode=-signal.SIGKILL
        )
    if not kills.count or error.returncode is None:
        return None
    processes = counted(kills.count, "process", "processes")
    return WorkerDiedError(
        "The worker was killed (signal 9), perhaps by the system for want of memory: it has ended "
        f"{processes} for that since it started.",
        hint=hint,
        returncode=error.returncode,
    )


def _shared_memory(what: str) -> SuperFTError:
    return errors.SharedMemoryError(
        f"{what}: /dev/shm is too small.",
        hint="Repeat without loader processes, or make it larger (of a container: `--shm-size=8g`).",
    )


def _is_evaluating(error: BaseException) -> bool:
    """Whether Trainer was in an evaluation when the error was raised."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in ("evaluation_loop", "prediction_step"):
            return True
        trace = trace.tb_next
    return False


def _is_lost(name: str) -> bool:
    """Whether a name in the configuration is a path at which nothing lies."""
    is_path = looks_like_path(name) or name.lower().endswith((".zip", *TABLES))
    return is_path and local_path(name) is None


def _has(text: str, marks: Sequence[str]) -> bool:
    lower = text.lower()
    return any(mark in lower for mark in marks)


def _first_line(text: str) -> str:
    line = (text.strip().splitlines() or [""])[0].strip()
    return f"{line.rstrip('.')[:300]}."
