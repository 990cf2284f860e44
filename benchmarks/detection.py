"""Cases of detection: RoIAlign, suppression, memory of masks, and a detector beside its tower."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.case import Case, Measurement, Options
from benchmarks.foundation import ARCH, IMAGE_HW, random_bank, random_image
from benchmarks.memory import peak_memory
from ovperc.core.timing import paired_ratio

LARGE_HW = (800, 1333)


def random_boxes(count: int, size_hw: tuple[int, int], seed: int = 0) -> Tensor:
    """Boxes ``(R, 4)`` of 16 to 400 px inside an image."""
    generator = torch.Generator().manual_seed(seed)
    sides = 16 * 25 ** torch.rand(count, 2, generator=generator)
    height, width = size_hw
    low = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    return torch.cat([low, low + sides], dim=1).minimum(torch.tensor([width, height, width, height]).float())


def roi_align_ratio(options: Options) -> Iterator[Measurement]:
    """Our RoIAlign over torchvision's compiled operator; the faster of each row is the one in use."""
    from torchvision.ops import roi_align

    from ovperc.readout.regions import separable_roi_align

    rows = (
        ("dense map to 1 x 1, adaptive: 1000 boxes, 512 channels, 28 x 37", 512, (28, 37), 16.0, 1, 0, 1000),
        ("pyramid to 7 x 7, 2 samples: 512 boxes, 256 channels, 160 x 160", 256, (160, 160), 4.0, 7, 2, 512),
    )
    for setting, channels, grid_hw, stride, size, sampling, count in rows:
        maps = torch.randn(1, channels, *grid_hw, generator=torch.Generator().manual_seed(0)).to(options.device)
        boxes = random_boxes(count, tuple(int(side * stride) for side in grid_hw)).to(options.device)

        def ours(maps=maps, boxes=boxes, size=size, stride=stride, sampling=sampling) -> Tensor:
            return separable_roi_align(maps[0], boxes, size, stride, sampling)

        def theirs(maps=maps, boxes=boxes, size=size, stride=stride, sampling=sampling) -> Tensor:
            return roi_align(maps, [boxes], (size, size), 1 / stride, sampling or -1, aligned=True)

        difference = float((ours() - theirs()).abs().max())
        ratio = paired_ratio(ours, theirs, options.runs, device=options.device)
        used = "ours" if size == 1 else "torchvision's"
        detail = f"{ratio}; largest difference {difference:.1e}; in use: {used}"
        yield Measurement("roi-align-ratio", setting, ratio.ratio, "x", detail=detail)


def per_class_nms(boxes: Tensor, scores: Tensor, iou: float, keep: int) -> Tensor:
    """torchvision's operator class by class, then the best of all."""
    from torchvision.ops import nms

    found = []
    for label in range(scores.shape[1]):
        rows = nms(boxes, scores[:, label], iou)
        found.append(torch.stack([rows, torch.full_like(rows, label)], dim=1))
    pairs = torch.cat(found)
    order = scores[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)
    return pairs[order[:keep]]


def fast_nms(options: Options) -> Iterator[Measurement]:
    """Exact suppression of 1000 boxes x 1203 classes to 300 over torchvision's class by class."""
    from ovperc.tasks.detection.nms import shared_box_nms

    boxes = random_boxes(1000, LARGE_HW).to(options.device)
    logits = torch.randn(1000, 1203, generator=torch.Generator().manual_seed(1)).to(options.device)
    scores = (3 * logits).softmax(dim=1)

    def ours() -> tuple[Tensor, Tensor]:
        return shared_box_nms(boxes, scores, 0.5, 300)

    def theirs() -> Tensor:
        return per_class_nms(boxes, scores, 0.5, 300)

    rows, labels = ours()
    same = torch.equal(theirs(), torch.stack([rows, labels], dim=1))
    ratio = paired_ratio(ours, theirs, max(3, options.runs // 2), device=options.device)
    detail = f"{ratio}; same answer: {same}"
    yield Measurement("fast-nms", "1000 boxes x 1203 classes to 300", ratio.ratio, "x", limit=1 / 20, detail=detail)


def mask_call(objects: int) -> Callable[[], object]:
    """Prepares masks of a mask head on random features; the call that is returned pastes and codes them."""
    from ovperc.tasks.detection.encoded import HeadMasks
    from ovperc.tasks.detection.heads import DetectionHeads, HeadSettings

    settings = HeadSettings((64,), 16.0, (1,), channels=32, rpn_convs=1, box_convs=0, box_fc=(16,), mask_convs=1)
    heads = DetectionHeads(settings).eval()
    pyramid = [torch.randn(1, 32, LARGE_HW[0] // 16, LARGE_HW[1] // 16)]
    boxes = random_boxes(objects, LARGE_HW)
    source = HeadMasks(heads, pyramid, boxes, boxes, LARGE_HW)
    return lambda: source.codes(range(objects))


def mask_memory(options: Options) -> Iterator[Measurement]:
    """Peak memory of 300 masks at 1333 x 800, over what they would take as booleans."""
    used = peak_memory(mask_call, objects=300)
    dense_mib = 300 * LARGE_HW[0] * LARGE_HW[1] / 2**20
    detail = f"{used.extra_mib:.0f} MiB over {dense_mib:.0f} MiB of booleans; process peak {used.peak_mib:.0f} MiB"
    yield Measurement(
        "mask-memory", "300 masks at 1333 x 800", used.extra_mib / dense_mib, "x", limit=0.5, detail=detail
    )


LIGHT_HEADS = {
    "layers": (3, -1),
    "scales": (2, 1),
    "channels": 64,
    "anchor_scale": 6.0,
    "rpn_convs": 1,
    "box_convs": 1,
    "box_fc": (192,),
    "mask_convs": 2,
}
REFERENCE_HEADS = {
    "layers": (3, 5, 7, -1),
    "scales": (4, 2, 1, 0.5),
    "channels": 256,
    "rpn_convs": 2,
    "box_convs": 4,
    "box_fc": (512, 512),
    "mask_convs": 4,
}


def build_fvlm(heads: dict, proposals: int, options: Options):
    """F-VLM on random weights of `ARCH`: predictor core and its dual encoder."""
    from ovperc.backbones.loading import load_clip
    from ovperc.tasks.detection.heads import DetectionHeads
    from ovperc.tasks.detection.region_detector import RegionDetector
    from ovperc.tasks.detection.weights import TrainedHeads
    from ovperc.tiling import Tiler
    from ovperc.training.detector import complete_settings

    clip = load_clip(ARCH, "random", device=options.device, dtype=getattr(torch, options.dtype))
    torch.manual_seed(0)
    limits = (proposals, proposals)
    built = DetectionHeads(complete_settings(heads, clip, None), limits, limits).eval().to(options.device)
    trained = TrainedHeads(built, None, frozenset(), False, clip.fingerprint, "random")
    return RegionDetector(clip, Tiler(whole_patches=True), trained), clip


def detector_over_tower(
    case: str, setting: str, heads: dict, proposals: int, objects: int, limit: float | None, options: Options
) -> Iterator[Measurement]:
    """An image and 80 words to boxes, names and masks, over the bare tower's forward pass."""
    import open_clip

    tower = open_clip.create_model(ARCH, pretrained=None, force_image_size=IMAGE_HW).visual.eval()
    tower = tower.to(device=options.device, dtype=getattr(torch, options.dtype))
    pixels = torch.randn(1, 3, *IMAGE_HW, device=options.device, dtype=getattr(torch, options.dtype))
    image = random_image(IMAGE_HW)
    detector, clip = build_fvlm(heads, proposals, options)
    detector.max_detections = objects
    bank = random_bank(80, clip.backbone.embed_dim, clip.fingerprint).to(options.device)

    def base() -> None:
        with torch.inference_mode():
            tower(pixels)

    def ours() -> object:
        encoded = detector.encode(image)
        found = detector.detect(encoded, bank, [False] * 80)
        return encoded.masks.codes(found.rows.tolist())

    ratio = paired_ratio(ours, base, options.runs, device=options.device)
    title = f"{ARCH}, {IMAGE_HW[0]}x{IMAGE_HW[1]}, 80 words, {setting}"
    yield Measurement(case, title, ratio.ratio, "x", limit=limit, detail=str(ratio))


def fvlm_over_tower(options: Options) -> Iterator[Measurement]:
    """F-VLM with light heads, masks included, over the bare tower's forward pass."""
    setting = "light heads: 64 channels, 100 proposals, 20 objects"
    yield from detector_over_tower("fvlm-over-tower", setting, LIGHT_HEADS, 100, 20, 1.25, options)


def fvit_over_tower(options: Options) -> Iterator[Measurement]:
    """The same with heads of F-ViT's size, for information."""
    setting = "F-ViT's heads: 256 channels, 300 proposals, 100 objects"
    yield from detector_over_tower("fvit-over-tower", setting, REFERENCE_HEADS, 300, 100, None, options)


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (roi_align_ratio, fast_nms, mask_memory, fvlm_over_tower, fvit_over_tower)
)
