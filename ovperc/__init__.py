"""Dense open-vocabulary perception: name things in plain words, get masks, boxes or anomaly maps.

    import ovperc

    predictor = ovperc.load("maskclip")
    prediction = predictor.predict("street.jpg", "brick, grass, red star")
    prediction.save("out/street")

Importing the package imports nothing heavy; a public name is fetched at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovperc.core.version import __version__ as __version__

if TYPE_CHECKING:
    from ovperc.tasks.load import load as load
    from ovperc.tasks.methods import list_methods as list_methods
    from ovperc.tasks.predictor import Predictor as Predictor
    from ovperc.tasks.segmentation.prediction import SegPrediction as SegPrediction
    from ovperc.text.vocabulary import Vocabulary as Vocabulary
    from ovperc.weights.catalogue import list_weights as list_weights

__all__ = ["Predictor", "SegPrediction", "Vocabulary", "__version__", "list_methods", "list_weights", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ovperc' has no attribute {name!r}; it offers {', '.join(__all__)}")
    if name == "load":
        from ovperc.tasks.load import load as found
    elif name == "list_methods":
        from ovperc.tasks.methods import list_methods as found
    elif name == "list_weights":
        from ovperc.weights.catalogue import list_weights as found
    elif name == "Vocabulary":
        from ovperc.text.vocabulary import Vocabulary as found
    elif name == "SegPrediction":
        from ovperc.tasks.segmentation.prediction import SegPrediction as found
    else:
        from ovperc.tasks.predictor import Predictor as found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
