"""What the parts of the check look at, and the words they share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from superft_hf.config import RunConfig
from superft_hf.recipe.case import case_of
from superft_hf.recipe.rules import decide
from superft_hf.records import DataInfo, Finding, ImageRef, ModelInfo, Remedy
from superft_hf.sources.image_set import ImageSet
from superft_hf.sources.places import shown_reference
from superft_hf.sources.scan import Scan

MAX_IMAGES = 200
"""Pictures that a finding names; it counts them all."""

MAX_LEFT_OUT = 0.2
"""To leave out more than this share of the images is no remedy."""

MAX_COPIES = 0.5
"""Likewise for images that stay in another split."""

Check = Callable[["Subject"], Iterable[Finding]]


@dataclass(frozen=True)
class Subject:
    """A configuration and its opened images.

    Images have a flat number here: those of train first, then eval, then test.

    Attributes:
        config: As asked.
        scan: Deep; every image that can be decoded.
        data: What the picker shows of the images.
        model: What is known of the model, or None.
    """

    config: RunConfig
    scan: Scan
    data: DataInfo
    model: ModelInfo | None

    @property
    def images(self) -> ImageSet:
        """The images that can be decoded."""
        return self.scan.images

    @cached_property
    def decided(self) -> RunConfig:
        """The configuration with the choices of the rule."""
        return decide(self.config, case_of(self.config, self.model, self.images))

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits' names, in order."""
        return tuple(self.images.splits)

    @cached_property
    def split_of(self) -> np.ndarray:
        """Number of the split of each image, shape (N,)."""
        return np.repeat(np.arange(len(self.splits)), [len(self.images.splits[name]) for name in self.splits])

    @cached_property
    def labels(self) -> np.ndarray:
        """Class ids, shape (N,)."""
        return np.concatenate([self.images.splits[name].labels for name in self.splits])

    @cached_property
    def ids(self) -> list[str]:
        """The first 16 digits of each image's SHA-256; copies share theirs."""
        return [one.split("-")[0] for name in self.splits for one in self.scan.example_ids[name]]

    @cached_property
    def sizes(self) -> np.ndarray:
        """Widths and heights, shape (N, 2)."""
        return np.concatenate([self.scan.image_sizes[name] for name in self.splits])

    def trait(self, name: str) -> np.ndarray:
        """One array of the traits, over all images."""
        return np.concatenate([getattr(self.scan.traits[split], name) for split in self.splits])

    def __len__(self) -> int:
        """N."""
        return len(self.split_of)

    def split_name(self, number: int) -> str:
        """The split of an image by its flat number."""
        return self.splits[int(self.split_of[number])]

    def class_name(self, number: int) -> str:
        """The class of an image by its flat number."""
        return self.images.class_names[int(self.labels[number])]

    def shown(self, number: int) -> str:
        """The image's place, as a person knows it."""
        return shown_reference(self.config.data, self._reference(number))

    def refs(self, numbers: Iterable[int], note: Callable[[int], str] = lambda _: "") -> tuple[ImageRef, ...]:
        """The pictures of a finding, as many as it names."""
        few = list(numbers)[:MAX_IMAGES]
        return tuple(
            ImageRef(
                self.split_name(one), self._reference(one), self.ids[one], self.class_name(one), note(one)
            )
            for one in few
        )

    def leave_out(
        self, numbers: Iterable[int], title: str, *, only_there: bool = False
    ) -> tuple[Remedy, ...]:
        """The remedy that leaves images out.

        Args:
            numbers: Flat numbers.
            title: A button's words.
            only_there: Whether equal images of other splits stay.

        Returns:
            Nothing when so much would be left out that it is another set.
        """
        numbers = list(numbers)
        if len(numbers) > (MAX_COPIES if only_there else MAX_LEFT_OUT) * len(self):
            return ()
        entries = [
            f"{self.split_name(one)}:{self.ids[one]}" if only_there else self.ids[one] for one in numbers
        ]
        return (Remedy(title, {"data.exclude": extended(self.config.data.exclude, entries)}),)

    def cut_anew(self) -> tuple[Remedy, ...]:
        """The remedy that cuts all splits anew, where they are given."""
        if self.config.data.split_by == "cut" or set(self.images.is_cut) >= {"eval", "test"}:
            return ()
        return (Remedy("Put all images together and cut new splits", {"data.split_by": "cut"}),)

    def _reference(self, number: int) -> str:
        split = self.split_name(number)
        start = int(np.searchsorted(self.split_of, self.split_of[number]))
        return self.images.splits[split].reference(int(number) - start)


def extended(present: Sequence[str], more: Iterable[str]) -> list[str]:
    """A setting's list with more at its end, nothing twice."""
    return list(dict.fromkeys([*present, *more]))


def listed(names: Sequence[str], limit: int = 4) -> str:
    """The first few of several names."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")
