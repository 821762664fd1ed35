"""The presses on the Errors page that `benchmarks/predictions.py` times, on Streamlit's AppTest."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.predictions_figures import REPEATS, Figure, clocked, made_of
from superft_hf.evaluation.prediction_files import read_numbers
from superft_hf.records import RunRecord

STEP = 100
IMAGES_TAB = ":material/photo_library: Images"


def press_on_matrix(shown: Any, run: RunRecord, path: Path) -> list[Figure]:
    """Opens cells, and moves through the epochs."""
    rows = read_numbers(path)
    wrong = rows[rows["label"] != rows["prediction"]].iloc[:REPEATS]
    cells = []
    for label, prediction in zip(wrong["label"].tolist(), wrong["prediction"].tolist(), strict=True):
        shown.session_state[f"errors_cell_{run.run_id}"] = ("cell", label, prediction, False)
        cells.append(drawn(shown))
    figures = [made_of("page: cell chosen", cells)]
    slider = next((one for one in shown.select_slider if one.key == "errors_epoch"), None)
    if slider is None:
        return figures
    moves = []
    for number in range(1, min(REPEATS, len(slider.options) - 1) + 1):
        shown.query_params["step"] = str(number * STEP)
        moves.append(drawn(shown))
    shown.query_params["step"] = str(run.best_step)  # it alone keeps the logits of every class
    drawn(shown)
    return [*figures, made_of("page: epoch slider moved", moves)]


def press_on_images(shown: Any) -> list[Figure]:
    """Turns pages, filters and sorts."""
    figures = [made_of("page: open Images", [open_tab(shown, IMAGES_TAB)])]
    turns = []
    for number in (2, 3, 4, 5, 6):
        shown.main.get("pagination")[0].set_value(number)
        turns.append(drawn(shown))
    figures.append(made_of("**page: next page of images**", turns))
    typed = next((one for one in shown.main.number_input if one.label == "Go to page"), None)
    if typed is not None:
        typed.set_value(int(typed.proto.max) - 3)
        figures.append(made_of("page: a far page of images", [drawn(shown)]))
    for what, change in (
        ("filtered: wrong", lambda: shown.segmented_control(key="images_outcome").set_value("wrong")),
        ("filtered: confidence", lambda: shown.slider(key="images_confidence").set_value((20.0, 80.0))),
        ("filtered: class", lambda: shown.multiselect(key="images_labels").set_value([3])),
        ("filtered: text", lambda: shown.text_input(key="images_text").set_value("1")),
        ("sorted by confidence", lambda: shown.selectbox(key="images_sort").set_value("-confidence")),
        ("sorted by disagreement", lambda: shown.selectbox(key="images_sort").set_value("-disagreement")),
    ):
        orders = shown.session_state["images_sort"], shown.selectbox(key="images_sort").options
        if "disagreement" in what and not any("isagreement" in one for one in orders[1]):
            continue
        change()
        figures.append(made_of(f"page: images {what}", [drawn(shown)]))
    return figures


def press_on_thresholds(shown: Any) -> list[Figure]:
    """The first press comes at once, while the logits of the other classes are still being read."""
    moves = []
    for number in range(REPEATS + 1):
        limit = next((one for one in shown.select_slider if one.key == "thresholds_limit"), None)
        if limit is None:
            return []
        limit.set_value(float(limit.options[len(limit.options) // 2 + number]))
        moves.append(drawn(shown))
    return [
        made_of("page: threshold moved at once", moves[:1]),
        made_of("page: threshold moved", moves[1:]),
        *save_and_reset(shown, "thresholds", "operating point"),
        *_ask_beside(
            shown, "one threshold suggested", lambda: shown.button(key="thresholds_suggest").click()
        ),
        *_ask_beside(shown, "all suggested", lambda: shown.button(key="thresholds_suggest_all").click()),
        *_ask_beside(
            shown, "averages shown", lambda: shown.toggle(key="thresholds_averages").set_value(True)
        ),
    ]


def save_and_reset(shown: Any, view: str, what: str) -> list[Figure]:
    """Saves what was chosen in a view, and takes it back; nothing where there is nothing to save."""
    save = next((one for one in shown.button if one.key == f"{view}_save"), None)
    if save is None or save.disabled:
        return []
    save.click()
    saved = made_of(f"page: {what} saved", [drawn(shown)])
    shown.button(key=f"{view}_reset").click()
    return [saved, made_of(f"page: {what} reset", [drawn(shown)])]


def _ask_beside(shown: Any, what: str, ask: Callable[[], Any]) -> list[Figure]:
    """What a page computes beside itself: until it can be used again, and until the answer is there."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    ask()
    figures = [made_of(f"page: {what}", [drawn(shown)])]
    wait_as_the_page(shown)
    took = time.perf_counter() - begun, time.process_time() - begun_cpu
    return [*figures, made_of(f"page: {what}, to the answer", [took], None)]


def is_waiting(shown: Any) -> bool:
    """Whether the page shows that something is being computed beside it."""
    from dashboard.error_views import calibration, thresholds_work

    words = calibration.WAITING, thresholds_work.SEARCHING, thresholds_work.AVERAGING
    return any(word in one.value for one in shown.markdown for word in words)


def wait_as_the_page(shown: Any) -> None:
    """Looks again as often as the page does in a browser, until nothing is left to compute."""
    from dashboard.error_views import calibration

    while is_waiting(shown):
        time.sleep(float(calibration.POLL.removesuffix("s")))
        drawn(shown)


def open_tab(shown: Any, title: str) -> tuple[float, float]:
    """Opens a view."""
    shown.session_state["errors_view"] = title
    return drawn(shown)


def drawn(shown: Any) -> tuple[float, float]:
    """Runs the page once. Returns seconds that passed, and seconds of computing."""
    took = clocked(shown.run)
    if shown.exception:
        print(f"  {shown.exception[0].value}", file=sys.stderr)
    return took
