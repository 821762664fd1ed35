import numpy as np

from superft_hf.evaluation.example_files import metadata_columns, read_examples, write_examples


def write(path, ids=("a", "b", "c")):
    write_examples(
        path, example_ids=ids, sizes=np.array([[4, 3]] * 3), measures=np.array([[0.1, 0.2, 0.3]] * 3),
        metadata={"site": ["Ulm", None, "Bonn"], "meta:odd": ["x", "x", "x"]},
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "examples" / "eval.parquet"
    write(path)
    found = read_examples(path)
    assert found["example_id"].tolist() == ["a", "b", "c"]
    assert found["width"].dtype == np.int32 and found["sharpness"].dtype == np.float32
    assert metadata_columns(found) == {"site": "meta:site", "meta:odd": "meta:meta:odd"}
    assert found["meta:site"].fillna("none").tolist() == ["Ulm", "none", "Bonn"]
    assert [one.name for one in path.parent.iterdir()] == ["eval.parquet"]


def test_a_file_that_is_missing_damaged_or_of_other_images_is_none(tmp_path):
    path = tmp_path / "eval.parquet"
    assert read_examples(path) is None
    write(path)
    assert read_examples(path, ["a", "b", "c"]) is not None
    assert read_examples(path, ["a", "c", "b"]) is None and read_examples(path, ["a"]) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert read_examples(path) is None
