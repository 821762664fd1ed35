"""Which columns of a data set hold pictures, classes and groups, told by their types.

Nothing is read here but the declared types, so that a preview and a run guess alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from superft_hf.errors import DataError

LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label", "coarse_label")
FOLDER_NAME = "the folder names"
"""What stands for the label column where the classes are the folders of the image files."""

_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_TEXT = ("string", "large_string", "string_view")
_DECIMAL = ("float16", "float32", "float64")


def image_columns(features: Mapping[str, Any]) -> list[str]:
    """Names of the columns that hold one picture a row."""
    import datasets

    return [name for name, feature in features.items() if isinstance(feature, datasets.Image)]


def label_columns(features: Mapping[str, Any]) -> list[str]:
    """Names of the columns that can hold a class a row, the most likely one first."""
    usable = [name for name, feature in features.items() if _kind(feature) in ("class", *_CLASS_KINDS)]
    return sorted(usable, key=lambda name: (_doubt(name, features[name]), usable.index(name)))


def group_columns(features: Mapping[str, Any], used: Sequence[str | None]) -> tuple[str, ...]:
    """Names of the columns that can tell which rows belong together, those in use otherwise left out."""
    kinds = ("class", "whole number", "text")
    return tuple(name for name, feature in features.items() if name not in used and _kind(feature) in kinds)


def plain_columns(features: Mapping[str, Any], used: Sequence[str | None]) -> tuple[str, ...]:
    """Names of the columns with one plain value a row, those in use left out."""
    return tuple(
        name
        for name, feature in features.items()
        if name not in used and _kind(feature) in ("class", *_CLASS_KINDS)
    )


def class_texts(feature: Any, values: Sequence[Any]) -> list[Any]:
    """The values of a column, the ids of a class column as names."""
    import datasets

    if not isinstance(feature, datasets.ClassLabel):
        return list(values)
    return [None if value is None or value < 0 else feature.names[value] for value in values]


def type_words(feature: Any) -> str:
    """The type of a column for a person.

    Example:
        >>> import datasets
        >>> type_words(datasets.ClassLabel(names=["cat", "dog"])), type_words(datasets.Value("string"))
        ('class, 2 names', 'text')
    """
    kind = _kind(feature)
    return f"class, {feature.num_classes:,} names" if kind == "class" else kind


def choose_image_column(features: Mapping[str, Any], asked: str | None, what: str) -> str:
    """The column of the pictures: the one asked for, else the first.

    Args:
        features: Types by column name.
        asked: `data.image_column`.
        what: The data set, as errors begin: `The data set acme/cells`.

    Raises:
        DataError: If there is no such column, or none that holds pictures.
    """
    found = image_columns(features)
    if asked is not None and asked not in found:
        raise DataError(
            f"{what} has no image column {asked!r}; it has {', '.join(found) or 'none'}.",
            hint="Change data.image_column.",
        )
    if not found:
        raise DataError(
            f"{what} has no image column among {', '.join(features)}.", hint="Choose another data set."
        )
    return asked or found[0]


def choose_label_column(features: Mapping[str, Any], asked: str | None, what: str) -> str | None:
    """The column of the classes: the one asked for, else the likeliest; None when nothing looks like one.

    Args:
        features: Types by column name.
        asked: `data.label_column`.
        what: The data set, as errors begin.

    Raises:
        DataError: If there is no such column, or it holds no class a row.
    """
    if asked is None:
        found = label_columns(features)
        is_only = len(found) == 1 and _kind(features[found[0]]) == "text"
        is_likely = bool(found) and _doubt(found[0], features[found[0]]) < _NO_GUESS
        return found[0] if is_likely or is_only else None
    if asked not in features:
        raise DataError(f"{what} has no column {asked!r}.", hint="Change data.label_column.")
    if asked not in label_columns(features):
        others = ", ".join(label_columns(features)) or "none"
        raise DataError(
            f"The column {asked} of {what[:1].lower() + what[1:]} holds no class a row "
            f"({type_words(features[asked])}).",
            hint=f"Change data.label_column; columns that may: {others}.",
        )
    return asked


def folder_names(paths: Sequence[str | None]) -> list[str] | None:
    """The folder of each image file; None when they tell no classes.

    Example:
        >>> folder_names(["train/cat/1.png", "train/dog/2.png"]), folder_names(["1.png", "2.png"])
        (['cat', 'dog'], None)
    """
    parts = [(path or "").replace("\\", "/").rsplit("/", 2) for path in paths]
    names = [part[-2] if len(part) > 1 else "" for part in parts]
    return names if len(set(names)) > 1 and all(names) else None


_CLASS_KINDS = ("whole number", "text", "yes or no", "number")
_KINDS = {
    **dict.fromkeys(_WHOLE, "whole number"), **dict.fromkeys(_TEXT, "text"), "bool": "yes or no",
    **dict.fromkeys(_DECIMAL, "number"),
}  # fmt: skip
_NO_GUESS = 200


def _doubt(name: str, feature: Any) -> int:
    """How little a column looks like that of the classes; from _NO_GUESS on it is not taken unasked."""
    known = LABEL_NAMES.index(name.lower()) if name.lower() in LABEL_NAMES else len(LABEL_NAMES)
    if _kind(feature) == "class":
        return known
    return 100 + known if known < len(LABEL_NAMES) else _NO_GUESS


def _kind(feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.Image):
        return "picture"
    if isinstance(feature, datasets.ClassLabel):
        return "class"
    if not isinstance(feature, datasets.Value):
        return "structure" if isinstance(feature, dict) else "list"
    return _KINDS.get(feature.dtype, str(feature.dtype))
