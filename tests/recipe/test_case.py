"""What is known of images, model and machine."""

import numpy as np
import pytest

from superft_hf.config_file import make_config
from superft_hf.recipe.case import Case, case_of, counts_in_order, family_of, make_case, some_sizes
from superft_hf.records import ModelInfo
from superft_hf.sources.load import load_images


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("resnet", "convnet"), ("tf_efficientnet_lite0", "convnet"), ("convnextv2", "convnet"),
        ("mobilevit_s", "convnet"), ("", "convnet"), ("something_new", "convnet"), ("vit", "transformer"),
        ("swinv2", "transformer"), ("dinov2_with_registers", "transformer"),
        ("vit_small_patch16_224", "transformer"), ("deit", "transformer"), ("beit", "transformer"),
    ],
)  # fmt: skip
def test_family(architecture, family):
    assert family_of(architecture) == family


def test_case__figures_of_the_classes():
    case = Case(num_train=120, class_counts=(100, 20, 0))
    assert (case.num_classes, case.per_class, case.imbalance) == (3, 40.0, 5.0)


def test_make_case__puts_together_what_is_known():
    config = make_config(
        {"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}, "hardware": {"devices": "cpu"}}
    )
    info = ModelInfo("m", "m", "", "local", architecture="ConvNeXt", image_size=224, num_parameters=9)
    case = make_case(config, info, [3, 4], np.array([[300, 200], [100, 400], [500, 600]]))
    assert (case.num_train, case.class_counts, case.picture_side) == (7, (3, 4), 200)
    assert (case.family, case.has_batch_norm, case.own_size) == ("convnet", False, 224)
    assert (case.device, case.num_processes) == ("cpu", 1)


def test_some_sizes__reads_heads_of_images_spread_over_the_split(make_folder, home):
    folder = make_folder({"a": 6, "b": 6})
    (folder / "a" / "broken.png").write_bytes(b"no image")
    config = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": str(folder)}})
    images = load_images(config.data, home)
    sizes = some_sizes(images.splits["train"])
    assert sizes.shape[1] == 2 and len(sizes) >= len(images.splits["train"]) - 1
    assert len(some_sizes(images.splits["train"], limit=3)) <= 3
    case = case_of(config, None, images)
    assert case.num_train == len(images.splits["train"])
    assert case.picture_side == int(np.median(sizes.min(axis=1)))


def test_counts_in_order():
    assert counts_in_order({"b": 2, "a": 1}, ["a", "b", "c"]) == [1, 2, 0]
