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
