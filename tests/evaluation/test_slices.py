import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from superft_hf.evaluation.example_files import MEASURES
from superft_hf.evaluation.slices import COLUMNS, LEVEL, in_words, members, worst

NAMES = ("cat", "dog", "emu")


def evaluation(size: int, wrong_share: float, seed: int = 0, num_classes: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, size)
    is_wrong = generator.random(size) < wrong_share
    return pd.DataFrame(
        {"label": labels, "prediction": np.where(is_wrong, (labels + 1) % num_classes, labels)}
    )


def examples_of(size: int, seed: int = 0, **columns) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "example_id": [f"{row:016x}" for row in range(size)],
            "width": np.full(size, 32, dtype=np.int32), "height": np.full(size, 32, dtype=np.int32),
            **{name: generator.random(size).astype(np.float32) for name in MEASURES},
            **columns,
        }
    )  # fmt: skip


def test_figures_against_scipy_and_statsmodels():
    rows = evaluation(600, 0.2)
    rows.loc[rows["label"] == 1, "prediction"] = np.where(np.arange((rows["label"] == 1).sum()) % 3, 1, 0)
    table = worst(rows, examples_of(600, **{"meta:site": np.tile(["Ulm", "Bonn", None], 200)}), NAMES)
    is_right = (rows["label"] == rows["prediction"]).to_numpy()
    assert list(table.columns) == list(COLUMNS)
    assert set(table["kind"]) == {"class", "metadata", "brightness", "contrast", "sharpness"}
    examples = examples_of(600, **{"meta:site": np.tile(["Ulm", "Bonn", None], 200)})
    for one in table.to_dict("records"):
        found = members(one["filter"], rows, examples)
        inside = np.zeros(600, dtype=bool)
        inside[found] = True
        k, n = int(is_right[inside].sum()), int(inside.sum())
        rest, others = int(is_right[~inside].sum()), int((~inside).sum())
        assert (one["num_images"], one["num_wrong"]) == (n, n - k)
        assert one["accuracy"] == pytest.approx(k / n)
        assert one["difference"] == pytest.approx(k / n - rest / others)
        expected = fisher_exact([[k, n - k], [rest, others - rest]], alternative="less").pvalue
        assert one["p_value"] == pytest.approx(expected, rel=1e-6)
        assert (one["low"], one["high"]) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-6)
    adjusted = multipletests(table["p_value"], method="fdr_bh")[1]
    assert np.allclose(table["p_adjusted"], adjusted)
    assert (table["is_shown"] == (table["p_adjusted"] < LEVEL)).all()
    assert table["slice"].iloc[0] == "dog" and table["is_shown"].iloc[0]
    assert (np.diff(table["p_value"]) >= 0).all()


def test_among_many_slices_without_a_difference_hardly_ever_one_is_shown():
    shown = 0
    for seed in range(200):
        rows = evaluation(2000, 0.15, seed=seed, num_classes=20)
        table = worst(rows, examples_of(2000, seed), [f"class {label}" for label in range(20)])
        shown += table["is_shown"].any()
    assert shown <= 20  # at most 5 % are to be expected, 10 of 200; 20 has a chance of 0.2 %


def test_a_weak_third_is_found_and_its_images_again():
    rows, examples = evaluation(900, 0.0), examples_of(900)
    is_dark = (
        examples["brightness"] <= np.quantile(examples["brightness"], 1 / 3, method="lower")
    ).to_numpy()
    wrong = np.flatnonzero(is_dark)[::2]
    rows.loc[wrong, "prediction"] = (rows.loc[wrong, "label"] + 1) % 3
    table = worst(rows, examples, NAMES)
    first = table.iloc[0]
    assert first["kind"] == "brightness" and first["slice"].startswith("dark (up to ") and first["is_shown"]
    assert np.array_equal(members(first["filter"], rows, examples), np.flatnonzero(is_dark))
    assert first["num_images"] == 300 and first["difference"] == pytest.approx(-0.5)
    assert in_words(table).startswith(f"{table['is_shown'].sum()} slice")


def test_image_size_is_a_slice_only_where_sizes_differ():
    rows = evaluation(300, 0.1)
    assert "image size" not in set(worst(rows, examples_of(300), NAMES)["kind"])
    sizes = np.repeat([32, 64, 2000], 100).astype(np.int32)
    table = worst(rows, examples_of(300, width=sizes, height=sizes), NAMES)
    named = table[table["kind"] == "image size"]["slice"].tolist()
    assert sorted(named) == [
        "large (above 4,096 pixels)", "medium-sized (1,024 pixels to 4,096 pixels)",
        "small (up to 1,024 pixels)",
    ]  # fmt: skip


def test_saved_filters_are_slices():
    rows = evaluation(300, 0.0)
    rows.loc[:29, "prediction"] = (rows.loc[:29, "label"] + 1) % 3
    saved = {"night": np.arange(59, -1, -1), "few": np.arange(3), "nearly all": np.arange(295)}
    table = worst(rows, None, NAMES, saved)
    first = table.iloc[0]
    assert (first["slice"], first["kind"], first["num_images"], first["num_wrong"]) == (
        "night",
        "saved filter",
        60,
        30,
    )
    assert np.array_equal(members(first["filter"], rows, None, saved), np.arange(60))
    assert not {"few", "nearly all"} & set(table["slice"])


def test_small_slices_are_not_looked_at_and_do_not_count():
    rows = pd.DataFrame({"label": [0] * 50 + [1] * 50 + [2] * 19, "prediction": [0] * 119})
    assert sorted(worst(rows, None, NAMES)["slice"]) == ["cat", "dog"]
    assert sorted(worst(rows, None, NAMES, min_images=10)["slice"]) == ["cat", "dog", "emu"]


def test_a_class_without_images_and_values_that_are_nan_are_passed_over():
    rows = evaluation(200, 0.2, num_classes=2)
    examples = examples_of(200, sharpness=np.full(200, np.nan, dtype=np.float32))
    examples.loc[:9, "contrast"] = np.nan
    table = worst(rows, examples, NAMES)
    assert "emu" not in set(table["slice"]) and "sharpness" not in set(table["kind"])
    assert table[table["kind"] == "contrast"]["num_images"].sum() == 190


@pytest.mark.parametrize("wrong_share", [0.0, 1.0])
def test_all_right_or_all_wrong_shows_nothing(wrong_share):
    table = worst(evaluation(300, wrong_share), examples_of(300), NAMES)
    assert len(table) and not table["is_shown"].any() and (table["p_value"] == 1).all()
    assert in_words(table) == f"No slice is shown to be worse than the rest: {len(table)} were looked at."


def test_two_classes_and_one_are_fine():
    two = worst(evaluation(100, 0.3, num_classes=2), None, NAMES[:2])
    assert len(two) == 2 and two["difference"].sum() == pytest.approx(0)
    assert worst(pd.DataFrame({"label": [0] * 60, "prediction": [0] * 60}), None, ["only"]).empty
    assert worst(pd.DataFrame({"label": [], "prediction": []}, dtype=int), None, NAMES).empty


def test_a_filter_says_what_it_needs():
    rows = evaluation(90, 0.1)
    with pytest.raises(KeyError):
        members(json.dumps({"metadata": "meta:site", "value": "Ulm"}), rows, None)
    with pytest.raises(KeyError):
        members(json.dumps({"saved": "gone"}), rows, None, {})
