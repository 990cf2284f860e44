"""photo-mini's figures that no benchmark of ``ovperc test`` gives; each prints one JSON line.

python -m benchmarks.photo own_words --weights photo-mini [--split train2017] [--short-side 448]
python -m benchmarks.photo tags --weights FILE --hidden-step 10
python -m benchmarks.photo texts --text work_dirs/photo_text/photo-text.safetensors
python -m benchmarks.photo time --weights photo-mini
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


def own_words(arguments: argparse.Namespace) -> dict[str, float]:
    """``coco-sample`` with the vocabulary of each image reduced to the classes that it shows; percent."""
    import ovperc
    from ovperc.data.benchmarks import get_benchmark

    images = get_benchmark("coco-sample").images(root=arguments.data_root, split=arguments.split)
    predictor = ovperc.load(arguments.method, arguments.weights)
    counts = np.zeros((len(images.classes), len(images.classes)), np.int64)
    for index in range(len(images)):
        item = images[index]
        shown = np.unique(item.labels[item.labels != 255])
        found = shown[predictor.predict(item.image, [images.classes[label] for label in shown]).labels]
        known = item.labels != 255
        np.add.at(counts, (item.labels[known], found[known]), 1)
    return _summary(counts, arguments.hidden, images.classes)


def _summary(counts: np.ndarray, hidden: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Right pixels, mIoU over the classes with true pixels, and mIoU of the hidden ones among them."""
    right, true = counts.diagonal(), counts.sum(axis=1)
    iou = right / np.maximum(true + counts.sum(axis=0) - right, 1)
    chosen = [classes.index(name) for name in hidden if true[classes.index(name)]]
    figures = {"aAcc": right.sum() / true.sum(), "mIoU": iou[true > 0].mean()}
    if chosen:
        figures["mIoU.hidden"] = iou[chosen].mean()
    return {name: round(100 * float(value), 2) for name, value in figures.items()}


def tags(arguments: argparse.Namespace) -> dict[str, float]:
    """Zero-shot class of the ImageNet photographs of every ``hidden_step``-th class among just these; percent."""
    from ovperc.backbones.loading import load_clip
    from ovperc.data.photo.class_words import imagenet_names
    from ovperc.data.photo.pictures import read_imagenet_sample
    from ovperc.tiling.tiler import Tiler
    from ovperc.training.photo_alignment import encode_words

    clip = load_clip(weights=arguments.weights)
    chosen = range(0, 1000, arguments.hidden_step)
    words = encode_words([imagenet_names()[index][0].lower() for index in chosen], clip.text)
    photos = read_imagenet_sample(arguments.data_root)
    mean, std = (torch.tensor(value).view(3, 1, 1) * 255 for value in (clip.preprocess.mean, clip.preprocess.std))
    tiler, ranks = Tiler(short_side_px=256), []
    for place, index in enumerate(chosen):
        pixels = torch.from_numpy(np.ascontiguousarray(photos[index])).permute(2, 0, 1).float()
        height, width = tiler.resized_hw(tuple(pixels.shape[-2:]), clip.backbone.stride_px)
        pixels = F.interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)
        with torch.inference_mode():
            scores = (F.normalize(clip.backbone.encode_pooled((pixels - mean) / std), dim=-1) @ words.T)[0]
        ranks.append(int((scores > scores[place]).sum()))
    return {f"top{k}": round(100 * float(np.mean(np.array(ranks) < k)), 2) for k in (1, 5)}


def texts(arguments: argparse.Namespace) -> dict[str, float]:
    """Mean cosine of the text tower to its teacher on texts that it was not trained on."""
    from ovperc.data.photo.sentence_teacher import canonical_sentence, embed_texts
    from ovperc.data.photo.word_space import make_word_space
    from ovperc.training.photo_alignment import text_tower
    from ovperc.weights.reading import read_checkpoint

    space, tower = make_word_space(), text_tower(read_checkpoint(arguments.text))
    held = [*space.held_words, *space.held_phrases]
    with torch.inference_mode():
        parts = [tower.encode_tokens(tower.tokenize([canonical_sentence(text) for text in held[begin : begin + 100]]))
                 for begin in range(0, len(held), 100)]  # fmt: skip
    cosines = F.cosine_similarity(torch.cat(parts), torch.from_numpy(embed_texts(held, arguments.cache)))
    words = len(space.held_words)
    return {"words": round(float(cosines[:words].mean()), 4), "phrases": round(float(cosines[words:].mean()), 4)}


def boards(arguments: argparse.Namespace) -> dict[str, float]:
    """``deep_pcb``: patch memory fitted on the 30 normal boards; pixels inside boxes count as anomalous; percent."""
    from sklearn.metrics import roc_auc_score

    import ovperc
    from ovperc.data.layout import resolve_root

    root = resolve_root(arguments.data_root, "deep_pcb")
    begin = time.perf_counter()
    memory = ovperc.load("patch_memory", arguments.weights, **{"tiler.short_side_px": 640})
    memory = memory.fit(sorted((root / "train" / "good").iterdir()))
    fitted = time.perf_counter() - begin
    scores, pixels, truth = {"good": [], "defect": []}, [], []
    for name, image_scores in scores.items():
        for path in sorted((root / "test" / name).iterdir()):
            prediction = memory.predict(path)
            image_scores.append(prediction.image_score)
            mask = np.zeros(prediction.map.shape, bool)
            boxes = root / "boxes" / f"{path.stem}.txt"
            for row in boxes.read_text().splitlines() if name == "defect" else ():
                x1, y1, x2, y2, _ = map(int, row.replace(",", " ").split())
                mask[y1:y2, x1:x2] = True
            pixels.append(prediction.map[::4, ::4].ravel())
            truth.append(mask[::4, ::4].ravel())
    labels = np.repeat([0, 1], [len(scores["good"]), len(scores["defect"])])
    figures = {
        "image_AUROC": roc_auc_score(labels, scores["good"] + scores["defect"]),
        "pixel_AUROC": roc_auc_score(np.concatenate(truth), np.concatenate(pixels)),
    }
    return {**{name: round(100 * float(value), 2) for name, value in figures.items()}, "fit_s": round(fitted, 1)}


def seconds(arguments: argparse.Namespace) -> dict[str, float]:
    """Median time of a prediction with 133 words at short side 448, a bare pass of the tower, and their ratio."""
    import ovperc
    from ovperc.text.class_names import load_class_names

    torch.set_num_threads(1)
    predictor, image = ovperc.load(arguments.method, arguments.weights), np.zeros((448, 597, 3), np.uint8)
    bank = predictor.bank(load_class_names("coco_panoptic").classes)
    bare = torch.zeros(1, 3, 448, 597)
    with torch.inference_mode():
        tower = _median(lambda: predictor.segmenter.clip.backbone.forward_dense(bare, ["-1.v"]))
    whole = _median(lambda: predictor.predict(image, bank))
    return {"prediction_ms": round(1000 * whole), "tower_ms": round(1000 * tower), "ratio": round(whole / tower, 2)}


def _median(call: Any, repeats: int = 7) -> float:
    call()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


FIGURES = {"own_words": own_words, "tags": tags, "texts": texts, "boards": boards, "time": seconds}


def main() -> None:
    """Prints one figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--weights", default="photo-mini", help="catalogue name or file")
    parser.add_argument("--method", default="maskclip")
    parser.add_argument("--split", default="val2017", help="of coco-sample; settings are chosen on train2017")
    parser.add_argument("--hidden", nargs="*", default=(), help="classes whose mIoU is also given")
    parser.add_argument("--hidden-step", type=int, default=10, help="every so many of the ImageNet classes are asked")
    parser.add_argument("--text", help="weights of the text tower, in its teacher's space")
    parser.add_argument("--cache", default="work_dirs/sentence_embeddings", help="folder of the teacher's embeddings")
    parser.add_argument("--data-root", help="folder of the data sets (default: $OVPERC_DATA)")
    arguments = parser.parse_args()
    print(json.dumps(FIGURES[arguments.figure](arguments)))


if __name__ == "__main__":
    main()
