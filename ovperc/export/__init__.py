"""Export of methods as folders that run without torch, with any vocabulary.

The folders are made here, with torch; :mod:`ovperc.runtime` runs them with numpy, ONNX Runtime and Pillow.
"""
