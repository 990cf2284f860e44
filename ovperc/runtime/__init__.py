"""Runs exported folders on machines without torch: numpy, ONNX Runtime and Pillow.

from ovperc import runtime

model = runtime.load("exports/maskclip")
prediction = model.predict("photo.jpg", "red star, grass|lawn", background=0.3)
"""

from ovperc.runtime.loading import load as load

__all__ = ["load"]
