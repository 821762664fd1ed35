"""Images whose labels may be wrong: of the evaluation that is open, or of train by folds."""

import pandas as pd
import streamlit as st

from dashboard import examples, formats, messages, readers
from dashboard.error_views import suspects_folds, suspects_tiles
from dashboard.error_views.view import View
from dashboard.look import card_head
from superft_hf import folds, label_review
from superft_hf.errors import SuperFTError
from superft_hf.label_review import Review

TRAIN = "train"
SOURCE, SHOWN = "suspects_source", "suspects_shown"
DOUBTED, ALL = "Estimated wrong", "All that differ"
POOR = 0.6
"""Below this share of agreement, a network's doubts are mostly its own mistakes."""

TRAIN_AGAIN = (
    "Look at each: mark it as another class, or keep its label. Then **Marks** trains again "
    "with the corrected labels, on the same splits, and **Compare** tells what that brought."
)


def draw(view: View) -> None:
    """Draws the choice of the images, and their doubtful labels, most doubtful first."""
    with st.container(border=True):
        split = view.evaluation.split
        source = st.segmented_control(
            "Labels of", [split, TRAIN], default=split, required=True, key=f"{SOURCE}_{split}",
            format_func=lambda one: _source_words(one), persist_state="session",
            help="A network can only judge labels that it did not learn. For train, several runs each leave "
            "a part of it out.",
        )  # fmt: skip
        if source == TRAIN:
            _draw_train(view)
        else:
            _draw_evaluation(view)


def _source_words(split: str) -> str:
    how = "by folds" if split == TRAIN else "this evaluation"
    return f":{formats.SPLIT_COLORS[split]}[{split}], {how}"


def _draw_evaluation(view: View) -> None:
    evaluation = view.evaluation
    try:
        review = _of_evaluation(evaluation.run_id, evaluation.split, evaluation.step, evaluation.stamp)
    except SuperFTError as error:
        messages.show(error)
        return
    _draw_review(view, review, evaluation.split)


def _draw_train(view: View) -> None:
    found = suspects_folds.find(view.record)
    suspects_folds.draw(view.record, found)
    if not found.done:
        return
    try:
        review = _of_folds(str(readers.home_paths().home), _stamps(found), found)
    except SuperFTError as error:
        messages.show(error)
        return
    _draw_review(view, review, TRAIN)


@st.fragment
def _draw_review(view: View, review: Review, split: str) -> None:
    _draw_sentence(review, split)
    listed = review.listed
    if listed.empty:
        st.markdown(
            f":gray[Every image of {split} was taken for its label: there is nothing to doubt. "
            "A model that saw these images in training would say the same of wrong labels.]"
        )
        return
    shown = _chosen(listed, review.found.num_issues)
    suspects_tiles.draw(view.record, shown, f"suspects_{split}")
    st.markdown(TRAIN_AGAIN)
    st.download_button(
        "Download CSV", lambda: listed.to_csv(index=False).encode(), f"doubtful-labels-{split}.csv",
        "text/csv", icon=":material/download:", key=f"suspects_csv_{split}", on_click="ignore",
        help="All images that were taken for another class, with label, suggestion and reason.",
    )  # fmt: skip


def _draw_sentence(review: Review, split: str) -> None:
    number = review.found.num_issues
    card_head(
        f"About {formats.counted(number, 'label')} of {review.num_images:,} may be wrong"
        if number
        else f"No label of {review.num_images:,} is estimated to be wrong",
        "by confident learning; most doubtful first",
    )
    notes = ["Doubt is no proof: rare, unclear and unusual images look the same to a network."]
    if review.num_done < review.num_folds:
        notes.insert(0, f"So far from {review.num_done} of {review.num_folds} folds.")
    if review.found.num_dropped:
        dropped = formats.counted(review.found.num_dropped, "image")
        notes.append(f"{dropped} without finite probabilities could not be judged.")
    st.markdown(f":gray[{' '.join(notes)}]")
    if review.accuracy < POOR:
        messages.note(
            f"This model agrees with {formats.percent(review.accuracy)} of the labels only.",
            f"Most doubts about {split} will be its own mistakes: come back with a better run.",
        )


def _chosen(listed: pd.DataFrame, num_issues: int) -> pd.DataFrame:
    """The doubtful ones, or all that were taken for another class."""
    counts = {DOUBTED: int(listed["is_issue"].sum()), ALL: len(listed)}
    if not num_issues or counts[DOUBTED] == counts[ALL]:
        return listed
    choice = st.segmented_control(
        "Shown", [DOUBTED, ALL], default=DOUBTED, required=True, key=SHOWN, label_visibility="collapsed",
        format_func=lambda one: f"{one} {counts[one]:,}", persist_state="session",
    )  # fmt: skip
    return listed[listed["is_issue"]] if choice != ALL else listed


def _stamps(found: folds.FoldRuns) -> tuple[tuple[str, int], ...]:
    """Changes when a fold is done or its predictions change."""
    return tuple(
        (run.run_id, evaluation.stamp)
        for run in found.done
        if (evaluation := examples.best_evaluation(run)) is not None
    )


@st.cache_resource(max_entries=6, show_spinner="Looking for doubtful labels")
def _of_evaluation(run_id: str, split: str, step: int, stamp: int) -> Review:
    return label_review.of_evaluation(readers.run_paths(run_id), run_id, split, step)


@st.cache_resource(max_entries=3, show_spinner="Looking for doubtful labels in train")
def _of_folds(home: str, stamps: tuple[tuple[str, int], ...], _found: folds.FoldRuns) -> Review:
    return label_review.of_folds(readers.store(), _found)
