"""The YAML at the top of a model card: what the Hub filters by, and the figures it shows (`model-index`)."""

from collections.abc import Iterator

from huggingface_hub import EvalResult, ModelCardData

from superft_hf.publish.evidence import Evidence, SplitEvidence

TASK = "image-classification"

_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("accuracy", "Balanced accuracy"),
    "f1_macro": ("f1", "F1, macro"),
    "f1_weighted": ("f1", "F1, weighted"),
    "precision_macro": ("precision", "Precision, macro"),
    "recall_macro": ("recall", "Recall, macro"),
    "top5_accuracy": ("accuracy", "Top-5 accuracy"),
    "loss": ("loss", "Loss"),
}
"""Our figures: the Hub's id of the metric, and its name for people."""


def make_metadata(evidence: Evidence, name: str, licence: str, *, has_test: bool) -> ModelCardData:
    """The metadata of a card.

    Args:
        evidence: The run.
        name: Of the model, for the figures.
        licence: The Hub's id; empty for none.
        has_test: Whether the figures of test go in.
    """
    is_hub_data = evidence.data.kind == "hub"
    # Weights that began at random are nobody's fine-tuned ones.
    is_hub_model = evidence.model.kind == "hub" and evidence.config.model.pretrained
    tags = [TASK, "super-fine-tuning", *(("timm",) if evidence.is_timm else ())]
    return ModelCardData(
        license=licence or None,
        base_model=evidence.model.title if is_hub_model else None,
        base_model_relation="finetune" if is_hub_model else None,
        datasets=[evidence.data.title] if is_hub_data else None,
        library_name="transformers",  # timm itself cannot read what transformers saves of its networks
        pipeline_tag=TASK,
        metrics=["accuracy", "f1", "precision", "recall"],
        tags=tags,
        model_name=name,
        eval_results=list(_results(evidence, has_test=has_test)),
    )


def _results(evidence: Evidence, *, has_test: bool) -> Iterator[EvalResult]:
    """Test first: the Hub shows the first figure. Values are those of the record, not rounded."""
    for split in reversed(evidence.splits.values()):
        if split.split == "test" and not has_test:
            continue
        for key, (kind, title) in _METRICS.items():
            if key in split.figures:
                yield _result(evidence, split, kind, title, split.figures[key])


def _result(evidence: Evidence, split: SplitEvidence, kind: str, title: str, value: float) -> EvalResult:
    data = evidence.config.data
    is_hub = evidence.data.kind == "hub"
    views = evidence.config.augmentation.test_time
    return EvalResult(
        task_type=TASK,
        task_name="Image classification",
        dataset_type=evidence.data.title if is_hub else "imagefolder",
        dataset_name=evidence.data.title.removeprefix("sample:"),
        dataset_config=data.config_name,
        dataset_split=_split_words(evidence, split.split),
        dataset_revision=evidence.data.commit or None,
        metric_type=kind,
        metric_name=f"{title} on {split.split}",
        metric_value=value,
        metric_args={"test_time_augmentation": views} if views != "none" else None,
    )


def _split_words(evidence: Evidence, split: str) -> str:
    """The data set's own name of a split, or that it was cut from train."""
    data = evidence.config.data
    if split in evidence.record.facts.get("is_cut", ()):
        return f"{split}, cut from {data.train_split}"
    named = data.test_split if split == "test" else data.eval_split
    return named or split
