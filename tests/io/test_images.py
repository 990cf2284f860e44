"""Reading images of every kind, and the errors."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ovperc.core.errors import ImageError
from ovperc.io.image_sources import expand_sources, list_images
from ovperc.io.images import read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
ALPHA = np.dstack([RGB, GREY])
OVER_WHITE = np.rint((RGB.astype(float) * GREY[..., None] + 255.0 * (255 - GREY[..., None])) / 255).astype(np.uint8)


def stack(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def close(result, expected, within=0):
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= within


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (RGB[:, ::-1], RGB[:, ::-1]),
        (GREY, stack(GREY)),
        (GREY[:, :, None], stack(GREY)),
        (GREY > 99, stack(np.where(GREY > 99, 255, 0))),
        (GREY.astype(np.uint16) * 257, stack(GREY)),
        (RGB.astype(np.int64), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (ALPHA, OVER_WHITE),
        (RGB[:1, :1], RGB[:1, :1]),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        (torch.from_numpy(GREY), stack(GREY)),
        (torch.from_numpy(GREY)[None], stack(GREY)),
        (torch.from_numpy(ALPHA).permute(2, 0, 1), OVER_WHITE),
        (torch.from_numpy(RGB / 255).requires_grad_(), RGB),
    ],
)
def test_arrays_and_tensors(array, expected):
    close(read_image(array), expected)


def test_half_precision_tensors_are_read():
    close(read_image((torch.from_numpy(RGB).permute(2, 0, 1) / 255).to(torch.bfloat16)), RGB, within=1)


MODES = {
    "RGB": (Image.fromarray(RGB), RGB, 0),
    "L": (Image.fromarray(GREY), stack(GREY), 0),
    "1": (Image.fromarray(GREY > 99), stack(np.where(GREY > 99, 255, 0)), 0),
    "RGBA": (Image.fromarray(ALPHA), OVER_WHITE, 1),
    "LA": (Image.fromarray(np.dstack([GREY, GREY]), "LA"), None, 0),
    "I;16": (Image.fromarray(GREY.astype(np.uint16) * 257), stack(GREY), 0),
    "I": (Image.fromarray(GREY.astype(np.int32) * 257), stack(GREY), 0),
    "F": (Image.fromarray((GREY / 255).astype(np.float32)), stack(GREY), 0),
    "CMYK": (Image.fromarray(np.dstack([255 - RGB, np.zeros_like(GREY)]), "CMYK"), RGB, 0),
    "HSV": (Image.fromarray(RGB).convert("HSV"), RGB, 8),
}


@pytest.mark.parametrize("mode", MODES)
def test_pil_modes(mode):
    image, expected, within = MODES[mode]
    assert image.mode == mode
    if expected is None:
        expected = np.rint(stack((GREY.astype(float) ** 2 + 255.0 * (255 - GREY)) / 255)).astype(np.uint8)
        within = 1
    close(read_image(image), expected, within)


@pytest.mark.parametrize(
    ("name", "image", "within"),
    [
        ("rgb.png", "RGB", 0),
        ("grey.png", "L", 0),
        ("bits16.png", "I;16", 0),
        ("bits16.tif", "I;16", 0),
        ("float.tif", "F", 0),
        ("alpha.png", "RGBA", 1),
        ("alpha.webp", "RGBA", 255),
        ("print.tif", "CMYK", 0),
        ("print.jpg", "CMYK", 255),
        ("small.bmp", "RGB", 0),
    ],
)
def test_files(tmp_path, name, image, within):
    image, expected, _ = MODES[image]
    path = tmp_path / name
    image.save(path)
    close(read_image(path), expected, within)
    close(read_image(str(path)), expected, within)


def test_sixteen_bit_colour_keeps_the_upper_byte(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.ascontiguousarray(RGB[:, :, ::-1]).astype(np.uint16) * 256 + 17)
    close(read_image(path), RGB)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.png", transparency=1)
    red, white = [255, 0, 0], [255, 255, 255]
    close(read_image(tmp_path / "palette.png"), np.array([[red, white], [white, red]], dtype=np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    close(read_image(path), RGB)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("#ff0000", "#0000ff")]
    path = tmp_path / f"two.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    close(read_image(path), np.full((4, 5, 3), (255, 0, 0), dtype=np.uint8), within=1)


def test_a_given_pil_image_stays_as_it_was():
    image = Image.fromarray(ALPHA)
    before = image.tobytes()
    read_image(image)
    assert (image.mode, image.tobytes()) == ("RGBA", before)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("keep", [0, 5, 40, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "tif", "bmp"])
def test_damaged_files_are_errors_that_name_the_file(tmp_path, kind, keep):
    whole = io.BytesIO()
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(whole, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind))
    content = whole.getvalue()
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ImageError, match=r"broken\."):
        read_image(path)


def test_missing_files_folders_and_other_formats(tmp_path):
    with pytest.raises(ImageError, match=r"there is no image .*none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("hello, this is text")
    with pytest.raises(ImageError, match=r"text\.png' is not an image of a known format"):
        read_image(tmp_path / "text.png")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((5, 0), np.uint8), "empty"),
        (np.zeros((3, 8, 8), np.uint8), "channels first"),
        (np.zeros((2, 8, 8, 3), np.uint8), "a batch"),
        (np.zeros(7, np.uint8), r"got shape \(7,\)"),
        (np.full((4, 4), 200.0), r"\[0, 1\]; got 200"),
        (np.full((4, 4, 3), -2.0), "normalisation"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), 300), r"0\.\.255; got 300"),
        (np.full((4, 4), -1, np.int8), r"0\.\.255"),
        (np.full((4, 4), "x"), "must be numbers"),
        (np.full((4, 4), 1j), "must be numbers"),
        (torch.zeros(1, 3, 4, 4), "a batch"),
    ],
)
def test_bad_arrays(array, match):
    with pytest.raises(ImageError, match=match):
        read_image(array)


@pytest.mark.parametrize("thing", [None, 3, io.StringIO("text"), {"image": RGB}])
def test_what_is_not_an_image(thing):
    with pytest.raises(TypeError, match="an image is a path"):
        read_image(thing)


def test_folders_are_listed_in_natural_order(tmp_path):
    for name in ("img10.png", "img2.PNG", "Img1.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.png").write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["Img1.jpg", "img2.PNG", "img10.png"]
    assert len(list_images(tmp_path, recursive=True)) == 4


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="no image in the folder"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match="is not a folder"):
        list_images(tmp_path / "none")


def test_sources_expand_to_named_images_that_are_read_later(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"broken")
    sources = list(expand_sources([tmp_path, tmp_path / "a.png", "none.jpg", RGB, torch.zeros(2, 3, 4, 4)]))
    assert [source.stem for source in sources] == ["a", "b", "a-2", "none", "image-0", "image-1", "image-2"]
    assert sources[0].name == str(tmp_path / "a.png")
    for index, good in enumerate([True, False, True, False, True, True, True]):
        if good:
            assert sources[index].load().shape[-1] == 3
        else:
            with pytest.raises(ImageError):
                sources[index].load()


def test_sources_pass_through():
    (source,) = expand_sources(RGB)
    assert next(expand_sources([source, RGB])) is source


@pytest.mark.parametrize("single", [RGB, Image.fromarray(RGB), torch.from_numpy(RGB)])
def test_one_image_is_one_source(single):
    (source,) = expand_sources(single)
    close(source.load(), RGB)


def test_sources_may_come_from_an_endless_iterator():
    def camera():
        while True:
            yield RGB

    stream = expand_sources(camera())
    assert [next(stream).name for _ in range(3)] == ["image-0", "image-1", "image-2"]
