"""What an operating point leads to: before and after, on eval and on test, and class by class."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, formats
from dashboard.error_views import thresholds_data
from dashboard.error_views.thresholds_data import Scores
from dashboard.error_views.view import View
from dashboard.look import card_head
from superft_hf.evaluation.decision import Decision
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.evaluation.operating_points import Outcome, outcome_of

TABLE_ROWS, TABLE_HEIGHT = 12, 420


Pair = tuple[Outcome, Outcome]
"""Of the likeliest class and of a decision, both with its costs."""


def before_and_after(scores: Scores, decision: Decision) -> Pair:
    """What a decision changes; unless it takes the likeliest class, this reads every logit."""
    before = outcome_of(scores.plain_answers, scores.labels, decision)
    if decision.takes_likeliest:
        return before, before
    return before, outcome_of(scores.answers(decision), scores.labels, decision)


def draw(view: View, scores: Scores, decision: Decision, label: int, pair: Pair) -> None:
    """Draws the figures of a decision beside those of the likeliest class.

    Args:
        view: What is looked at.
        scores: Of its evaluation.
        decision: What is being chosen.
        label: The class whose own figures are shown.
        pair: What the decision changes there.
    """
    shown = [(scores, pair)]
    if scores.evaluation.split == "eval" and thresholds_data.is_choosable(view):
        test = thresholds_data.read_test(view)
        shown += [(test, before_and_after(test, decision))] if test is not None else []
    note = "before: the likeliest class · after: the operating point"
    if len(shown) == 2:
        note += " · chosen on eval, applied to test"
    elif scores.evaluation.split == "test":
        note += " · chosen on eval"
    card_head("What it leads to", note)
    columns: dict[str, list[str]] = {"": [title for title, _ in _rows(decision, label)]}
    for one, outcomes in shown:
        split, size = one.evaluation.split, formats.count(len(one.labels))
        for when, found in zip(("before", "after"), outcomes, strict=True):
            columns[f"{split} {when}, {size} images"] = [words(found) for _, words in _rows(decision, label)]
    column = st.column_config.TextColumn(alignment="right")
    st.dataframe(
        pd.DataFrame(columns), hide_index=True, height="content", key="thresholds_figures",
        placeholder=formats.NOTHING,
        column_config={name: column for name in columns if name},
    )  # fmt: skip
    st.markdown(
        ":small[:gray[A wrong answer costs a false positive of the class that was answered and a false "
        "negative of the true one. An image that is left unanswered costs the latter.]]"
    )


def draw_classes(scores: Scores, decision: Decision, pair: Pair) -> None:
    """Draws a table of the classes, those with the most that is missed or wrong first."""
    before, after = pair
    names = scores.evaluation.class_names
    note = f"on {scores.evaluation.split}, with the operating point · most missed first"
    card_head("By class", note)
    support = after.matrix.sum(axis=1)
    missed = support - after.matrix.diagonal()
    order = np.lexsort((np.arange(len(names)), -missed))
    digits = 3 if len(names) <= 100 else 5
    wrong = after.matrix[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    most = wrong.argmax(axis=1)
    shares = {
        "Recall": after.recall, "Recall before": before.recall,
        "Precision": after.precision, "Precision before": before.precision,
    }  # fmt: skip
    table = pd.DataFrame(
        {
            "Class": [names[one] for one in order],
            "Threshold": [f"{one:.{digits}f}" for one in np.asarray(decision.limits)[order]],
            "Images": [formats.count(support[one]) for one in order],
            **{name: [_share(one) for one in values[order]] for name, values in shares.items()},
            "Not sure": [formats.count(after.abstained[one]) for one in order],
            "Most often taken for": [
                f"{names[most[one]]}, {wrong[one, most[one]]:,} ×" if wrong[one, most[one]] else None
                for one in order
            ],
        }
    )
    right = st.column_config.TextColumn(alignment="right", width=104)
    st.dataframe(
        table, hide_index=True, key="thresholds_classes", placeholder=formats.NOTHING,
        height="content" if len(table) <= TABLE_ROWS else TABLE_HEIGHT,
        column_config={
            one: right for one in table.columns if one not in ("Class", "Most often taken for")
        },
    )  # fmt: skip


def _rows(decision: Decision, label: int) -> list[tuple[str, Callable[[Outcome], str | None]]]:
    name = charts.shortened(decision.class_names[label], 24)
    return [
        ("Answered", lambda one: _of(one.num_answered, one.num_images)),
        ("Right, of the answered", _accuracy),
        ("Right, of all", lambda one: _of(one.num_right, one.num_images)),
        ("Wrong", lambda one: formats.count(one.num_answered - one.num_right)),
        ("Not sure", lambda one: formats.count(one.num_images - one.num_answered)),
        ("Cost", lambda one: f"{one.cost:,.6g}"),
        (f"Recall of {name}", lambda one: _share(one.recall[label])),
        (f"Precision of {name}", lambda one: _share(one.precision[label])),
    ]


def _accuracy(found: Outcome) -> str | None:
    """With its interval, since fewer answers make it rougher."""
    if found.accuracy is None:
        return None
    between = formats.interval(*wilson_interval(found.num_right, found.num_answered))
    return f"{formats.percent(found.accuracy)} ({between})"


def _of(part: int, whole: int) -> str | None:
    return f"{formats.percent(part / whole)} ({formats.count(part)})" if whole else None


def _share(value: float) -> str | None:
    return None if np.isnan(value) else formats.percent(float(value))
