"""Start: choose a model and images, look at what was checked, press Start."""

import math
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import choosers, first_visit, formats, forms, inspection, look, messages, readers, state
from dashboard.starting import start, suggest_settings
from superft_hf.config import DataConfig, RunConfig
from superft_hf.config_file import changed_settings
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.preflight.report import Report
from superft_hf.records import DataInfo, Finding, ModelInfo, RunState
from superft_hf.samples import MODEL_SAMPLES
from superft_hf.settings import all_settings, find_setting

CLASSES_PER_PAGE = 20
EXAMPLE_COLUMNS = 10
NAME, MODEL, DATA, STRATEGY = "name", "model.name_or_path", "data.name_or_path", "model.strategy"


def page() -> None:
    """The whole page, in the order in which it looks."""
    _begin()
    flat = forms.values()
    if flat[DATA] is None:
        first_visit.draw()
        return
    head = st.container(gap="xsmall")
    config, refusal = _read_form(flat)
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        model = _model_card(config)
    with right.container(border=True, height="stretch"):
        data = _images_card(config.data)
    if data is not None:
        with st.container(border=True):
            _examples_card(config.data, data)
    left, right = st.columns([3, 2])
    with left.container(border=True, height="stretch"):
        _settings_card(config, flat, data)
    with right.container(border=True, height="stretch"):
        report = _refusal_card(refusal) if refusal else _check_card(config)
    with head:
        _head(config, data, report, refusal)
    is_blocked = refusal is not None or model is None or (report is not None and report.is_blocked)
    with st.bottom:
        _start_bar(config, is_ready=not is_blocked)
    choosers.draw_dialog()


def _begin() -> None:
    """Fills the form: with the run to repeat, else with what this tab had, else with defaults."""
    asked = state.take_repeat()
    if asked:
        try:
            choosers.begin_with_run(*asked)
        except SuperFTError as error:
            messages.show(error)
    draft = state.get_value(state.START_DRAFT, {})
    runs = readers.run_list()
    if not draft.get(DATA) and runs:
        choosers.use_images(runs[0].data)
        forms.put({MODEL: runs[0].model})
    elif draft.get(DATA) and not draft.get(MODEL):
        forms.put({MODEL: next(iter(MODEL_SAMPLES))})
    forms.prepare()


def _read_form(flat: Mapping[str, Any]) -> tuple[RunConfig, ConfigError | None]:
    """The configuration; when it is refused, one with the model and the images alone, and why."""
    try:
        return forms.read_config(), None
    except ConfigError as error:
        data = DataConfig(name_or_path=flat[DATA])
        return RunConfig.model_validate(
            {"model": {"name_or_path": flat[MODEL]}, "data": data.model_dump()}
        ), error


def _head(
    config: RunConfig, data: DataInfo | None, report: Report | None, refusal: ConfigError | None
) -> None:
    st.title(_sentence(data, report, refusal), anchor=False)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(_context(config), width="stretch")
        with st.container(horizontal=True, width="content"):
            _opener("Load YAML", "upload_file", "start_load_yaml", "load yaml")
            if readers.run_list():
                _opener("Repeat a run", "content_copy", "start_choose_run", "repeat")


def _opener(label: str, icon: str, key: str, dialog: str) -> None:
    """A quiet button that opens a dialog."""
    opens = {"on_click": choosers.open_dialog, "args": (dialog,)}
    st.button(label, type="tertiary", icon=f":material/{icon}:", key=key, **opens)


def _sentence(data: DataInfo | None, report: Report | None, refusal: ConfigError | None) -> str:
    if refusal:
        return "Not ready to start: a setting is refused."
    levels = [finding.level for finding in report.findings] if report else []
    if "blocks" in levels:
        return f"Not ready to start: {_things(levels.count('blocks'))} to mend first."
    if data is None:
        return "Looking at the images."
    train = formats.counted(sum(data.counts["train"].values()), "training image")
    what = f"{train} in {formats.counted(len(data.class_names), 'class', 'classes')}"
    if report is None:
        return f"Checking before the start: {what}."
    know = levels.count("know")
    return f"Ready to start: {what}." + (f" {_things(know).capitalize()} to know first." if know else "")


def _things(number: int) -> str:
    words = ["nothing", "one thing", "two things", "three things", "four things", "five things"]
    return words[number] if number < len(words) else f"{number} things"


def _context(config: RunConfig) -> str:
    """What the page is for, or, for a run that is repeated, what differs from it so far."""
    run_id = state.get_value(state.START_ORIGIN)
    if run_id is None:
        return (
            "Choose a model and images, look at what was checked, press Start. "
            "Training goes on when this page is closed."
        )
    try:
        name, changed = readers.run(run_id).name, changed_settings(readers.config(run_id), config)
    except SuperFTError:
        return "The run that these settings come from is gone."
    differs = ", ".join(
        f"{one.title} {formats.setting_value(old)} → {formats.setting_value(new)}"
        for one, old, new in changed[:4]
    )
    more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
    return f"The settings of {formats.plain(name)}, " + (
        f"changed: {formats.plain(differs)}{more}." if changed else "all equal so far."
    )


def _model_card(config: RunConfig) -> ModelInfo | None:
    opens = {"on_click": choosers.open_dialog, "args": ("model",)}
    look.card_head_with_verb("Model", "Change", "swap_horiz", "start_change_model", **opens)
    try:
        info = inspection.model_info(config.model.name_or_path, config.model.revision)
    except SuperFTError as error:
        messages.show(error)
        return None
    st.markdown(f"**{formats.plain(info.title)}**  \n:gray[{formats.plain(info.description)}]")
    size = config.model.image_size or info.image_size
    facts = {
        "Parameters": formats.count(info.num_parameters),
        "Input": f"{size} × {size} px" if size else formats.NOTHING,
        "Weights": formats.size(info.size_bytes),
        "Licence": formats.plain(info.licence or formats.NOTHING),
    }
    look.facts(facts)
    with st.container(gap="xxsmall"):
        one = find_setting(STRATEGY)
        st.segmented_control(
            one.title, one.choices, format_func=forms.choice_word, key=forms.widget_key(STRATEGY),
            required=True, help=forms.help_text(one),
        )  # fmt: skip
        st.caption(f":material/lightbulb: {_about_strategy(config)}")
    return info


def _about_strategy(config: RunConfig) -> str:
    epochs, head = config.training.num_train_epochs, config.model.head_epochs
    return {
        "full": "Every layer is trained, from the pre-trained weights.",
        "head": "Only the new classification layer is trained; the network stays as it is. "
        "Quick, and the figure that full training has to beat.",
        "head-then-full": f"{formats.counted(min(head, epochs), 'epoch')} with the new layer alone, then "
        f"{formats.counted(max(0, epochs - head), 'epoch')} with every layer.",
    }[config.model.strategy]


def _images_card(data: DataConfig) -> DataInfo | None:
    opens = {"on_click": choosers.open_dialog, "args": ("images",)}
    look.card_head_with_verb("Images", "Change", "swap_horiz", "start_change_images", **opens)
    try:
        info = inspection.data_info(data)
    except SuperFTError as error:
        messages.show(error)
        return None
    st.markdown(f"**{formats.plain(info.title)}**  \n:gray[{formats.plain(info.description)}]")
    by_class = _class_counts(info).values()
    look.facts(
        {
            "Images": formats.count(info.num_images), "Classes": formats.count(len(info.class_names)),
            "Smallest class": formats.count(min(by_class)), "Largest": formats.count(max(by_class)),
        }
    )  # fmt: skip
    train, evaluated, test = (
        formats.count(sum(info.counts[name].values())) for name in ("train", "eval", "test")
    )
    with st.container(gap="xxsmall"):
        test_badge = f":green-badge[:material/lock: test {test}]"
        st.markdown(f":gray-badge[train {train}] :violet-badge[eval {evaluated}] {test_badge}")
        st.caption(f"{_about_splits(info, data)} The test images are looked at once, at the end.")
        if info.licence or info.licence_note:
            st.caption(formats.plain(f"Licence {info.licence}. {info.licence_note}"))
    return info


def _about_splits(info: DataInfo, data: DataConfig) -> str:
    if not info.is_cut:
        return "All three splits are given."
    cut = " and ".join(info.is_cut).capitalize() + (" are" if len(info.is_cut) > 1 else " is")
    return f"{cut} cut from train, stratified by class, split seed {data.split_seed}."


def _class_counts(info: DataInfo) -> dict[str, int]:
    return {name: sum(split.get(name, 0) for split in info.counts.values()) for name in info.class_names}


def _examples_card(data: DataConfig, info: DataInfo) -> None:
    if look.card_head_with_verb("Examples by class", "Other examples", "refresh", "start_other_examples"):
        state.put_value(state.START_SHUFFLE, state.get_value(state.START_SHUFFLE, 0) + 1)
    body = st.container()
    num_pages = math.ceil(len(info.class_names) / CLASSES_PER_PAGE)
    shown_page = st.pagination(num_pages, key="start_examples_page") if num_pages > 1 else 1
    first = (shown_page - 1) * CLASSES_PER_PAGE
    class_ids = tuple(range(first, min(first + CLASSES_PER_PAGE, len(info.class_names))))
    across = max(1, EXAMPLE_COLUMNS // len(class_ids))
    drawn = inspection.example_images(data, class_ids, 2 * across, state.get_value(state.START_SHUFFLE, 0))
    counts = _class_counts(info)
    gap = (14, 14 if across == 1 else 28)
    grid = body.grid(min(EXAMPLE_COLUMNS, len(class_ids)), min_column_width=80 * min(across, 3), gap=gap)
    for class_id, images in zip(class_ids, drawn, strict=True):
        name = info.class_names[class_id]
        with grid.cell(), st.container(gap="xsmall"):
            inner = st.grid(across, min_column_width=60, gap=(8, 8))
            for image in images:
                inner.cell().image(image, width="stretch", alt=f"a training image of class {name}")
            st.markdown(f":small[:gray[**{formats.plain(name)}** · {formats.count(counts[name])}]]")


def _settings_card(config: RunConfig, flat: Mapping[str, Any], data: DataInfo | None) -> None:
    changed = len(forms.changed_from_defaults(flat))
    look.card_head(
        "Settings",
        f"{formats.counted(changed, 'setting')} changed from the defaults"
        if changed
        else "the rest behind All settings",
    )
    elsewhere = {NAME, MODEL, DATA, STRATEGY}
    basic = [one for one in all_settings() if one.is_basic and one.key not in elsewhere]
    basic.sort(key=lambda one: one.kind not in ("int", "float"))
    forms.draw_field(find_setting(NAME), placeholder="free text; empty: the run's id")
    forms.draw_fields(basic, hints=_hints(config, data))
    with st.expander("All settings", icon=":material/tune:", key="start_all_settings"):
        forms.draw_groups(elsewhere | {one.key for one in basic})
    with st.container(horizontal=True):
        suggest_settings(flat)
        _opener("Show YAML and command", "code", "start_show_yaml", "show yaml")
        if changed and st.button(
            "Back to the defaults", type="tertiary", icon=":material/undo:", key="start_reset"
        ):
            forms.put({one.key: one.default for one in forms.changed_from_defaults(flat)})
            st.rerun()


def _hints(config: RunConfig, data: DataInfo | None) -> dict[str, str]:
    """What the basic settings mean for these images."""
    training, stopping = config.training, config.early_stopping
    hints = {
        "augmentation.preset": forms.value_meaning(
            find_setting("augmentation.preset"), config.augmentation.preset
        ),
        "early_stopping.patience": "runs all epochs"
        if stopping.patience is None
        else f"epochs without a better {formats.metric_title(stopping.metric).lower()}",
        "early_stopping.metric": "chooses the checkpoint kept",
    }
    if data is None:
        return hints
    images = sum(data.counts["train"].values())
    per_step = (
        training.per_device_train_batch_size
        * training.gradient_accumulation_steps
        * config.hardware.num_processes
    )
    steps = math.ceil(images / per_step)
    total = steps * training.num_train_epochs
    warmup = (
        round(training.warmup_steps * total) if training.warmup_steps < 1 else round(training.warmup_steps)
    )
    return hints | {
        "training.num_train_epochs": formats.counted(total, "step"),
        "training.per_device_train_batch_size": f"{formats.counted(steps, 'step')} an epoch",
        "training.learning_rate": f"the peak, after {formats.counted(warmup, 'step')}",
    }


def _check_card(config: RunConfig) -> Report | None:
    found = inspection.start_check(config)
    report = found.report()
    if report is None:
        look.card_head("Checked before the start", "at work")
        _checking(found)
        return None
    notable = [finding for finding in report.findings if finding.level != "fine"]
    look.card_head("Checked before the start", _about_findings(report))
    fine = [f":material/check: {formats.plain(one.title)}" for one in report.findings if one.level == "fine"]
    st.markdown("  \n".join(fine))
    for finding in notable:
        _finding(finding)
    if st.button("Check again", type="tertiary", icon=":material/refresh:", key="start_check_again"):
        inspection.forget()
        st.rerun()
    return report


def _about_findings(report: Report) -> str:
    levels = [finding.level for finding in report.findings]
    counts = [(levels.count("blocks"), "to mend"), (levels.count("know"), "to know")]
    notable = [f"{number} {words}" for number, words in counts if number]
    return ", ".join([formats.counted(len(levels), "check"), *notable])


@st.fragment(run_every="0.5s")
def _checking(found: inspection.Check) -> None:
    is_done = found.report() is not None
    # A rerun of the page takes the cursor out of an open dialog; closing the dialog redraws the page anyway.
    if is_done and not choosers.is_dialog_open():
        st.rerun()
    share = found.done / found.total if found.total else 0.0
    words = (
        f"{found.done:,} of {found.total:,} images opened" if found.total else "Looking at model and images"
    )
    st.progress(share, text=words)
    st.caption("You can start at once: what blocks is found then as well.")


def _finding(finding: Finding) -> None:
    title, text, hint = (formats.worded(part) for part in (finding.title, finding.text, finding.hint))
    if finding.level == "blocks":
        st.markdown(f":red[:material/error: **{title}**] {text} {hint}")
    else:
        messages.note(title, f"{text} {hint}")


def _refusal_card(refusal: ConfigError) -> None:
    look.card_head("Checked before the start", "waits for the settings")
    messages.show(refusal)


def _start_bar(config: RunConfig, *, is_ready: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        is_pressed = st.button(
            "Start", type="primary", icon=":material/play_arrow:", disabled=not is_ready, key="start_start"
        )
        st.caption(
            _about_queue() if is_ready else "Something has to be mended first, see above.", width="stretch"
        )
    if is_pressed:
        start(config)


def _about_queue() -> str:
    counts = readers.state_counts()
    live = counts.get(RunState.RUNNING, 0) + counts.get(RunState.STARTING, 0)
    waiting = counts.get(RunState.QUEUED, 0)
    if live or waiting:
        return f"Waits its turn: {live} running, {waiting} queued."
    return "Begins at once."


page()
