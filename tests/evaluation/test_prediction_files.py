from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import list_columns
from superft_hf.evaluation.prediction_files import (
    keeps_every_class,
    read_class_names,
    read_confidence,
    read_logit_blocks,
    read_logits,
    read_numbers,
    read_predictions,
    read_row,
    read_texts,
    same_rows,
    write_predictions,
)

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=np.float32))


def write(path: Path, logits: np.ndarray = LOGITS, *, is_full: bool = True, names: list[str] | None = None):
    count, size = logits.shape
    write_predictions(
        path,
        example_ids=[f"{number:016x}" for number in range(count)],
        images=[f"/images/{number}.png" for number in range(count)],
        labels=np.zeros(count, dtype=np.int64),
        logits=logits,
        is_full=is_full,
        class_names=names or [f"class {number}" for number in range(size)],
    )


def test_a_file_reads_back_in_the_order_of_the_split(tmp_path):
    path = tmp_path / "predictions" / "eval-7.parquet"
    write(path)
    table = read_predictions(path)
    assert list(table.columns) == ["example_id", "image", "label", "prediction", "confidence", "loss"]
    assert table["example_id"].tolist() == ["0" * 16, "0" * 15 + "1"]
    assert table["prediction"].tolist() == [0, 1]
    assert table["confidence"].tolist() == pytest.approx([0.7, 0.6])
    assert table["loss"].tolist() == pytest.approx([0.35667, 2.30259], abs=1e-4)
    assert [path.name for path in path.parent.iterdir()] == ["eval-7.parquet"]


def test_logits_keep_every_bit_of_a_float32(tmp_path):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    write(tmp_path / "eval-1.parquet", logits)
    table = read_predictions(tmp_path / "eval-1.parquet", with_logits=True)
    assert np.stack(table["logits"].to_list()).tobytes() == logits.tobytes()
    assert "logit_ids" not in table


def test_above_100_classes_only_the_20_highest_are_kept_unless_asked(tmp_path):
    logits = np.random.default_rng(0).normal(size=(3, 101)).astype(np.float32)
    write(tmp_path / "eval-1.parquet", logits, is_full=False)
    table = read_predictions(tmp_path / "eval-1.parquet", with_logits=True)
    for row in range(3):
        ids, kept = table["logit_ids"][row], table["logits"][row]
        assert len(ids) == 20 and ids[0] == table["prediction"][row] == logits[row].argmax()
        assert kept.tolist() == logits[row][ids].tolist() == sorted(logits[row], reverse=True)[:20]
    write(tmp_path / "test-1.parquet", logits, is_full=True)
    assert len(read_predictions(tmp_path / "test-1.parquet", with_logits=True)["logits"][0]) == 101
    write(tmp_path / "eval-2.parquet", logits[:, :100], is_full=False)
    assert len(read_predictions(tmp_path / "eval-2.parquet", with_logits=True)["logits"][0]) == 100


def test_class_names_travel_with_the_file(tmp_path):
    names = ["grüße 漢字", "a, b", " spaces "]
    write(tmp_path / "eval-1.parquet", names=names)
    assert read_class_names(tmp_path / "eval-1.parquet") == names


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"no parquet"])
def test_a_missing_or_half_written_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "eval-1.parquet"
    if content is not None:
        path.write_bytes(content)
    readers = (read_predictions, read_class_names, read_numbers, read_texts, read_logits)
    for read in (*readers, read_confidence, keeps_every_class, lambda one: read_logit_blocks(one, print)):
        with pytest.raises(DataNotFoundError, match=r"The prediction file eval-1\.parquet cannot be read"):
            read(path)


def test_a_file_that_was_cut_off_is_one_sentence(tmp_path):
    path = tmp_path / "eval-1.parquet"
    write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataNotFoundError):
        read_predictions(path)


def test_a_parquet_file_of_somebody_else(tmp_path):
    import pandas as pd

    path = tmp_path / "eval-1.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(DataNotFoundError):
        read_predictions(path)
    with pytest.raises(DataNotFoundError):
        read_class_names(path)


def test_an_evaluation_of_nothing(tmp_path):
    write(tmp_path / "eval-1.parquet", np.zeros((0, 3), dtype=np.float32))
    assert read_predictions(tmp_path / "eval-1.parquet").empty


def random_file(path: Path, rows: int = 700, classes: int = 5, *, is_full: bool = True) -> np.ndarray:
    logits = np.random.default_rng(3).normal(size=(rows, classes)).astype(np.float32)
    write(path, logits, is_full=is_full)
    return logits


def test_numbers_are_those_of_the_whole_file_and_the_margin_is_the_lead_over_the_second(tmp_path):
    path = tmp_path / "eval-1.parquet"
    logits = random_file(path)
    whole, numbers = read_predictions(path), read_numbers(path)
    for name in ("label", "prediction", "confidence", "loss"):
        assert numbers[name].to_numpy() == pytest.approx(whole[name].to_numpy(), rel=1e-6)
    highest = np.sort(softmax(logits.astype(np.float64), axis=1), axis=1)
    assert numbers["margin"].to_numpy() == pytest.approx(highest[:, -1] - highest[:, -2], abs=1e-6)
    assert numbers["label"].dtype == np.int32 and numbers["loss"].dtype == np.float32


def test_a_file_of_an_earlier_version_has_no_margin(tmp_path):
    path = tmp_path / "eval-1.parquet"
    random_file(path)
    pq.write_table(pq.read_table(path).drop_columns(["margin"]), path)
    assert read_numbers(path)["margin"].isna().all()
    assert len(read_numbers(path)) == 700


def test_texts_and_rows_are_found_in_any_order_across_row_groups(tmp_path):
    path = tmp_path / "eval-1.parquet"
    logits = random_file(path, rows=700, classes=9000)  # 256 rows a group
    assert pq.ParquetFile(path).metadata.num_row_groups == 3
    rows = [699, 0, 255, 256, 0, 511, 512]
    texts = read_texts(path, rows)
    assert texts["example_id"].tolist() == [f"{row:016x}" for row in rows]
    assert texts["image"].tolist() == [f"/images/{row}.png" for row in rows]
    assert read_texts(path)["example_id"].tolist() == [f"{row:016x}" for row in range(700)]
    assert read_texts(path, []).empty
    for row in (0, 256, 699):
        found = read_row(path, row)
        assert found["example_id"] == f"{row:016x}" and found["logits"].tobytes() == logits[row].tobytes()
    for row in (-1, 700):
        with pytest.raises(DataNotFoundError):
            read_row(path, row)


def test_logits_come_as_arrays(tmp_path):
    path = tmp_path / "eval-1.parquet"
    logits = random_file(path)
    found = read_logits(path)
    assert found.is_complete and found.num_classes == 5
    assert found.values.tobytes() == logits.tobytes()
    assert np.exp(found.log_probabilities) == pytest.approx(softmax(logits, axis=1), rel=1e-5)
    assert found.of_class(2) == pytest.approx(softmax(logits, axis=1)[:, 2], rel=1e-5)


@pytest.mark.parametrize("values_a_block", [1, 37, 10**6])
def test_logits_are_handed_out_in_blocks_each_row_once(tmp_path, monkeypatch, values_a_block):
    monkeypatch.setattr(list_columns, "_VALUES_A_BLOCK", values_a_block)
    path = tmp_path / "eval-1.parquet"
    logits = random_file(path)
    found, times = np.zeros_like(logits), np.zeros(len(logits), dtype=int)

    def take(rows, values):
        found[rows] = values
        times[rows] += 1

    read_logit_blocks(path, take)
    assert found.tobytes() == logits.tobytes() and (times == 1).all()
    assert read_logits(path).values.tobytes() == logits.tobytes()
    assert read_confidence(path).tobytes() == read_logits(path).confidence.tobytes()


def test_what_goes_wrong_with_a_block_is_raised(tmp_path):
    random_file(tmp_path / "eval-1.parquet")
    with pytest.raises(ZeroDivisionError):
        read_logit_blocks(tmp_path / "eval-1.parquet", lambda rows, values: 1 // 0)


@pytest.mark.parametrize("is_full", [True, False])
def test_files_of_earlier_versions_read_alike(tmp_path, is_full):
    """Their lists might have lacked values, by what their schema says."""
    path = tmp_path / "eval-1.parquet"
    random_file(path, classes=150, is_full=is_full)
    now, table = read_logits(path), pq.read_table(path)
    types = {"logits": pa.list_(pa.float32()), "logit_ids": pa.list_(pa.int64())}
    fields = [pa.field(one.name, types.get(one.name, one.type)) for one in table.schema]
    pq.write_table(table.cast(pa.schema(fields, table.schema.metadata)), path, row_group_size=256)
    then = read_logits(path)
    assert then.values.tobytes() == now.values.tobytes() and keeps_every_class(path) == is_full
    assert is_full or then.ids.tobytes() == now.ids.tobytes()


def test_probabilities_are_exact_where_only_the_highest_logits_are_kept(tmp_path):
    path = tmp_path / "eval-1.parquet"
    logits = random_file(path, classes=150, is_full=False)
    found, whole = read_logits(path), softmax(logits.astype(np.float64), axis=1)
    assert not found.is_complete and found.num_classes == 150 and found.values.shape == (700, 20)
    expected = np.take_along_axis(whole, found.ids, 1)
    assert np.exp(found.log_probabilities) == pytest.approx(expected, rel=1e-4)
    is_kept = (found.ids == 7).any(axis=1)
    assert found.of_class(7) == pytest.approx(np.where(is_kept, whole[:, 7], 0), rel=1e-4)


def test_logits_that_are_not_finite_read_as_such(tmp_path):
    path = tmp_path / "eval-1.parquet"
    logits = np.array([[np.nan, 0, 1], [1, 2, 3]], dtype=np.float32)
    write(path, logits)
    numbers = read_numbers(path)
    assert np.isnan(numbers.loc[0, ["confidence", "loss", "margin"]].to_numpy(dtype=float)).all()
    assert numbers["prediction"].tolist()[1] == 2


def test_files_with_the_same_examples_in_the_same_order_are_told_from_others(tmp_path):
    paths = [tmp_path / f"eval-{step}.parquet" for step in (1, 2, 3)]
    for path, rows in zip(paths, (10, 10, 11), strict=True):
        random_file(path, rows=rows)
    assert same_rows(paths[:2]) and not same_rows(paths)
    pq.write_table(pq.read_table(paths[0]).replace_schema_metadata({"class_names": "a"}), paths[0])
    assert same_rows(paths[:2])  # read from the ids of a file that does not say its order


def test_an_evaluation_of_nothing_has_no_numbers(tmp_path):
    write(tmp_path / "eval-1.parquet", np.zeros((0, 3), dtype=np.float32))
    assert read_numbers(tmp_path / "eval-1.parquet").empty
    assert read_logits(tmp_path / "eval-1.parquet").values.size == 0
