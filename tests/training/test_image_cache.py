"""Prepared images: the same bits with a cache and without, cold and warm, and the shapes they are kept in."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ConvNextImageProcessor, LevitImageProcessor, ViTImageProcessor

from superft_hf.config import DataConfig
from superft_hf.paths import HomePaths
from superft_hf.sources import images as image_files
from superft_hf.sources.cache_room import list_caches
from superft_hf.sources.load import load_images
from superft_hf.sources.pixel_cache import PIXELS
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.training.image_classification import image_cache
from superft_hf.training.image_classification.datasets import (
    Collator,
    EvalImages,
    PlainTrainImages,
    TrainImages,
)
from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws
from superft_hf.training.image_classification.geometry import crop_box
from superft_hf.training.image_classification.image_cache import (
    ImageCaches,
    Kept,
    SeenImages,
    WholeImages,
    WholeWay,
    whole_way,
)
from superft_hf.training.image_classification.pixels import eval_pixels, read_pixel_map

SQUASHING = ViTImageProcessor(size={"height": 32, "width": 32})
CROPPING = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)
PROCESSORS = {
    "squashing": SQUASHING,
    "cropping": CROPPING,
    "levit": LevitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
}
SIZE = (32, 32)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def scan(tmp_path, home) -> Scan:
    """20 images: PNG and JPEG, grey and transparent, of many sizes, one turned."""
    home.mkdir()
    sizes = [(90, 60), (40, 100), (20, 30), (300, 200), (64, 64)]
    for number in range(20):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture, exif = noise(*sizes[number % 5], seed=number), Image.Exif()
        if number == 8:
            exif[274] = 6
        if number % 3 == 0:
            picture.convert("RGBA" if number % 2 else "L").save(folder / f"{number}.png")
        else:
            picture.save(folder / f"{number}.jpg", exif=exif)
    data = DataConfig(name_or_path=str(tmp_path / "images"))
    return scan_images(load_images(data, home), data, home=home)


@pytest.fixture
def opened(monkeypatch) -> list[bytes]:
    """What was decoded."""
    decoded, open_rgb = [], image_files.open_rgb

    def watched(encoded, needed=None):
        decoded.append(encoded)
        return open_rgb(encoded, needed)

    monkeypatch.setattr(image_cache, "open_rgb", watched)
    return decoded


def caches_of(scan: Scan, limit_gb: float = 1.0) -> ImageCaches:
    return ImageCaches(scan.home, limit_gb, "pictures", scan.catalogue)


def train_images(scan: Scan, processor, caches: ImageCaches | None, crop_scale: float = 0.5) -> TrainImages:
    split, ids = scan.images.splits["train"], scan.example_ids["train"]
    if crop_scale < 1:
        way = whole_way(processor, crop_scale, SIZE)
        kept = Kept() if caches is None else caches.open(way, ids)
        return TrainImages(WholeImages(split, way, kept, crop_scale, SIZE), split.labels, seed=1)
    seen = SeenImages(split, processor, read_pixel_map(processor))
    return TrainImages(seen if caches is None else seen.keep(caches, ids), split.labels, seed=1)


def eval_images(scan: Scan, processor, caches: ImageCaches | None, split: str = "eval") -> EvalImages:
    seen = SeenImages(scan.images.splits[split], processor, read_pixel_map(processor))
    if caches is not None:
        seen.keep(caches, scan.example_ids[split])
    return EvalImages(seen, scan.images.splits[split].labels)


def epoch_of(dataset: TrainImages, epoch: int) -> dict[str, torch.Tensor]:
    return dataset.__getitems__([(index, epoch) for index in range(len(dataset))])


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert torch.equal(values, other[name]), name


@pytest.mark.parametrize("crop_scale", [0.3, 1.0])
@pytest.mark.parametrize("name", PROCESSORS)
def test_train__equal_bits_without_cache_cold_warm_and_in_the_next_run(name, crop_scale, scan, opened):
    processor, num = PROCESSORS[name], len(scan.images.splits["train"])
    plain = train_images(scan, processor, None, crop_scale)
    expected = [epoch_of(plain, epoch) for epoch in (0, 1)]
    assert len(opened) == 2 * num
    assert not torch.equal(expected[0]["pixels"], expected[1]["pixels"]) or crop_scale == 1
    for is_cold in (True, False):
        del opened[:]
        dataset = train_images(scan, processor, caches_of(scan), crop_scale)
        for epoch in (0, 1):
            assert_equal(epoch_of(dataset, epoch), expected[epoch])
        assert len(opened) == (num if is_cold else 0)


@pytest.mark.parametrize("name", PROCESSORS)
def test_eval__is_the_processors_answer_to_the_bit(name, scan, opened):
    processor, split = PROCESSORS[name], scan.images.splits["eval"]
    expected = torch.stack(
        [eval_pixels(processor, image_files.open_rgb(split.encoded(index))) for index in range(len(split))]
    )
    for decoded in (len(split), 0):
        del opened[:]
        batch = eval_images(scan, processor, caches_of(scan)).__getitems__(range(len(split)))
        assert torch.equal(batch["pixel_values"], expected)
        assert batch["labels"].tolist() == split.labels.tolist()
        assert len(opened) == decoded


def test_eval__what_uint8_cannot_hold_is_made_each_time(scan, opened, monkeypatch):
    """A processor that resizes in float: its answers lie between the levels."""

    class Smooth:
        def __call__(self, images, return_tensors):
            pixels = torch.from_numpy(np.array(images)).permute(2, 0, 1)[None].float() / 255
            made = torch.nn.functional.interpolate(pixels, size=SIZE, mode="bilinear", antialias=True)
            return {"pixel_values": made}

    split = scan.images.splits["eval"]
    for _ in range(2):
        del opened[:]
        batch = eval_images(scan, Smooth(), caches_of(scan)).__getitems__(range(len(split)))
        assert len(opened) == len(split)
    assert_equal(batch, eval_images(scan, Smooth(), None).__getitems__(range(len(split))))


def test_eval__a_processor_that_swaps_channels(scan, opened):
    class Swapping:
        def __call__(self, images, return_tensors):
            return {"pixel_values": SQUASHING(images=images, return_tensors="pt")["pixel_values"].flip(1) * 2}

    split = scan.images.splits["eval"]
    expected = eval_images(scan, Swapping(), None).__getitems__(range(len(split)))
    for decoded in (len(split), 0):
        del opened[:]
        assert_equal(eval_images(scan, Swapping(), caches_of(scan)).__getitems__(range(len(split))), expected)
        assert len(opened) == decoded
    first = image_files.open_rgb(scan.images.splits["train"].encoded(0)).resize(
        SIZE, Image.Resampling.BILINEAR
    )
    pixels = train_images(scan, Swapping(), caches_of(scan), crop_scale=1.0)[(0, 0)]["pixels"]
    assert (pixels.permute(1, 2, 0).int() - torch.from_numpy(np.array(first)).int()).abs().max() <= 1


def test_training_without_crops_shares_the_pictures_of_evaluation(scan, opened):
    eval_images(scan, SQUASHING, caches_of(scan), "train").__getitems__(range(3))
    del opened[:]
    epoch_of(train_images(scan, SQUASHING, caches_of(scan), crop_scale=1.0), 0)
    assert len(opened) == len(scan.images.splits["train"]) - 3
    assert len(list_caches(HomePaths(scan.home).image_caches)) == 1


def test_other_splits_and_left_out_images_find_the_cache(scan, home, tmp_path, opened):
    eval_images(scan, SQUASHING, caches_of(scan), "train").__getitems__(range(14))
    data = DataConfig(
        name_or_path=str(tmp_path / "images"), split_seed=7, exclude=[scan.example_ids["train"][0]]
    )
    other = scan_images(load_images(data, home), data, home=home)
    known = set(scan.example_ids["train"])
    del opened[:]
    for name in ("train", "eval", "test"):
        eval_images(other, SQUASHING, caches_of(other), name).__getitems__(
            range(len(other.images.splits[name]))
        )
    assert len(opened) == sum(one not in known for ids in other.example_ids.values() for one in ids)
    assert len(list_caches(HomePaths(home).image_caches)) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((SQUASHING, 0.5), (CROPPING, 0.5)),
        ((SQUASHING, 0.5), (SQUASHING, 0.1)),
        ((SQUASHING, 1.0), (CROPPING, 1.0)),
        ((SQUASHING, 1.0), (ViTImageProcessor(size={"height": 32, "width": 32}, resample=0), 1.0)),
        ((SQUASHING, 1.0), (ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4] * 3), 1.0)),
    ],
)
def test_another_way_of_preparing_has_a_cache_of_its_own(first, second, scan):
    for processor, crop_scale in (first, second):
        warm = [epoch_of(train_images(scan, processor, caches_of(scan), crop_scale), 0) for _ in range(2)][1]
        assert_equal(warm, epoch_of(train_images(scan, processor, None, crop_scale), 0))
    assert len(list_caches(HomePaths(scan.home).image_caches)) == 2


def test_damage_changes_nothing_but_time(scan, opened):
    expected = epoch_of(train_images(scan, SQUASHING, caches_of(scan)), 0)
    (cache,) = list_caches(HomePaths(scan.home).image_caches)
    path = cache.folder / PIXELS
    path.write_bytes(bytes(255 - one for one in path.read_bytes()))
    del opened[:]
    for decoded in (len(scan.images.splits["train"]), 0):
        assert_equal(epoch_of(train_images(scan, SQUASHING, caches_of(scan)), 0), expected)
        assert len(opened) == decoded
        del opened[:]


def test_no_room_changes_nothing_but_time(scan, opened):
    expected = epoch_of(train_images(scan, SQUASHING, None), 0)
    for limit_gb in (0.0, 20e-6):
        for _ in range(2):
            del opened[:]
            assert_equal(epoch_of(train_images(scan, SQUASHING, caches_of(scan, limit_gb)), 0), expected)
        assert 0 < len(opened) <= len(expected["labels"]) and (len(opened) < len(expected["labels"])) == bool(
            limit_gb
        )


# Shapes


def test_whole_way__is_read_off_the_processor():
    assert whole_way(SQUASHING, 0.5, SIZE) == WholeWay(48, 48, is_squashed=True)  # 32 / √0.5 = 45.3
    assert whole_way(CROPPING, 0.25, (32, 64)) == WholeWay(64, 128, is_squashed=False)
    assert not whole_way(PROCESSORS["levit"], 0.5, SIZE).is_squashed


@pytest.mark.parametrize(
    ("is_squashed", "size", "stored"),
    [
        (True, (300, 200), (48, 48)),
        (True, (30, 200), (30, 48)),  # never enlarged
        (False, (300, 200), (72, 48)),
        (False, (96, 500), (48, 250)),
        (False, (40, 500), (40, 500)),
    ],
)
def test_stored_size(is_squashed, size, stored):
    height, width = (np.array([side]) for side in size)
    assert WholeWay(48, 48, is_squashed).stored(height, width).tolist() == [list(stored)]


def test_the_smallest_crop_has_the_pixels_of_the_network(scan):
    """Area and ratio at their extremes, of an image large enough."""
    draws = EpochDraws(1).rows(0, np.arange(1000))
    draws[:, Draw.CROP_AREA], draws[:, Draw.CROP_RATIO] = 0.9999, 0.5
    for way in (whole_way(SQUASHING, 0.35, (224, 224)), whole_way(CROPPING, 0.35, (224, 224))):
        height, width = way.stored(np.array([3000]), np.array([4000]))[0].tolist()
        boxes = [way.crop(row, height, width, 0.35) for row in draws]
        assert min(min(box.height, box.width) for box in boxes) >= 224


def test_crops_of_a_long_image_come_from_all_of_it_and_are_not_squashed():
    way, height, width = WholeWay(48, 48, is_squashed=False), 48, 480
    boxes = [way.crop(row, height, width, 0.5) for row in EpochDraws(1).rows(0, np.arange(300))]
    assert all(0.72 < box.width / box.height < 1.38 for box in boxes)
    assert min(box.height * box.width for box in boxes) >= 0.49 * 48 * 64
    assert min(box.left for box in boxes) < 20 and max(box.left + box.width for box in boxes) > 460
    row = EpochDraws(1).rows(0, np.array([5]))[0]
    assert way.crop(row, 60, 50, 0.5) == crop_box(row, 60, 50, 0.5)


def test_squashed_crops_are_the_same_part_of_small_and_large_images():
    """An image that is not enlarged is cropped where it would be at the full size."""
    way = WholeWay(480, 480, is_squashed=True)
    for row in EpochDraws(1).rows(0, np.arange(200)):
        large, small = way.crop(row, 480, 480, 0.2), way.crop(row, 48, 480, 0.2)
        assert (small.left, small.width) == (large.left, large.width)
        assert abs(small.top - large.top / 10) <= 0.5
        assert abs(small.top + small.height - (large.top + large.height) / 10) <= 0.5
        assert small.top >= 0 and small.height >= 1 and small.top + small.height <= 48
    tiny = [way.crop(row, 1, 2, 0.2) for row in EpochDraws(1).rows(0, np.arange(200))]
    assert {box.top + box.height for box in tiny} == {1}
    assert max(box.left + box.width for box in tiny) == 2 and min(box.width for box in tiny) == 1


def test_training_shows_the_shapes_that_evaluation_shows(tmp_path, home):
    """A circle in a picture twice as wide as high: squashed by the one processor, round with the other."""
    rows, columns = np.mgrid[:200, :400]
    disc = ((rows - 100) ** 2 + (columns - 200) ** 2 < 60**2)[..., None] * np.full(3, 255)
    for number, name in enumerate("ab" * 10):
        (tmp_path / "disc" / name).mkdir(parents=True, exist_ok=True)
        picture = disc.astype(np.uint8)
        picture[0, number] = 9
        Image.fromarray(picture).save(tmp_path / "disc" / name / f"{number}.png")
    data = DataConfig(name_or_path=str(tmp_path / "disc"))
    scan = scan_images(load_images(data, home), data)
    for processor, ratio in ((SQUASHING, 0.5), (CROPPING, 1.0)):
        shapes = []
        for values in (
            eval_images(scan, processor, None)[0]["pixel_values"][0],
            *(epoch_of(train_images(scan, processor, None, 0.999), 0)["pixels"][:, 0].float()),
        ):
            is_disc = values > (values.min() + values.max()) / 2
            shapes.append(float(is_disc.any(0).sum() / is_disc.any(1).sum()))
        if ratio == 0.5:
            assert shapes == pytest.approx([ratio] * len(shapes), abs=0.12)
        else:  # a crop of 3 : 4 at most is made square
            assert shapes[0] == pytest.approx(1, abs=0.1)
            assert min(shapes) == pytest.approx(0.75, abs=0.1) and max(shapes) < 1.45


def test_a_reduced_jpeg_looks_as_if_every_pixel_had_been_decoded():
    out = io.BytesIO()
    noise(1600, 1200).save(out, "JPEG", quality=95)
    asked = []

    def needed(height: int, width: int) -> tuple[int, int]:
        asked.append((height, width))
        return 150, 200

    reduced = image_files.open_rgb(out.getvalue(), needed)
    assert asked == [(1200, 1600)] and reduced.size == (400, 300)
    whole = image_files.open_rgb(out.getvalue())
    assert whole.size == (1600, 1200)
    small = [np.asarray(one.resize((200, 150), Image.Resampling.BOX), np.int16) for one in (reduced, whole)]
    assert np.abs(small[0] - small[1]).mean() < 2


def test_a_turned_jpeg_is_asked_for_upright():
    out, exif, asked = io.BytesIO(), Image.Exif(), []
    exif[274] = 6
    noise(1600, 800).save(out, "JPEG", exif=exif)
    reduced = image_files.open_rgb(out.getvalue(), lambda *size: asked.append(size) or (200, 100))
    assert asked == [(1600, 800)] and reduced.size == (200, 400)


# Batches


def test_a_batch_has_all_that_the_device_needs(scan):
    dataset = train_images(scan, SQUASHING, None)
    batch = dataset.__getitems__([(3, 1), (0, 0), (3, 0)])
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "pixels": ((3, 3, 32, 32), torch.uint8),
        "draws": ((3, NUM_DRAWS), torch.float32),
        "labels": ((3,), torch.int64),
        "index": ((3,), torch.int64),
        "epoch": ((3,), torch.int64),
    }
    assert batch["index"].tolist() == [3, 0, 3] and batch["epoch"].tolist() == [1, 0, 0]
    assert batch["labels"].tolist() == scan.images.splits["train"].labels[[3, 0, 3]].tolist()
    rows = EpochDraws(1)
    expected = [rows.rows(1, np.array([3]))[0], *rows.rows(0, np.array([0, 3]))]
    assert np.array_equal(batch["draws"].numpy(), np.stack(expected))


def test_single_images_make_the_same_batch(scan):
    keys = [(3, 1), (0, 0), (3, 0)]
    dataset, collate = train_images(scan, SQUASHING, None), Collator("channels_last")
    batch = collate(dataset.__getitems__(keys))
    assert batch["pixels"].is_contiguous(memory_format=torch.channels_last)
    assert_equal(collate([dataset[key] for key in keys]), batch)
    plain = Collator("contiguous")(dataset.__getitems__(keys))
    assert plain["pixels"].is_contiguous()
    assert_equal(plain, batch)


def test_plain_training_images_are_eval_images(scan):
    split = scan.images.splits["train"]
    seen = SeenImages(split, SQUASHING, read_pixel_map(SQUASHING)).keep(
        caches_of(scan), scan.example_ids["train"]
    )
    plain = PlainTrainImages(seen, split.labels)
    for epoch in (0, 5):
        batch = plain.__getitems__([(2, epoch), (0, epoch)])
        assert_equal(batch, EvalImages(seen, split.labels).__getitems__([2, 0]))
        assert torch.equal(plain[(2, epoch)]["pixel_values"], batch["pixel_values"][0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_processes_fill_the_cache_and_give_the_same(method, scan, opened):
    expected = epoch_of(train_images(scan, SQUASHING, None), 0)
    dataset = train_images(scan, SQUASHING, caches_of(scan))
    keys = [(index, 0) for index in range(len(dataset))]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, sampler=keys, num_workers=2, collate_fn=Collator("contiguous"),
        multiprocessing_context=method,
    )  # fmt: skip
    batches = list(loader)
    assert_equal({name: torch.cat([one[name] for one in batches]) for name in expected}, expected)
    del opened[:]
    assert_equal(epoch_of(train_images(scan, SQUASHING, caches_of(scan)), 0), expected)
    assert opened == []


# Runs


def test_a_run_fills_the_caches_of_its_home_and_the_next_decodes_nothing(tiny_config, train, home, opened):
    config = tiny_config("resnet", augmentation={"preset": "light"})
    first = train(config)
    assert len(opened) == 60  # train once as a whole, eval and test as they are seen
    del opened[:]
    again = train(config)
    assert opened == []
    assert first.evaluation == again.evaluation
    ways = sorted(one.words for one in list_caches(HomePaths(home).image_caches))
    assert [words.split(",")[0] for words in ways] == ["as the network sees them", "whole"]
    del opened[:]
    uncached = train(
        tiny_config("resnet", augmentation={"preset": "light"}, hardware={"image_cache_gb": 0.0})
    )
    assert uncached.evaluation == first.evaluation and len(opened) > 60
