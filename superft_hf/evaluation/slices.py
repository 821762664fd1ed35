"""Slices: parts of a split on which a network may do worse than on the rest.

Parts are made by class, metadata, image size, brightness, contrast, sharpness and saved filter. Each is
tested against the rest of the split by Fisher's exact test, one-sided: is its share of right answers lower?
Whoever looks at a hundred parts finds five that look worse by chance, so the p-values are corrected for all
that were looked at, by the method of Benjamini & Hochberg (1995, JRSS B 57), which bounds the share of false
finds among the finds; scipy's `false_discovery_control`.

N is the number of images, C the number of classes, S the number of slices.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom

from superft_hf.evaluation.example_files import metadata_columns
from superft_hf.evaluation.intervals import wilson_interval

MIN_IMAGES = 20
"""Of a slice: of fewer images almost nothing can be shown."""

LEVEL = 0.05
"""Corrected p-values below it count as shown."""

CLASS, METADATA, SIZE, SAVED = "class", "metadata", "image size", "saved filter"
_MEASURES = {
    "brightness": ("dark", "medium bright", "bright"),
    "contrast": ("low contrast", "medium contrast", "high contrast"),
    "sharpness": ("blurred", "medium sharp", "sharp"),
}
_SIZES = ("small", "medium-sized", "large")
COLUMNS = (
    "slice", "kind", "num_images", "num_wrong", "accuracy", "low", "high", "difference", "p_value",
    "p_adjusted", "is_shown", "filter",
)  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """One way to part the images.

    Attributes:
        kind: What it goes by, for people.
        names: Of its parts.
        codes: Part of each image, shape (N,); -1 for images in no part.
        filters: By part, what `members` needs to find its images again.
    """

    kind: str
    names: Sequence[str]
    codes: np.ndarray
    filters: Sequence[Mapping[str, Any]]


def worst(
    rows: pd.DataFrame,
    examples: pd.DataFrame | None,
    class_names: Sequence[str],
    saved: Mapping[str, np.ndarray] | None = None,
    min_images: int = MIN_IMAGES,
) -> pd.DataFrame:
    """Every slice of a split with its accuracy, the worst first.

    Args:
        rows: An evaluation: label and prediction, class ids, N rows.
        examples: The split's example file, N rows in the same order; None where there is none.
        class_names: C names.
        saved: Positions of the images of each saved filter, by its name.
        min_images: Slices of fewer images, or with fewer left beside them, are not looked at.

    Returns:
        S rows: slice, kind (texts), num_images, num_wrong (int64), accuracy, low, high (its 95 % Wilson
        interval), difference (accuracy less that of the rest; fractions), p_value, p_adjusted, is_shown
        (whether it is shown to be worse than the rest), filter (JSON text for `members`). Ordered by p_value,
        then by difference.
    """
    is_right = (rows["label"] == rows["prediction"]).to_numpy()
    looks = list(_looks(rows["label"].to_numpy(), examples, class_names, saved or {}))
    parts = [part for look in looks if (part := _figures(look, is_right, min_images)) is not None]
    if not parts:
        return pd.DataFrame({name: [] for name in COLUMNS})
    table = pd.concat(parts, ignore_index=True)
    table["p_adjusted"] = false_discovery_control(table["p_value"], method="bh")
    table["is_shown"] = table["p_adjusted"] < LEVEL
    ordered = table.sort_values(["p_value", "difference"], kind="stable", ignore_index=True)
    return ordered[list(COLUMNS)]


def in_words(table: pd.DataFrame) -> str:
    """What the slices of a split tell, as a sentence.

    Example:
        >>> in_words(pd.DataFrame({name: [] for name in COLUMNS}))
        'No slice is large enough to be compared with the rest.'
    """
    if table.empty:
        return "No slice is large enough to be compared with the rest."
    number = int(table["is_shown"].sum())
    if not number:
        return f"No slice is shown to be worse than the rest: {len(table):,} were looked at."
    verb = "slice is" if number == 1 else "slices are"
    return f"{number:,} {verb} worse than the rest, corrected for {len(table):,} that were looked at."


def members(
    filter_text: str,
    rows: pd.DataFrame,
    examples: pd.DataFrame | None,
    saved: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Positions of the images of a slice, shape (n,), ascending.

    Args:
        filter_text: Its `filter`.
        rows: As for `worst`; likewise examples and saved.
        examples: See there.
        saved: See there.

    Raises:
        KeyError: If the slice is of a column or saved filter that is not there.
    """
    wanted = json.loads(filter_text)
    if "saved" in wanted:
        return np.sort((saved or {})[wanted["saved"]])
    if "label" in wanted:
        return np.flatnonzero(rows["label"].to_numpy() == wanted["label"])
    if examples is None:
        raise KeyError("examples")
    if "metadata" in wanted:
        return np.flatnonzero((examples[wanted["metadata"]] == wanted["value"]).to_numpy(dtype=bool))
    values = _numbers(examples, wanted["number"])
    return np.flatnonzero(_third(values, wanted["ends"]) == wanted["part"])


def _looks(
    labels: np.ndarray,
    examples: pd.DataFrame | None,
    class_names: Sequence[str],
    saved: Mapping[str, np.ndarray],
) -> Iterator[_Look]:
    yield _Look(CLASS, class_names, labels, [{"label": index} for index in range(len(class_names))])
    for name, positions in saved.items():
        codes = np.full(len(labels), -1)
        codes[positions] = 0
        yield _Look(SAVED, [name], codes, [{"saved": name}])
    if examples is None:
        return
    for name, column in metadata_columns(examples).items():
        codes, values = pd.factorize(examples[column].to_numpy(dtype=object))
        filters = [{"metadata": column, "value": value} for value in values]
        yield _Look(METADATA, [f"{name}: {value}" for value in values], codes, filters)
    for name, words in {"pixels": _SIZES, **_MEASURES}.items():
        look = _thirds(name, words, _numbers(examples, name))
        if look is not None:
            yield look


def _numbers(examples: pd.DataFrame, name: str) -> np.ndarray:
    if name == "pixels":
        return examples["width"].to_numpy(dtype=np.float64) * examples["height"].to_numpy(dtype=np.float64)
    return examples[name].to_numpy(dtype=np.float64)


def _thirds(name: str, words: Sequence[str], values: np.ndarray) -> _Look | None:
    """Three parts of about equal size; None where the values hardly differ."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    ends = [float(one) for one in np.quantile(finite, [1 / 3, 2 / 3], method="lower")]
    codes = _third(values, ends)
    if len(np.unique(codes[codes >= 0])) < 2:
        return None
    bounds = [f"up to {_short(ends[0], name)}", f"{_short(ends[0], name)} to {_short(ends[1], name)}"]
    bounds.append(f"above {_short(ends[1], name)}")
    names = [f"{word} ({bound})" for word, bound in zip(words, bounds, strict=True)]
    filters = [{"number": name, "ends": ends, "part": part} for part in range(3)]
    return _Look(SIZE if name == "pixels" else name, names, codes, filters)


def _third(values: np.ndarray, ends: Sequence[float]) -> np.ndarray:
    codes = np.searchsorted(np.asarray(ends), values, side="left")
    return np.where(np.isfinite(values), codes, -1)


def _short(value: float, name: str) -> str:
    if name == "pixels":
        return f"{value / 1e6:.2g} megapixels" if value >= 1e5 else f"{value:,.0f} pixels"
    return f"{value:.2g}"


def _figures(look: _Look, is_right: np.ndarray, min_images: int) -> pd.DataFrame | None:
    """The slices of one look that are large enough, with their p-values."""
    is_in = look.codes >= 0
    sizes = np.bincount(look.codes[is_in], minlength=len(look.names))
    right = np.bincount(look.codes[is_in & is_right], minlength=len(look.names))
    total, total_right = len(is_right), int(is_right.sum())
    kept = np.flatnonzero((sizes >= min_images) & (total - sizes >= min_images))
    if not len(kept):
        return None
    sizes, right = sizes[kept], right[kept]
    intervals = np.array([wilson_interval(int(k), int(n)) for k, n in zip(right, sizes, strict=True)])
    return pd.DataFrame(
        {
            "slice": [look.names[part] for part in kept],
            "kind": look.kind,
            "num_images": sizes,
            "num_wrong": sizes - right,
            "accuracy": right / sizes,
            "low": intervals[:, 0],
            "high": intervals[:, 1],
            "difference": right / sizes - (total_right - right) / (total - sizes),
            # Fisher's exact test, one-sided: so few right answers, or fewer, in a slice taken at random.
            "p_value": np.minimum(hypergeom.cdf(right, total, total_right, sizes), 1.0),
            "filter": [json.dumps(look.filters[part], ensure_ascii=False) for part in kept],
        }
    )
