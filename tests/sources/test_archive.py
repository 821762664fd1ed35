import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from superft_hf.errors import ArchiveError
from superft_hf.sources.archive import unpack


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "unpacked"


def zipped(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return path


def refused(archive: Path, into: Path) -> str:
    """The sentence; nothing is left behind, inside or outside."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, into)
    assert caught.value.hint
    after = [path for path in sorted(archive.parent.rglob("*")) if path != into]
    assert after == before
    return caught.value.message


def test_a_zip_is_unpacked_once_into_a_folder_named_after_its_content(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": b"one", "dog/2.png": b"two"})
    folder = unpack(archive, into)
    assert (folder / "cat" / "1.png").read_bytes() == b"one"
    assert len(folder.name) == 16 and folder.parent == into
    (folder / "mark").write_bytes(b"")
    assert unpack(archive, into) == folder and (folder / "mark").exists()
    assert [path.name for path in into.iterdir()] == [folder.name]


def test_the_same_content_under_another_name_is_the_same_folder(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": b"one"})
    copy = tmp_path / "b.zip"
    copy.write_bytes(archive.read_bytes())
    assert unpack(archive, into) == unpack(copy, into)


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "..\\evil.png", "cat\\..\\..\\evil.png",
     "\\\\evil.png", "C:\\evil.png", "c:/evil.png", "..", "cat/.."],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, into, name):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": b"one", name: b"evil"})
    assert "which leaves its folder" in refused(archive, into)


@pytest.mark.parametrize("name", ["cat..dog/1.png", "a:b/1.png", "...hidden/1.png", "cat/..1.png"])
def test_odd_names_that_stay_inside_are_fine(tmp_path, into, name):
    folder = unpack(zipped(tmp_path / "a.zip", {name: b"one"}), into)
    assert (folder / name).read_bytes() == b"one"


def test_separators_of_windows_become_folders(tmp_path, into):
    folder = unpack(zipped(tmp_path / "a.zip", {"train\\cat\\1.png": b"one"}), into)
    assert (folder / "train" / "cat" / "1.png").read_bytes() == b"one"


def test_a_link_is_refused(tmp_path, into):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        link = zipfile.ZipInfo("cat/link.png")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    assert "holds the link 'cat/link.png'" in refused(archive, into)


def test_an_encrypted_zip_is_refused(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": b"one"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert refused(archive, into) == f"The zip {archive} is encrypted."


def test_a_bomb_is_refused_before_it_grows(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": bytes(80 * 2**20)})
    message = refused(archive, into)
    assert "to 80 MiB in 1 files, which is refused" in message


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat/1.png": bytes(80 * 2**20)})
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 10)  # its size once unpacked
    archive.write_bytes(content)
    refused(archive, into)


def damaged(path: Path, change: Callable[[bytearray], None]) -> Path:
    zipped(path, {"cat/1.png": os.urandom(5000), "dog/1.png": b"x" * 5000})
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def _flip_a_byte(content: bytearray) -> None:
    content[2000] ^= 255


def _cut_off(content: bytearray) -> None:
    del content[len(content) // 2 :]


def _spoil_the_stream(content: bytearray) -> None:
    start = content.rindex(b"dog/1.png", 0, content.index(b"PK\x01\x02")) + len(b"dog/1.png")
    content[start : start + 8] = b"\xff" * 8


def _claim_an_unknown_method(content: bytearray) -> None:
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.index(signature) + offset, 99)


@pytest.mark.parametrize("change", [_flip_a_byte, _cut_off, _spoil_the_stream, _claim_an_unknown_method])
def test_a_damaged_zip_is_one_sentence(tmp_path, into, change):
    message = refused(damaged(tmp_path / "a.zip", change), into)
    assert str(tmp_path / "a.zip") in message and message.endswith(".") and not message.endswith("..")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x06"])
def test_a_file_that_is_no_zip(tmp_path, into, content):
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    assert "is not an intact zip" in refused(archive, into)


def test_a_file_and_a_folder_of_one_name(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {"cat": b"file", "cat/1.png": b"one"})
    assert "cannot be unpacked" in refused(archive, into)


def test_a_name_too_long_for_the_disk(tmp_path, into):
    archive = zipped(tmp_path / "a.zip", {f"{'c' * 300}/1.png": b"one"})
    assert "cannot be unpacked: File name too long." in refused(archive, into)


def test_an_archive_that_is_gone(tmp_path, into):
    with pytest.raises(ArchiveError, match="No such file"):
        unpack(tmp_path / "none.zip", into)


def test_errors_call_the_zip_as_it_was_typed(tmp_path, into):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"no")
    with pytest.raises(ArchiveError, match=r"^The file ~/a\.zip is not an intact zip"):
        unpack(archive, into, "~/a.zip")


def test_an_empty_zip_is_an_empty_folder(tmp_path, into):
    folder = unpack(zipped(tmp_path / "a.zip", {}), into)
    assert list(folder.iterdir()) == []


def test_random_bytes_in_the_directory_raise_nothing_else(tmp_path, into):
    import random

    chance = random.Random(3)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("cat/1.png", b"x" * 200)
    for number in range(150):
        content = bytearray(buffer.getvalue())
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        archive = tmp_path / f"{number}.zip"
        archive.write_bytes(content)
        try:
            folder = unpack(archive, into)
        except ArchiveError:
            continue
        assert folder.parent == into
