"""Settings that the model has no place for are found before the start, and a click puts them right."""

import pytest

from superft_hf.errors import ModelError
from superft_hf.preflight.report import check, require


@pytest.mark.parametrize(
    ("group", "name", "value", "off", "words"),
    [
        ("model", "drop_path_rate", 0.1, None, "The architecture resnet has no stochastic depth."),
        ("training", "gradient_checkpointing", True, False,
         "The architecture resnet does not support gradient checkpointing."),
    ],
)  # fmt: skip
def test_what_the_model_lacks_blocks(make, make_folder, home, group, name, value, off, words):
    config = make(make_folder({"cat": 40, "dog": 40}))
    asked = getattr(config, group).model_copy(update={name: value})
    asking = config.model_copy(update={group: asked})
    (finding,) = [one for one in check(asking, home).findings if one.code == "model-lacks"]
    assert (finding.level, finding.title, finding.kind) == ("blocks", words, "ModelError")
    assert finding.remedies[0].changes == {f"{group}.{name}": off}
    with pytest.raises(ModelError, match=words):
        require(asking, home)
    require(config, home)
