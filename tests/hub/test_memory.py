import pytest

from superft_hf.hub.memory import training_memory_bytes
from superft_hf.records import ModelInfo


def model(architecture: str, num_parameters: int | None, image_size: int | None = 224) -> ModelInfo:
    return ModelInfo(
        architecture, architecture, "", "hub", architecture=architecture, num_parameters=num_parameters,
        image_size=image_size,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "num_parameters", "image_size", "batch_size", "optim", "peak_mb"),
    [
        ("resnet18", 11_181_642, 224, 16, "adamw_torch", 1768),
        ("resnet34", 21_289_802, 160, 16, "sgd", 1660),
        ("resnet50", 23_528_522, 224, 16, "adamw_torch", 3401),
        ("vit_tiny_patch16_224", 5_526_346, 224, 32, "sgd", 2199),
        ("vit_small_patch16_224", 21_669_514, 224, 16, "adamw_torch", 2415),
        ("vit_base_patch16_224", 85_806_346, 224, 8, "adamw_torch", 3240),
        ("tf_efficientnet_lite0", 3_383_818, 224, 16, "adamw_torch", 2638),
        ("tf_efficientnet_lite0", 3_383_818, 128, 32, "sgd", 2080),
        ("convnext_tiny", 27_827_818, 224, 8, "adamw_torch", 2351),
        ("convnextv2_nano", 14_989_210, 224, 8, "adamw_torch", 2290),
        ("regnety_032", 17_938_468, 224, 8, "adamw_torch", 2325),
        ("swin_tiny_patch4_window7_224", 27_527_044, 224, 8, "sgd", 2555),
        ("mobilenetv4_conv_small", 2_505_834, 224, 32, "adamw_torch", 1790),
    ],
)
def test_the_estimate_meets_measured_peaks(
    architecture, num_parameters, image_size, batch_size, optim, peak_mb
):
    """Peaks (VmHWM) of processes that made three updates on two cores, in float32."""
    estimate = training_memory_bytes(model(architecture, num_parameters), batch_size, image_size, optim)
    assert estimate == pytest.approx(peak_mb * 1e6, rel=0.05)


def test_more_of_anything_takes_more():
    vit = model("vit", 86_000_000)
    plain = training_memory_bytes(vit, 16, None, "sgd")
    assert training_memory_bytes(vit, 32, None, "sgd") > plain
    assert training_memory_bytes(vit, 16, 384, "sgd") > plain
    assert training_memory_bytes(vit, 16, None, "adamw_torch") == plain + 4 * 86_000_000
    assert training_memory_bytes(vit, 16, None, "sgd", is_averaged=True) == plain + 4 * 86_000_000
    assert training_memory_bytes(vit, 16, None, "lion") == plain
    assert training_memory_bytes(model("vit_base_patch32_224", 86_000_000), 16, None, "sgd") < plain


def test_a_single_image_still_has_its_gradients():
    """With one small image the gradients are the larger part."""
    large = model("vit", 300_000_000)
    assert training_memory_bytes(large, 1, 32, "adafactor") >= 8 * 300_000_000


def test_what_is_unknown_stays_unknown():
    assert training_memory_bytes(model("vit", None), 8, None, "sgd") is None
    assert training_memory_bytes(model("vit", 5_000_000, None), 8, None, "sgd") is None
    assert training_memory_bytes(model("vit", 5_000_000, None), 8, 224, "sgd") > 0
    assert training_memory_bytes(model("never heard of", 5_000_000), 8, None, "sgd") > 0
