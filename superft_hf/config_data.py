"""The `data:` group of a RunConfig: which images, how they are split, and what is changed about them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from superft_hf.config_base import Group, setting

ExampleKey = Annotated[str, Field(pattern=r"^((train|eval|test):)?[0-9a-f]{16}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=500)]


class DataConfig(Group):
    """The `data:` group."""

    name_or_path: str = setting(
        ..., "Images",
        "Hub id, local folder of class folders, .zip of the same, .csv or .jsonl of paths and labels, or a "
        "sample such as sample:digits.",
        basic=True, min_length=1, max_length=500,
    )  # fmt: skip
    revision: str = setting(
        "main", "Revision", "Branch, tag or commit of a Hub data set; a run pins it to the commit.",
        min_length=1, max_length=200,
    )  # fmt: skip
    config_name: str | None = setting(
        None,
        "Configuration",
        "Configuration of a Hub data set that has several; null: its default.",
        max_length=200,
    )
    image_column: str | None = setting(
        None, "Image column",
        "Column with the images of a Hub data set, or with the paths in a CSV or JSONL; null: found by type.",
        max_length=200,
    )  # fmt: skip
    label_column: str | None = setting(
        None,
        "Label column",
        "Column with the classes; null: found by type and name, else the names of the folders.",
        max_length=200,
    )
    train_split: str = setting(
        "train", "Train split", "Name of the split to train on.", min_length=1, max_length=200
    )
    eval_split: str | None = setting(
        None, "Eval split",
        "Name of the split watched during training; null: one named validation, valid, val, eval "
        "or dev, else eval_fraction of train.", max_length=200,
    )  # fmt: skip
    test_split: str | None = setting(
        "test", "Test split",
        "Name of the split looked at once, at the end; null, or no such split: test_fraction "
        "of train.", max_length=200,
    )  # fmt: skip
    eval_fraction: float = setting(
        0.15, "Eval fraction", "Share of train cut off for eval, stratified by class.", gt=0, lt=1
    )
    test_fraction: float = setting(
        0.15, "Test fraction", "Share of train cut off for test, stratified by class.", gt=0, lt=1
    )
    split_seed: int = setting(
        42, "Split seed", "Chooses which images are cut off; apart from the training seed, so that seeds are "
        "compared on the same images.", ge=0, le=2**31 - 1,
    )  # fmt: skip
    split_by: Literal["given", "cut"] = setting(
        "given", "Splits",
        "given: the splits that the images come with, and what is missing is cut from train; cut: all images "
        "are put together and cut anew.",
    )  # fmt: skip
    split_column: str | None = setting(
        None, "Split column",
        "Column of a CSV or JSONL that names each row's split; null: the one called split, if any.",
        max_length=200,
    )  # fmt: skip
    group_column: str | None = setting(
        None, "Group column",
        "Images with an equal value in it, such as patient, site or video, stay on one side of a cut; in a "
        "folder, subfolder and file_prefix are columns as well.", max_length=200,
    )  # fmt: skip
    exclude: list[ExampleKey] = setting(
        [], "Left-out images",
        "Example ids to leave out, such as 0123456789abcdef; train:0123456789abcdef leaves it out of train "
        "only.",
    )  # fmt: skip
    relabel: dict[ExampleKey, ClassName] = setting(
        {}, "Corrected labels",
        "Example ids, as in exclude, and the name of the class that each image really shows; the splits stay "
        "as they were cut.",
    )  # fmt: skip
    merge_classes: dict[str, str] = setting(
        {}, "Merged classes", "Class names, and the name of the class that each is counted as."
    )
    exclude_classes: list[str] = setting([], "Left-out classes", "Class names whose images are left out.")
    num_folds: int | None = setting(
        None, "Folds",
        "Cut train into so many stratified parts and evaluate on one of them instead of eval, to get a "
        "prediction for every training image from a run that never saw it; null: no folds.",
        ge=2, le=100,
    )  # fmt: skip
    fold: int = setting(
        0, "Fold", "Which part is evaluated on, counted from 0; used with num_folds only.", ge=0, le=99
    )
    max_train_samples: int | None = setting(
        None,
        "Train images at most",
        "Train on a stratified part of the train split only; null: all of it.",
        ge=2,
    )
    on_bad_image: Literal["error", "skip"] = setting(
        "error",
        "Unreadable images",
        "error: refuse to start and name them; skip: leave them out and count them.",
    )

    @model_validator(mode="after")
    def _fractions_leave_something(self) -> "DataConfig":
        if self.eval_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"eval_fraction {self.eval_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on"
            )
        return self

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> "DataConfig":
        if self.num_folds is not None and self.fold >= self.num_folds:
            raise ValueError(f"fold {self.fold} is none of {self.num_folds}: they are counted from 0")
        return self
