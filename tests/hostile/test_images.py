"""Images as strangers hand them over: every source ends in pixels or in ImageError that names it."""

import io
import random
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ovperc.core.errors import ImageError
from ovperc.data.benchmarks import get_benchmark
from ovperc.io.image_sources import expand_sources, is_several, list_images
from ovperc.io.images import read_image

RGB = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


PNG = encoded(Image.fromarray(RGB))


def stream_read_to_its_end() -> io.BytesIO:
    stream = io.BytesIO(PNG)
    stream.read()
    return stream


@pytest.mark.parametrize("make", [lambda: PNG, lambda: bytearray(PNG), lambda: io.BytesIO(PNG), stream_read_to_its_end])
def test_bytes_and_file_objects_are_one_image(make):
    assert np.array_equal(read_image(make()), RGB)
    assert not is_several(make())
    (source,) = expand_sources(make())
    assert np.array_equal(source.load(), RGB)
    assert np.array_equal(next(expand_sources([make()])).load(), RGB)


def test_an_open_file_is_one_image(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    with (tmp_path / "a.png").open("rb") as file:
        assert np.array_equal(read_image(file), RGB)
    with (tmp_path / "a.png").open("rb") as file:
        (source,) = expand_sources(file)
        assert np.array_equal(source.load(), RGB)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("~nosuchuser/a.png", "nosuchuser"),
        ("a" * 5000 + ".png", r"5004 characters"),
        ("nul\0.png", "cannot open|no image"),
        ("", "folder"),
        ("file:///etc/hostname", "no address of http"),
        ("ftp://example.org/a.png", "no address of http"),
        (b"", "not an image"),
        (b"P6\n4 x\n255\n", "cannot read"),
        (b"P6\n-4 4\n255\n", "cannot read|not an image"),
        (PNG[:20], "cannot read|not an image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x02IHDR\0\0", "cannot read|not an image"),
    ],
)
def test_wrong_sources(source, match):
    with pytest.raises(ImageError, match=match) as told:
        read_image(source)
    assert len(str(told.value)) < 500
    (only,) = expand_sources([source] if source != "" else [b""])
    with pytest.raises(ImageError):
        only.load()


def test_a_bomb_is_refused_with_the_way_out():
    header = encoded(Image.new("1", (20000, 10000)))
    with pytest.raises(ImageError, match=r"200000000 pixels, over the limit .*MAX_IMAGE_PIXELS.*OVPERC_MAX_PIXELS"):
        read_image(header)


def test_mutated_images_end_in_pixels_or_image_errors():
    chance = random.Random(0)
    forms = [("PNG", {}), ("JPEG", {}), ("GIF", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("WEBP", {})]
    whole = [encoded(Image.fromarray(RGB), form, **options) for form, options in forms]
    whole.append(encoded(Image.fromarray(GREY.astype(np.uint16) * 257)))
    whole.append(encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"))
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(400):
            content = bytearray(whole[index % len(whole)])
            for _ in range(chance.randint(1, 8)):
                content[chance.randrange(min(len(content), 120))] = chance.randrange(256)
            if chance.random() < 0.2:
                del content[chance.randrange(len(content)) :]
            try:
                image = read_image(bytes(content))
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            except ImageError:
                refused += 1
    assert refused > 50


@pytest.mark.parametrize(("bits", "form"), [(8, "PNG"), (10, "PNG"), (12, "PNG"), (12, "TIFF")])
def test_fewer_bits_in_sixteen_are_told(tmp_path, bits, form):
    values = np.linspace(0, 2**bits - 1, 216).reshape(12, 18).astype(np.uint16)
    path = tmp_path / f"camera.{form.lower()}"
    path.write_bytes(encoded(Image.fromarray(values), form))
    with pytest.warns(UserWarning, match=rf"camera\.{form.lower()}.*{bits} bits, multiply by {2 ** (16 - bits)}"):
        read_image(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(encoded(Image.fromarray((values * 2 ** (16 - bits)).astype(np.uint16))))


@pytest.mark.parametrize("extra", [None, 0, 2])
def test_a_fourth_band_is_transparency_only_where_the_file_says_so(extra):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    content = encoded(Image.fromarray(np.dstack([RGB, np.zeros_like(GREY)]), "RGBA"), "TIFF", tiffinfo=tags)
    tag = (338).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    place = content.index(tag)
    if extra is None:  # an unknown tag instead
        content = content[:place] + (65000).to_bytes(2, "little") + content[place + 2 :]
    else:
        content = content[: place + 8] + extra.to_bytes(2, "little") + content[place + 10 :]
    if extra == 2:
        assert (read_image(content) == 255).all()
        return
    with pytest.warns(UserWarning, match="a fourth band that is not transparency"):
        assert np.array_equal(read_image(content), RGB)


def save_turned(image: np.ndarray, path, orientation: int) -> None:
    """As a camera held upside down (3) or on its side (6) stores an upright picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image[::-1, ::-1] if orientation == 3 else np.rot90(image, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)


@pytest.mark.parametrize("orientation", [3, 6])
def test_own_photos_are_upright_as_their_masks(tmp_path, orientation):
    mask = np.zeros((12, 18), np.uint8)
    mask[2:5, 3:9] = 255
    for name in ("good/0.png", "train/0.png", "scratch/0.png"):
        save_turned(RGB, tmp_path / name, orientation)
    (tmp_path / "masks" / "scratch").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "masks" / "scratch" / "0.png")
    images = get_benchmark("anomaly_folder").images(root=tmp_path)
    (defect,) = (images[index] for index in range(len(images)) if images.records[index].anomalous)
    assert np.array_equal(defect.image, RGB) and np.array_equal(defect.mask, mask > 0)
    assert np.array_equal(images.normal_image(images.categories[0], 0), RGB)
    stored = get_benchmark("anomaly_folder").images(root=tmp_path, upright=False)
    if orientation == 3:
        assert np.array_equal(stored.normal_image(stored.categories[0], 0), RGB[::-1, ::-1])
    else:
        with pytest.raises(ImageError, match=r"EXIF tag\? Try --set data.upright=True"):
            [stored[index] for index in range(len(stored))]


@pytest.mark.parametrize("kind", ["16 bits", "float", "alpha"])
def test_test_sets_read_files_as_predict_does(tmp_path, kind):
    image = {
        "16 bits": Image.fromarray(GREY.astype(np.uint16) * 257),
        "float": Image.fromarray((GREY / 255).astype(np.float32)),
        "alpha": Image.fromarray(np.dstack([RGB, GREY])),
    }[kind]
    for name in ("good", "train", "scratch"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.tif")
    images = get_benchmark("anomaly_folder").images(root=tmp_path)
    expected = read_image(tmp_path / "good" / "0.tif")
    assert len(np.unique(expected)) > 50
    assert all(np.array_equal(images[index].image, expected) for index in range(len(images)))
    assert np.array_equal(images.normal_image(images.categories[0], 0), expected)


def test_formats_that_cannot_be_read_are_told(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jfif", "JPEG")
    for name in ("b.heic", "c.HEIC", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"2 images in formats .* left out: .*b\.heic"):
        assert [path.name for path in list_images(tmp_path)] == ["a.jfif"]


def test_what_a_folder_of_parts_leaves_out_is_told(tmp_path):
    names = ["good/0.png", "good/2024/1.png", "good/2024/2.png", "scratch/0.png", "scratch/1.png"]
    masks = ["masks/scratch/0.png", "masks/scratch/mask_1.png"]
    for name in (*names, *masks):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(tmp_path / name)
    with pytest.warns(UserWarning) as told:
        images = get_benchmark("anomaly_folder").images(root=tmp_path)
    messages = "\n".join(str(entry.message) for entry in told)
    assert "good: 2 images in subfolders are left out, such as" in messages
    assert "scratch: 1 masks have no image of their name and are left out, such as mask_1.png" in messages
    assert "scratch: 1 images have no mask and count for the image scores only, such as 1.png" in messages
    assert len(images) == 3
