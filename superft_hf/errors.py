"""Errors a person can act on.

Each says what happened, with names and numbers, and carries a hint: the next step. They cross
process borders as `kind`, `message` and `hint` (see `superft_hf.records.Failure`), so a class name is
part of the contract: scripts may test it.
"""

import errno


class SuperFTError(Exception):
    """The base of every error that is shown to a person without a traceback."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The class name, as stored with a failed run."""
        return type(self).__name__


class ConfigError(SuperFTError):
    """A setting is unknown, of the wrong type, or out of its range."""


class HomeError(SuperFTError):
    """The folder that holds the runs cannot be used."""


class SchemaVersionError(HomeError):
    """The database was written by another version of this program."""


class RunNotFoundError(SuperFTError):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id!r}.", hint="List the runs with `superft runs`.")


class StateError(SuperFTError):
    """The verb does not fit the state of the run."""


class DataError(SuperFTError):
    """The images cannot be used as they are."""


class DataNotFoundError(DataError):
    """The folder, file, sample or Hub data set does not exist, or cannot be reached."""


class ArchiveError(DataError):
    """A zip is broken, too large, or holds names that leave its folder."""


class BadImageError(DataError):
    """A file that should be an image cannot be decoded."""

    def __init__(self, references: list[str], reason: str) -> None:
        count = len(references)
        subject = f"The file {references[0]} is" if count == 1 else f"{count} files are"
        others = "" if count == 1 else f" First: {references[0]}."
        super().__init__(
            f"{subject} not a readable image: {reason}.{others}",
            hint="Mend or remove it, or set data.on_bad_image to skip; skipped files are counted in the run.",
        )
        self.references = references


class ClassMismatchError(DataError):
    """A split has classes that the train split lacks."""

    def __init__(self, split: str, unknown: list[str]) -> None:
        noun = "a class" if len(unknown) == 1 else f"{len(unknown)} classes"
        super().__init__(
            f"The {split} split has {noun} absent from the train split: {', '.join(unknown[:5])}.",
            hint=f"Add training images for it, or remove it from the {split} split.",
        )
        self.unknown = unknown


class DataChangedError(DataError):
    """The images of a run that is resumed are not those with which it began."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The images of {name} have changed since the run began.",
            hint="Bring them back as they were and resume, or repeat the run with the present images.",
        )


class ModelError(SuperFTError):
    """The base model cannot be used as it is."""


class ModelNotFoundError(ModelError):
    """The model does not exist, or cannot be reached."""


class DeviceError(SuperFTError):
    """The devices asked for are not there."""


class CudaDriverError(DeviceError):
    """The GPU's driver and the installed torch do not fit together."""


class OutOfMemoryError(SuperFTError):
    """A training step did not fit into memory."""

    def __init__(self, batch_size: int, device: str) -> None:
        smaller = max(1, batch_size // 2)
        super().__init__(
            f"Out of memory on {device} with {batch_size} images a step.",
            hint=f"Repeat with training.per_device_train_batch_size {smaller} and twice the "
            "training.gradient_accumulation_steps, or a smaller model.image_size.",
        )


class MemoryLimitError(OutOfMemoryError):
    """A run took more memory than its share."""

    def __init__(self, taken: int, limit: int) -> None:
        SuperFTError.__init__(
            self,
            f"A process of the run takes {taken / 1e9:.1f} GB, its share is {limit / 1e9:.1f} GB.",
            hint="Repeat with a smaller training.per_device_train_batch_size, or let fewer runs train at "
            "once.",
        )


class EvalOutOfMemoryError(OutOfMemoryError):
    """An evaluation step did not fit into memory."""

    def __init__(self, batch_size: int, device: str) -> None:
        SuperFTError.__init__(
            self,
            f"Out of memory on {device} while evaluating {batch_size} images at once.",
            hint=f"Repeat with training.per_device_eval_batch_size {max(1, batch_size // 2)}: it changes "
            "speed and memory only.",
        )


class DivergedError(SuperFTError):
    """The loss is no longer a number."""

    def __init__(self, step: int | None, learning_rate: float) -> None:
        place = "" if step is None else f" at step {step}"
        super().__init__(
            f"The loss is no longer a number{place}.",
            hint=f"Repeat with a lower training.learning_rate, such as {learning_rate / 10:.1g}.",
        )


class NothingTrainedError(SuperFTError):
    """Weights that should have been trained did not change."""


class WorkerDiedError(SuperFTError):
    """The process that trained the run is gone without having said why.

    Attributes:
        returncode: As subprocess has it, negative for a signal; None when it is not known.
    """

    def __init__(self, message: str, *, hint: str = "", returncode: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode


class NoProgressError(SuperFTError):
    """A worker lives, but does not get on."""

    def __init__(self, words: str) -> None:
        super().__init__(
            f"The run made no progress for {words}, so its worker was ended.",
            hint="Resume it: it goes on from its last complete checkpoint. Its log has what it said last; "
            "training.hang_timeout_s is how long a run may stand still.",
        )


class SharedMemoryError(SuperFTError):
    """The memory that loader processes share with the training process (/dev/shm) is used up."""


class OpenFilesError(SuperFTError):
    """The system lets a process open no further file."""


class FilterError(SuperFTError):
    """A filter of images, from a link or the store, cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The filter cannot be read: {reason}.", hint="Clear it, and choose the images anew."
        )


class AccessError(SuperFTError):
    """A file or folder may not be read or written: no right to it, or a read-only disk."""


class MissingPackageError(SuperFTError):
    """A setting needs a package that is not installed."""


class DownloadError(SuperFTError):
    """Something that has to be fetched could not be."""


class HubError(SuperFTError):
    """The Hugging Face Hub did not do what was asked; see `superft_hf.hub_failures`."""


class HubUnreachableError(HubError):
    """No connection, no answer in time, or an answer of 5xx."""


class TokenRefusedError(HubError):
    """The Hub does not accept the token (401), or it lacks a right."""


class GatedError(HubError):
    """The repository wants its terms accepted first (403)."""


class RateLimitedError(HubError):
    """Too many requests (429)."""


class BrokenDownloadError(HubError):
    """A download was cut off; no half file is used, and whole ones are kept for the next try."""


class PublishError(SuperFTError):
    """A run could not be published or exported."""


class DecisionError(SuperFTError):
    """The file that says how probabilities become answers is damaged, or does not fit the model."""


class StoreError(HomeError):
    """The database of the home did not do what was asked: it is in use, damaged, removed or read-only."""


class DiskFullError(StoreError):
    """There is no room on the disk of the home."""

    def __init__(self, home: object) -> None:
        super().__init__(
            f"The disk of {home} is full.",
            hint="Free some space and try again: `superft delete` removes a run that has ended. Runs that "
            "have ended lose nothing.",
        )


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk lies behind an error, whoever met it first."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        if any(mark in str(error) for mark in ("disk is full", "No space left on device")):
            return True
        error = error.__cause__ or error.__context__
    return False
