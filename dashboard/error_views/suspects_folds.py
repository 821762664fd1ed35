"""The folds of a run on the Errors page: their cost, how far they are, and the button that starts them."""

import streamlit as st

from dashboard import dialogs, formats, hub_access, messages, readers
from superft_hf import folds
from superft_hf.errors import SuperFTError
from superft_hf.folds import FoldRuns
from superft_hf.records import RunRecord, RunState

NUMBER, START = "suspects_num_folds", "suspects_start_folds"
_SHOWN = 12


def find(record: RunRecord) -> FoldRuns:
    """The folds of a run, as they are now."""
    return folds.fold_runs(readers.store(), record.run_id, records=readers.run_list())


def draw(record: RunRecord, found: FoldRuns) -> None:
    """Draws how far the folds are, and what starts those that are missing."""
    if found.unfinished:
        dialogs.poll(_draw_progress, "2s", record.run_id, len(found.done))
    elif found.is_complete:
        images = f"all of train, from {formats.counted(found.num_folds, 'fold')}"
        st.markdown(f":small[:gray[:material/check: Out-of-sample predictions for {images}.]]")
    elif found.num_folds:
        _draw_missing(record, found)
    else:
        _draw_offer(record)


def _draw_offer(record: RunRecord) -> None:
    st.markdown(
        "**A network cannot judge labels it was trained on.** Train is cut into parts; for each, a run with "
        "the settings of this one learns from the others and judges that part. So every training image is "
        "judged once, by a network that never saw it."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.number_input(
            "Folds", 2, folds.MAX_FOLDS, folds.DEFAULT_FOLDS, key=NUMBER, width=130,
            help="More folds train on more of the images and judge better, but cost more runs.",
        )  # fmt: skip
        _start_button(record, int(number), f"Start {number} folds")
    st.markdown(f":small[:gray[{cost_words(record, int(number))}]]")


def _draw_missing(record: RunRecord, found: FoldRuns) -> None:
    """Some folds are done, and nothing works on the others."""
    words = formats.counted(len(found.missing), "fold")
    paused = sum(run is not None and run.state is RunState.PAUSED for run in found.by_fold)
    messages.note(
        f"{len(found.done)} of {found.num_folds} folds are done.",
        f"{_states_words(found)} {'Paused ones are resumed on the Runs page.' if paused else ''}",
    )
    if found.missing:
        _start_button(record, found.num_folds, f"Start the missing {words}")


def _start_button(record: RunRecord, number: int, label: str) -> None:
    if not st.button(label, type="primary", icon=":material/play_arrow:", key=START):
        return
    bar = st.progress(0.0, text="Checking model and images")

    def hear(done: int, total: int) -> None:
        bar.progress(done / total if total else 0.0, text=f"{done:,} of {total:,} images opened")

    try:
        folds.start(
            readers.store(), record.run_id, number, by="page", progress=hear, token=hub_access.session_token()
        )
    except SuperFTError as error:
        bar.empty()
        messages.show(error)
        return
    st.rerun()


def _draw_progress(run_id: str, num_done: int) -> None:
    """Redraws the page when a fold is done or nothing works on them any more, else only the words."""
    found = find(readers.run(run_id))
    if len(found.done) != num_done or not found.unfinished:
        st.rerun()
    st.progress(share_done(found), text=f"{len(found.done)} of {found.num_folds} folds done")
    st.markdown(f":small[:gray[{_states_words(found)}]]")


def share_done(found: FoldRuns) -> float:
    """How much of the work of all folds is done, in [0, 1]."""
    parts = [
        1.0
        if run is not None and run.state is RunState.COMPLETED
        else min(run.global_step / run.max_steps, 1.0)
        if run is not None and run.max_steps
        else 0.0
        for run in found.by_fold
    ]
    return sum(parts) / len(parts) if parts else 0.0


def cost_words(record: RunRecord, number: int) -> str:
    """What the folds cost, from what the run itself took."""
    expected = folds.expected_seconds(record, number)
    share = f"{number - 1} of {number} parts"
    if expected is None:
        return (
            f"{number} runs, each on {share} of train. How long they take is known once this run has "
            "completed."
        )
    took = formats.duration(formats.run_duration_s(record))
    return (
        f"{number} runs, each on {share} of train: about {formats.duration(expected)} of work in all, since "
        f"this run took {took}. They wait in the queue like any other; early stopping is as in this run."
    )


def _states_words(found: FoldRuns) -> str:
    """What is with each fold, such as `Fold 1, 2 completed; 3 running at epoch 2.1 of 5; 4 queued`."""
    by_words: dict[str, list[str]] = {}
    for number, run in enumerate(found.by_fold, start=1):
        by_words.setdefault(_state_words(run), []).append(str(number))
    parts = [f"{', '.join(numbers)} {words}" for words, numbers in by_words.items()]
    return f"Fold {'; '.join(parts[:_SHOWN])}."


def _state_words(run: RunRecord | None) -> str:
    if run is None:
        return "not asked for"
    if run.state is RunState.RUNNING and run.max_steps:
        return f"running at epoch {formats.epochs(run.epoch)} of {run.num_train_epochs:g}"
    if run.state is RunState.QUEUED and run.is_held:
        return "held in the queue"
    return str(run.state)
