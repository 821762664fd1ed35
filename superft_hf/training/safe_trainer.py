"""A Trainer whose checkpoints are whole, restore every tensor, and let a run go on to the bit."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer
from transformers.modeling_utils import unwrap_model
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from superft_hf import checkpoints
from superft_hf.records import PauseReason
from superft_hf.training.averaging import Average, align_statistics
from superft_hf.training.sampling import EpochSampler
from superft_hf.training.stopping import Decision, RunPaused, StopCallback


class SafeTrainer(Trainer):
    """Loads and saves checkpoints as it should be done.

    transformers 5.23 saves under the Hub's names but loads with a bare, non-strict `load_state_dict`, which
    silently skips the encoder of ViT, Swin, BEiT, DINOv2 and others (huggingface/transformers#43701). This
    one loads through `from_pretrained`, which knows the names, and then insists on every key.

    It also writes a checkpoint aside before it counts, and keeps what a resumed run needs besides the stock
    files: the loss that is not logged yet, and whether training is over.

    Attributes:
        average: The averaged weights, which are evaluated and kept; None: those that train are.

    Args:
        trainer_options: What Trainer takes. A StopCallback among the callbacks takes the decisions to stop;
            without one there are none, as in a smoke run.
    """

    def __init__(self, **trainer_options: Any) -> None:
        super().__init__(**trainer_options)
        self.average: Average | None = None
        callbacks = self.callback_handler.callbacks
        self.stop = next((one for one in callbacks if isinstance(one, StopCallback)), None)
        self._sampler: EpochSampler | None = None
        self._is_over = False

    @property
    def is_pausing(self) -> bool:
        """Whether training was left for a pause, so that nothing is finished now."""
        return self.stop is not None and self.stop.decision > Decision.FINISH

    # Loading

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        model = unwrap_model(model or self.model)
        is_plain = isinstance(model, PreTrainedModel) and not (
            self.is_fsdp_enabled or self.is_deepspeed_enabled
        )
        if not is_plain:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        fresh = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(fresh.state_dict(), strict=True)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
            return
        self._load_from_checkpoint(self.state.best_model_checkpoint)
        if self.average is not None:
            self.average.keep(Path(self.state.best_model_checkpoint))
            self.average = None  # what is evaluated from now on are the weights themselves

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        trained = super()._init_training_state(*args, **kwargs)
        if self.state.best_global_step:  # the path that was stored is wrong once a home has been moved
            best = checkpoints.checkpoint_folder(Path(self.args.output_dir), self.state.best_global_step)
            if best.is_dir():
                self.state.best_model_checkpoint = str(best)
        return trained

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        checkpoint, epoch = kwargs["resume_from_checkpoint"], kwargs["epoch"]
        if checkpoint is not None and epoch == kwargs["epochs_trained"]:
            self._restore_progress(Path(checkpoint))
        if self._is_over:
            self.control.should_training_stop = True
            return
        self._begin_epoch(epoch)
        if self._sampler is not None:  # accelerate's wrappers pass it on through two levels only
            self._sampler.set_epoch(epoch)
        super()._run_epoch(*args, **kwargs)

    def _begin_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch (0 is the first); does nothing here."""

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        self._sampler = self._make_sampler(len(train_dataset or self.train_dataset))
        return self._sampler

    def _get_dataloader(self, *args: Any, is_training: bool = False, **kwargs: Any) -> DataLoader:
        """Only the loader processes of training stay from epoch to epoch.

        Trainer would keep the loader of eval with its own, and give it out again for test.
        """
        is_persistent = self.args.dataloader_persistent_workers
        self.args.dataloader_persistent_workers = is_persistent and is_training
        try:
            return super()._get_dataloader(*args, is_training=is_training, **kwargs)
        finally:
            self.args.dataloader_persistent_workers = is_persistent

    def _make_sampler(self, size: int) -> EpochSampler:
        """The order of so many training images."""
        return EpochSampler(size, self.args.seed)

    def _restore_progress(self, checkpoint: Path) -> dict[str, Any]:
        kept = json.loads(self._progress_file(checkpoint).read_text(encoding="utf-8"))
        if self.average is not None:
            self.average.resume(checkpoint)
        self._tr_loss = torch.tensor(kept["loss_sum"], device=self.args.device)
        self._globalstep_last_logged = kept["last_logged_step"]
        self._total_loss_scalar = kept["total_loss"]
        self._is_over = kept["is_over"]
        return kept

    # Averaged weights

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within it the model is, in every process, the one that is kept: averaged, where weights are."""
        with self.average.applied() if self.average is not None else nullcontext():
            align_statistics(self.model)
            yield

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.average is not None:  # called after each update, and once more after each epoch
            self.average.update(self.state.global_step)
        super()._maybe_log_save_evaluate(*args, **kwargs)

    # Saving

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Saves aside and seals; a disk that does not take it pauses the run at the checkpoint before."""
        root, step = Path(self.args.output_dir), self.state.global_step
        aside, target = checkpoints.aside_folder(root, step), checkpoints.checkpoint_folder(root, step)
        self.store_flos()
        if self.state.best_global_step:
            best = checkpoints.checkpoint_folder(root, self.state.best_global_step)
            if best.exists() or best == target:
                self.state.best_model_checkpoint = str(best)
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
        self._largest(0)
        self._attempt(lambda: self._write_checkpoint(aside), aside)
        if self.args.should_save:
            self._attempt(lambda: self._seal(aside, target), aside)
        else:
            self._attempt(lambda: None, aside)
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(root),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=False,
            )

    def _seal(self, aside: Path, target: Path) -> None:
        """From here on the checkpoint counts."""
        checkpoints.seal(aside, target)

    def _write_checkpoint(self, aside: Path) -> None:
        aside.mkdir(parents=True, exist_ok=True)
        self.save_model(str(aside), _internal_call=True)
        self._save_optimizer_and_scheduler(str(aside))
        self._save_scaler(str(aside))
        self._save_rng_state(str(aside))
        self._progress_file(aside).write_text(json.dumps(self._progress()), encoding="utf-8")
        if self.args.should_save:
            if self.average is not None:
                self.average.save(aside)
            self._note_callbacks()
            self.state.save_to_json(str(aside / checkpoints.TRAINER_STATE))

    def _note_callbacks(self) -> None:
        """Puts the present state of Trainer's own callbacks into its state, as the stock method does."""
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()

    def _progress(self) -> dict[str, Any]:
        return {
            "loss_sum": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "total_loss": self._total_loss_scalar,
            "is_over": self._is_training_over(),
        }

    def _is_training_over(self) -> bool:
        """Whether nothing but the end is left, whatever the reason that training stops for now."""
        if self.state.global_step >= self.state.max_steps:
            return True
        if self.stop is not None and self.stop.decision is Decision.FINISH:
            return True
        return any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )

    def _finalize_training(self, *args: Any, **kwargs: Any) -> TrainOutput:
        if self.is_pausing:  # nothing is over: no best model is loaded, nothing is logged
            return TrainOutput(self.state.global_step, 0.0, {})
        return super()._finalize_training(*args, **kwargs)

    def _progress_file(self, folder: Path) -> Path:
        return folder / f"progress_{self.args.process_index}.json"

    def _attempt(self, work: Callable[[], None], aside: Path) -> None:
        """Works, and waits until all ranks have; a disk that refuses on any of them pauses the run."""
        problem = ""
        try:
            work()
        except OSError as error:
            problem = str(error)
        except RuntimeError as error:  # torch.save says it so
            if "write" not in str(error) and "No space" not in str(error):
                raise
            problem = str(error)
        if self._largest(int(bool(problem))):
            if self.args.should_save:
                shutil.rmtree(aside, ignore_errors=True)
            words = problem or "another process had no space"
            raise RunPaused(PauseReason.DISK, f"A checkpoint could not be written: {words}.")

    def _largest(self, value: int) -> int:
        """The largest value of any rank; also waits for all of them."""
        return self.stop.agreement.largest(value) if self.stop is not None else value
