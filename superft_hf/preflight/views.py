"""Test-time augmentation: whether a mirror image of these pictures is still a picture of its class."""

from collections.abc import Iterator, Sequence

from superft_hf.preflight.subject import Subject
from superft_hf.recipe.presets import augmentation_steps
from superft_hf.records import Finding, Remedy

_PRESETS = {
    "documents": "Mirrored writing is no writing that the network will ever be given.",
    "medical": "Left and right of a body are not alike.",
}
_SIGNS = "Classes named by single digits or letters are most often signs: mirrored, they are others or none."
_NEVER_SEEN = "augmentation.horizontal_flip is 0, so the network never sees a mirror image while it learns."


def find(subject: Subject) -> Iterator[Finding]:
    """Views that cannot be trusted; nothing while each image is looked at once."""
    augmentation = subject.decided.augmentation
    if augmentation.test_time == "none":
        return
    is_signs = are_signs(subject.images.class_names)
    reason = _SIGNS if is_signs else _PRESETS.get(augmentation.preset, "")
    if not reason and augmentation_steps(augmentation).horizontal_flip:
        title = "Test-time augmentation: the network learns from mirror images as well"
        yield Finding("fine", title, code="mirrored-views")
        return
    yield Finding(
        "know", "The figures will be averaged over mirror images that the network may take for others.",
        reason or _NEVER_SEEN, "Set augmentation.test_time to none.", code="mirrored-views",
        remedies=(Remedy("Look at each image once", {"augmentation.test_time": "none"}),),
    )  # fmt: skip


def are_signs(class_names: Sequence[str]) -> bool:
    """Whether every class is a single digit or letter.

    Example:
        >>> are_signs(["0", "1", "7"]), are_signs(["a", "crack"])
        (True, False)
    """
    return len(class_names) > 1 and all(len(name) == 1 and name.isalnum() for name in class_names)
