"""Licences of the base model and of the images, as far as they are known, and what follows for publishing."""

import re
from dataclasses import dataclass

from superft_hf.errors import SuperFTError
from superft_hf.hub_failures import HUB_FAILURES
from superft_hf.hub_reach import is_hub_reachable
from superft_hf.publish.evidence import Evidence, Source
from superft_hf.publish.options import LICENCE_IDS
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES

_NO_SHARING = ("nd", "research", "private", "proprietary", "unknown", "other")


@dataclass(frozen=True)
class Licences:
    """What is known.

    Attributes:
        model: Of the base model, in the words of its authors; empty when unknown.
        data: Of the images, likewise.
        data_note: What the images' licence asks for, as a sentence; may be empty.
    """

    model: str = ""
    data: str = ""
    data_note: str = ""

    @property
    def suggested(self) -> str:
        """The id for the card when nobody chose one: the images' if they bind what is made of them."""
        data = licence_id(self.data)
        return data if _binds(data) else licence_id(self.model)

    def warnings(self, chosen: str, *, has_pictures: bool) -> list[str]:
        """What to know before publishing, as sentences.

        Args:
            chosen: The licence id of the card; empty for none.
            has_pictures: Whether pictures of the data set go in.
        """
        found = []
        data = licence_id(self.data)
        if has_pictures:
            found += _about_pictures(self.data, data)
        if _binds(data) and chosen != data:
            found.append(
                f"The images are under {self.data}, which may bind a model made of them, and the card says "
                f"{chosen or 'nothing'}."
            )
        if not chosen:
            found.append("The card names no licence: nobody may then use the model without asking you.")
        return found


def find_licences(evidence: Evidence, token: str | None = None) -> Licences:
    """Looks licences up: samples know theirs, the Hub is asked, local folders have none.

    Never raises: a licence that cannot be had is unknown.
    """
    note = ""
    if evidence.data.kind == "sample" and evidence.data.title in IMAGE_SAMPLES:
        note = IMAGE_SAMPLES[evidence.data.title].note
    return Licences(_licence(evidence.model, "model", token), _licence(evidence.data, "dataset", token), note)


def licence_id(words: str) -> str:
    """The Hub's id of a licence; empty when it has none.

    Example:
        >>> licence_id("CC BY-NC-SA 4.0"), licence_id("Apache-2.0"), licence_id("CC0"), licence_id("mine")
        ('cc-by-nc-sa-4.0', 'apache-2.0', 'cc0-1.0', '')
    """
    made = re.sub(r"[\s_]+", "-", words.strip().lower())
    made = {"cc0": "cc0-1.0", "apache": "apache-2.0", "apache-license-2.0": "apache-2.0"}.get(made, made)
    return made if made in LICENCE_IDS else ""


def _about_pictures(words: str, known: str) -> list[str]:
    if not words:
        return ["The licence of the images is not known here: publish pictures of them only if you may."]
    parts = known.split("-")
    if not known or any(part in _NO_SHARING for part in parts):
        return [f"The images are under {words}, which may forbid passing pictures on: check before you do."]
    if "by" in parts or "nc" in parts:
        return [f"The images are under {words}: whoever passes pictures on names their authors."]
    return []


def _binds(known: str) -> bool:
    return bool({"nc", "sa", "nd"} & set(known.split("-")))


def _licence(source: Source, kind: str, token: str | None) -> str:
    if source.kind == "sample":
        samples = MODEL_SAMPLES if kind == "model" else IMAGE_SAMPLES
        return samples[source.title].licence if source.title in samples else ""
    return _hub_licence(source, kind, token) if source.kind == "hub" and is_hub_reachable() else ""


def _hub_licence(source: Source, kind: str, token: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        info = HfApi(token=token).repo_info(source.title, repo_type=kind, revision=source.commit, timeout=10)
    except (*HUB_FAILURES, SuperFTError):
        return ""
    found = (info.card_data or {}).get("license")
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found or "")
