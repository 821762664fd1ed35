"""The card of a model: chosen, on the Start page; looked at, in the dialog that chooses one."""

from datetime import datetime

import streamlit as st

from dashboard import dialogs, formats, forms, inspection, look, messages, suggestions
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.memory import training_memory_bytes
from superft_hf.recipe.decided import roughly
from superft_hf.records import ModelInfo
from superft_hf.settings import find_setting

STRATEGY = "model.strategy"
SHOWN_CLASSES = 4
LONGEST_NAME = 24


def draw(config: RunConfig) -> ModelInfo | None:
    """Draws the card; None when the model cannot be found, which the card then says."""
    opens = {"on_click": dialogs.open_dialog, "args": ("model",)}
    look.card_head_with_verb("Model", "Change", "swap_horiz", "start_change_model", **opens)
    try:
        info = inspection.model_info(config.model.name_or_path, config.model.revision)
    except SuperFTError as error:
        messages.show(error)
        return None
    config = suggestions.decided_by_name(config, info)
    draw_facts(info, config)
    with st.container(gap="xxsmall"):
        one = find_setting(STRATEGY)
        st.segmented_control(
            one.title, one.choices, format_func=forms.choice_word, key=forms.widget_key(STRATEGY),
            required=True, help=forms.help_text(one),
        )  # fmt: skip
        st.caption(f":material/lightbulb: {_about_strategy(config)}")
    return info


def draw_facts(info: ModelInfo, config: RunConfig) -> None:
    """Name, facts and origin of a model.

    Args:
        info: The model.
        config: Its batch size, image size and optimizer decide the memory that is estimated.
    """
    st.markdown(f"**{formats.plain(info.title)}**  \n:gray[{formats.plain(_description(info))}]")
    config = roughly(config, info)
    size = config.model.image_size or info.image_size
    training = config.training
    batch = training.per_device_train_batch_size
    is_averaged = bool(training.ema_decay)
    memory = training_memory_bytes(info, batch, size, training.optim, is_averaged=is_averaged)
    look.facts(
        {
            "Parameters": formats.count(info.num_parameters),
            "Weights": formats.size(info.size_bytes),
            "Input": f"{size} × {size} px" if size else formats.NOTHING,
            "Memory": f"about {formats.size(memory)}" if memory else formats.NOTHING,
        }
    )
    about_memory = f"Memory: what training takes at batch {batch}, estimated." if memory else ""
    origin = _origin(info)
    lines = [origin[:1].upper() + origin[1:] if info.source != "hub" else origin, _head(info), about_memory]
    st.caption("  \n".join(formats.plain(line) for line in lines if line))


def _description(info: ModelInfo) -> str:
    """The quiet line below the name: what it is, and where it comes from when the name does not say it."""
    parts = [info.description, info.task.replace("-", " "), info.library]
    return " · ".join(part for part in parts if part)


def _head(info: ModelInfo) -> str:
    """The classes of its present head, which training replaces."""
    if not info.num_labels:
        return ""
    names = ", ".join(_short(name) for name in info.class_names[:SHOWN_CLASSES])
    more = info.num_labels - SHOWN_CLASSES
    told = f": {names}" + (f" and {more:,} more" if names and more > 0 else "") if names else ""
    return f"Its head knows {formats.counted(info.num_labels, 'class', 'classes')}{told}. Yours replace them."


def _short(name: str) -> str:
    """The first of a class's names: ImageNet gives several, separated by commas."""
    first = name.split(",")[0]
    return first if len(first) <= LONGEST_NAME else f"{first[:LONGEST_NAME]}…"


def _origin(info: ModelInfo) -> str:
    """Licence and formats, and what the Hub says of the repository."""
    parts = [
        info.name_or_path if info.source == "hub" else "",
        f"licence {info.licence or 'not stated'}",
        "gated" if info.is_gated else "",
        "safetensors" if info.has_safetensors else "no safetensors",
        f"{info.downloads:,} downloads a month" if info.downloads is not None else "",
        formats.counted(info.likes, "like") if info.likes is not None else "",
        f"changed {_day(info.last_modified)}" if info.last_modified else "",
        f"commit {info.revision[:7]}" if info.revision else "",
    ]
    return " · ".join(part for part in parts if part)


def _day(iso: str) -> str:
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{then.day} {then:%b %Y}"


def _about_strategy(config: RunConfig) -> str:
    epochs = config.training.num_train_epochs
    head = min(config.model.head_epochs, epochs)
    alone = f"{formats.counted(head, 'epoch')} with the new layer alone"
    start = "from the pre-trained weights" if config.model.pretrained else "from random weights"
    return {
        "full": f"Every layer is trained, {start}.",
        "head": "Only the new classification layer is trained; the network stays as it is. "
        "Quick, and the figure that full training has to beat.",
        "head-then-full": f"{alone}, then {formats.counted(epochs - head, 'epoch')} with every layer.",
        "gradual": f"{alone}, then one block more after another from the top down; every layer trains from "
        f"epoch {max(head, epochs // 2) + 1} on at the latest."
        if epochs > head
        else f"{alone}, which leaves no epoch for the other layers.",
    }[config.model.strategy]
