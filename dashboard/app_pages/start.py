"""Start: choose a model and images, look at what was checked, press Start."""

import math
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import (
    check_card,
    choosers,
    data_picker,
    dialogs,
    first_visit,
    formats,
    forms,
    images_card,
    look,
    lr_dialog,
    messages,
    model_card,
    readers,
    split_builder,
    state,
    suggestions,
    supervision,
    trio_buttons,
)
from dashboard.starting import start, suggest_settings
from superft_hf.config import DataConfig, RunConfig
from superft_hf.config_file import changed_settings
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.hub.abilities import lacking
from superft_hf.preflight.report import Report
from superft_hf.records import DataInfo, ModelInfo, RunState
from superft_hf.samples import MODEL_SAMPLES
from superft_hf.settings import all_settings, find_setting

NAME, MODEL, DATA = "name", "model.name_or_path", "data.name_or_path"


def page() -> None:
    """The whole page, in the order in which it looks."""
    _begin()
    supervision.expect_run(readers.store().home)
    flat = forms.values()
    if flat[DATA] is None:
        first_visit.draw()
        return
    head = st.container(gap="xsmall")
    config, refusal = _read_form(flat)
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        model = model_card.draw(config)
    with right.container(border=True, height="stretch"):
        data = images_card.draw(config.data)
    if data is not None:
        with st.container(border=True):
            images_card.draw_examples(config.data, data)
    left, right = st.columns([3, 2])
    with left.container(border=True, height="stretch"):
        _settings_card(config, flat, model, data)
    with right.container(border=True, height="stretch"):
        report = check_card.draw_refusal(refusal) if refusal else check_card.draw(config)
    check_card.draw_many(report)
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
        data_picker.use_images(runs[0].data)
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
    opens = {"on_click": dialogs.open_dialog, "args": (dialog,)}
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


def _settings_card(
    config: RunConfig, flat: Mapping[str, Any], model: ModelInfo | None, data: DataInfo | None
) -> None:
    changed = len(forms.changed_from_defaults(flat))
    look.card_head(
        "Settings",
        f"{formats.counted(changed, 'setting')} changed from the defaults"
        if changed
        else "the rest behind All settings",
    )
    elsewhere = {NAME, MODEL, DATA, model_card.STRATEGY} | (split_builder.KEYS if data else set())
    basic = [one for one in all_settings() if one.is_basic and one.key not in elsewhere]
    basic.sort(key=lambda one: one.kind not in ("int", "float"))
    forms.draw_field(find_setting(NAME), placeholder="free text; empty: the run's id")
    found = suggestions.find(config, model, data)
    beside = {
        "hints": _hints(config, model, data) | _suggested(flat, found),
        "placeholders": suggestions.placeholders(found),
    }
    forms.draw_fields(basic, **beside, extras={lr_dialog.SETTING: lr_dialog.draw_button})
    with st.expander("All settings", icon=":material/tune:", key="start_all_settings"):
        forms.draw_groups(elsewhere | {one.key for one in basic}, **beside)
    with st.container(horizontal=True):
        suggest_settings(flat)
        _opener("Show YAML and command", "code", "start_show_yaml", "show yaml")
        if changed and st.button(
            "Back to the defaults", type="tertiary", icon=":material/undo:", key="start_reset"
        ):
            forms.put({one.key: one.default for one in forms.changed_from_defaults(flat)})
            st.rerun()


def _suggested(flat: Mapping[str, Any], found: suggestions.Suggestions) -> dict[str, str]:
    """The rule's choices, and why, below the fields of its settings."""
    return {
        one.key: suggestions.hint(one, None if flat[one.key] == "auto" else flat[one.key], found)
        for one in all_settings()
        if one.key in found
    }


def _hints(config: RunConfig, model: ModelInfo | None, data: DataInfo | None) -> dict[str, str]:
    """What the basic settings mean for these images."""
    config = suggestions.decided(config, model, data)
    training, stopping = config.training, config.early_stopping
    hints = {
        "early_stopping.patience": "runs all epochs"
        if stopping.patience is None
        else f"epochs without a better {formats.metric_title(stopping.metric).lower()}",
        "early_stopping.metric": "chooses the checkpoint kept",
    }
    if model is not None:
        hints |= lacking(model)
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
        "training.time_budget_s": f"empty: {formats.counted(training.num_train_epochs, 'epoch')} of "
        f"{formats.counted(steps, 'step')}, the peak after {formats.counted(warmup, 'step')}",
    }


def _start_bar(config: RunConfig, *, is_ready: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        is_pressed = st.button(
            "Start", type="primary", icon=":material/play_arrow:", disabled=not is_ready, key="start_start"
        )
        trio_buttons.draw_start(config, is_ready=is_ready)
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
