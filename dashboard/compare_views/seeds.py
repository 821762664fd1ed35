"""Runs that differ only in their seed, as one group each: mean and deviation, and more by one click."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, hub_access, messages, readers
from dashboard.compare_views import groups
from dashboard.compare_views.view import View
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
from superft_hf.evaluation import seeds
from superft_hf.records import RunRecord
from superft_hf.run_pairs import cost_in_words, group_name, more_seeds

NUM_MORE = 2


def draw(view: View) -> None:
    """Draws a card for each group of seeds among the compared runs, and what the groups say together."""
    found = _groups(view)
    _draw_difference(found)
    for group in found:
        with st.container(border=True, gap="xsmall"):
            _draw_group(group)


def _groups(view: View) -> list[list[RunRecord]]:
    """Each group once, in the order of the compared runs, its runs oldest first."""
    known = {record.run_id: record for record in readers.run_list()}
    ids = dict.fromkeys(groups.group_of(record.run_id) for record in view.records)
    return [[known[one] for one in group if one in known] for group in ids]


def _draw_difference(found: Sequence[list[RunRecord]]) -> None:
    if len(found) < 2:
        st.markdown(
            "The compared runs differ in nothing but the seed: what lies between them is chance."
            if found and len(found[0]) > 1
            else "One run cannot say how much of its figure is chance; more seeds can."
        )
        return
    first, second = found[:2]
    names = [_name(group) for group in (first, second)]
    figures = [[one.accuracy or 0.0 for one in groups.evaluated(_ids(group))] for group in (first, second)]
    compared = seeds.compare_groups(*figures)
    if compared is not None:
        st.markdown(seeds.in_words(compared, *(f"**{formats.plain(name)}**" for name in names)))
        return
    few = [f"**{formats.plain(name)}**" for name, one in zip(names, figures, strict=True) if len(one) < 2]
    st.markdown(
        f"The test over images says what these two *models* do. Whether the *settings* differ shows over "
        f"seeds: that takes two finished runs or more of each, and {' and '.join(few)} "
        f"{'has' if len(few) == 1 else 'have'} fewer."
    )


def _draw_group(group: list[RunRecord]) -> None:
    done = groups.evaluated(_ids(group))
    waiting = [one for one in group if one.is_unfinished]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(title(group), anchor=False, width="content")
        is_asked = st.button(
            f"Run {NUM_MORE} more seeds", icon=":material/add:", key=f"compare_seeds_{group[0].run_id}",
            help=f"Queues {cost_in_words(done, NUM_MORE)}. Nothing else differs.",
        )  # fmt: skip
    if done:
        found = seeds.summarise([one.accuracy or 0.0 for one in done])
        between = (
            f" · 95 % interval of the mean {formats.interval(max(found.low, 0.0), min(found.high, 1.0))}"
            if found.low is not None and found.high is not None
            else ""
        )
        st.markdown(f"{seeds.mean_in_words(found)} eval accuracy{between}")
        each = [f"seed {groups.seed_of(one.run_id)}: {formats.percent(one.accuracy)}" for one in done]
        st.markdown(f":small[:gray[{' · '.join(each[:12])}{' · …' if len(each) > 12 else ''}]]")
    else:
        st.markdown(":gray[None of its runs is finished with an evaluation yet.]")
    if waiting:
        st.markdown(f":small[:gray[{formats.counted(len(waiting), 'more run')} queued or at work.]]")
    st.markdown(f":small[:gray[{NUM_MORE} more: {cost_in_words(done, NUM_MORE)}.]]")
    if is_asked:
        _queue(group)


def title(group: Sequence[RunRecord]) -> str:
    """A group in words: its name and how many seeds are finished."""
    number = len(groups.evaluated(_ids(group)))
    return f"{formats.plain(_name(group))} ({formats.counted(number, 'seed')})"


def _name(group: Sequence[RunRecord]) -> str:
    return group_name([one.name for one in group])


def _ids(group: Sequence[RunRecord]) -> list[str]:
    return [one.run_id for one in group]


def _queue(group: list[RunRecord]) -> None:
    """Queues more seeds of the group's first run; a refusal is shown, and no run is created."""
    bar = st.progress(0.0, text="Checking model and images")

    def hear(done: int, total: int) -> None:
        bar.progress(done / total if total else 0.0, text=f"{done:,} of {total:,} images opened")

    try:
        configs = more_seeds(readers.store(), group[0].run_id, NUM_MORE)
        made = control.submit_many(
            readers.store(), configs, by="page", progress=hear, token=hub_access.session_token()
        )
    except SuperFTError as error:
        bar.empty()
        messages.show(error)
        return
    bar.empty()
    names = ", ".join(f"**{formats.plain(one.name)}**" for one in made)
    st.markdown(f":material/schedule: Queued: {names}. The Runs page shows them.")
