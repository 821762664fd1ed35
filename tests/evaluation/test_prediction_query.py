"""Questions to prediction files, against pandas on random rows."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superft_hf.errors import DataNotFoundError, FilterError
from superft_hf.evaluation import prediction_query
from superft_hf.evaluation.prediction_files import read_predictions, write_predictions
from superft_hf.evaluation.prediction_query import ANY, Filter, Order, count, find

NUM_ROWS, NUM_CLASSES = 700, 120  # above 100 classes: small groups of rows, so that several are in a file
SITES = ["north", "south", "", None, "a.c"]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A file with ties, NaN and the signs that patterns are made of."""
    made = tmp_path_factory.mktemp("predictions") / "eval-10.parquet"
    generator = np.random.default_rng(3)
    labels = generator.integers(0, NUM_CLASSES, NUM_ROWS)
    logits = generator.normal(size=(NUM_ROWS, NUM_CLASSES)).astype(np.float32)
    logits[np.arange(NUM_ROWS), labels] += generator.choice([0, 4], NUM_ROWS)
    logits[50:100] = logits[0:50]  # ties
    labels[50:100] = labels[0:50]
    logits[7::100] = np.nan
    write_predictions(
        made, example_ids=[f"{index:016x}" for index in range(NUM_ROWS)],
        images=[_reference(index) for index in range(NUM_ROWS)], labels=labels, logits=logits, is_full=True,
        class_names=[f"class {index}" for index in range(NUM_CLASSES)],
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def examples_path(path) -> Path:
    made = path.with_name("examples.parquet")
    sites = [SITES[index % len(SITES)] for index in range(NUM_ROWS)]
    ages = [index % 3 for index in range(NUM_ROWS)]
    pq.write_table(
        pa.table({"example_id": [str(i) for i in range(NUM_ROWS)], "meta:site": sites, "meta:age": ages}),
        made,
        row_group_size=64,
    )
    return made


@pytest.fixture
def rows(path) -> pd.DataFrame:
    return read_predictions(path, with_logits=True)


def _reference(index: int) -> str:
    return ("a.c/Größe.png", "abc/IMG_(1).JPG", "x[0]*.png", "plain.png")[index % 4] + f"#{index}"


def ordered(rows: pd.DataFrame, mask: pd.Series, by: str, is_descending: bool) -> list[int]:
    kept = rows[mask]
    return kept.sort_values(by, ascending=not is_descending, kind="stable", na_position="last").index.tolist()


@pytest.mark.parametrize("by", ["loss", "confidence", "margin"])
@pytest.mark.parametrize("is_descending", [True, False])
def test_find__orders_as_pandas_with_nan_last(path, rows, by, is_descending):
    found = find(path, order=Order(by, is_descending)).tolist()
    assert found == ordered(rows, rows["label"] >= 0, by, is_descending)
    assert rows[by].isna().sum() == 7 and set(found[-7:]) == set(range(7, NUM_ROWS, 100))


def test_find__order_of_the_file(path):
    assert find(path, order=Order("file", is_descending=False)).tolist() == list(range(NUM_ROWS))
    assert find(path, order=Order("file", is_descending=True)).tolist() == list(range(NUM_ROWS))[::-1]


@pytest.mark.parametrize("is_descending", [True, False])
def test_find__orders_by_disagreement_within_the_filter(path, rows, is_descending):
    disagreement = np.random.default_rng(0).choice([0, 0.5, np.nan, 1], NUM_ROWS)
    frame = rows.assign(disagreement=disagreement)
    found = find(
        path, Filter(outcome="wrong"), Order("disagreement", is_descending), disagreement=disagreement
    )
    expected = ordered(frame, frame["label"] != frame["prediction"], "disagreement", is_descending)
    assert found.tolist() == expected
    with pytest.raises(ValueError, match="disagreement"):
        find(path, order=Order("disagreement"))


FILTERS = {
    "labels": (Filter(labels=(3, 5, 80)), lambda rows: rows["label"].isin([3, 5, 80])),
    "predictions": (Filter(predictions=(1, 2)), lambda rows: rows["prediction"].isin([1, 2])),
    "right": (Filter(outcome="right"), lambda rows: rows["label"] == rows["prediction"]),
    "wrong": (Filter(outcome="wrong"), lambda rows: rows["label"] != rows["prediction"]),
    "confidence": (Filter(confidence=(0.1, 0.4)), lambda rows: rows["confidence"].between(0.1, 0.4)),
    "confidence to 1": (Filter(confidence=(0.1, 1.0)), lambda rows: rows["confidence"].between(0.1, 1)),
    "loss": (Filter(loss=(2.5, math.inf)), lambda rows: rows["loss"] >= 2.5),
    "text": (Filter(text="img_(1).j"), lambda rows: rows["image"].str.contains("IMG_(1).J", regex=False)),
    "dot": (Filter(text="a.c"), lambda rows: rows["image"].str.contains("a.c", regex=False)),
    "signs": (Filter(text="X[0]*"), lambda rows: rows["image"].str.contains("x[0]*", regex=False)),
    "umlaut": (Filter(text="GRÖẞE"), lambda rows: rows["image"].str.contains("Größe", regex=False)),
    "ids": (
        Filter(example_ids=frozenset({f"{9:016x}", f"{200:016x}", "none"})),
        lambda rows: rows.index.isin([9, 200]),
    ),
    "no ids": (Filter(example_ids=frozenset()), lambda rows: rows["label"] < 0),
    "all of it": (
        Filter(outcome="wrong", loss=(1, 6), confidence=(0, 0.5), text="png"),
        lambda rows: (
            (rows["label"] != rows["prediction"])
            & rows["loss"].between(1, 6)
            & rows["confidence"].between(0, 0.5)
            & rows["image"].str.contains("png")
        ),
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_find__filters_as_pandas(path, rows, case):
    chosen, mask = FILTERS[case]
    expected = ordered(rows, mask(rows), "loss", is_descending=True)
    assert find(path, chosen).tolist() == expected
    assert count(path, chosen) == len(expected)
    assert expected or case == "no ids"


@pytest.mark.parametrize(
    ("column", "values", "keeps"),
    [
        ("site", ("north", "a.c"), {0, 4}),
        ("site", ("",), {2, 3}),  # an empty text stands for what is missing
        ("site", ("nowhere",), set()),
        ("site", ("n.rth",), set()),
    ],
)
def test_find__metadata_are_joined_by_row(path, rows, examples_path, column, values, keeps):
    chosen = Filter(metadata=((column, values),), outcome="wrong")
    mask = pd.Series(rows.index % len(SITES)).isin(keeps) & (rows["label"] != rows["prediction"])
    assert find(path, chosen, None, examples_path).tolist() == ordered(rows, mask, "loss", is_descending=True)
    assert count(path, chosen, examples_path) == mask.sum()


def test_find__metadata_of_two_columns_and_of_numbers(path, rows, examples_path):
    chosen = Filter(metadata=(("site", ("south",)), ("age", ("2",))))
    mask = pd.Series((rows.index % 5 == 1) & (rows.index % 3 == 2))
    assert sorted(find(path, chosen, None, examples_path)) == rows.index[mask].tolist()


def test_find__metadata_that_are_not_there_are_a_sentence(path, examples_path, tmp_path):
    with pytest.raises(DataNotFoundError, match="no metadata site"):
        find(path, Filter(metadata=(("site", ("x",)),)))
    with pytest.raises(DataNotFoundError, match="no metadata ward"):
        count(path, Filter(metadata=(("ward", ("x",)),)), examples_path)
    short = tmp_path / "short.parquet"
    pq.write_table(pa.table({"meta:site": ["north"]}), short)
    with pytest.raises(DataNotFoundError, match="1 rows for 700"):
        find(path, Filter(metadata=(("site", ("north",)),)), None, short)


def test_find__pages_are_parts_of_the_whole(path):
    chosen, whole = Filter(outcome="wrong"), find(path, Filter(outcome="wrong"))
    for start in (0, 24, len(whole) - 3, len(whole) + 5):
        assert find(path, chosen, start=start, size=24).tolist() == whole[start : start + 24].tolist()


def test_find__a_file_without_margins_stays_in_its_order(path, tmp_path):
    old = tmp_path / "old.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["margin"]), old)
    assert not prediction_query.has_margin(old) and prediction_query.has_margin(path)
    assert find(old, order=Order("margin")).tolist() == list(range(NUM_ROWS))
    assert prediction_query.table(old, np.array([3]))["margin"].to_list() == [None]


def test_find__an_empty_file(tmp_path):
    path = tmp_path / "eval-1.parquet"
    write_predictions(
        path, example_ids=[], images=[], labels=np.zeros(0, dtype=int),
        logits=np.zeros((0, 2), dtype=np.float32), is_full=True, class_names=["a", "b"],
    )  # fmt: skip
    assert find(path).tolist() == [] and count(path) == 0
    assert len(prediction_query.table(path, np.zeros(0, dtype=int))) == 0


@pytest.mark.parametrize("content", [None, b"", b"no parquet at all"])
def test_find__damaged_files_are_a_sentence(tmp_path, content):
    path = tmp_path / "eval-1.parquet"
    if content is not None:
        path.write_bytes(content)
    for ask in (find, count, lambda one: prediction_query.table(one, np.array([0]))):
        with pytest.raises(DataNotFoundError, match="eval-1.parquet"):
            ask(path)


def test_table__rows_as_people_read_them(path, rows):
    positions = np.array([5, 600, 2])
    found = prediction_query.table(path, positions, {f"{600:016x}": "ambiguous"})
    expected = rows.iloc[positions]
    assert found["example_id"].to_list() == expected["example_id"].tolist()
    assert found["image"].to_list() == expected["image"].tolist()
    assert found["label"].to_list() == [f"class {one}" for one in expected["label"]]
    assert found["prediction"].to_list() == [f"class {one}" for one in expected["prediction"]]
    assert found["loss"].to_list() == expected["loss"].tolist()
    assert found["margin"].to_list() == expected["margin"].tolist()
    assert found["mark"].to_list() == ["", "ambiguous", ""]
    with pytest.raises(DataNotFoundError, match="lacks rows"):
        prediction_query.table(path, np.array([NUM_ROWS]))


def test_metadata_values__commonest_first(examples_path, tmp_path):
    found = prediction_query.metadata_values(examples_path)
    assert found == {"site": ["", "a.c", "north", "south"], "age": ["0", "1", "2"]}
    assert prediction_query.metadata_values(examples_path, limit=1) == {"site": [""], "age": ["0"]}
    assert prediction_query.metadata_values(tmp_path / "none.parquet") == {}


@pytest.mark.parametrize("case", FILTERS)
def test_filter__goes_through_json_unchanged(case):
    chosen = FILTERS[case][0]
    assert Filter.from_json(chosen.to_json()) == chosen
    json.loads(chosen.to_json(), parse_constant=pytest.fail)  # no Infinity, which is no JSON


def test_filter__the_empty_one():
    assert ANY.is_empty and Filter(outcome="all").is_empty and ANY.to_json() == "{}"
    assert Filter.from_json("{}") == ANY and not Filter(labels=(0,)).is_empty
    assert not Filter(example_ids=frozenset()).is_empty


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", "3", "null", '{"label": [1]}', '{"labels": 1}', '{"labels": ["a"]}',
        '{"labels": [true]}', '{"labels": [-1]}', '{"labels": [99999999999]}', '{"labels": [1.5]}',
        '{"outcome": "maybe"}', '{"outcome": ["wrong"]}', '{"outcome": null}', '{"confidence": [0.9, 0.1]}',
        '{"confidence": [0.9]}', '{"confidence": "high"}', '{"loss": [NaN, 1]}', '{"loss": [1, Infinity]}',
        '{"loss": [true, 2]}', '{"text": 5}', '{"text": "' + "x" * 2000 + '"}', '{"metadata": []}',
        '{"metadata": {"site": "north"}}', '{"metadata": {"site": []}}', '{"metadata": {"site": [1]}}',
        '{"example_ids": "abc"}', '{"example_ids": [1]}', "[" * 100_000,
    ],
)  # fmt: skip
def test_filter__nonsense_is_refused(text):
    with pytest.raises(FilterError) as raised:
        Filter.from_json(text)
    assert raised.value.hint


@pytest.mark.parametrize("text", ["", "-", "--loss", "size", "-file "])
def test_order__of_a_link_with_nonsense_is_the_usual_one(text):
    assert Order.from_text(text) == Order("loss", is_descending=True)


@pytest.mark.parametrize("by", prediction_query.ORDERS)
@pytest.mark.parametrize("is_descending", [True, False])
def test_order__goes_through_links_unchanged(by, is_descending):
    assert Order.from_text(Order(by, is_descending).to_text()) == Order(by, is_descending)
