"""Dense open-vocabulary perception: name things in plain words, get masks.

    import ovperc

    predictor = ovperc.load("maskclip")
    prediction = predictor.predict("street.jpg", "brick, grass, red star")
    prediction.save("out/street")

Importing the package imports nothing else; a public name is fetched at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovperc.configs import list_methods as list_methods
    from ovperc.predictions import SegPrediction as SegPrediction
    from ovperc.predictor import Predictor as Predictor
    from ovperc.predictor import load as load
    from ovperc.text.vocabulary import Vocabulary as Vocabulary
    from ovperc.weights import list_weights as list_weights

__version__ = "0.1.0"

_HOMES = {
    "load": "ovperc.predictor",
    "Predictor": "ovperc.predictor",
    "SegPrediction": "ovperc.predictions",
    "Vocabulary": "ovperc.text.vocabulary",
    "list_methods": "ovperc.configs",
    "list_weights": "ovperc.weights",
}

__all__ = ["Predictor", "SegPrediction", "Vocabulary", "__version__", "list_methods", "list_weights", "load"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ovperc' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
