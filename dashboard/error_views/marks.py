"""What people noted on the images of a run, and a new run that makes something of it."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, gallery, marking, messages, readers, state
from dashboard.charts import shortened
from dashboard.error_views import marks_sources
from dashboard.error_views.view import View
from dashboard.look import card_head
from superft_hf.errors import DataError, SuperFTError
from superft_hf.marks import Places, Plan, plan
from superft_hf.marks_file import from_csv, to_csv
from superft_hf.records import Mark, MarkKind

PER_PAGE, COLUMNS = 12, 6
KINDS = "marks_kinds"
UPLOAD = "marks_upload"
NAME_LENGTH = 120
NAME_SHOWN, NOTE_SHOWN = 18, 60


def draw(view: View) -> None:
    """Draws the marks on the run's images, and the two verbs that train again with them."""
    marks = marking.marks_of(view.record)
    places = marks_sources.places(view.record, [mark.example_id for mark in marks])
    _draw_news()
    with st.container(border=True):
        _draw_marks(view, marks, places)
    if marks:
        with st.container(border=True):
            _draw_train_again(view, marks, places)


def _draw_marks(view: View, marks: Sequence[Mark], places: Places) -> None:
    sealed = [] if view.is_test_open else [mark for mark in marks if marks_sources.is_on_test(mark, places)]
    hidden = {mark.example_id for mark in sealed}
    listed = [mark for mark in reversed(marks) if mark.example_id not in hidden]
    note = f"{formats.counted(len(marks), 'image')} · marks stay with the images, for every run on them"
    card_head("Marks", note if marks else "")
    if not marks:
        st.markdown(
            ":gray[No image is marked yet. Look closely at one, under Images or Label errors, and say what "
            "is the matter with it; or import marks that somebody else made.]"
        )
    shown = _filtered(listed) if listed else []
    if shown:
        _draw_tiles(view, shown)
    elif listed:
        st.markdown(":gray[No mark is of these kinds.]")
    if sealed:
        on_test = formats.counted(len(sealed), "mark")
        st.markdown(
            f":small[:green[:material/lock:] :gray[{on_test} on test images: shown once test is open.]]"
        )
    _draw_verbs(view, marks, shown)


def _filtered(marks: Sequence[Mark]) -> list[Mark]:
    """The marks of the kinds that are chosen; of all when none is."""
    numbers = {str(kind): sum(mark.kind is kind for mark in marks) for kind in MarkKind}
    chosen = st.pills(
        "Kinds", [kind for kind, number in numbers.items() if number], selection_mode="multi", key=KINDS,
        label_visibility="collapsed",
        format_func=lambda kind: (
            f":material/{marking.ICONS[MarkKind(kind)]}: {kind.capitalize()} {formats.count(numbers[kind])}"
        ),
    )  # fmt: skip
    return [mark for mark in marks if not chosen or str(mark.kind) in chosen]


def _draw_tiles(view: View, marks: Sequence[Mark]) -> None:
    place, number = st.container(), 1
    if len(marks) > PER_PAGE:
        number = st.pagination(-(-len(marks) // PER_PAGE), key="marks_page")
    page = marks[(number - 1) * PER_PAGE : number * PER_PAGE]
    sources = marks_sources.find(view.record, page, is_test_open=view.is_test_open)
    grid = place.grid(COLUMNS, min_column_width=110, gap=(14, 14), key="marks_tiles")
    for mark, source in zip(page, sources, strict=True):
        with grid.cell(), st.container(gap="xxsmall", key=f"marks_tile_{mark.example_id}"):
            _draw_tile(mark, source)
            st.button(
                "Remove", icon=":material/close:", type="tertiary", key=f"marks_remove_{mark.example_id}",
                help=f"Marked {formats.moment(mark.time)}, {formats.plain(mark.by)}.",
                on_click=_remove, args=(view, [mark]),
            )  # fmt: skip


def _draw_tile(mark: Mark, source: marks_sources.Source | None) -> None:
    split = f":{formats.SPLIT_COLORS[mark.split]}[{mark.split}]"
    label = f":gray[true {formats.plain(shortened(mark.label, NAME_SHOWN))}] · " if mark.label else ""
    note = f"  \n:small[{formats.plain(shortened(mark.note, NOTE_SHOWN))}]" if mark.note else ""
    caption = f"{marking.badge(mark)}  \n:small[{label}{split}]{note}"
    if source is None:
        with st.container(border=True, height=110, vertical_alignment="center"):
            st.markdown(":small[:gray[:material/broken_image: No run that is left can show it.]]")
        st.markdown(caption)
        return
    tile = gallery.Tile(source.reference, caption, f"{mark.kind}, true {mark.label}", source.place)
    gallery.show(source.run_id, [tile], f"marks_{mark.example_id}", columns=1)


def _draw_verbs(view: View, marks: Sequence[Mark], shown: Sequence[Mark]) -> None:
    with st.container(horizontal=True):
        if marks:
            st.download_button(
                "Download CSV", lambda: to_csv(marks).encode(), "marks.csv", "text/csv",
                icon=":material/download:", key="marks_download", on_click="ignore",
            )  # fmt: skip
        with st.popover("Import CSV", icon=":material/upload:", key="marks_import"):
            _draw_import(view)
        if len(shown) > 1:
            with st.popover("Remove all shown", icon=":material/delete:", type="tertiary", key="marks_clear"):
                number = formats.counted(len(shown), "mark")
                st.markdown(f"{number} will be forgotten. The images and the runs stay as they are.")
                st.button(f"Remove {number}", key="marks_remove_all", on_click=_remove, args=(view, shown))


def _draw_import(view: View) -> None:
    st.markdown(
        "Marks as Download CSV writes them. Rows with `example_id` and `kind` alone are taken for images of "
        "this run."
    )
    key = state.fresh_key(UPLOAD)
    uploaded = st.file_uploader("CSV file", type=["csv"], key=key, max_upload_size=20)
    if uploaded is not None and st.button("Import", type="primary", key="marks_import_now"):
        try:
            news = _import(view, uploaded.getvalue())
        except SuperFTError as error:
            messages.show(error)
            return
        state.renew_key(UPLOAD)
        state.put_value(state.MARKS_NEWS, news)
        st.rerun()


def _import(view: View, content: bytes) -> str:
    """Keeps the marks of a file, and says what was kept. Raises SuperFTError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("The file is not UTF-8 text.", hint="Save it as CSV with UTF-8.") from error
    record = view.record
    names = record.facts.get("class_names")
    marks = from_csv(text, record.data, class_names={record.data: names} if names else None)
    present = {(mark.data, mark.example_id) for mark in readers.store().read_marks()}
    readers.store().set_marks(marks)
    replaced = sum((mark.data, mark.example_id) in present for mark in marks)
    elsewhere = sum(mark.data != record.data for mark in marks)
    parts = [f"{formats.counted(len(marks), 'mark')} imported"]
    parts += [f"{formats.count(replaced)} in place of an earlier one"] if replaced else []
    parts += [f"{formats.count(elsewhere)} on other images than this run's"] if elsewhere else []
    return ", ".join(parts) + "."


def _remove(view: View, marks: Sequence[Mark]) -> None:
    try:
        marking.remove(view.record, [mark.example_id for mark in marks])
    except SuperFTError as error:  # a callback: said when the view is drawn
        state.put_value(state.MARKS_NEWS, error)


def _draw_news() -> None:
    """What the last import or removal came to; once."""
    news = state.get_value(state.MARKS_NEWS)
    state.drop_value(state.MARKS_NEWS)
    if isinstance(news, SuperFTError):
        messages.show(news)
    elif news:
        st.markdown(f":gray[:material/check: {news}]")


def _draw_train_again(view: View, marks: Sequence[Mark], places: Places) -> None:
    card_head("Train again", "opens the Start page, which checks the images before anything starts")
    with st.container(horizontal=True, gap="medium"):
        kinds = {mark.kind for mark in marks}
        with_ambiguous = MarkKind.AMBIGUOUS in kinds and st.toggle(
            "Leave out ambiguous ones, too", key="marks_with_ambiguous"
        )
        has_test = any(marks_sources.is_on_test(mark, places) for mark in marks)
        with_test = has_test and st.toggle(
            "Change test, too", key="marks_with_test",
            help="The new run's test figures are then on other images or labels than those of earlier runs.",
        )  # fmt: skip
    options = {"include_ambiguous": with_ambiguous, "include_test": with_test, "places": places}
    try:
        config = readers.config(view.record.run_id)
        without = plan(config, marks, with_corrections=False, **options)
        corrected = plan(config, marks, with_corrections=True, **options)
    except SuperFTError as error:
        messages.show(error)
        return
    has_corrections = bool(corrected.relabelled)
    left, right = st.columns(2)
    with left:
        _draw_verb(view, "Without the marked images", "without marked images", without, not has_corrections)
    with right:
        _draw_verb(view, "With corrected labels", "with corrected labels", corrected, has_corrections)
    sentences = without.left_alone()  # the same for both
    if without.changes_eval or corrected.changes_eval:
        sentences.append(
            "Eval changes: the new run's figures are on another set than this run's. Compare takes only the "
            "images that both have, with the same label."
        )
    if sentences:
        st.markdown("  \n".join(f":small[:gray[{sentence}]]" for sentence in sentences))


def _draw_verb(view: View, title: str, suffix: str, found: Plan, is_primary: bool) -> None:
    is_correcting = suffix.startswith("with ")
    is_ready = bool(found.relabelled if is_correcting else found.changes)
    is_pressed = st.button(
        title, icon=":material/replay:", type="primary" if is_primary and is_ready else "secondary",
        disabled=not is_ready, key=f"marks_again_{suffix.replace(' ', '_')}",
    )  # fmt: skip
    sentences = found.done()
    if is_correcting and not found.relabelled:
        sentences = [
            "No label to correct: a wrong label is corrected once its mark names the class it shows."
        ]
    st.markdown("  \n".join(f":small[{sentence}]" for sentence in sentences))
    if is_pressed:
        name = f"{view.record.name}, {suffix}"[:NAME_LENGTH]
        state.repeat_run(view.record.run_id, {"name": name, **found.changes})
