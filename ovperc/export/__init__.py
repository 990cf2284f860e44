"""Export: one folder that a machine without torch can ask any words.

``runtime`` needs numpy, onnxruntime and Pillow only; every other module here makes the folder and needs torch.
"""
