import doctest
import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest

from superft_hf.config import DataConfig, RunConfig
from superft_hf.config_file import dump_config, make_config, parse_config
from superft_hf.errors import BadImageError, DataError
from superft_hf.sources import relabel
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, log_changes, open_images, scan_images


def scan(root: Path, home: Path, **settings) -> Scan:
    data = DataConfig(name_or_path=str(root), **settings)
    return scan_images(load_images(data, home), data)


def id_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def classes_of(found: Scan) -> dict[tuple[str, str], str]:
    """Class name by (split, example id)."""
    names = found.images.class_names
    return {
        (split, one): names[label]
        for split, part in found.images.splits.items()
        for one, label in zip(found.example_ids[split], part.labels.tolist(), strict=True)
    }


def test_examples():
    assert doctest.testmod(relabel).failed == 0


def test_named_images_get_the_class_and_nothing_else_moves(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    before = scan(root, home)
    labels = classes_of(before)
    chosen = [before.example_ids["train"][3], before.example_ids["eval"][0], before.example_ids["test"][1]]
    places = [place for place in labels if place[1] in chosen]
    corrected = {one: "dog" if labels[split, one] == "cat" else "cat" for split, one in places}
    after = scan(root, home, relabel=corrected)
    assert after.example_ids == before.example_ids
    assert classes_of(after) == labels | {place: corrected[place[1]] for place in places}
    assert (after.num_relabelled, after.unused_relabels) == (3, ())
    assert {type(part.labels) for part in after.images.splits.values()} == {np.ndarray}


def test_the_fingerprints_see_the_new_labels_of_their_split(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 4, "val/dog": 4})
    before = scan(root, home)
    after = scan(root, home, relabel={id_of(root / "val/cat" / "0018.png"): "dog"})
    assert after.fingerprint != before.fingerprint
    changed = [
        name for name, one in before.split_fingerprints.items() if after.split_fingerprints[name] != one
    ]
    assert changed == ["eval"]
    same = scan(root, home, relabel={id_of(root / "val/cat" / "0018.png"): "cat"})
    assert same.fingerprint == before.fingerprint and same.num_relabelled == 0 and same.unused_relabels == ()


def test_an_entry_of_one_split_goes_before_one_of_all(make_folder, home):
    root = make_folder(
        {"train/cat": 9, "train/dog": 9, "train/emu": 3, "val/cat": 3, "val/dog": 3, "val/emu": 3}
    )
    (root / "val" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0000.png").read_bytes())
    one = id_of(root / "val" / "cat" / "copy.png")
    only = classes_of(scan(root, home, relabel={f"train:{one}": "dog"}))
    assert (only["train", one], only["eval", one]) == ("dog", "cat")
    both = scan(root, home, relabel={one: "emu", f"train:{one}": "dog"})
    assert (classes_of(both)["train", one], classes_of(both)["eval", one]) == ("dog", "emu")
    assert both.num_relabelled == 2 and both.unused_relabels == ()


def test_all_copies_of_an_image_get_the_label(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9})
    for number in range(3):
        (root / "train" / "cat" / f"copy{number}.png").write_bytes((root / "train/cat/0000.png").read_bytes())
    one = id_of(root / "train/cat/0000.png")
    found = scan(root, home, relabel={one: "dog"})
    copies = {name for (_, example_id), name in classes_of(found).items() if example_id.startswith(one)}
    assert copies == {"dog"} and found.num_relabelled == 4


def test_class_names_are_those_after_merging(make_folder, home):
    root = make_folder({"Cat": 10, "cat": 10, "dog": 10})
    one = id_of(root / "dog" / "0025.png")
    found = scan(root, home, merge_classes={"Cat": "cat"}, relabel={one: "cat"})
    assert [name for (_, example_id), name in classes_of(found).items() if example_id == one] == ["cat"]
    with pytest.raises(DataError, match="no class of") as caught:
        scan(root, home, merge_classes={"Cat": "cat"}, relabel={one: "Cat"})
    assert caught.value.hint == "data.merge_classes counts it as 'cat'. Change data.relabel."


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"relabel": {"0" * 16: "kat"}}, "an image is of 'kat', which", "Did you mean 'cat'?"),
        ({"relabel": {"0" * 16: "xy"}}, "is of 'xy', which is no class of", "There is cat, dog, emu."),
        (
            {"relabel": {"0" * 16: "xy", "1" * 16: "xy", "2" * 16: "z"}},
            "2 images are of 'xy', and 1 other unknown names, which", "There is cat",
        ),
        (
            {"relabel": {"0" * 16: "emu"}, "exclude_classes": ["emu"]},
            "is of 'emu'", "data.exclude_classes leaves that class out.",
        ),
    ],
)  # fmt: skip
def test_an_unknown_class_is_named_before_any_image_is_opened(make_folder, home, settings, message, hint):
    root = make_folder({"cat": 9, "dog": 9, "emu": 9})
    data = DataConfig(name_or_path=str(root), **settings)
    images = load_images(data, home)
    heard: list[int] = []
    with pytest.raises(DataError, match="data.relabel") as caught:
        open_images(images, data, lambda done, total: heard.append(done))
    assert message in caught.value.message and caught.value.hint.startswith(hint)
    assert caught.value.hint.endswith("Change data.relabel.") and heard == []


def test_entries_that_no_image_answers_to_are_told(make_folder, home, caplog):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 3, "val/dog": 3})
    one = id_of(root / "train/cat/0000.png")
    entries = {one: "dog", "0" * 16: "dog", "train:" + "1" * 16: "cat"}
    found = scan(root, home, relabel=entries, exclude=["2" * 16, id_of(root / "train/cat/0001.png")])
    assert found.unused_relabels == ("0" * 16, "train:" + "1" * 16)
    with caplog.at_level(logging.INFO, "superft_hf"):
        log_changes(found)
    assert caplog.messages == [
        "data.exclude leaves out 1 image",
        "data.relabel gives 1 image another label",
        f"no image answers to 1 entry of data.exclude, such as {'2' * 16}: the images may have changed since",
        f"no image answers to 2 entries of data.relabel, such as {'0' * 16}: "
        "the images may have changed since",
    ]


def test_naming_an_image_by_each_split_where_it_may_stand_is_no_idle_entry(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 3, "val/dog": 3})
    one, other = id_of(root / "train/cat/0000.png"), id_of(root / "val/cat/0018.png")
    found = scan(
        root,
        home,
        relabel={f"train:{one}": "dog", f"eval:{one}": "dog"},
        exclude=[f"train:{other}", f"eval:{other}"],
    )
    assert (found.unused_relabels, found.unused_exclusions) == ((), ())
    assert (found.num_relabelled, found.num_left_out) == (1, 1)
    alone = scan(root, home, relabel={f"eval:{one}": "dog"}, exclude=[f"train:{other}"])
    assert (alone.unused_relabels, alone.unused_exclusions) == ((f"eval:{one}",), (f"train:{other}",))


def test_leaving_out_goes_before_correcting(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    one = id_of(root / "cat" / "0000.png")
    found = scan(root, home, relabel={one: "dog"}, exclude=[one])
    assert (found.num_left_out, found.num_relabelled) == (1, 0)
    assert (found.unused_relabels, found.unused_exclusions) == ((), ())


def test_the_relabelled_set_is_judged(make_folder, home):
    root = make_folder({"train/cat": 5, "train/dog": 2, "val/cat": 3, "val/dog": 3})
    dogs = {id_of(path): "cat" for path in (root / "train/dog").iterdir()}
    with pytest.raises(DataError, match="eval split has a class absent from the train split: dog"):
        scan(root, home, relabel=dogs)
    dogs |= {id_of(path): "cat" for path in (root / "val/dog").iterdir()}
    with pytest.raises(DataError, match="are of one class, 'cat'"):
        scan(root, home, relabel=dogs)


def test_a_part_of_a_set_is_not_judged_as_one(make_folder, home):
    root = make_folder({"train/cat": 5, "train/dog": 2, "val/cat": 3, "val/dog": 3})
    data = DataConfig(
        name_or_path=str(root), relabel={id_of(path): "cat" for path in (root / "train/dog").iterdir()}
    )
    images = load_images(data, home)
    assert scan_images(images, data, is_part=True).num_relabelled == 2
    everything = {"exclude": [id_of(path) for path in (root / "val").rglob("*.png")]}
    with pytest.raises(DataError, match="are of one class"):
        scan_images(images, data.model_copy(update=everything), is_part=True)


def test_a_bad_file_keeps_its_reason_and_has_the_corrected_label(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    (root / "cat" / "text.jpg").write_bytes(b"text")
    data = DataConfig(name_or_path=str(root), relabel={id_of(root / "cat" / "text.jpg"): "dog"})
    (bad,) = open_images(load_images(data, home), data).bad
    assert bad.label == "dog"
    with pytest.raises(BadImageError):
        scan(root, home, relabel=dict(data.relabel))


def test_ids_that_look_like_numbers_survive_the_yaml():
    ids = [
        "1234567890123456",
        "123456789012345e",
        "1234567890123e45",
        "0000000000000010",
        "test:1" + "0" * 15,
    ]
    config = make_config(
        {
            "model": {"name_or_path": "m"},
            "data": {"name_or_path": "d", "exclude": ids, "relabel": dict.fromkeys(ids, "7")},
        }
    )
    again = parse_config(dump_config(config))
    assert isinstance(again, RunConfig) and again == config
