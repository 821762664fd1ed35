"""What changed from epoch to epoch: images learned late, forgotten, never learned, always right."""

from collections.abc import Sequence

import streamlit as st

from dashboard import charts, epoch_scrubber, examples, formats, gallery, history_charts, messages, state
from dashboard.error_views import epochs_lists
from dashboard.error_views.epochs_lists import Listed
from dashboard.error_views.view import View
from dashboard.history_charts import GAINED, LOST, Epochs
from dashboard.look import card_head
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import history
from superft_hf.evaluation.history import Answers, Group

NEWEST, SHOWN = "the newest epoch", "the epoch shown"
BAR, ACCURACY, FLOW = "errors_epochs_bar", "errors_epochs_accuracy", "errors_epochs_flow"
GROUPS, UNTIL = "errors_epochs_group", "errors_epochs_until"
PER_PAGE, COLUMNS = 15, 5


def draw(view: View) -> None:
    """Draws what became of the images, one list of them, and how they changed sides."""
    steps = examples.steps(view.record.run_id, "eval")
    if view.evaluation.split != "eval":
        messages.empty(
            "Test is evaluated once, so nothing can change from epoch to epoch.",
            "Choose eval above: it is evaluated at the end of every epoch.", ":material/lock:",
        )  # fmt: skip
        return
    if len(steps) < 2:
        _draw_too_early(view)
        return
    try:
        answers = epochs_lists.answers(view.record, steps, view.evaluation.step)
    except DataNotFoundError as error:
        messages.show(error)
        return
    if not len(answers.labels):
        messages.empty("The evaluations have no image in common.", "So no image can be followed.")
        return
    counted = _draw_groups(view, answers)
    listed = epochs_lists.chosen(view.record.run_id, answers, counted)
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True):
        _draw_list(view, answers, counted, listed)
    with right:
        _draw_charts(view, answers, steps, listed)


def _draw_too_early(view: View) -> None:
    if view.record.is_unfinished:
        messages.empty(
            "Two evaluations are needed to see what changed.",
            "There is one so far; the second comes at the end of the next epoch, and is shown by itself.",
            ":material/hourglass_top:",
        )
        return
    messages.empty(
        "This run was evaluated once, so there is nothing to compare.",
        "Repeat it with more epochs to see what is learned late and what is forgotten.",
    )


def _draw_groups(view: View, answers: Answers) -> Answers:
    """Draws the summary, and returns the history that is counted."""
    run_id = view.record.run_id
    with st.container(border=True):
        head = st.container()
        until = st.segmented_control(
            "Counted up to", [NEWEST, SHOWN], default=NEWEST, required=True, key=UNTIL,
            persist_state="session", help="The slider above chooses the epoch shown, such as the best.",
        )  # fmt: skip
        counted = answers.until(view.evaluation.step) if until == SHOWN else answers
        sizes = epochs_lists.sizes(counted)
        with head:
            card_head("What became of each image", _note(answers))
            st.markdown(epochs_lists.sentence(counted, sizes))
        listed = epochs_lists.chosen(run_id, answers, counted)
        figure = history_charts.groups_figure(sizes, listed.group, is_dark=st.context.theme.type == "dark")
        st.plotly_chart(
            figure, theme="streamlit", config=charts.CONFIG, key=BAR, selection_mode="points",
            on_select=lambda: _take_bar(run_id), alt="The same counts as in the buttons below, as a bar.",
        )  # fmt: skip
        state.put_value(GROUPS, str(listed.group) if listed.group else None)
        st.segmented_control(
            "Images that were", [str(one) for one in Group], key=GROUPS, label_visibility="collapsed",
            format_func=lambda one: _group_title(Group(one), sizes), on_change=lambda: _take_group(run_id),
        )  # fmt: skip
    return counted


def _note(answers: Answers) -> str:
    read, there = len(answers.steps), answers.num_evaluations
    part = f"{formats.count(read)} of {formats.count(there)} evaluations are read · " if read < there else ""
    return (
        f"{part}learned late: still wrong after {formats.percent(history.LATE_SHARE).replace('.0', '')} "
        "of the epochs"
    )


def _group_title(group: Group, sizes: dict[Group, int]) -> str:
    color = "orange" if group in (Group.FORGOTTEN, Group.NEVER_LEARNED) else "blue"
    return f":{color}[{str(group).capitalize()}] {formats.count(sizes[group])}"


def _draw_list(view: View, answers: Answers, counted: Answers, listed: Listed) -> None:
    images = epochs_lists.images(answers, counted, listed)
    number = epoch_scrubber.words(examples.steps(view.record.run_id, "eval"), view.evaluation.step)
    card_head(
        f"{epochs_lists.title(view.record, listed)}: {formats.counted(len(images), 'image')}",
        f"{epochs_lists.order_words(listed)}as predicted in evaluation {number}",
    )
    if not len(images):
        st.markdown(f":gray[{epochs_lists.nothing(listed, counted)}]")
        return
    positions = answers.rows_at(view.evaluation.step, images)
    gallery_key = f"errors_epochs_{listed.key}"
    gallery.show_pages(view.evaluation, positions, gallery_key, size=PER_PAGE, columns=COLUMNS)


def _draw_charts(view: View, answers: Answers, steps: Sequence[int], listed: Listed) -> None:
    is_dark, run_id = st.context.theme.type == "dark", view.record.run_id
    flow = history.flow(answers)
    best = view.record.best_step
    epochs = Epochs(
        [steps.index(one) + 1 for one in answers.steps], steps.index(view.evaluation.step) + 1,
        steps.index(best) + 1 if best in steps else None, len(steps),
    )  # fmt: skip
    with st.container(border=True):
        card_head("Right by epoch", "ring: best · click a point to go there")
        st.plotly_chart(
            history_charts.accuracy_figure(flow, len(answers.labels), epochs, is_dark=is_dark),
            theme="streamlit", config=charts.CONFIG, key=ACCURACY, selection_mode="points",
            on_select=lambda: _take_epoch(run_id), alt="Share of images predicted rightly in each epoch.",
        )  # fmt: skip
    with st.container(border=True):
        card_head(
            "Changed sides", ":blue[:material/check: became right] :orange[:material/close: became wrong]"
        )
        st.plotly_chart(
            history_charts.flow_figure(flow, epochs, listed.change, is_dark=is_dark),
            theme="streamlit", config=charts.CONFIG, key=FLOW, selection_mode="points",
            on_select=lambda: _take_change(run_id),
            alt="Images that became right or wrong in each epoch; the lists hold the same images.",
        )  # fmt: skip
        lost, gained = (formats.counted(int(flow[kind].sum()), "time") for kind in (LOST, GAINED))
        words = (
            f"Click a bar to see its images. In all from right to wrong {lost}, from wrong to right {gained}."
        )
        st.markdown(f":small[:gray[{words}]]")


def _take_group(run_id: str) -> None:
    found = state.get_value(GROUPS)
    if found:
        epochs_lists.choose(run_id, Listed(group=Group(found)))


def _take_bar(run_id: str) -> None:
    for point in state.selection(BAR).get("points", [])[:1]:
        epochs_lists.choose(run_id, Listed(group=Group(_first(point["customdata"]))))


def _take_change(run_id: str) -> None:
    for point in state.selection(FLOW).get("points", [])[:1]:
        kind, step = point["customdata"][:2]
        epochs_lists.choose(run_id, Listed(change=(str(kind), int(step))))


def _take_epoch(run_id: str) -> None:
    for point in state.selection(ACCURACY).get("points", [])[:1]:
        if "customdata" in point:
            state.choose_step(run_id, str(int(_first(point["customdata"]))))


def _first(value: object) -> object:
    """Plotly reports customdata of one value alone or in a list."""
    return value[0] if isinstance(value, list | tuple) else value
