"""The pictures themselves: what cannot be opened, and sizes, modes and brightness that surprise a network."""

from collections.abc import Callable, Iterator

import numpy as np

from superft_hf.errors import BadImageError
from superft_hf.preflight.subject import MAX_IMAGES, Subject
from superft_hf.records import Finding, ImageRef, Remedy
from superft_hf.sources.images import WIDE_MODES
from superft_hf.sources.places import shown_reference
from superft_hf.words import counted

MAX_ENLARGED = 2.0
"""Images are fine when the network sees them enlarged no more than this."""

MAX_PIXELS = 20_000_000
MAX_ASPECT = 3.0
MAX_SHIFT = 1.75
"""Of the mean after normalisation, in standard deviations; ImageNet's own is about 0."""

MIN_SPREAD = 0.25
"""Standard deviation after normalisation; ImageNet's own is about 1."""

_SIZE_STEP = 32


def find(subject: Subject) -> Iterator[Finding]:
    """Everything about single pictures."""
    yield from undecodable(subject)
    yield from _small(subject)
    yield from _large(subject)
    yield from _long(subject)
    yield from _moving(subject)
    yield from _grey(subject)
    yield from _modes(subject)
    yield from _turned(subject)
    yield from _normalisation(subject)


def undecodable(subject: Subject) -> Iterator[Finding]:
    """The files that cannot be opened."""
    bad, data, opened = subject.scan.bad, subject.config.data, len(subject)
    if not bad:
        left_out = subject.scan.num_left_out
        more = f"; {counted(left_out, 'other')} left out by data.exclude" if left_out else ""
        corrected = subject.scan.num_relabelled
        more += f"; {counted(corrected, 'label')} corrected by data.relabel" if corrected else ""
        yield Finding("fine", f"All {opened:,} images open{more}", code="undecodable")
        return
    refs = tuple(
        ImageRef(one.split, one.reference, one.example_id, one.label, one.problem) for one in bad[:MAX_IMAGES]
    )
    shown = [shown_reference(data, one.reference) for one in bad]
    if data.on_bad_image == "skip":
        yield Finding(
            "know", f"{len(bad):,} of {opened + len(bad):,} files are left out",
            f"They are not readable images; the first is {shown[0]}.", "Mend or remove them.",
            code="skipped-files", images=refs, num_images=len(bad),
        )  # fmt: skip
        return
    error = BadImageError(shown, bad[0].problem)
    yield Finding(
        "blocks", error.message, "", error.hint, error.kind, code="undecodable", images=refs,
        num_images=len(bad),
        remedies=(Remedy("Skip unreadable files", {"data.on_bad_image": "skip"}),),
    )  # fmt: skip


def _small(subject: Subject) -> Iterator[Finding]:
    asked = subject.decided.model.image_size
    if asked is None:
        return
    sides = subject.sizes.min(axis=1)
    small = np.flatnonzero(sides * MAX_ENLARGED < asked)
    if not len(small):
        low, high = sides.min(), sides.max()
        yield Finding(
            "fine", f"Images are large enough: {low:,} to {high:,} px for a network of {asked} px",
            code="small-images",
        )  # fmt: skip
        return
    are, size = "are" if len(small) > 1 else "is", int(np.median(sides[small]))
    remedies = subject.leave_out(small.tolist(), "Leave the small images out")
    fitting = max(_SIZE_STEP, int(np.percentile(sides, 5) * MAX_ENLARGED) // _SIZE_STEP * _SIZE_STEP)
    if not remedies and fitting <= sides.min() * MAX_ENLARGED and fitting < asked:
        remedies = (Remedy(f"Train at {fitting} px", {"model.image_size": fitting}),)
    yield Finding(
        "know", f"{counted(len(small), 'image')} {are} much smaller than the {asked} px of the network.",
        f"Half of them have a shorter side of {size:,} px or less; enlarged, they show no more detail.",
        "Set model.image_size to less, or use larger images.", code="small-images",
        images=subject.refs(small.tolist(), _size_note(subject)), num_images=len(small), remedies=remedies,
    )  # fmt: skip


def _large(subject: Subject) -> Iterator[Finding]:
    pixels = subject.sizes.astype(np.int64).prod(axis=1)
    large = np.flatnonzero(pixels > MAX_PIXELS)
    if len(large):
        yield Finding(
            "know", f"{counted(len(large), 'image')} {_has(large)} over {MAX_PIXELS // 10**6} megapixels.",
            f"The largest has {pixels.max() / 1e6:.0f}; each takes as long to open as hundreds of others.",
            "Save smaller copies.", code="large-images",
            images=subject.refs(large.tolist(), _size_note(subject)), num_images=len(large),
            remedies=subject.leave_out(large.tolist(), _button("large", large)),
        )  # fmt: skip


def _long(subject: Subject) -> Iterator[Finding]:
    sides = np.sort(subject.sizes, axis=1)
    long = np.flatnonzero(sides[:, 1] > MAX_ASPECT * np.maximum(sides[:, 0], 1))
    if len(long):
        are = "are" if len(long) > 1 else "is"
        yield Finding(
            "know", f"{counted(len(long), 'image')} {are} more than {MAX_ASPECT:.0f} times as long as wide.",
            "The network sees a square: they are squeezed, or most of them is cut off.",
            "Cut them into pieces beforehand.", code="aspect-ratios",
            images=subject.refs(long.tolist(), _size_note(subject)), num_images=len(long),
            remedies=subject.leave_out(long.tolist(), _button("long", long)),
        )  # fmt: skip


def _moving(subject: Subject) -> Iterator[Finding]:
    frames = subject.trait("num_frames")
    moving = np.flatnonzero(frames > 1)
    if len(moving):
        yield Finding(
            "know", f"{counted(len(moving), 'image')} {_has(moving)} several frames or pages.",
            "Only the first is used.", "Save the frame that shows the class.", code="animated-images",
            images=subject.refs(moving.tolist(), lambda one: f"{frames[one]:,} frames"),
            num_images=len(moving), remedies=subject.leave_out(moving.tolist(), _button("animated", moving)),
        )  # fmt: skip


def _grey(subject: Subject) -> Iterator[Finding]:
    is_grey = subject.trait("is_grey")
    if is_grey.all():
        yield Finding("fine", "All images are grey", code="grey-among-colour")
        return
    if not is_grey.any():
        return
    is_rare = is_grey.mean() <= 0.5
    few = np.flatnonzero(is_grey if is_rare else ~is_grey)
    kind, others = ("grey", "in colour") if is_rare else ("in colour", "grey")
    counts = np.bincount(subject.labels[few], minlength=len(subject.images.class_names))
    most = int(counts.argmax())
    of = f" {counts[most]:,} of them are of class {subject.images.class_names[most]}." if len(few) > 1 else ""
    are = "are" if len(few) > 1 else "is"
    yield Finding(
        "know", f"{counted(len(few), 'image')} {are} {kind}, the others {others}.",
        f"A network can learn the kind of picture instead of its content.{of}",
        "See that no class is told by it.", code="grey-among-colour", images=subject.refs(few.tolist()),
        num_images=len(few), remedies=subject.leave_out(few.tolist(), f"Leave {_them(few)} out"),
    )  # fmt: skip


def _modes(subject: Subject) -> Iterator[Finding]:
    modes = subject.trait("modes")
    kinds = (
        ("transparency", subject.trait("has_alpha"), "transparency", "It is dropped; hidden colours appear."),
        ("cmyk-images", modes == "CMYK", "inks for print (CMYK)", "Colours shift: no profile is applied."),
        ("wide-range", np.isin(modes, WIDE_MODES), "more than 8 bits", "They are scaled to 8 bits to train."),
    )  # fmt: skip
    for code, mask, what, then in kinds:
        found = np.flatnonzero(mask)
        if len(found):
            yield Finding(
                "know", f"{counted(len(found), 'image')} {_has(found)} {what}.", then,
                "Convert them yourself if that matters.", code=code,
                images=subject.refs(found.tolist(), lambda one: str(modes[one])), num_images=len(found),
                remedies=subject.leave_out(found.tolist(), f"Leave {_them(found)} out"),
            )  # fmt: skip


def _turned(subject: Subject) -> Iterator[Finding]:
    turned = int((subject.trait("orientations") != 1).sum())
    if turned:
        are = "are" if turned > 1 else "is"
        yield Finding(
            "fine", f"{counted(turned, 'image')} {are} turned upright, as the EXIF tag says", code="turned"
        )


def _normalisation(subject: Subject) -> Iterator[Finding]:
    """Measured mean and deviation against those that the model's processor expects."""
    model = subject.model
    if model is None or len(model.image_mean) != 3 or len(model.image_std) != 3:
        return
    mean = subject.trait("means").mean(axis=0, dtype=np.float64)
    square = subject.trait("squares").mean(axis=0, dtype=np.float64)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    shift = float(((mean - model.image_mean) / model.image_std).mean())
    spread = float((std / model.image_std).mean())
    level, deviation = 100 * float(mean.mean()), 100 * float(std.mean())
    expected = 100 * float(np.mean(model.image_mean))
    if abs(shift) <= MAX_SHIFT and spread >= MIN_SPREAD:
        title = (
            f"Brightness suits the model: {level:.0f} % ± {deviation:.0f} %, expected about {expected:.0f} %"
        )
        yield Finding("fine", title, code="normalisation")
        return
    kind = "dark" if shift < -MAX_SHIFT else "bright" if shift > MAX_SHIFT else "flat"
    yield Finding(
        "know", f"The images are very {kind}: brightness {level:.0f} % ± {deviation:.0f} %.",
        f"The model was trained with about {expected:.0f} %, and sees little contrast in these.",
        "Stretch their contrast beforehand, all in the same way.", code="normalisation",
    )  # fmt: skip


def _size_note(subject: Subject) -> Callable[[int], str]:
    return lambda one: "{:,} × {:,} px".format(*subject.sizes[one])


def _has(found: np.ndarray) -> str:
    return "have" if len(found) > 1 else "has"


def _them(found: np.ndarray) -> str:
    return "them" if len(found) > 1 else "it"


def _button(kind: str, found: np.ndarray) -> str:
    return f"Leave the {kind} {'images' if len(found) > 1 else 'image'} out"
