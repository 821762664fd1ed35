"""Writing a run to a folder: the same files as on the Hub, or ONNX with a numeric check against PyTorch."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import PublishError, SuperFTError, WorkerDiedError
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.decision import Decision
from superft_hf.paths import BundlePaths
from superft_hf.publish import operating
from superft_hf.publish.bundle import make_bundle, write_bundle
from superft_hf.publish.evidence import collect, read_model_config, require_completed
from superft_hf.publish.licences import find_licences
from superft_hf.publish.options import PublishOptions, suggested_name
from superft_hf.store import RunStore

_ONNX_MODULE = "superft_hf.training.export_onnx"
_CPU = Devices("cpu", (), 1)


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: Absolute.
        format: `hub` or `onnx`.
        files: Bytes by path within the folder.
        warnings: What to know, as sentences.
        check: Of ONNX: images compared, `max_abs_difference` of the logits, the `tolerance`.
    """

    folder: Path
    format: str
    files: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    check: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "folder": str(self.folder), "files": dict(self.files)}


def export_hub(store: RunStore, run_id: str, folder: Path, options: PublishOptions, *, by: str) -> Export:
    """Writes what `push` would send.

    Raises:
        PublishError: If the folder is not empty or cannot be written, or the model's files are refused.
        StateError: If the run is not completed.
    """
    evidence = collect(store, run_id)
    name = f"OWNER/{suggested_name(evidence.record.name)}"
    with _Target(folder) as target:
        bundle = make_bundle(evidence, options, find_licences(evidence), repo_id=name)
        write_bundle(bundle, target.aside)
    if "test" in evidence.splits:
        store.look_at_test(run_id, by=by, detail="exported with its card")
    return Export(target.folder, "hub", _sizes(target.folder), bundle.warnings)


def export_onnx(store: RunStore, run_id: str, folder: Path, launcher: Launcher) -> Export:
    """Writes the model as ONNX, with its labels, its preprocessing and how to use it.

    A child process does it, since it needs torch.

    Raises:
        PublishError: If the folder is not empty or cannot be written, the network cannot be exported, or what
            was exported differs from it.
        StateError: If the run is not completed.
        WorkerDiedError: If the child ended without a word.
    """
    record, paths = store.get_run(run_id), store.run_paths(run_id)
    require_completed(record)
    read_model_config(paths.model)
    decision = decisions.read(paths.decision, record.facts.get("class_names"))
    config = store.read_config(run_id)
    with _Target(folder) as target:
        command = [sys.executable, "-P", "-m", _ONNX_MODULE, str(store.home), run_id, str(target.aside)]
        environment = launcher.environment(store.home, config, _CPU)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        check = _answer(done)
        if decision is not None:
            _add_decision(target.aside, decision)
    return Export(target.folder, "onnx", _sizes(target.folder), check=check)


def _add_decision(folder: Path, decision: Decision) -> None:
    """Puts the operating point beside the network, and into its README how to obey it.

    Test figures stay out, since an export to ONNX is no look at them.
    """
    (folder / decisions.FILE_NAME).write_bytes(operating.decision_file(decision, has_test=False))
    with (folder / BundlePaths().readme).open("a", encoding="utf-8") as readme:
        readme.write(operating.onnx_note(decision))


class _Target:
    """Writes aside and moves into place at the end, so that a folder that holds files is complete.

    Args:
        folder: New or empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.aside = self.folder

    def __enter__(self) -> "_Target":
        try:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise PublishError(
                    f"{self.folder} is {'not empty' if self.folder.is_dir() else 'a file'}.",
                    hint="Give a new or an empty folder.",
                )
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.aside = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f".{self.folder.name}-"))
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.aside.chmod(0o755)  # mkdtemp's folders are closed to others
                if self.folder.exists():
                    self.folder.rmdir()
                self.aside.rename(self.folder)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            if self.aside != self.folder:
                shutil.rmtree(self.aside, ignore_errors=True)
        if isinstance(error, OSError):
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> PublishError:
        return PublishError(
            f"{self.folder} cannot be written: {error.strerror or error}.",
            hint="Look after free space and permissions, or give another folder.",
        )


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _answer(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """What the child printed. Raises the error that it named, or that it ended without a word."""
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        found = None
    if isinstance(found, dict) and "error" in found:
        kind = PublishError if found["error"]["kind"] == PublishError.__name__ else SuperFTError
        raise kind(found["error"]["message"], hint=found["error"]["hint"])
    if done.returncode == 0 and isinstance(found, dict):
        return found
    words = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    raise WorkerDiedError(
        f"The export ended with exit code {done.returncode}: {words[-1][:300]}",
        hint="Check with `superft doctor` that the installation is complete.",
    )
