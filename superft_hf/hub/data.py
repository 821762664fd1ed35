"""Sets of images as the pickers see them: from the Hub, a local path or a sample, one kind of record."""

from pathlib import Path

from superft_hf.config import DataConfig
from superft_hf.hub.models import licence_words
from superft_hf.hub_reach import is_hub_reachable
from superft_hf.records import DataInfo
from superft_hf.samples import IMAGE_SAMPLES
from superft_hf.sources.load import ImageSet, load_images, local_path


def describe_data(data: DataConfig, home: Path) -> tuple[DataInfo, ImageSet]:
    """Finds the images of a run and counts them, without opening them.

    Raises:
        DataError: As `superft_hf.sources.load.load_images`.
    """
    images = load_images(data, home)
    name = data.name_or_path
    sample = IMAGE_SAMPLES.get(name)
    source = "sample" if sample else "local" if local_path(name) else "hub"
    size = len(images.class_names)
    info = DataInfo(
        name_or_path=name,
        title=sample.title if sample else Path(name).name,
        description=sample.description if sample else f"{size} classes",
        source=source, class_names=images.class_names, counts=images.counts(), is_cut=images.is_cut,
        licence=sample.licence if sample else _data_licence(data) if source == "hub" else "",
        licence_note=sample.note if sample else "",
    )  # fmt: skip
    return info, images


def _data_licence(data: DataConfig) -> str:
    """The licence on the card of a Hub data set; empty when there is none, or no connection."""
    from huggingface_hub import DatasetCard
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not is_hub_reachable():
        return ""
    try:
        card = DatasetCard.load(data.name_or_path)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError):
        return ""
    return licence_words(card.data.get("license"))
