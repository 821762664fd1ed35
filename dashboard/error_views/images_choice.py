"""Which images of an evaluation this tab wants to see, and in which order; it stands in the link.

The session keeps the texts of the link, so that what a person shares is what is shown. A link that was not
made by this tab wins, once, and opens the Images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from dashboard import state
from superft_hf.errors import FilterError
from superft_hf.evaluation.prediction_filter import ANY, Filter
from superft_hf.evaluation.prediction_query import Order

_PARTS = (state.IMAGES_FILTER, state.IMAGES_MARKED, state.IMAGES_SORT)


@dataclass(frozen=True)
class Choice:
    """What is wanted.

    Attributes:
        chosen: The filter; its example ids stay open, see `is_marked_only`.
        is_marked_only: Whether only images that are marked now are wanted.
        order: The order.
    """

    chosen: Filter = ANY
    is_marked_only: bool = False
    order: Order = field(default_factory=Order)

    @property
    def is_empty(self) -> bool:
        """Whether every image is wanted."""
        return self.chosen.is_empty and not self.is_marked_only


def follow_link(tabs_key: str, images_tab: str) -> None:
    """Takes what a new link asks for and opens the Images; called before the tabs are drawn.

    Args:
        tabs_key: Session key of the page's tabs.
        images_tab: The title of the Images among them.
    """
    link = {part: st.query_params[part] for part in _PARTS if part in st.query_params}
    if not link:
        return
    if link != state.get_value(state.IMAGES_CHOICE):
        state.put_value(state.IMAGES_CHOICE, link)
        state.drop_value(state.IMAGES_CLASSES)
        state.put_value(tabs_key, images_tab)
    elif state.get_value(tabs_key) != images_tab:
        _put_into_link({})  # the link says what is shown


def current(class_names: Sequence[str]) -> tuple[Choice, FilterError | None]:
    """What this tab wants, and what was wrong with its link; puts it into the link.

    Args:
        class_names: Of the run that is shown. What was chosen of another run with other classes does not
            pass as a choice of these.
    """
    texts = state.get_value(state.IMAGES_CHOICE, {})
    try:
        chosen, problem = _read(texts.get(state.IMAGES_FILTER, "{}")), None
    except FilterError as error:
        chosen, problem = ANY, error
    known = state.get_value(state.IMAGES_CLASSES)
    if known is not None and known != tuple(class_names):
        chosen = replace(chosen, labels=(), predictions=(), metadata=())
    chosen = replace(
        chosen,
        labels=_known(chosen.labels, class_names),
        predictions=_known(chosen.predictions, class_names),
    )
    order = Order.from_text(texts.get(state.IMAGES_SORT, ""))
    choice = Choice(chosen, texts.get(state.IMAGES_MARKED) == "1", order)
    if problem is None:
        keep(choice)
    state.put_value(state.IMAGES_CLASSES, tuple(class_names))
    return choice, problem


def keep(choice: Choice) -> None:
    """Makes this the choice of this tab, and puts it into the link."""
    texts = {}
    if not choice.chosen.is_empty:
        texts[state.IMAGES_FILTER] = choice.chosen.to_json()
    if choice.is_marked_only:
        texts[state.IMAGES_MARKED] = "1"
    if choice.order != Order():
        texts[state.IMAGES_SORT] = choice.order.to_text()
    state.put_value(state.IMAGES_CHOICE, texts)
    _put_into_link(texts)


def _read(text: str) -> Filter:
    chosen = Filter.from_json(text)
    if chosen.example_ids is not None:  # no widget shows them, so they would narrow it unseen
        raise FilterError("single images cannot be named in a link")
    return chosen


def _known(ids: Sequence[int], class_names: Sequence[str]) -> tuple[int, ...]:
    return tuple(one for one in dict.fromkeys(ids) if one < len(class_names))


def _put_into_link(texts: Mapping[str, str]) -> None:
    for part in _PARTS:
        if part not in texts:
            st.query_params.pop(part, None)
        elif st.query_params.get(part) != texts[part]:
            st.query_params[part] = texts[part]
