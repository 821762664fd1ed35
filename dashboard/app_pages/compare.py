"""Compare: which of two runs is better, on which images, and by which settings; curves for more than two."""

import string
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard import charts, examples, formats, gallery, headlines, messages, readers, state
from dashboard.look import card_head
from superft_hf.config_file import changed_settings, value_of
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.comparison import PairedComparison
from superft_hf.records import RunRecord
from superft_hf.settings import all_settings

MAX_RUNS = 8
CHART_HEIGHT, PANEL_HEIGHT = 280, 356
PER_PAGE = 12
PICKER = "compare_runs"
FIGURES = ("accuracy", "f1_macro", "balanced_accuracy", "loss")


def draw_page() -> None:
    """Draws the page from top to bottom."""
    known = {record.run_id: record for record in readers.run_list()}
    head = st.container()
    records, unknown = _choose(known)
    if unknown:
        messages.note(
            f"{formats.counted(len(unknown), 'run')} of the link is not here.", "It may have been deleted."
        )
    if len(records) < 2:
        with head:
            _draw_empty(list(known.values()), records)
        return
    letters = dict(zip([record.run_id for record in records], string.ascii_uppercase, strict=False))
    pair = _load_pair(records[0], records[1])
    with head:
        _draw_head(records, pair)
    _draw_curves(records, letters)
    if pair is not None and pair.comparison is not None:
        _draw_changes(records[1], pair, pair.comparison)
    _draw_settings(records, letters)


def _choose(known: Mapping[str, RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The runs to compare, and ids of the link that are not here."""
    asked = state.compared_run_ids()
    if not state.has_value(PICKER) or state.get_value(PICKER) != asked:
        state.put_value(PICKER, [run_id for run_id in asked if run_id in known][:MAX_RUNS])
    names = _names(list(known.values()))
    with st.container(horizontal=True, vertical_alignment="bottom", key="compare_pickers"):
        chosen = st.multiselect(
            "Runs", list(known), format_func=lambda run_id: names.get(run_id, run_id), key=PICKER,
            max_selections=MAX_RUNS, placeholder="Choose two or more runs",
            help="The first two are A and B: they are compared image by image.",
            on_change=lambda: state.keep_compared_in_link(state.get_value(PICKER, [])),
        )  # fmt: skip
        if len(chosen) >= 2:
            st.button(
                "Swap A and B", icon=":material/swap_horiz:", key="compare_swap",
                on_click=lambda: state.keep_compared_in_link([chosen[1], chosen[0], *chosen[2:]]),
            )  # fmt: skip
    state.keep_compared_in_link(chosen)
    return [known[run_id] for run_id in chosen], [run_id for run_id in asked if run_id not in known]


def _draw_empty(known: Sequence[RunRecord], records: Sequence[RunRecord]) -> None:
    if len(known) < 2:
        st.title("There is nothing to compare yet: that takes two runs.", anchor=False)
        if st.button("Start a run", type="primary", icon=":material/play_arrow:", key="compare_start"):
            state.open_page(state.START_PAGE)
        return
    if records:
        st.title(f"Choose a run to compare {formats.plain(records[0].name)} with.", anchor=False)
    else:
        st.title("Choose two runs to compare.", anchor=False)
    st.caption("The first two are compared image by image; the curves show all of them.")
    newest = [one.run_id for one in known if one.accuracy is not None and one not in records]
    offered = [*[one.run_id for one in records], *newest][:2]
    label = "Compare the two newest" if not records else "Compare with the newest"
    if len(offered) == 2 and st.button(
        label, type="primary", icon=":material/compare_arrows:", key="compare_newest"
    ):
        state.open_compare(offered[::-1] if not records else offered)


class _Pair:
    """What two runs say about the same eval images; `comparison` is None when they share none."""

    def __init__(self, first: examples.Evaluation, second: examples.Evaluation) -> None:
        self.first, self.second = first, second
        self.comparison: PairedComparison | None = examples.compare(first, second)


def _load_pair(first: RunRecord, second: RunRecord) -> _Pair | None:
    """None when one of the two has no evaluation that can be read."""
    try:
        loaded = [examples.best_evaluation(one) for one in (first, second)]
    except SuperFTError:
        return None
    return _Pair(*loaded) if all(loaded) else None


def _draw_head(records: Sequence[RunRecord], pair: _Pair | None) -> None:
    first, second = records[:2]
    if pair is None:
        missing = next((one for one in (first, second) if not examples.steps(one.run_id, "eval")), first)
        st.title(f"{formats.plain(missing.name)} has no evaluation to compare yet.", anchor=False)
        st.caption("Its curves and settings stand below.")
        return
    if pair.comparison is None:
        st.title(
            f"{formats.plain(first.name)} and {formats.plain(second.name)} share no eval image: "
            f"{formats.percent(first.accuracy)} and {formats.percent(second.accuracy)}.",
            anchor=False,
        )
        st.caption(
            "They were evaluated on different images, so their accuracies say little about which is better. "
            "Runs on the same images with the same split seed can be compared image by image."
        )
        return
    st.title(headlines.of_comparison(first.name, second.name, pair.comparison), anchor=False)
    sizes = (len(pair.first.rows), len(pair.second.rows))
    st.caption(headlines.comparison_method(pair.comparison, sizes))


def _draw_curves(records: Sequence[RunRecord], letters: Mapping[str, str]) -> None:
    is_dark = st.context.theme.type == "dark"
    colors = charts.run_colors([record.run_id for record in records], is_dark)
    left, right = st.columns([1.5, 1], gap="small")
    with left, st.container(border=True, height=PANEL_HEIGHT):
        points = {record.run_id: readers.metrics(record.run_id) for record in records}
        key = _choose_metric(points)
        is_loss = key.endswith("loss")
        lines = [
            _line(record, points[record.run_id], key, letters[record.run_id], colors[record.run_id])
            for record in records
        ]
        figure = charts.line_figure(
            lines, is_dark=is_dark, height=CHART_HEIGHT, value_format=".3f" if is_loss else ".1f",
            unit="" if is_loss else " %", is_from_zero=is_loss,
        )  # fmt: skip
        st.plotly_chart(figure, theme="streamlit", config=charts.CONFIG, key="compare_chart", alt=key)
    with right, st.container(border=True, height=PANEL_HEIGHT):
        card_head("Figures on eval", "at the best epoch")
        st.table(_figures(records, letters), hide_index=True, border="horizontal")


def _choose_metric(points: Mapping[str, pd.DataFrame]) -> str:
    found = {key for frame in points.values() for key in frame["key"].unique() if key.startswith("eval_")}
    options = sorted(found, key=lambda key: (key != "eval_loss", key != "eval_accuracy", key)) or [
        "eval_loss"
    ]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        key = st.selectbox(
            "Metric", options, format_func=formats.metric_title, key="compare_metric", width=210,
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        better = "lower is better" if key.endswith("loss") else "in %, higher is better"
        st.markdown(f":small[:gray[by epoch, {better}; ring: best]]", width="content")
    return key


def _line(record: RunRecord, points: pd.DataFrame, key: str, letter: str, color: str) -> charts.Line:
    found = points[points["key"] == key].sort_values("step")
    best = found[found["step"] == record.best_step]["epoch"]
    values = found["value"] * (1 if key.endswith("loss") else 100)
    name = f"{letter} {charts.shortened(record.name, 20)}"
    ring = float(best.iloc[0]) if len(best) else None
    return charts.Line(name, found["epoch"].tolist(), values.tolist(), color, best=ring)


def _figures(records: Sequence[RunRecord], letters: Mapping[str, str]) -> pd.DataFrame:
    table: dict[str, list[str]] = {
        "": ["Accuracy", "95 % interval", "Macro F1", "Loss", "Best epoch", "Duration"]
    }
    for record in records:
        points = readers.metrics(record.run_id)
        best = points[points["step"] == record.best_step] if record.best_step is not None else points[:0]
        values = dict(zip(best["key"], best["value"], strict=True))
        epochs = best[best["key"].str.startswith("eval_")]["epoch"]
        between = formats.accuracy_interval(record.accuracy, formats.eval_size(record))
        table[_column(record, letters)] = [
            formats.percent(record.accuracy),
            between.replace(" – ", "\u00a0–\u2060\u00a0").replace(" %", "\u00a0%"),
            formats.percent(values.get("eval_f1_macro")),
            formats.loss(values.get("eval_loss")),
            f"{epochs.iloc[0]:g}" if len(epochs) else formats.NOTHING,
            formats.duration(formats.run_duration_s(record)),
        ]
    return pd.DataFrame(table)


def _draw_changes(second: RunRecord, pair: _Pair, found: PairedComparison) -> None:
    left, right = st.columns([1.5, 1], gap="small")
    with left, st.container(border=True, height="stretch"):
        card_head(f"Fixed by B: {formats.count(len(found.fixed))}", "A wrong, B right")
        _draw_tiles(
            second.run_id, pair, found.fixed, "fixed", "None: B has every image wrong that A has wrong."
        )
    with right, st.container(border=True, height="stretch"):
        card_head(f"Broken by B: {formats.count(len(found.broken))}", "A right, B wrong")
        _draw_tiles(
            second.run_id,
            pair,
            found.broken,
            "broken",
            "None: every image that A has right, B has right too.",
        )
    with st.container(border=True):
        card_head(f"Both wrong: {formats.count(len(found.both_wrong))}", "hard for both, or labelled wrongly")
        _draw_tiles(
            second.run_id, pair, found.both_wrong, "both", "None: each image is right in one of the two.", 10
        )


def _draw_tiles(
    run_id: str, pair: _Pair, ids: Sequence[str], key: str, otherwise: str, columns: int = 5
) -> None:
    if not ids:
        st.markdown(f":gray[{otherwise}]")
        return
    place = st.container()
    number = st.pagination(-(-len(ids) // PER_PAGE), key=f"compare_{key}_page") if len(ids) > PER_PAGE else 1
    shown = list(ids[(number - 1) * PER_PAGE : number * PER_PAGE])
    rows_a, rows_b = (one.rows.set_index("example_id").loc[shown] for one in (pair.first, pair.second))
    tiles = [
        _tile(pair, row_a, row_b)
        for row_a, row_b in zip(rows_a.itertuples(), rows_b.itertuples(), strict=True)
    ]
    with place:
        gallery.show(run_id, tiles, f"compare_{key}", columns=columns)


def _tile(pair: _Pair, row_a: object, row_b: object) -> gallery.Tile:
    first = pair.first.class_names[row_a.prediction]
    second = pair.second.class_names[row_b.prediction]
    label = pair.second.class_names[row_b.label]
    verdict_a = gallery.verdict(first, row_a.is_right)
    verdict_b = gallery.verdict(second, row_b.is_right)
    caption = f":small[A] {verdict_a} :small[B] {verdict_b}  \n{gallery.true_name(label)}"
    return gallery.Tile(row_b.image, caption, f"A {first}, B {second}, true {label}")


def _draw_settings(records: Sequence[RunRecord], letters: Mapping[str, str]) -> None:
    configs = {record.run_id: readers.config(record.run_id) for record in records}
    first, *others = configs.values()
    keys = {one.key for other in others for one, _, _ in changed_settings(first, other)}
    settings = [one for one in all_settings() if one.key != "name"]
    differing = [one for one in settings if one.key in keys]
    with st.container(border=True):
        card_head("Settings that differ")
        if differing:
            table = {"Setting": [one.key for one in differing]}
            for record, config in zip(records, configs.values(), strict=True):
                table[_column(record, letters)] = [
                    formats.setting_value(value_of(config, one)) for one in differing
                ]
            st.table(pd.DataFrame(table), hide_index=True, border="horizontal")
        else:
            st.markdown(":gray[None: all settings are equal.]")
        equal = len(settings) - len(differing)
        seed = ", among them the seed" if "training.seed" not in keys else "; the seed differs"
        st.markdown(f":small[:gray[{formats.counted(equal, 'setting')} are equal{seed}.]]")


def _column(record: RunRecord, letters: Mapping[str, str]) -> str:
    """The head of a run's column: its letter, and its name where there is room for names."""
    letter = letters[record.run_id]
    return letter if len(letters) > 3 else f"{letter} {formats.plain(charts.shortened(record.name, 16))}"


def _names(records: Sequence[RunRecord]) -> dict[str, str]:
    """Names for the picker; runs of the same name get the end of their id."""
    counts = pd.Series([record.name for record in records]).value_counts()
    return {
        one.run_id: one.name if counts[one.name] == 1 else f"{one.name} ({one.run_id[-4:]})"
        for one in records
    }


draw_page()
