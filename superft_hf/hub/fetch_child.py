"""The child process that fetches a model and a data set, see `superft_hf.hub.fetch`.

It reads the groups `model` and `data` of a configuration as JSON from stdin. What it says are JSON lines:
`{"event": "progress", …}`, and at the end `{"event": "done", …}` or `{"event": "failed", …}`. The token
stands in its environment only.
"""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from superft_hf.config import DataConfig, ModelConfig
from superft_hf.errors import BrokenDownloadError, SuperFTError
from superft_hf.hub.local_copies import INDEX, SMALL_FILES, WEIGHTS, is_local, is_model_here, snapshot_folder
from superft_hf.hub_failures import HUB_FAILURES, explain, scrub
from superft_hf.records import Failure
from superft_hf.sources.hub_cache import is_commit, prepared_folder
from superft_hf.sources.hub_data import hub_commit, hub_info, load_rows, note_revision, open_builder

logger = logging.getLogger(__name__)

REPORT_S = 0.4


def main() -> int:
    """Fetches what stdin asks for; the entry of the child process."""
    try:
        asked = json.loads(sys.stdin.read())
        model, data = ModelConfig(**asked["model"]), DataConfig(**asked["data"])
        with _Reporter() as reporter:
            commits = {"model": _fetch_model(model, reporter), "data": _fetch_data(data, reporter)}
            reporter.say()
        _say({"event": "done", **commits})
        return 0
    except Exception as error:
        failure = Failure.of(error)
        if not isinstance(error, SuperFTError):
            logger.exception("the download failed")
        words = {"kind": failure.kind, "message": scrub(failure.message), "hint": scrub(failure.hint)}
        _say({"event": "failed", **words})
        return 1


class _Wanted:
    """The files that are being fetched, as the cache names them; tells how much of them is here.

    Args:
        repo_id: `owner/name`.
        kind: `model` or `dataset`.
        sizes: Bytes by the name of the blob.
    """

    def __init__(self, repo_id: str, kind: str, sizes: Mapping[str, int]) -> None:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        self._folder = (
            Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=kind) / "blobs"
        )
        self._sizes = dict(sizes)
        self.total = sum(sizes.values())

    def done(self) -> int:
        """Bytes that are here, those of files at work among them."""
        here: dict[str, int] = {}
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.split(".")[0]  # `<blob>.<random>.incomplete`
                with contextlib.suppress(OSError):  # renamed in this moment
                    here[name] = max(here.get(name, 0), entry.stat().st_size)
        return sum(min(size, here.get(name, 0)) for name, size in self._sizes.items())


class _Reporter:
    """Says now and then how far the download is, from a thread of its own."""

    def __init__(self) -> None:
        self.stage = "Asking the Hub"
        self.wanted: list[_Wanted] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> "_Reporter":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._is_over.set()
        self._thread.join()

    def say(self) -> None:
        """Writes one line."""
        total = sum(one.total for one in self.wanted) if self.wanted else None
        done = sum(one.done() for one in self.wanted)
        _say({"event": "progress", "stage": self.stage, "done": done, "total": total})

    def _report(self) -> None:
        while not self._is_over.wait(REPORT_S):
            self.say()


def _fetch_model(model: ModelConfig, reporter: _Reporter) -> str:
    """Fetches configuration, processor and safetensors, never pickles; returns the commit."""
    from huggingface_hub import HfApi, snapshot_download

    name = model.name_or_path
    if is_local(name):
        return model.revision
    if is_commit(model.revision) and is_model_here(model):
        return model.revision
    try:
        info = HfApi().model_info(name, revision=model.revision, files_metadata=True)
        files = {one.rfilename: one for one in info.siblings or []}
        weights = [one for one in files if one.endswith(".safetensors")]
        # Some repositories hold the weights in several formats; those of the one that is loaded are enough.
        weights = [WEIGHTS] if WEIGHTS in weights else [one for one in weights if "/" not in one]
        names = [one for one in (*SMALL_FILES, INDEX, *weights) if one in files]
        reporter.wanted.append(_Wanted(name, "model", dict(_blob(files[one]) for one in names)))
        reporter.stage = f"Fetching {name}"
        snapshot_download(name, revision=model.revision, allow_patterns=names)
    except HUB_FAILURES as error:
        if is_model_here(model):  # as it was when the revision was last asked for
            return Path(str(snapshot_folder(model))).name
        raise explain(error, f"the model {name}", name, "model") from error
    commit = str(info.sha)
    if weights and not is_model_here(model.model_copy(update={"revision": commit})):
        raise BrokenDownloadError(
            f"Not all files of the model {name} arrived.",
            hint="Try again: nothing half-downloaded is used, and files that arrived whole are kept.",
        )
    return commit


def _fetch_data(data: DataConfig, reporter: _Reporter) -> str:
    """Fetches the files of a configuration and prepares their rows; returns the commit."""
    name = data.name_or_path
    if is_local(name):
        return data.revision
    commit = hub_commit(data)
    if prepared_folder(data, commit) is None:
        with contextlib.suppress(SuperFTError, *HUB_FAILURES, ValueError, RuntimeError):  # told below
            reporter.wanted.append(_wanted_rows(data, commit))
        reporter.stage = f"Fetching {name}"
        with _stage_when_here(reporter, f"Preparing the images of {name}"):
            load_rows(data)
    elif not is_commit(data.revision):
        with contextlib.suppress(SuperFTError):  # only a note for later
            note_revision(data)
    return commit


@contextlib.contextmanager
def _stage_when_here(reporter: _Reporter, stage: str) -> Iterator[None]:
    """Changes the stage once every byte is here: rows are then written in the library's own format."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(REPORT_S):
            if reporter.wanted and all(one.done() >= one.total for one in reporter.wanted):
                reporter.stage = stage
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _wanted_rows(data: DataConfig, commit: str) -> _Wanted:
    pinned = data.model_copy(update={"revision": commit})
    siblings = {one.rfilename: one for one in hub_info(pinned, has_sizes=True).siblings or []}
    used = open_builder(data, commit).config.data_files.values()
    names = [str(one).partition("@")[2].partition("/")[2] for found in used for one in found]
    return _Wanted(
        data.name_or_path, "dataset", dict(_blob(siblings[one]) for one in names if one in siblings)
    )


def _blob(file: Any) -> tuple[str, int]:
    """The name under which the cache keeps a file, and its size in bytes."""
    return (file.lfs.sha256 if file.lfs else str(file.blob_id)), file.size or 0


def _say(said: Mapping[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever asked is gone
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
