"""Applying remedies from the command line: several at once."""

import pytest

from superft_hf.config_file import make_config
from superft_hf.errors import ConfigError
from superft_hf.preflight.remedies import apply_remedies
from superft_hf.records import Finding, Remedy


def test_remedies_of_several_findings_are_joined():
    config = make_config(
        {"model": {"name_or_path": "a/b"}, "data": {"name_or_path": "c/d", "exclude": ["0123456789abcdef"]}}
    )
    first = Remedy("one", {"data.exclude": ["0123456789abcdef", "train:1111111111111111"]})
    second = Remedy("two", {"data.exclude": ["0123456789abcdef", "eval:2222222222222222"]})
    weights = Remedy("three", {"training.class_weights": "balanced"})
    findings = [
        Finding("know", "a", code="a", remedies=(first,)), Finding("know", "b", code="b", remedies=(second,)),
        Finding("know", "c", code="c", remedies=(weights,)), Finding("know", "d", code="d"),
    ]  # fmt: skip
    fixed = apply_remedies(config, findings, ["a", "b", "c"])
    assert fixed.data.exclude == ["0123456789abcdef", "train:1111111111111111", "eval:2222222222222222"]
    assert fixed.training.class_weights == "balanced"
    with pytest.raises(ConfigError, match="There is no remedy for 'd'") as caught:
        apply_remedies(config, findings, ["d"])
    assert caught.value.hint == "The findings that have one: a, b, c."


def test_a_remedy_that_removes_entries_removes_them_and_undoes_no_other():
    data = {
        "name_or_path": "c/d",
        "exclude": ["0" * 16, "1" * 16],
        "relabel": {"2" * 16: "cat", "3" * 16: "dog"},
    }
    config = make_config({"model": {"name_or_path": "a/b"}, "data": data})
    removed = Remedy("unused", {"data.exclude": ["1" * 16], "data.relabel": {"3" * 16: "dog"}})
    added = Remedy("copies", {"data.exclude": ["0" * 16, "1" * 16, "4" * 16]})
    corrected = Remedy("labels", {"data.relabel": {"2" * 16: "cat", "3" * 16: "emu", "5" * 16: "cat"}})
    findings = [
        Finding("know", code, code=code, remedies=(remedy,))
        for code, remedy in {"a": removed, "b": added, "c": corrected}.items()
    ]
    for order in ("abc", "cba", "bca"):
        fixed = apply_remedies(config, findings, order).data
        assert fixed.exclude == ["1" * 16, "4" * 16]
        assert fixed.relabel["3" * 16] == "emu" and fixed.relabel.keys() == {"3" * 16, "5" * 16}
