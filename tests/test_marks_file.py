import csv
import io

import pytest

from superft_hf.errors import DataError
from superft_hf.marks_file import COLUMNS, from_csv, parse_kind, to_csv
from superft_hf.records import Mark, MarkKind

A, B = "0123456789abcdef", "fedcba9876543210"
MARKS = [
    Mark(
        "acme/cells", A, MarkKind.WRONG_LABEL, "round, big", "flat", "train", "hub:train:7",
        "20260101-0000-aaaa", 'said "no"\ntwice', "page", "2026-11-24T10:00:00.000+00:00",
    ),
    Mark(
        "/data/x y", f"{B}-2", MarkKind.AMBIGUOUS, None, "ünïcode", "test", "/data/x y/é;.png", "",
        by="import",
    ),
]  # fmt: skip


def test_what_is_written_is_read_back():
    text = to_csv(MARKS)
    assert from_csv(text) == MARKS
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == COLUMNS and rows[0]["kind"] == "wrong label"
    assert rows[0]["note"] == 'said "no"\ntwice' and rows[1]["corrected"] == ""
    assert to_csv([]) == ",".join(COLUMNS) + "\n" and from_csv(to_csv([])) == []


def test_few_columns_are_enough_and_other_ones_are_passed_over():
    text = f"\ufeffkind,example_id,mine,corrected\r\nWrong-Label,{A},1,dog\r\nbad_image, {B} ,2,\r\n"
    first, second = from_csv(text, "images")
    assert first == Mark("images", A, MarkKind.WRONG_LABEL, "dog", "", "train", "", "", "", "import")
    assert (second.example_id, second.kind, second.corrected) == (B, MarkKind.BAD_IMAGE, None)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_delimiters_of_other_spreadsheets(delimiter):
    text = to_csv(MARKS[:1]).replace('"round, big"', "round").replace(",", delimiter)
    assert from_csv(text)[0].corrected == "round"


def test_whose_images():
    text = f"example_id,kind,data\n{A},exclude,there\n{B},exclude,\n"
    assert [one.data for one in from_csv(text, "here")] == ["there", "here"]
    assert [one.data for one in from_csv(text, "here", is_other_data_kept=False)] == ["here", "here"]
    with pytest.raises(DataError, match="Line 3: data is empty"):
        from_csv(text)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("nonsense,exclude,,,,", "'nonsense' is no example id, such as 0123456789abcdef"),
        (f"{A}-0,exclude,,,,", "is no example id"),
        (f"{A.upper()},exclude,,,,", "is no example id"),
        (f"{A},odd,,,,", "kind is 'odd', but must be one of wrong label, ambiguous, bad image, exclude"),
        (f"{A},,,,,", "kind is ''"),
        (f"{A},exclude,dog,,,", "a corrected class goes with a wrong label only, not with exclude"),
        (f"{A},wrong label,cat,cat,,", "the corrected class 'cat' is the label that it has"),
        (f"{A},wrong label,cow,cat,,", "'cow' is no class of these images"),
        (f"{A},exclude,,,valid,", "split is 'valid', but must be train, eval or test"),
        (f"{A},exclude,,,,{'x' * 2001}", "note has more than 2,000 characters"),
        (f"{A},exclude,,,,,,,", "more fields than the first line names"),
        (f"{B},ambiguous,,,,", "the image of line 2 again"),
        (f'{A},exclude,,,,"never closed', "unexpected end of data"),
    ],
)  # fmt: skip
def test_a_row_that_is_refused_is_named_by_its_line(row, problem):
    text = f'example_id,kind,corrected,label,split,note\n{B},exclude,,,,"two\nlines"\n{row}\n'
    with pytest.raises(DataError) as caught:
        from_csv(text, "images", class_names={"images": ["cat", "dog"], "others": ["cow"]})
    assert caught.value.message.startswith("Line 4: ") and problem in caught.value.message
    assert caught.value.hint.startswith("Nothing was imported.")


def test_many_refused_rows_are_counted():
    text = "example_id,kind\n" + "x,exclude\n" * 8
    with pytest.raises(DataError, match=r"^Line 2: .* Line 6: 'x' is no .* And 3 other lines\.$"):
        from_csv(text, "images")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "example_id\n" + A, "\n\n"])
def test_a_file_without_the_head(text):
    with pytest.raises(DataError, match="^Line 1 has no column "):
        from_csv(text, "images")


def test_binary_rubbish_is_a_sentence():
    with pytest.raises(DataError):
        from_csv("example_id,kind\n\0\0" + "x" * 200_000, "images")


@pytest.mark.parametrize("text", ["wrong label", "Wrong-Label", " wrong_label "])
def test_parse_kind(text):
    assert parse_kind(text) is MarkKind.WRONG_LABEL
