"""Publish: a finished run goes to the Hub with a card that holds its evidence, or into a folder."""

import streamlit as st

from dashboard import (
    choice,
    formats,
    headlines,
    messages,
    publish_form,
    publish_preview,
    publish_sending,
    readers,
    state,
)
from dashboard.look import card_head
from superft_hf.errors import SuperFTError
from superft_hf.publish.bundle import Bundle
from superft_hf.publish.evidence import Evidence
from superft_hf.publish.options import PublishOptions
from superft_hf.records import RunRecord, RunState


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    if record.state is not RunState.COMPLETED or not record.evaluation:
        _draw_not_finished(record)
        return
    try:
        evidence = publish_preview.evidence(record.run_id)
    except SuperFTError as error:
        choice.show_head(record, f"{formats.plain(record.name)} cannot be published.", "")
        messages.show(error)
        return
    head = st.container()
    publish_sending.draw(record.run_id)
    left, right = st.columns(2, gap="small")
    num_before = len(publish_sending.publications(record.run_id))
    with left, st.container(border=True, height="stretch"):
        target, is_private, is_pull_request, message = publish_form.draw_target(record, num_before)
    licences = publish_preview.licences(evidence)
    with right, st.container(border=True, height="stretch"):
        use, limits, licence, number = publish_form.draw_words(record, licences, _num_wrong(evidence))
    options = PublishOptions(use, limits, licence, number, is_private, is_pull_request, message)
    is_test_open = headlines.has_looked_at_test(readers.events(record.run_id))
    try:
        whole = publish_preview.bundle(evidence, options, target.repo_id, has_test=True)
        shown = publish_preview.bundle(evidence, options, target.repo_id, has_test=is_test_open)
    except SuperFTError as error:
        with head:
            choice.show_head(record, f"{formats.plain(record.name)} cannot be published as it is.", "")
        messages.show(error)
        return
    with head:
        choice.show_head(record, _sentence(record, whole), _context(evidence, is_test_open))
    publish_form.draw_warnings(whole.warnings)
    with st.container(border=True):
        _draw_preview_head(record, evidence, is_test_open)
        publish_preview.draw(shown, whole)
    _draw_elsewhere(record, evidence, options, target)
    _draw_publish(record, target, options, evidence, num_before)


def _draw_not_finished(record: RunRecord) -> None:
    name = formats.plain(record.name)
    if record.is_unfinished:
        choice.show_head(record, f"{name} cannot be published yet: it is not finished.", "")
        messages.empty(
            "Its model, its figures and its card come with its end.", "Choose a finished run, or wait."
        )
    else:
        choice.show_head(record, f"{name} has nothing to publish.", "")
        messages.empty(
            "Only completed runs have a model and figures.", "Choose another run, or repeat this one."
        )
    if st.button("Open the run", type="primary", icon=":material/show_chart:", key="publish_open_run"):
        state.open_page(state.RUN_PAGE, record.run_id)


def _num_wrong(evidence: Evidence) -> int:
    found = evidence.splits.get("eval")
    return 0 if found is None else int((found.labels != found.predictions).sum())


def _sentence(record: RunRecord, bundle: Bundle) -> str:
    name, sizes = formats.plain(record.name), bundle.sizes
    before = publish_sending.publications(record.run_id)
    if before:
        return f"{name} is on the Hub: {formats.plain(publish_sending.repo_of(before[-1].detail))}."
    whole = formats.size(sum(sizes.values()))
    return f"{name} is ready to publish: {whole} in {formats.counted(len(sizes), 'file')}."


def _context(evidence: Evidence, is_test_open: bool) -> str:
    record = evidence.record
    right = f"right on {formats.percent(record.evaluation.get('eval', {}).get('accuracy'))} of eval"
    sources = (formats.source_title(one.title) for one in (evidence.model, evidence.data))
    parts = [right, *map(formats.plain, sources)]
    if "test" in evidence.splits:
        parts.append("test opened" if is_test_open else "test not looked at")
    return " · ".join(parts)


def _draw_preview_head(record: RunRecord, evidence: Evidence, is_test_open: bool) -> None:
    card_head("Preview", "nothing is sent before you press Publish")
    if is_test_open or "test" not in evidence.splits:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            ":green[:material/lock:] **Test is sealed in this preview.** :gray[The card that is sent holds "
            "its figures. To see them first counts as a look, and is noted.]",
            width="stretch",
        )
        st.button(
            "Open test", icon=":material/lock_open:", key="publish_open_test",
            on_click=_open_test, args=(record.run_id,),
        )  # fmt: skip


def _open_test(run_id: str) -> None:
    readers.store().look_at_test(run_id, by="page")


def _draw_elsewhere(
    record: RunRecord, evidence: Evidence, options: PublishOptions, target: publish_form.Target
) -> None:
    before = publish_sending.publications(record.run_id)
    columns = st.columns(2, gap="small") if before else [st.container()]
    if before:
        with columns[0], st.container(border=True, height="stretch"):
            publish_sending.draw_history(before)
    with columns[-1], st.container(border=True, height="stretch"):
        card_head("Without the Hub", "the same files, or ONNX")
        st.code(
            f"superft export {record.run_id} DIR\nsuperft export {record.run_id} DIR --format onnx",
            language="bash",
        )
        weights = sum(path.stat().st_size for path in evidence.model_folder.glob("*.safetensors"))
        if weights < publish_preview.MAX_ZIP_BYTES:
            st.download_button(
                "Download as a zip", lambda: publish_preview.zipped(evidence, options, target.repo_id),
                file_name=f"{target.repo_id.split('/')[-1] or 'model'}.zip", mime="application/zip",
                icon=":material/download:", key="publish_zip", on_click="ignore",
                help="The files above, with the test figures in the card: it counts as a look.",
            )  # fmt: skip
        st.markdown(":small[:gray[ONNX is compared with PyTorch on images of the run before it is written.]]")


def _draw_publish(
    record: RunRecord,
    target: publish_form.Target,
    options: PublishOptions,
    evidence: Evidence,
    num_before: int,
) -> None:
    now = publish_sending.sending(record.run_id)
    is_at_work = now is not None and now.is_running
    problem = target.problem or publish_form.check_options(options)
    if is_at_work:
        words = "A push is at work."
    elif problem:
        words = problem
    else:
        look = " It shows the test figures: that is a look at test." if "test" in evidence.splits else ""
        words = f"To {target.repo_id}, {'private' if options.is_private else 'public'}, in one commit.{look}"
        if target.is_there:
            words = f"{'A pull request to' if options.as_pull_request else 'To'} {target.repo_id}.{look}"
    verb = "Publish again" if num_before else "Publish"
    with st.bottom, st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":small[:gray[{formats.plain(words)}]]", width="stretch")
        st.button(
            verb, type="primary", icon=":material/publish:", key="publish_send",
            disabled=bool(problem) or is_at_work, on_click=publish_sending.begin,
            args=(record.run_id, target.repo_id, options),
        )  # fmt: skip


draw_page()
