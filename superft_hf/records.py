"""Plain records that travel between store, engine, command line and pages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from superft_hf.errors import SuperFTError


class RunState(StrEnum):
    """Where a run is in its life. The pages show the value as the word."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    DISCARDED = "discarded"


LIVE_STATES = (RunState.STARTING, RunState.RUNNING)
"""A process of ours works on the run."""

UNFINISHED_STATES = (RunState.QUEUED, *LIVE_STATES)
"""The supervisor still has something to do."""

TERMINAL_STATES = (RunState.COMPLETED, RunState.DISCARDED)
"""Nothing can be discarded or stopped any more."""


class Request(StrEnum):
    """What a person asked of a run. Written by the person's side only; the worker and the supervisor obey.

    FINISH and PAUSE are obeyed by the worker at its next optimizer step, STOP_HARD and DISCARD by the
    supervisor at once.
    """

    FINISH = "finish"
    PAUSE = "pause"
    STOP_HARD = "stop hard"
    DISCARD = "discard"


class PauseReason(StrEnum):
    """Why a run is paused. Only after SHUTDOWN it goes on by itself, with the next supervisor."""

    PERSON = "a person paused it"
    SHUTDOWN = "the machine was shut down"
    DISK = "too little disk space"
    STOPPED_HARD = "a person stopped it hard"


@dataclass(frozen=True)
class Remedy:
    """A change of the configuration that settles a finding or a failure.

    Attributes:
        title: A button's words: `Leave the copies out of train`.
        changes: New values of settings by dotted key, such as `{"data.exclude": [...]}`; complete, so that
            putting them into the form is all there is to do.
    """

    title: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """Why a run failed; made by `superft_hf.doctor.diagnose`.

    Attributes:
        kind: The error's class name.
        message: What happened.
        hint: What to do next.
        log: The last lines of the run's log.
        remedies: Changes of the configuration with which a new run may succeed.
    """

    kind: str
    message: str
    hint: str
    log: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Makes a failure of any exception; an unexpected one points at the log."""
        if isinstance(error, SuperFTError):
            return cls(error.kind, error.message, error.hint)
        text = str(error).strip().splitlines() or [type(error).__name__]
        return cls(type(error).__name__, text[0][:500], "The log of the run has the details.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Failure":
        """Makes a failure of what the database or `--json` has; older ones lack log and remedies."""
        remedies = tuple(Remedy(**one) for one in values.get("remedies", ()))
        return cls(**{**values, "log": tuple(values.get("log", ())), "remedies": remedies})


@dataclass(frozen=True)
class HomeSettings:
    """Settings of a home, which are of no single run.

    Attributes:
        cpu_slots: How many runs train at once on a machine without GPUs.
        webhook_url: Where a message is sent when a run ends, fails or is paused; None: nowhere.
        is_supervisor_stopped: Whether a person stopped the supervisor: it is not started by itself then.
    """

    cpu_slots: int = 1
    webhook_url: str | None = None
    is_supervisor_stopped: bool = False


@dataclass(frozen=True)
class RunRecord:
    """One row of the run list: everything a table or a headline needs, without reading the metrics.

    Attributes:
        run_id: Made by us, such as `20261124-0233-k3f9`.
        name: Free text, never empty: the run id when none was given.
        state: See RunState.
        model: `model.name_or_path` of the config.
        data: `data.name_or_path` of the config.
        created_at: UTC, ISO 8601; likewise started_at and ended_at, which are None until then.
        request: What a person last asked for, or None.
        is_held: A held run waits in the queue until it is let go.
        failure: Only for failed runs.
        global_step: Optimizer updates made so far.
        max_steps: Optimizer updates planned; 0 until known.
        epoch: Passes over the train split made so far, with a fraction.
        num_train_epochs: Passes planned; 0 until known.
        best_metric: Name of the metric that chooses the best checkpoint, such as `eval_loss`.
        best_value: Its best value so far.
        best_step: The global step of that evaluation.
        accuracy: `eval_accuracy` at the best step.
        evaluation: Figures of the best model by split: `{"eval": {...}, "test": {...}}`, without prefixes.
        facts: What the worker found out: class names, image counts by split, device, and so on.
        waiting_for: Why a queued run does not start, in words, or None.
        priority: Runs of a higher one start first.
        queued_at: When it was put into the queue last; of equal priority the earlier one starts first.
        pause_reason: See PauseReason; None unless it is paused.
        progress_at: When its worker last got on: a step, an evaluation batch, an image opened.
        worked_s: Seconds at work before its present start: a paused run works several times.
    """

    run_id: str
    name: str
    state: RunState
    task: str
    model: str
    data: str
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    request: str | None = None
    is_held: bool = False
    failure: Failure | None = None
    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0
    num_train_epochs: float = 0.0
    best_metric: str | None = None
    best_value: float | None = None
    best_step: int | None = None
    accuracy: float | None = None
    evaluation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    waiting_for: str | None = None
    priority: int = 0
    queued_at: str | None = None
    pause_reason: str | None = None
    progress_at: str | None = None
    worked_s: float = 0.0

    @property
    def is_live(self) -> bool:
        """Whether a process works on it."""
        return self.state in LIVE_STATES

    @property
    def is_unfinished(self) -> bool:
        """Whether it is queued or live."""
        return self.state in UNFINISHED_STATES

    def to_dict(self, *, with_test: bool = False) -> dict[str, Any]:
        """All fields as plain values, for JSON; the test figures only when asked for: see the vault."""
        shown = {split: one for split, one in self.evaluation.items() if with_test or split != "test"}
        return {**asdict(self), "state": str(self.state), "evaluation": shown}


@dataclass(frozen=True)
class ProcessRecord:
    """A process that works on a run.

    Attributes:
        pid: The process id.
        started: When the process began, seconds since the epoch: a pid alone may be another's by now.
        role: `launcher`, or `rank 0`, `rank 1`, …
    """

    pid: int
    started: float
    role: str


@dataclass(frozen=True)
class Event:
    """Who did what to a run, and when (UTC, ISO 8601)."""

    time: str
    by: str
    what: str
    detail: str = ""


class MarkKind(StrEnum):
    """What a person found about an image."""

    WRONG_LABEL = "wrong label"
    AMBIGUOUS = "ambiguous"
    BAD_IMAGE = "bad image"
    EXCLUDE = "exclude"


@dataclass(frozen=True)
class Mark:
    """What a person noted on one image of a set of images; a later mark replaces it.

    Attributes:
        data: The images, as `data.name_or_path` of the run on which it was marked.
        example_id: See `superft_hf.evaluation.prediction_files`.
        kind: What is the matter.
        corrected: Name of the class that it really shows; None when unknown.
        label: Name of the class that it counts as.
        split: train, eval or test, at the time of marking.
        image: Finds the image again, together with `run_id`.
        run_id: The run on whose pages it was marked.
        note: Free text.
        by: Who: `page`, `command line`.
        time: UTC, ISO 8601; empty before it is kept.
    """

    data: str
    example_id: str
    kind: MarkKind
    corrected: str | None
    label: str
    split: str
    image: str
    run_id: str
    note: str = ""
    by: str = "page"
    time: str = ""


LOOKED_AT_TEST = "looked at test"
"""The event that a person was shown the test figures of a run; only the first time is recorded."""

PUBLISHED = "published"
"""The event that a run was pushed to the Hub; its detail is the address of the commit or pull request."""


@dataclass(frozen=True)
class ModelInfo:
    """What a picker shows of a model, the same for the Hub, a local folder and a sample.

    Attributes:
        name_or_path: What goes into the config.
        title: Short name for people.
        description: One quiet line.
        source: `hub`, `local` or `sample`.
        architecture: Such as `resnet` or `tf_efficientnet_lite0`; empty when unknown.
        num_parameters: None when it cannot be known without downloading.
        size_bytes: Of the weights; None when unknown.
        image_size: Height and width in pixels that the model expects; None when unknown.
        image_mean: Mean of each channel (fractions) that its processor subtracts; empty when unknown.
        image_std: Deviation of each channel that its processor divides by; empty when unknown.
        licence: As its authors name it; empty when unknown.
        num_labels: Classes of its present head; None when unknown.
        class_names: The first few class names of its present head.
        revision: The commit hash, where there is one.
        task: The Hub's name of its task, such as `image-classification`; empty when unknown.
        library: `transformers`, `timm` or another; empty when unknown.
        is_gated: Whether its terms have to be accepted on the Hub.
        has_safetensors: Whether its weights can be loaded without running code.
        downloads: In the last month; None when unknown.
        likes: None when unknown.
        last_modified: UTC, ISO 8601; empty when unknown.
        problem: Why it cannot be trained here, or None.
        hint: What to do about the problem.
    """

    name_or_path: str
    title: str
    description: str
    source: str
    architecture: str = ""
    num_parameters: int | None = None
    size_bytes: int | None = None
    image_size: int | None = None
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    licence: str = ""
    num_labels: int | None = None
    class_names: tuple[str, ...] = ()
    revision: str | None = None
    task: str = ""
    library: str = ""
    is_gated: bool = False
    has_safetensors: bool = True
    downloads: int | None = None
    likes: int | None = None
    last_modified: str = ""
    problem: str | None = None
    hint: str = ""


@dataclass(frozen=True)
class DataInfo:
    """What a picker shows of a set of images, the same for the Hub, a local folder, a zip and a sample.

    Attributes:
        counts: Images by class name, by split (train, eval, test): `{"train": {"cat": 12}}`.
        is_cut: Names of the splits that were cut from train rather than given.
        licence_note: A sentence to show where the licence asks for it.
        columns: Names that `data.group_column` may take; empty when there are none.
        num_groups: Groups by split when `data.group_column` is set: `{"train": 12}`.
        num_unlabelled: Rows without a label, which are left out.
    """

    name_or_path: str
    title: str
    description: str
    source: str
    class_names: tuple[str, ...] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    is_cut: tuple[str, ...] = ()
    licence: str = ""
    licence_note: str = ""
    columns: tuple[str, ...] = ()
    num_groups: Mapping[str, int] = field(default_factory=dict)
    num_unlabelled: int = 0

    @property
    def num_images(self) -> int:
        """Images in all splits."""
        return sum(sum(by_class.values()) for by_class in self.counts.values())


@dataclass(frozen=True)
class ImageRef:
    """One image that a finding is about.

    Attributes:
        split: train, eval or test.
        reference: Finds the image again, see `superft_hf.sources.load.open_reference`.
        example_id: The first 16 hexadecimal digits of its SHA-256.
        label: Its class name.
        note: What is the matter with it, or which image it belongs with; may be empty.
    """

    split: str
    reference: str
    example_id: str
    label: str = ""
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of the pre-flight report.

    Attributes:
        level: `fine`, `know` or `blocks`.
        title: The finding in a few words.
        text: Its consequence, with numbers.
        hint: What to do; empty when there is nothing to do.
        kind: Class name of the error that a start would raise; empty unless it blocks.
        code: Stable name for scripts and tests, such as `near-duplicates`.
        images: Pictures concerned, those that belong together side by side; at most 200.
        num_images: How many are concerned in all.
        remedies: What settles it by one click.
    """

    level: str
    title: str
    text: str = ""
    hint: str = ""
    kind: str = ""
    code: str = ""
    images: tuple[ImageRef, ...] = ()
    num_images: int = 0
    remedies: tuple[Remedy, ...] = ()
