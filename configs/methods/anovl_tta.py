"""AnoVL (Deng et al., 2023): every test image trains a text adapter on its own patches for five steps.

Departure: the optimiser starts anew with each image (the authors keep its moments, so that results depend on order),
and every image gets the same seed.
"""

_base_ = "./anovl.py"
method = dict(
    head=dict(type="TestTimeHead", side_blocks=99, steps=5, lr=1e-3, noise=0.055, mix=0.5, seed=111),
)
