"""What a person can do to a run, in words: the pages and the command line show the same."""

from dataclasses import dataclass

from superft_hf.records import LIVE_STATES, TERMINAL_STATES, Request, RunRecord, RunState


@dataclass(frozen=True)
class Verb:
    """One thing to do to a run.

    Attributes:
        name: As on the command line: `finish`.
        title: A button's words.
        consequence: What it does, in a sentence or two.
        icon: Of Material Symbols.
        states: Where it fits.
        is_final: Whether it takes something away that cannot be had back.
    """

    name: str
    title: str
    consequence: str
    icon: str
    states: tuple[RunState, ...]
    is_final: bool = False


FINISH = Verb(
    "finish", "Finish now",
    "Stops at the next step, evaluates, keeps the best epoch so far, tests it once, and ends as completed.",
    "flag", LIVE_STATES,
)  # fmt: skip
PAUSE = Verb(
    "pause", "Pause",
    "Saves everything at the next step and frees the device. Resumed, it goes on as if it had never stopped: "
    "to the bit on a CPU, on GPUs as far as their kernels repeat themselves.",
    "pause", LIVE_STATES,
)  # fmt: skip
STOP_HARD = Verb(
    "stop-hard", "Stop hard",
    "For a worker that does not answer: ends its processes at once. The run is paused at its last complete "
    "checkpoint; the steps since then are lost.",
    "power_settings_new", LIVE_STATES,
)  # fmt: skip
RESUME = Verb(
    "resume", "Resume",
    "Puts the run into the queue again; it goes on from its last complete checkpoint, its settings locked.",
    "play_arrow", (RunState.PAUSED, RunState.FAILED),
)  # fmt: skip
HOLD = Verb(
    "hold", "Hold", "Keeps the run in the queue without starting it.", "back_hand", (RunState.QUEUED,)
)
LET_GO = Verb("let-go", "Let go", "Lets a held run start in its turn.", "play_arrow", (RunState.QUEUED,))
DISCARD = Verb(
    "discard", "Discard",
    "Stops the run and deletes its weights and checkpoints. Its record, curves and predictions stay.",
    "delete", tuple(state for state in RunState if state not in TERMINAL_STATES), is_final=True,
)  # fmt: skip


def fitting_verbs(record: RunRecord) -> list[Verb]:
    """What fits a run as it is now, the likeliest first.

    A hard stop is offered once the run has been asked to pause or to finish.
    """
    if record.request == Request.DISCARD:
        return []
    if record.request == Request.STOP_HARD and record.is_live:  # on its way: only less can be wanted of it
        return [DISCARD]
    verbs = [
        verb
        for verb in (RESUME, FINISH, PAUSE, STOP_HARD, HOLD, LET_GO, DISCARD)
        if record.state in verb.states
    ]
    is_asked = record.request in (Request.FINISH, Request.PAUSE)
    left_out = {
        FINISH if record.request == Request.FINISH else None,
        PAUSE if record.request == Request.PAUSE else None,
        None if is_asked else STOP_HARD,
        HOLD if record.is_held else LET_GO,
    }
    return [verb for verb in verbs if verb not in left_out]
