"""Marks on images, as pages make and show them: one image, many at once, and the small badge on a picture.

A press is kept at once; there is nothing to save. Whoever draws the widgets of an image in a dialog calls
`draw_controls`; a list of many gives `mark_many` its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import examples, formats, messages, readers, state
from dashboard.charts import shortened
from superft_hf.errors import SuperFTError
from superft_hf.marks import SPLITS, short_id
from superft_hf.records import Mark, MarkKind, RunRecord

ICONS = {
    MarkKind.WRONG_LABEL: "label_off",
    MarkKind.AMBIGUOUS: "help",
    MarkKind.BAD_IMAGE: "broken_image",
    MarkKind.EXCLUDE: "block",
}
MEANINGS = {
    MarkKind.WRONG_LABEL: "another class than its label",
    MarkKind.AMBIGUOUS: "nobody could tell; stays, unless asked",
    MarkKind.BAD_IMAGE: "broken, empty or no example at all",
    MarkKind.EXCLUDE: "left out for another reason",
}
UNKNOWN_CLASS = ""
"""What stands for no class in the list of corrected ones."""

_NAME_LENGTH = 18


@dataclass(frozen=True)
class Subject:
    """An image that is marked.

    Attributes:
        place: A prediction of it.
        example_id: See `superft_hf.evaluation.prediction_files`.
        image: Its reference there.
        label_name: Name of the class that it counts as.
    """

    place: examples.Place
    example_id: str
    image: str
    label_name: str


def subjects(evaluation: examples.Evaluation, positions: Sequence[int]) -> list[Subject]:
    """Rows of an evaluation as what can be marked. Raises DataNotFoundError."""
    texts = evaluation.texts(list(positions))
    labels = evaluation.rows["label"].iloc[list(positions)]
    return [
        Subject(evaluation.place(position), one, image, evaluation.class_names[label])
        for position, one, image, label in zip(
            positions, texts["example_id"], texts["image"], labels, strict=True
        )
    ]


def marks_of(record: RunRecord) -> list[Mark]:
    """The marks on a run's images, oldest first. Do not change the list."""
    return list(marks_by_id(record).values())


def marks_by_id(record: RunRecord) -> dict[str, Mark]:
    """The marks on a run's images by example id, oldest first. Do not change it."""
    return _marks(str(readers.home_paths().home), record.data, readers.version())


def badge(mark: Mark) -> str:
    """A mark in small Markdown: an icon, and the class that the image really shows or the kind."""
    corrected = mark.kind is MarkKind.WRONG_LABEL and mark.corrected is not None
    words = f"→ {shortened(mark.corrected or '', _NAME_LENGTH)}" if corrected else str(mark.kind)
    return f":small[:material/{ICONS[mark.kind]}: **{formats.plain(words)}**]"


def mark_many(
    record: RunRecord,
    chosen: Sequence[Subject],
    kind: MarkKind,
    corrected: Sequence[str | None] | None = None,
    note: str = "",
) -> int:
    """Marks images of a run, each in place of an earlier mark, and returns how many.

    Args:
        record: The run; the marks are on its images, whatever run predicted them.
        chosen: Which.
        kind: What is the matter with them.
        corrected: Name of the class that each really shows, or None where it is unknown; for wrong labels.
        note: The same for all.

    Raises:
        StoreError: If they cannot be kept; then none is.
    """
    names = corrected if corrected is not None else [None] * len(chosen)
    marks = [
        _mark(record, one, kind, name if name != one.label_name else None, note)
        for one, name in zip(chosen, names, strict=True)
    ]
    return len(readers.store().set_marks(marks))


def remove(record: RunRecord, example_ids: Sequence[str]) -> int:
    """Forgets the marks on some images of a run, and returns how many there were. Raises StoreError."""
    return readers.store().remove_marks(record.data, example_ids)


def draw_controls(
    record: RunRecord,
    place: examples.Place,
    example_id: str,
    image: str,
    label_name: str,
    class_names: Sequence[str],
    key: str,
) -> None:
    """Draws the widgets that mark one image: what is the matter, the class it shows, a note.

    Args:
        record: The run on whose images the mark is.
        place: The prediction that is looked at.
        example_id: Of the image.
        image: Its reference.
        label_name: Name of the class that it counts as.
        class_names: Of the run.
        key: Unique on the page.
    """
    mark = marks_by_id(record).get(example_id)
    one = _Controls(record, Subject(place, example_id, image, label_name), mark, f"{key}_{example_id}")
    one.draw(class_names)


@dataclass(frozen=True)
class _Controls:
    """The widgets of one image, whose values are those of its mark in the store."""

    record: RunRecord
    subject: Subject
    mark: Mark | None
    key: str

    def draw(self, class_names: Sequence[str]) -> None:
        mark = self.mark
        with st.container(gap="xsmall", key=f"{self.key}_mark"):
            self._show("kind", str(mark.kind) if mark else None)
            st.pills(
                "Mark", [str(kind) for kind in MarkKind], key=f"{self.key}_kind", on_change=self._take,
                format_func=_kind_label, help=_HELP,
            )  # fmt: skip
            if mark is not None:
                self._draw_details(mark, class_names)
            error = state.get_value(f"{self.key}_error")
            if error is not None:
                messages.show(error)
            st.markdown(f":small[:gray[{self._meaning()}]]")

    def _draw_details(self, mark: Mark, class_names: Sequence[str]) -> None:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            if mark.kind is MarkKind.WRONG_LABEL:
                others = [name for name in class_names if name != self.subject.label_name]
                if mark.corrected and mark.corrected not in others:
                    others.append(mark.corrected)
                self._show("corrected", mark.corrected or UNKNOWN_CLASS)
                st.selectbox(
                    "It shows", [UNKNOWN_CLASS, *others], key=f"{self.key}_corrected", on_change=self._take,
                    format_func=lambda name: name or "unknown",
                )  # fmt: skip
            self._show("note", mark.note)
            st.text_input(
                "Note", key=f"{self.key}_note", on_change=self._take, placeholder="optional",
                max_chars=500,
            )  # fmt: skip
            st.button(
                "Remove", icon=":material/close:", type="tertiary", key=f"{self.key}_remove",
                on_click=self._remove,
            )  # fmt: skip

    def _show(self, name: str, value: str | None) -> None:
        """Sets a widget to what is kept; left alone when it is so already, since a person may be typing."""
        key = f"{self.key}_{name}"
        if not state.has_value(key) or state.get_value(key) != value:
            state.put_value(key, value)

    def _take(self) -> None:
        """Keeps what the widgets say."""
        kind = state.get_value(f"{self.key}_kind")
        if kind is None:
            self._remove()
            return
        corrected = state.get_value(f"{self.key}_corrected") or None
        if MarkKind(kind) is not MarkKind.WRONG_LABEL:
            corrected = None
        note = state.get_value(f"{self.key}_note") or ""
        self._write(_mark(self.record, self.subject, MarkKind(kind), corrected, note))

    def _remove(self) -> None:
        self._write(None)

    def _write(self, mark: Mark | None) -> None:
        try:
            if mark is None:
                remove(self.record, [self.subject.example_id])
            else:
                readers.store().set_mark(mark)
        except SuperFTError as error:  # a callback: the widgets say it when they are drawn
            state.put_value(f"{self.key}_error", error)
        else:
            state.drop_value(f"{self.key}_error")

    def _meaning(self) -> str:
        """What the mark will do, in a line that is always there, so that nothing moves."""
        if self.mark is None:
            return "Marks stay with the images, for every run on them."
        if self.subject.place.split == "test":
            return "A test image: it is noted, but stays in test unless that is asked for."
        if self._is_relabelled():
            return "This run was trained with another label than the one the image came with."
        if self.mark.kind is MarkKind.AMBIGUOUS:
            return "Stays in the images of new runs, unless it is asked to go."
        if self.mark.corrected:
            return "Train again under Marks: with the corrected label, or without the image."
        return "Train again under Marks leaves it out."

    def _is_relabelled(self) -> bool:
        short = short_id(self.subject.example_id)
        try:
            entries = readers.config(self.record.run_id).data.relabel
        except SuperFTError:
            return False
        return any(one in entries for one in (short, *(f"{split}:{short}" for split in SPLITS)))


def _mark(record: RunRecord, one: Subject, kind: MarkKind, corrected: str | None, note: str) -> Mark:
    return Mark(
        record.data, one.example_id, kind, corrected, one.label_name, _split(one.place), one.image,
        one.place.run_id, note.strip(),
    )  # fmt: skip


def _split(place: examples.Place) -> str:
    """Where the image stands without folds: what a fold evaluates on is a part of train."""
    try:
        is_of_train = place.split == "eval" and readers.config(place.run_id).data.num_folds is not None
    except SuperFTError:
        is_of_train = False
    return "train" if is_of_train else place.split


def _kind_label(kind: str) -> str:
    return f":material/{ICONS[MarkKind(kind)]}: {kind.capitalize()}"


_HELP = "  \n".join(f"**{kind.capitalize()}**: {MEANINGS[kind]}." for kind in MarkKind)


@st.cache_resource(max_entries=8, show_spinner=False)
def _marks(home: str, data: str, version: readers.Version) -> dict[str, Mark]:
    return {mark.example_id: mark for mark in readers.store().read_marks(data)}
