"""``card.json``, the manifest of folders in the first format of the export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD_NAME = "card.json"
_FORMAT = "ovperc-export-1"


def convert_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a card as that of a manifest.

    Raises:
        ValueError: another format, missing fields, or a torch program, which no runtime opens any more.
    """
    content = dict(card)
    if content.pop("format", None) != _FORMAT:
        raise ValueError(f"it is not a card of the format {_FORMAT}; export again")
    kind = content.pop("kind", "onnx")
    if kind != "onnx":
        raise ValueError(
            f"it describes a torch program ({kind}), which this version no longer runs; where torch is installed use "
            f"ovperc.load({content.get('method')!r}), elsewhere export again as ONNX"
        )
    try:
        spec, settings = dict(content.pop("profile")), dict(content.pop("settings", {}))
        fixed = content.pop("fixed", None)
        if fixed is not None:
            policy = {"words": fixed["background_words"], "threshold": fixed["background_threshold"]}
            fixed = {"names": fixed["names"], "background": policy}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is corrupt ({error!r}); export again") from error
    spec.pop("max_batch", None)
    if "keep" in settings:
        settings["max_detections"] = settings.pop("keep")
    task = content.pop("task", "segmentation")
    return {**content, "task": task, "input_spec": spec, "settings": settings, "fixed": fixed}
