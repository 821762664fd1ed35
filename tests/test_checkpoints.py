import json
from pathlib import Path

import pytest

from superft_hf.checkpoints import (
    MANIFEST,
    aside_folder,
    checkpoint_folder,
    find_checkpoints,
    is_complete,
    seal,
    tidy,
)


def write(root: Path, step: int, best: int | None = None, content: bytes = b"weights") -> Path:
    aside = aside_folder(root, step)
    (aside / "inner").mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(content)
    (aside / "inner" / "part").write_bytes(b"part")
    state = {"global_step": step, "best_global_step": best}
    (aside / "trainer_state.json").write_text(json.dumps(state))
    seal(aside, checkpoint_folder(root, step))
    return checkpoint_folder(root, step)


def test_a_sealed_checkpoint_is_the_newest_and_nothing_is_left_beside_it(tmp_path):
    write(tmp_path, 9, best=9)
    folder = write(tmp_path, 10, best=9)  # 10 comes after 9 by number, not by name
    found = find_checkpoints(tmp_path, is_thorough=True)
    assert (found.newest.folder, found.newest.global_step, found.newest.best_step) == (folder, 10, 9)
    assert found.newest.size_bytes > 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def test_a_folder_that_is_missing_or_empty_has_none(tmp_path):
    assert find_checkpoints(tmp_path / "nothing").newest is None
    assert find_checkpoints(tmp_path).newest is None


@pytest.mark.parametrize("name", ["model.safetensors", "inner/part", "trainer_state.json", MANIFEST])
def test_a_missing_file_makes_it_damaged(tmp_path, name):
    write(tmp_path, 3)
    (write(tmp_path, 4) / name).unlink()
    found = find_checkpoints(tmp_path)
    assert (found.newest.global_step, found.damaged) == (3, ("checkpoint-4",))


def test_a_shorter_file_is_seen_at_once_and_a_changed_one_by_a_thorough_look(tmp_path):
    folder = write(tmp_path, 4)
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert is_complete(folder) and not is_complete(folder, is_thorough=True)
    (folder / "model.safetensors").write_bytes(b"weight")
    assert not is_complete(folder)


def test_a_checkpoint_whose_best_is_gone_is_passed_over(tmp_path):
    write(tmp_path, 5, best=5)
    best = write(tmp_path, 10, best=10)
    write(tmp_path, 12, best=10)
    (best / "model.safetensors").unlink()
    assert find_checkpoints(tmp_path).newest.global_step == 5


def test_sealing_again_replaces_what_stood_there(tmp_path):
    write(tmp_path, 4, content=b"first")
    folder = write(tmp_path, 4, content=b"second")
    assert (folder / "model.safetensors").read_bytes() == b"second"
    assert is_complete(folder, is_thorough=True)


def test_tidy_keeps_what_is_not_later_and_removes_what_a_killed_writer_left(tmp_path):
    write(tmp_path, 5, best=5)
    write(tmp_path, 8, best=5)
    newest = find_checkpoints(tmp_path).newest
    write(tmp_path, 9)
    aside_folder(tmp_path, 11).mkdir()
    (tmp_path / "notes").mkdir()
    tidy(tmp_path, newest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-8", "notes"]
    tidy(tmp_path, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes"]
