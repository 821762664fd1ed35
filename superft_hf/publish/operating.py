"""The part of a card about how probabilities become answers, and the code that does so elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from superft_hf.evaluation.decision import FILE_NAME, Decision, to_json
from superft_hf.publish.card_results import Section
from superft_hf.publish.evidence import Evidence, SplitEvidence
from superft_hf.publish.markdown import plain, table
from superft_hf.words import NOTHING, VIEWS, counted, percent

MAX_CLASSES = 60

RULE = '''\
def decide(logits, rule):
    """The class name, or None when the model is not sure; and the probability of every class."""
    z = np.asarray(logits, dtype=float) / rule["temperature"]
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    limits = np.array(rule["thresholds"] or [1 / len(p)] * len(p))
    best = int((p / limits).argmax())
    is_sure = p[best] >= limits[best] + rule["abstain_band"] - 1e-9
    return (rule["class_names"][best] if is_sure else None), p'''
"""What `superft_hf.evaluation.decision` does, for one image and without this package."""

_ROWS = (
    ("coverage", "Answered", percent),
    ("accuracy", "Right, of the answered", percent),
    ("cost", "Cost of the mistakes", lambda value: f"{value:,.6g}"),
    ("ece", "Expected calibration error", lambda value: f"{100 * value:.1f} points"),
    ("brier", "Brier score", lambda value: f"{value:.4f}"),
    ("log_loss", "Log loss", lambda value: f"{value:.4f}"),
)


def section(evidence: Evidence, shown: Sequence[SplitEvidence], repo_id: str) -> Section | None:
    """The section *Operating point and calibration*; None for a run without one.

    Args:
        evidence: The run.
        shown: Eval, and test unless it is sealed.
        repo_id: Where the run goes, for the code.
    """
    decision = evidence.decision
    if decision is None or decision.is_plain:
        return None
    names = [one.split for one in shown]
    views = VIEWS.get(evidence.config.augmentation.test_time)
    single = f"It was chosen for logits averaged over {views}; this code looks once." if views else ""
    parts = [_about(decision), _figures(decision, names), _thresholds(decision), single, _code(repo_id)]
    return Section("Operating point and calibration", "\n\n".join(part for part in parts if part))


def decision_file(decision: Decision, *, has_test: bool) -> bytes:
    """decision.json as it is published; without test figures while test is sealed."""
    shown = {split: found for split, found in decision.figures.items() if has_test or split != "test"}
    return to_json(replace(decision, figures=shown)).encode()


def onnx_note(decision: Decision) -> str:
    """What the README of an ONNX export says about decision.json; empty for a plain decision."""
    if decision.is_plain:
        return ""
    return f"""
## Operating point

`{FILE_NAME}` says how logits become answers: {_rule_words(decision)} With `logits` from above:

```python
{RULE}


rule = json.load(open("{FILE_NAME}"))
name, shares = decide(logits, rule)
print(name or "not sure")
```
"""


def _about(decision: Decision) -> str:
    chosen = decision.chosen_on
    text = (
        f"`{FILE_NAME}` says how logits become answers: {_rule_words(decision)} It was chosen on "
        f"{counted(chosen.num_images, f'{chosen.split} image')}, and no test image had a part in that."
    )
    return f"{text} `superft predict` obeys it; `pipeline` above does not."


def _rule_words(decision: Decision) -> str:
    parts = ["probabilities are softmax(logits)."]
    if decision.temperature != 1:
        parts = [
            f"probabilities are softmax(logits / {decision.temperature:.3f}), calibrated by temperature."
        ]
    if decision.takes_likeliest:
        return f"{parts[0]} The answer is the likeliest class."
    parts.append("The answer is the class with the greatest probability / threshold, if its probability")
    band = f" by {decision.abstain_band:.3g}" if decision.abstain_band else ""
    verb = "exceeds the threshold" if band else "reaches the threshold"
    return " ".join(parts) + f" {verb}{band}; otherwise the model is not sure."


def _figures(decision: Decision, splits: Sequence[str]) -> str:
    """Each figure for the plain model and with the operating point, by split."""
    found = [(split, decision.figures[split]) for split in splits if split in decision.figures]
    if not found:
        return ""
    head = ["", *(cell for split, _ in found for cell in (f"{split}, plain", f"{split}, with it"))]
    rows = []
    for key, title, words in _ROWS:
        cells = [_worded(figures, one, words) for _, figures in found for one in (f"plain_{key}", key)]
        if any(cell != NOTHING for cell in cells):
            rows.append([title, *cells])
    return table(head, rows) + (
        "\n\nPlain is the likeliest class at temperature 1. A mistake costs a false positive of the class "
        "that was answered and a false negative of the true one; no answer costs the latter. The calibration "
        "error is over 15 bins of equally many images; the Brier score is the sum over the classes, from 0 "
        "to 2."
    )


def _worded(figures: Mapping[str, float | None], key: str, words: Callable[[float], str]) -> str:
    if key == "plain_coverage":
        return percent(1.0)
    value = figures.get(key)
    return NOTHING if value is None or not np.isfinite(value) else words(value)


def _thresholds(decision: Decision) -> str:
    has_costs = decision.costs_fp is not None or decision.costs_fn is not None
    if decision.takes_likeliest and not has_costs:
        return ""
    limits = decision.limits
    costs_fp, costs_fn = decision.false_positive_costs, decision.false_negative_costs
    order = np.argsort(-np.abs(limits - np.median(limits)), kind="stable")
    note = ""
    if decision.num_classes > MAX_CLASSES:
        order = order[: MAX_CLASSES // 2]
        note = (
            f"The {len(order)} classes whose threshold is furthest from the median, {np.median(limits):.4g}; "
            f"all are in `{FILE_NAME}`."
        )
    else:
        order = np.arange(decision.num_classes)
    rows = [
        (plain(decision.class_names[one]), f"{limits[one]:.4g}", f"{costs_fp[one]:g}", f"{costs_fn[one]:g}")
        for one in order
    ]
    head = ("Class", "Threshold", "Cost of a false positive", "Cost of a false negative")
    return "\n\n".join(filter(None, (table(head, rows), note)))


def _code(repo_id: str) -> str:
    return f"""```python
import json

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoModelForImageClassification


{RULE}


model = AutoModelForImageClassification.from_pretrained("{repo_id}").eval()
processor = AutoImageProcessor.from_pretrained("{repo_id}")
rule = json.load(open(hf_hub_download("{repo_id}", "{FILE_NAME}")))
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
with torch.inference_mode():
    logits = model(**processor(images=image, return_tensors="pt")).logits[0].numpy()
name, shares = decide(logits, rule)
print(name or "not sure", f"{{shares.max():.1%}}")
```"""
