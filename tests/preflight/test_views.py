"""What the check says of test-time augmentation."""

import pytest

from superft_hf.preflight.report import check
from superft_hf.preflight.views import are_signs


@pytest.fixture
def finding(make, make_folder, home):
    """`finding({"test_time": "mirror"})`: what is said for pictures of cats and dogs, or of other classes."""

    def of(augmentation, classes=("cat", "dog"), **groups):
        layout = {f"train/{one}": 20 for one in classes} | {f"test/{one}": 4 for one in classes}
        config = make(make_folder(layout), augmentation=augmentation, **groups)
        found = [one for one in check(config, home).findings if one.code == "mirrored-views"]
        return found[0] if found else None

    return of


def test_nothing_is_said_while_each_image_is_looked_at_once(finding):
    assert finding({"preset": "documents"}) is None


@pytest.mark.parametrize("mode", ["mirror", "crops"])
@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        ({"preset": "documents"}, "Mirrored writing"),
        ({"preset": "medical"}, "Left and right of a body"),
        ({"preset": "light", "horizontal_flip": 0.0}, "never sees a mirror image"),
        ({"preset": "none"}, "never sees a mirror image"),
    ],
)
def test_views_that_the_network_never_sees_are_told(mode, augmentation, words, finding):
    found = finding({**augmentation, "test_time": mode})
    assert found.level == "know" and words in found.text
    assert found.remedies[0].changes == {"augmentation.test_time": "none"}


def test_digits_are_known_by_their_names_even_where_they_are_mirrored_in_training(finding):
    found = finding({"preset": "light", "test_time": "mirror"}, classes=("3", "7"))
    assert found.level == "know" and "single digits" in found.text


def test_a_preset_chosen_by_rule_counts_as_chosen(finding):
    assert finding({"test_time": "mirror"}).level == "fine"
    found = finding({"test_time": "mirror"}, model={"strategy": "head"})  # for which the rule takes none
    assert found.level == "know" and "never sees a mirror image" in found.text


def test_are_signs():
    assert are_signs(["0", "1"]) and are_signs(["a", "B"])
    assert not are_signs(["a", "crack"]) and not are_signs(["0"]) and not are_signs(["-", "+"])
