import sys
from pathlib import Path

import pytest

from superft_hf.errors import HomeError, RunNotFoundError
from superft_hf.paths import HomePaths, RunPaths, cache_dir, home_dir, make_home


def test_the_home_asked_for_wins_over_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERFT_HOME", str(tmp_path / "variable"))
    assert home_dir(tmp_path / "asked") == tmp_path / "asked"
    assert home_dir() == tmp_path / "variable"


def test_the_home_is_runs_below_the_present_folder_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERFT_HOME", raising=False)
    assert home_dir() == tmp_path / "runs"
    monkeypatch.setenv("SUPERFT_HOME", "")
    assert home_dir() == tmp_path / "runs"


def test_the_home_is_absolute_and_knows_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home_dir("a/b") == tmp_path / "a" / "b"
    assert home_dir("~/x") == tmp_path / "me" / "x"


def test_the_cache_is_chosen_by_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path


def test_make_home_makes_all_folders_and_leaves_nothing_behind(tmp_path):
    home = make_home(tmp_path / "a" / "b")
    assert home.is_dir() and list(home.iterdir()) == []


def test_a_home_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HomeError, match="cannot be written to: Not a directory") as caught:
        make_home(tmp_path / "file" / "runs")
    assert "--home" in caught.value.hint


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HomeError, match="cannot be written to"):
        make_home(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root can write to")
def test_a_home_without_write_permission_is_refused():
    with pytest.raises(HomeError, match="cannot be written to"):
        make_home(Path("/proc/superft"))
    with pytest.raises(HomeError, match="cannot be written to"):
        make_home(Path("/proc"))


@pytest.mark.parametrize(
    "run_id",
    ["", ".", "..", "../x", "20261124-0233-k3f9/..", "/etc", "20261124-0233-K3F9", "20261124-0233-k3f9\n",
     "20261124-0233", "superft.db", "cache", "20261124-0233-k3f9.txt", "٢٠٢٦١١٢٤-0233-k3f9"],
)  # fmt: skip
def test_an_id_that_is_not_of_our_making_names_no_folder(tmp_path, run_id):
    with pytest.raises(RunNotFoundError):
        HomePaths(tmp_path).run(run_id)


def test_the_files_of_a_run_lie_in_its_folder(tmp_path):
    paths = HomePaths(tmp_path).run("20261124-0233-k3f9")
    folder = tmp_path / "20261124-0233-k3f9"
    assert paths.folder == folder
    assert paths.config == folder / "config.yaml"
    assert paths.resolved == folder / "resolved.yaml"
    assert paths.environment == folder / "environment.json"
    assert paths.log == folder / "worker.log"
    assert paths.checkpoints == folder / "checkpoints"
    assert paths.model == folder / "model"
    assert paths.prediction_file("eval", 120) == folder / "predictions" / "eval-120.parquet"


def test_prediction_steps_are_numbers_in_order_and_of_one_split(tmp_path):
    paths = RunPaths(tmp_path)
    assert paths.prediction_steps("eval") == []
    paths.predictions.mkdir()
    for name in (
        "eval-9.parquet",
        "eval-120.parquet",
        "test-120.parquet",
        "eval-5.writing",
        "eval-x.parquet",
    ):
        (paths.predictions / name).write_bytes(b"")
    assert paths.prediction_steps("eval") == [9, 120]
    assert paths.prediction_steps("test") == [120]
