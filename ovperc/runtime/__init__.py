"""Runs exported folders: numpy and ONNX Runtime, no torch."""
