"""What region-text alignment minimises: contrast of tiles (CLIM), of tokens (FILIP), likeness of crops (CLIPSelf)."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.data.mosaic import SIDES, cell_boxes, plan_mosaics, tile_images
from ovperc.data.region_text import RegionTextBatch
from ovperc.registry import TASK_UTILS
from ovperc.training.alignment import Objective, RegionAlignment
from ovperc.training.losses.contrastive import masked_contrastive_loss
from ovperc.training.losses.gather import gather_batch, mean_over_processes
from ovperc.training.losses.region_text import cosine_distances
from ovperc.training.losses.token_wise import keep_telling_tokens, late_interaction, token_wise_loss


@TASK_UTILS.register_module()
class MosaicContrast(Objective):
    """CLIM (Wu et al., AAAI 2024): tiles of mosaics are regions, their captions the words for them.

    Symmetric InfoNCE over the regions of all mosaics and the pictures that stay single, against their captions, over
    the batch of all processes.

    Args:
        mosaic_px: side of the mosaics (CLIM 1024).
        sides: pictures along the sides of mosaics.
        singles: whether the batch size leaves pictures over that stay single.

    Raises:
        ValueError: (of a batch) it is too small, or leaves pictures over where it should not, or none where it should.
    """

    reads_texts = True

    def __init__(self, mosaic_px: int, sides: tuple[int, ...] = SIDES, singles: bool = True) -> None:
        super().__init__()
        self.mosaic_px = mosaic_px
        self.sides = tuple(sides)
        self.pools_images = singles

    def forward(self, task: RegionAlignment, batch: RegionTextBatch) -> dict[str, Tensor]:
        """The loss of a batch, and how many captions find their own region."""
        own = self.embed(task, task.normalized(batch.images))
        images, texts = gather_batch(own), gather_batch(task.text_embeddings(batch.texts))
        true = joint_truth(batch, len(images)).to(images.device)
        owners = torch.arange(len(images), device=images.device)
        with torch.autocast(images.device.type, enabled=False):  # cosines over a temperature need float32
            loss = masked_contrastive_loss(images, texts, owners, true, task.scale)
        return {"loss_mosaic": loss, **watch_pairs(images.detach(), texts, true, task.scale)}

    def embed(self, task: RegionAlignment, images: Tensor) -> Tensor:
        """Unit embeddings of all pictures, in the order of the batch: in mosaics first, then alone; ``(B, E)``."""
        plan = plan_mosaics(len(images), self.sides)
        if bool(plan.singles) != self.pools_images:
            raise ValueError(
                f"a batch of {len(images)} leaves {plan.singles} pictures single, but singles={self.pools_images}; "
                "change one of them, so that the same weights are trained in every step"
            )
        found, start = [], 0
        for side, count in plan.mosaics:
            used = side * side * count
            mosaics = tile_images(images[start : start + used], side, self.mosaic_px)
            cells = cell_boxes(side, self.mosaic_px)
            found.append(task.region_embeddings(mosaics, [cells] * count))
            start += used
        if plan.singles:
            found.append(task.pooled_embeddings(images[start:]))
        return torch.cat(found)


def joint_truth(batch: RegionTextBatch, size: int) -> Tensor:
    """``(size, size)`` bool, which text of all processes' batches is true of which image besides its own."""
    if batch.truth is None:
        return torch.zeros(size, size, dtype=torch.bool)
    truths = all_gather_object(batch.truth) if get_world_size() > 1 else [batch.truth]
    return truths[0].join(truths[1:]).table()


@torch.no_grad()
def watch_pairs(images: Tensor, texts: Tensor, true: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Share of texts whose own image beats all images they are false of, and the inverse temperature."""
    similarity = texts @ images.T
    own = similarity.diagonal()
    alike = true | torch.eye(len(true), dtype=torch.bool, device=true.device)
    others = similarity.masked_fill(alike, -2.0).amax(dim=1)
    return {"accuracy": (own > others).float().mean(), "scale": scale.detach()}


@TASK_UTILS.register_module()
class CropDistillation(Objective):
    """CLIPSelf (Wu et al., ICLR 2024): a region of the dense map becomes what the frozen tower says of its crop.

    ``L = 1 - mean cos(student, teacher)`` over regions: the cells of a random grid, or the batch's boxes.

    Args:
        student_px: side to which images are brought for the dense map (1024); 0 keeps them.
        most: cells along a side.
        regions: at most so many of an image.
        enlarge: of the teacher's crops of given boxes, about their centre (1.5).
    """

    def __init__(self, student_px: int = 0, most: int = 6, regions: int = 20, enlarge: float = 1.5) -> None:
        super().__init__()
        self.student_px = student_px
        self.most = most
        self.regions = regions
        self.enlarge = enlarge

    def forward(self, task: RegionAlignment, batch: RegionTextBatch) -> dict[str, Tensor]:
        """The loss of a batch; grids and the choice of boxes depend on the images' seeds."""
        size = batch.images.shape[-1]
        generators = batch.generators()
        if batch.boxes:
            boxes = [self._choose(part, size, draw) for part, draw in zip(batch.boxes, generators, strict=True)]
            crops = [_enlarged(part, self.enlarge, size) for part in boxes]
        else:
            boxes = [grid_cells(size, self.most, self.regions, draw) for draw in generators]
            crops = boxes
        side = task.clip.preprocess.image_size_px
        pixels = torch.cat([cut(image, part, side) for image, part in zip(batch.images, crops, strict=True)])
        with torch.no_grad():
            taught = task.teacher.encode_pooled(task.normalized(pixels)).float()
        images, scale = task.normalized(batch.images), 1.0
        if self.student_px:
            images = F.interpolate(images, (self.student_px,) * 2, mode="bilinear", antialias=True)
            scale = self.student_px / size
        said = task.region_embeddings(images, [part * scale for part in boxes])
        return {"loss_crops": mean_over_processes(cosine_distances(said, taught))}

    def _choose(self, boxes: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Boxes that are neither tiny nor huge, in random order; the upper left quarter where there is none."""
        area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
        fits = ((area >= 8.0**2) & (area <= 1024.0**2)).nonzero()[:, 0]
        if not len(fits):
            return boxes.new_tensor([[0, 0, size / 2, size / 2]])
        return boxes[fits[torch.randperm(len(fits), generator=generator)[: self.regions]]]


def grid_cells(size: int, most: int, keep: int, generator: torch.Generator) -> Tensor:
    """Cells of a random grid in random order, ``(n, 4)`` float32 xyxy px.

    ``m`` rows and ``n`` columns are drawn evenly from all pairs with ``m, n <= most`` of which neither is more than
    twice the other.
    """
    grids = [(m, n) for m in range(1, most + 1) for n in range(-(-m // 2), min(2 * m, most) + 1)]
    rows, columns = grids[int(torch.randint(len(grids), (), generator=generator))]
    y, x = torch.linspace(0, size, rows + 1), torch.linspace(0, size, columns + 1)
    top, left = torch.meshgrid(y[:-1], x[:-1], indexing="ij")
    bottom, right = torch.meshgrid(y[1:], x[1:], indexing="ij")
    cells = torch.stack([left, top, right, bottom], dim=-1).reshape(-1, 4)
    return cells[torch.randperm(len(cells), generator=generator)[:keep]]


def cut(image: Tensor, boxes: Tensor, side_px: int) -> Tensor:
    """Crops in a square, keeping their aspect: centred, the longer side full, black beside it.

    Args:
        image: ``(3, H, W)`` uint8.
        boxes: ``(n, 4)`` xyxy px inside the image.
        side_px: of the crops.

    Returns:
        ``(n, 3, side_px, side_px)`` uint8.
    """
    height, width = image.shape[-2:]
    canvas = torch.zeros(len(boxes), 3, side_px, side_px, dtype=torch.uint8, device=image.device)
    for row, (x0, y0, x1, y1) in zip(canvas, boxes.round().long().tolist(), strict=True):
        x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
        crop = image[None, :, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].float()
        scale = side_px / max(crop.shape[-2:])
        h, w = (max(1, round(length * scale)) for length in crop.shape[-2:])
        fitted = F.interpolate(crop, (h, w), mode="bilinear", antialias=True)[0]
        top, left = (side_px - h) // 2, (side_px - w) // 2
        row[:, top : top + h, left : left + w] = fitted.round().clamp(0, 255).to(torch.uint8)
    return canvas


def _enlarged(boxes: Tensor, factor: float, size: int) -> Tensor:
    """Boxes about their centres, clipped to the image."""
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * factor / 2
    return torch.cat([centres - half, centres + half], dim=1).clamp(0, size)


@TASK_UTILS.register_module()
class TokenContrast(Objective):
    """FILIP (Yao et al., ICLR 2022): every patch looks for its best word, every word for its best patch.

    Args:
        channels: of the space in which tokens are compared (256); 0 compares them in the joint space.
        share: of an image's patches that other processes see (0.25), those most alike to a word of the local batch;
            1 sends all, and makes several processes equal to one.
    """

    reads_texts = True

    def __init__(self, channels: int = 0, share: float = 1.0) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share lies in (0, 1]; got {share}")
        self.channels = channels
        self.share = share

    def prepare(self, task: RegionAlignment) -> None:
        """Two projections, one for patches and one for words."""
        width = task.tower.embed_dim
        if self.channels:
            self.of_patches = nn.Linear(width, self.channels, bias=False)
            self.of_words = nn.Linear(width, self.channels, bias=False)

    def forward(self, task: RegionAlignment, batch: RegionTextBatch) -> dict[str, Tensor]:
        """The loss of a batch."""
        patches = task.dense_tokens(task.normalized(batch.images)).flatten(2).transpose(1, 2)
        words, is_word = task.word_embeddings(batch.texts)
        if self.channels:
            patches = F.normalize(self.of_patches(patches), dim=-1)
            words = F.normalize(self.of_words(words), dim=-1)
        if self.share < 1:
            patches = keep_telling_tokens(patches, words.detach(), is_word, self.share)
        length = torch.tensor(words.shape[1], device=words.device)
        all_reduce(length, "max")
        missing = int(length) - words.shape[1]
        words = gather_batch(F.pad(words, (0, 0, 0, missing)))
        is_word = gather_batch(F.pad(is_word, (0, missing)).float()) > 0
        patches = gather_batch(patches)
        true = joint_truth(batch, len(words)).to(words.device)
        with torch.autocast(words.device.type, enabled=False):  # cosines over a temperature need float32
            loss = token_wise_loss(late_interaction(patches, words, is_word), task.scale, true)
        return {"loss_tokens": loss, "scale": task.scale.detach()}
