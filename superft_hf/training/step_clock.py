"""How fast a run trains, and how much of that time it waits for its images."""

import time


class StepClock:
    """Counts the images and seconds of training steps, evaluations and checkpoints left out.

    The first step of a process is not counted: it allocates memory and starts loaders.

    Attributes:
        images: Of all processes, in counted steps.
        seconds: Of counted steps.
        waiting_s: The part of them in which the process waited for its images.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.waiting_s = 0, 0.0, 0.0
        self._logged_images, self._logged_seconds = 0, 0.0
        self._begun: float | None = None
        self._waited = 0.0
        self._is_first = True

    def begin(self) -> None:
        """Called before the images of a step are fetched."""
        self._begun, self._waited = time.perf_counter(), 0.0
        self._idle_since = self._begun

    def fetched(self) -> None:
        """Called when the images of a pass are there."""
        if self._begun is not None:
            self._waited += time.perf_counter() - self._idle_since

    def passed(self) -> None:
        """Called when a forward and backward pass is done, so that the next images may be fetched."""
        self._idle_since = time.perf_counter()

    def end(self, images: int) -> None:
        """Called after the update, with the number of images that all processes trained on."""
        if self._begun is not None and not self._is_first:
            self.images += images
            self.seconds += time.perf_counter() - self._begun
            self.waiting_s += self._waited
        self._is_first = False

    def rate(self) -> float | None:
        """Images a second since the last call, or None when no step was counted since."""
        images, seconds = self.images - self._logged_images, self.seconds - self._logged_seconds
        self._logged_images, self._logged_seconds = self.images, self.seconds
        return images / seconds if images and seconds else None
