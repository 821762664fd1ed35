"""`python -m tests.stand_ins.hub_networks FOLDER`: writes the tiny networks of the stand-in Hub.

Apart from hub_content, so that whoever fills a Hub need not import torch.
"""

import json
import shutil
import sys
from pathlib import Path

RANDOM = "Its weights are random numbers from a fixed seed: it has learned nothing yet."
PROCESSOR = {"size": {"height": 32, "width": 32}}


def main(owner: Path) -> None:
    import torch
    from transformers import (
        ResNetConfig,
        ResNetForImageClassification,
        ViTConfig,
        ViTForImageClassification,
        ViTImageProcessor,
    )
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    vit = ViTForImageClassification(
        ViTConfig(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, image_size=32,
            patch_size=4, num_labels=10,
        )
    )  # fmt: skip
    resnet = ResNetForImageClassification(
        ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic", num_labels=10
        )
    )
    for name, model in (("tiny-vit", vit), ("tiny-resnet", resnet)):
        model.save_pretrained(owner / name)
        ViTImageProcessor(**PROCESSOR).save_pretrained(owner / name)
    torch.save(vit.state_dict(), owner / "weights.bin")
    _timm(owner / "tiny-timm-resnet")
    _cards(owner)
    _odd_ones(owner)


def _timm(folder: Path) -> None:
    import timm
    from timm.models._hub import save_for_hf

    model = timm.create_model("test_resnet", num_classes=10)
    save_for_hf(model, folder, safe_serialization=True)
    # transformers' TimmWrapper refuses arguments that repeat what it passes itself, such as num_classes.
    _change_config(folder, model_args={})


def _cards(owner: Path) -> None:
    from tests.stand_ins.hub_content import write_card, write_notes

    task = {"pipeline_tag": "image-classification", "tags": ["image-classification", "vision"]}
    write_card(
        owner / "tiny-vit", "Tiny ViT", f"A vision transformer of 3 layers for 32 px. {RANDOM}",
        license="mit", library_name="transformers", **task,
    )  # fmt: skip
    write_notes(owner / "tiny-vit", 12_904, 64, 238, 40)
    write_card(
        owner / "tiny-resnet", "Tiny ResNet", f"A residual network of 3 stages for 32 px. {RANDOM}",
        license="apache-2.0", library_name="transformers", **task,
    )  # fmt: skip
    write_notes(owner / "tiny-resnet", 31_077, 112, 236, 18)
    write_card(
        owner / "tiny-timm-resnet", "Tiny ResNet of timm",
        f"timm's test_resnet, a residual network for trials. {RANDOM}", license="apache-2.0",
        library_name="timm", **task,
    )  # fmt: skip
    write_notes(owner / "tiny-timm-resnet", 7_450, 21, 220, 6)


def _odd_ones(owner: Path) -> None:
    """Models that cannot be trained as they are, each for a reason of its own."""
    from tests.stand_ins.hub_content import write_card, write_notes

    weights = owner / "weights.bin"
    for name in ("gated-vit", "pickled-vit", "remote-code-vit", "tiny-detector"):
        shutil.copytree(owner / "tiny-vit", owner / name)
    (owner / "gated-vit" / ".gated").write_text("manual", encoding="utf-8")
    write_card(
        owner / "gated-vit", "Gated ViT", f"Its owner wants to know who downloads it. {RANDOM}",
        license="other", library_name="transformers", pipeline_tag="image-classification",
    )  # fmt: skip
    write_notes(owner / "gated-vit", 5_120, 77, 232, 12)

    (owner / "pickled-vit" / "model.safetensors").unlink()
    weights.rename(owner / "pickled-vit" / "pytorch_model.bin")
    write_card(
        owner / "pickled-vit", "Pickled ViT", f"Only has pickled weights, which may run code. {RANDOM}",
        license="mit", library_name="transformers", pipeline_tag="image-classification",
    )  # fmt: skip
    write_notes(owner / "pickled-vit", 1_480, 3, 15)

    _change_config(
        owner / "remote-code-vit",
        auto_map={"AutoModelForImageClassification": "modeling_own.OwnForImageClassification"},
        model_type="own-vit",
    )
    code = "# The program of this model. It is here to be refused.\n"
    (owner / "remote-code-vit" / "modeling_own.py").write_text(code, encoding="utf-8")
    write_card(
        owner / "remote-code-vit", "ViT with its own code", f"Needs a program of its own. {RANDOM}",
        license="mit", library_name="transformers", pipeline_tag="image-classification",
    )  # fmt: skip
    write_notes(owner / "remote-code-vit", 990, 8, 130, 3)

    _change_config(owner / "tiny-detector", architectures=["YolosForObjectDetection"], model_type="yolos")
    write_card(
        owner / "tiny-detector", "Tiny detector", f"Made for object detection. {RANDOM}",
        license="apache-2.0", library_name="transformers", pipeline_tag="object-detection",
    )  # fmt: skip
    write_notes(owner / "tiny-detector", 2_300, 14, 180, 5)

    private = owner.parent / "tester" / "private-resnet"
    shutil.copytree(owner / "tiny-resnet", private)
    (private / ".private").touch()
    write_card(
        private, "Private ResNet", f"Seen by its owner only. {RANDOM}", license="mit",
        library_name="transformers", pipeline_tag="image-classification",
    )  # fmt: skip
    write_notes(private, 3, 0, 239)


def _change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
