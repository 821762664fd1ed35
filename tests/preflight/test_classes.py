"""What counts, names, splits and groups tell, and that the remedies settle it."""

from pathlib import Path

import pytest

from superft_hf.config import RunConfig
from superft_hf.preflight.report import Report, check
from superft_hf.records import Finding


def found(report: Report, code: str) -> list[Finding]:
    return [one for one in report.findings if one.code == code]


def after(config: RunConfig, finding: Finding, home: Path, remedy: int = 0) -> Report:
    values = config.model_dump()
    for key, value in finding.remedies[remedy].changes.items():
        group, name = key.split(".")
        values[group][name] = value
    return check(RunConfig.model_validate(values), home)


def notable(report: Report, code: str) -> list[Finding]:
    return [one for one in found(report, code) if one.level != "fine"]


def test_a_class_that_train_lacks_blocks_and_can_be_left_out_or_cut_anew(make, make_folder, home):
    config = make(make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 4, "val/emu": 14}))
    (finding,) = found(check(config, home), "class-mismatch")
    assert (finding.level, finding.kind) == ("blocks", "ClassMismatchError")
    assert [one.title for one in finding.remedies] == [
        "Leave the class out",
        "Put all images together and cut new splits",
    ]
    for remedy in (0, 1):
        report = after(config, finding, home, remedy)
        assert found(report, "class-mismatch") == [] and not report.is_blocked


def test_tiny_classes_may_be_left_out_all_at_once(make, make_folder, home):
    layout = {"train/cat": 20, "train/dog": 20, "train/emu": 3, "train/fox": 2}
    config = make(make_folder({**layout, "val/cat": 4, "val/dog": 4, "test/cat": 4, "test/dog": 4}))
    (finding,) = found(check(config, home), "tiny-classes")
    assert finding.title == "2 classes have fewer than 10 training images."
    assert "emu (3), fox (2)" in finding.text
    assert finding.remedies[0].changes == {"data.exclude_classes": ["emu", "fox"]}
    assert found(after(config, finding, home), "tiny-classes") == []


def test_one_of_two_classes_cannot_be_left_out(make, make_folder, home):
    (finding,) = found(check(make(make_folder({"cat": 40, "dog": 8})), home), "tiny-classes")
    assert finding.remedies == () and finding.title == "Class dog has 6 training images."


def test_imbalance_is_settled_by_weights(make, make_folder, home):
    config = make(make_folder({"cat": 120, "dog": 20}))
    (finding,) = found(check(config, home), "imbalance")
    assert finding.level == "know" and notable(after(config, finding, home), "imbalance") == []


def test_names_that_differ_by_case_or_spaces_are_merged_into_the_larger(make, make_folder, home):
    config = make(make_folder({"Sea lion": 12, "sea_lion": 30, "dog": 30}))
    (finding,) = found(check(config, home), "similar-names")
    assert "'Sea lion' and 'sea_lion'" in finding.text
    assert finding.remedies[0].changes == {"data.merge_classes": {"Sea lion": "sea_lion"}}
    report = after(config, finding, home)
    assert found(report, "similar-names") == [] and report.data.class_names == ("sea_lion", "dog")


def write_table(folder: Path, labels: list[str], more: str = "") -> Path:
    lines = [f"path,label{',' + more if more else ''}"]
    lines += [f"pictures/{number:04d}.png,{label}" for number, label in enumerate(labels)]
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [f"image {n // 2 if n < 20 else n}" for n in range(60)],
            "nearly as many classes as images: 50 for 60",
        ),
        ([f"{(n % 25) / 4:.2f}" for n in range(60)], "The 25 class names are measured numbers"),
    ],
)
def test_columns_that_hold_no_classes(make, make_folder, home, labels, words):
    config = make(write_table(make_folder({"pictures": 60}), labels), data={"split_seed": 1})
    report = check(config, home)
    assert [words in one.title for one in found(report, "label-doubt")] == [True] or words.split()[
        0
    ] == "nearly"


def test_many_numbered_classes_are_no_doubt(make, make_folder, home):
    config = make(write_table(make_folder({"pictures": 100}), [str(n % 25) for n in range(100)]))
    assert found(check(config, home), "label-doubt") == []


def test_rows_without_label_and_without_file_are_counted(make, make_folder, home):
    path = write_table(make_folder({"pictures": 60}), ["cat", "dog"] * 25 + [""] * 3 + ["cat", "dog"] * 4)
    report = check(make(path, data={"on_bad_image": "skip"}), home)
    assert found(report, "unlabelled")[0].title == "3 rows have no label."
    assert found(report, "missing-files")[0].title == "1 row of the table name files that do not exist."


def test_groups_on_two_sides_of_given_splits(make, make_folder, home):
    patients = {"train": range(8), "val": range(7, 10), "test": range(10, 12)}
    layout = {
        f"{split}/{name}/p{number}": 4
        for split, numbers in patients.items()
        for number in numbers
        for name in ("cat", "dog")
    }
    config = make(make_folder(layout), data={"group_column": "subfolder"})
    (finding,) = found(check(config, home), "torn-groups")
    assert finding.title == "1 group of subfolder stands on two sides."
    assert finding.num_images == 16 and {one.note for one in finding.images} == {"p7"}
    (fine,) = found(after(config, finding, home), "torn-groups")
    assert (fine.level, fine.title) == ("fine", "No group of subfolder stands on two sides: 12 groups")


def test_a_group_column_of_single_images_is_of_no_use(make, make_folder, home):
    config = make(make_folder({"cat": 20, "dog": 20}), data={"group_column": "file_prefix"})
    (finding,) = found(check(config, home), "idle-groups")
    assert finding.title == "No two images share a value of file_prefix."
    assert found(after(config, finding, home), "idle-groups") == []
