"""NACLIP (Hajimiri et al., WACV 2025) with pixel-adaptive mask refinement, the released code's default.

The cost of PAMR grows with classes x pixels; prefer ``naclip`` for large vocabularies.
"""

_base_ = ["./naclip.py"]

method = dict(refiner=dict(type="PAMR", steps=10, dilations=(8, 16)))
