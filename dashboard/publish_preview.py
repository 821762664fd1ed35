"""The preview on the Publish page: the card as the Hub would draw it, the files, the metadata.

What stays true: test figures are drawn only once they were opened, since a look at them counts.
"""

import io
import zipfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import formats, readers
from superft_hf.publish.bundle import DECISION, FILES, Bundle, draw_figures, make_bundle
from superft_hf.publish.card import Card
from superft_hf.publish.card_results import MisclassifiedPicture, Section
from superft_hf.publish.evidence import Evidence, collect
from superft_hf.publish.licences import Licences, find_licences
from superft_hf.publish.options import PublishOptions

CARD_HEIGHT = 760
MAX_ZIP_BYTES = 1_000_000_000


def evidence(run_id: str) -> Evidence:
    """What is known of a run. Raises SuperFTError as `collect`."""
    num_events = len(readers.events(run_id))  # a look or a publication makes it new
    return _evidence(str(readers.store().home), run_id, num_events)


def licences(found: Evidence) -> Licences:
    """Of base model and images; the Hub is asked once in a while."""
    return _licences(found.record.run_id, found)


def bundle(found: Evidence, options: PublishOptions, repo_id: str, *, has_test: bool) -> Bundle:
    """The files as they would be sent. Raises SuperFTError as `make_bundle`."""
    return _bundle(found.record.run_id, found.version, options, repo_id, has_test, found)


def draw(shown: Bundle, whole: Bundle) -> None:
    """Draws the tabs.

    Args:
        shown: Without test figures as long as test is sealed.
        whole: What would be sent; only names and sizes of it are shown.
    """
    card, files, metadata = st.tabs(["Card", "Files", "Metadata"], key="publish_tabs")
    with card, st.container(height=CARD_HEIGHT, border=True, key="publish_card"):
        _draw_card(shown.card, shown)
    with files:
        _draw_files(whole)
    with metadata:
        st.markdown(
            ":small[:gray[The top of README\\.md: what the Hub filters by, and the figures that it shows.]]"
        )
        st.code(shown.card.data.to_yaml(), language="yaml", height=CARD_HEIGHT - 60)


def zipped(found: Evidence, options: PublishOptions, repo_id: str) -> bytes:
    """All files as a zip; whoever has it has seen the test figures, so that is noted."""
    whole = bundle(found, options, repo_id, has_test=True)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, content in whole.files.items():
            if isinstance(content, Path):
                archive.write(content, path)
            else:
                archive.writestr(path, content)
    if "test" in found.splits:
        readers.store().look_at_test(found.record.run_id, by="page", detail="downloaded with its card")
    return out.getvalue()


def _draw_card(card: Card, shown: Bundle) -> None:
    st.subheader(card.title, anchor=False)
    st.markdown(card.summary)
    for section in card.sections:
        if section.title:
            st.markdown(f"#### {section.title}")
        if section.summary:
            with st.expander(section.summary):
                _draw_section(section, shown)
        else:
            _draw_section(section, shown)


def _draw_section(section: Section, shown: Bundle) -> None:
    for path, alt in section.figures:
        png = shown.files.get(path)
        if isinstance(png, bytes):
            is_square = "matrix" in path
            st.image(png, width=520 if is_square else "stretch", alt=alt)
    text, _, folded = section.text.partition("<details>\n<summary>")
    st.markdown(text)
    if folded:
        summary, _, inner = folded.removesuffix("</details>").partition("</summary>")
        with st.expander(summary):
            st.markdown(inner)
    if section.pictures:
        _draw_pictures(section.pictures)


def _draw_pictures(pictures: tuple[MisclassifiedPicture, ...]) -> None:
    grid = st.grid(6, min_column_width=110, gap=(14, 12), key="publish_pictures_grid")
    for one in pictures:
        with grid.cell(), st.container(gap="xxsmall"):
            st.image(one.encoded, width="stretch", alt=f"predicted {one.prediction}, true {one.label}")
            st.markdown(
                f":small[:orange[:material/close: **{formats.plain(one.prediction)}**] "
                f"{100 * one.confidence:.0f} %]  \n:small[:gray[true {formats.plain(one.label)}]]"
            )


def _draw_files(shown: Bundle) -> None:
    sizes = shown.sizes
    table = pd.DataFrame(
        {
            "File": list(sizes),
            "What": [_what(path) for path in sizes],
            "Size": [formats.size(one) for one in sizes.values()],
        }
    )
    st.dataframe(
        table, hide_index=True, height="content", key="publish_files",
        column_config={"Size": st.column_config.TextColumn(alignment="right", width=90)},
    )  # fmt: skip
    st.markdown(f":small[:gray[{formats.counted(len(sizes), 'file')}, {formats.size(sum(sizes.values()))}]]")


def _what(path: str) -> str:
    """What a file is for, in words."""
    known = {
        FILES.readme: "the card",
        FILES.curves: "figure of the card",
        FILES.eval_matrix: "figure of the card",
        FILES.test_matrix: "figure of the card",
        FILES.config: "settings, without places of this machine",
        FILES.evaluation: "every figure, unrounded",
        FILES.environment: "versions and device",
        DECISION: "operating point: temperature and thresholds",
        "config.json": "network and class names",
        "preprocessor_config.json": "how images become numbers",
    }
    if path.startswith(FILES.misclassified):
        return "picture of a mistake"
    return known.get(path, "weights" if path.endswith(".safetensors") else "")


@st.cache_resource(max_entries=16, show_spinner=False)
def _evidence(home: str, run_id: str, num_events: int) -> Evidence:
    return collect(readers.store(), run_id)


@st.cache_resource(max_entries=32, ttl="10m", show_spinner="Looking up licences")
def _licences(run_id: str, _found: Evidence) -> Licences:
    return find_licences(_found)


@st.cache_resource(max_entries=16, show_spinner="Drawing the figures of the card")
def _drawn(run_id: str, has_test: bool, _found: Evidence) -> dict[str, bytes]:
    return draw_figures(_found, has_test=has_test)


@st.cache_resource(max_entries=16, show_spinner=False)
def _bundle(
    run_id: str, version: str, options: PublishOptions, repo_id: str, has_test: bool, _found: Evidence
) -> Bundle:
    drawn = _drawn(run_id, has_test, _found)
    return make_bundle(_found, options, licences(_found), repo_id=repo_id, has_test=has_test, drawn=drawn)
