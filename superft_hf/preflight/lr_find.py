"""The learning-rate range test as seen from outside: it trains in a child process. See recipe.lr_range."""

import math
import threading
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.preflight.child import Hear, ask

MODULE = "superft_hf.training.lr_find"


@dataclass(frozen=True)
class LrRange:
    """What a range test showed. Rates are values of `training.learning_rate`.

    Attributes:
        learning_rates: Of the updates, ascending, shape (T,).
        losses: Training loss of each update's batch, before the update.
        smoothed: Its average with bias correction.
        is_diverged: Whether the loss diverged, which ended the test.
        steepest: Where the smoothed loss falls fastest; None where it does not fall.
        valley: The middle of its fall; likewise.
        family: `convnet` or `transformer`.
        batch_size: Images in an update.
        learning_rate: What the run would train with: as set, else as the rule chooses.
        device: In words.
        duration_s: Seconds that the test took.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    is_diverged: bool
    steepest: float | None
    valley: float | None
    family: str
    batch_size: int
    learning_rate: float
    device: str
    duration_s: float

    @property
    def is_hint(self) -> bool:
        """Whether what was found is no more than a hint."""
        return self.family == "transformer"

    @property
    def suggestion(self) -> float | None:
        """The valley with two digits, within the limits of the setting; None where nothing can be told."""
        return rounded(self.valley)

    @property
    def verdict(self) -> str:
        """What the test tells, in a sentence."""
        if self.suggestion is None:
            return "The loss did not fall at any learning rate: this test cannot suggest one."
        if self.is_hint:
            return f"A hint only: the loss falls well around {self.suggestion:g}."
        return f"Suggested: {self.suggestion:g}, the middle of the fall of the loss."

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, and how far it may be trusted."""
        if self.suggestion is None:
            return (
                "The batches may be too small, or the labels too doubtful, for the few updates of a test. "
                "The rule's choice stands."
            )
        if self.is_hint:
            return (
                "The loss of a transformer falls right up to the rate that breaks it: the small rates before "
                "act as a warm-up, and in a run it breaks later. Good rates lie where the fall begins or "
                "below, so the rule's choice stands unless a short run says otherwise."
            )
        end = self.learning_rates[-1]
        margin = (
            f"{end / self.suggestion:.0f} times below the rate at which it diverged"
            if self.is_diverged
            else "and it did not diverge at any rate"
        )
        return (
            f"There the loss falls, {margin}. It is on the safe side: short runs bear more, up to where the "
            "loss is least. It holds for these images, this batch size and this optimizer."
        )


def find(
    config: RunConfig, home: Path, hear: Hear | None = None, stop: threading.Event | None = None
) -> LrRange:
    """Raises the learning rate of a run from update to update in a child process.

    Args:
        config: The run, as asked.
        home: Where zips are unpacked; nothing is written there.
        hear: Told `step`, `steps`, `learning_rate` and the smoothed `loss` after each update.
        stop: Ends the test when set.

    Raises:
        SuperFTError: As superft_hf.preflight.child.ask.
    """
    found = ask(MODULE, config, home, "The learning-rate test", hear=hear, stop=stop)
    for name in ("learning_rates", "losses", "smoothed"):
        found[name] = tuple(found[name])
    return LrRange(**found)


def rounded(rate: float | None) -> float | None:
    """A rate with two digits, at most 1, which is the setting's limit.

    Example:
        >>> rounded(0.00031623), rounded(1.7), rounded(None)
        (0.00032, 1.0, None)
    """
    if rate is None:
        return None
    return min(1.0, round(rate, 1 - math.floor(math.log10(rate))))
