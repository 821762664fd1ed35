from pathlib import Path

import numpy as np
import pytest

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.prediction_files import read_class_names, read_predictions, write_predictions

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
    for read in (read_predictions, read_class_names):
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
