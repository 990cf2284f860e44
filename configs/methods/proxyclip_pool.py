"""ProxyCLIP's affinity after projection: MaskCLIP embeddings averaged by DINO similarity.

Not a published method, but a combination of published components in ``PooledReadout``. The last block keeps its
residual and feed-forward, which carry most of the patch information in towers with mean pooling or a convolutional
stem, such as clip-mini. On OpenAI's towers prefer ``proxyclip``. On clip-mini the embeddings and the
logit rule are CLIP Surgery's in place of MaskCLIP's.
"""

_base_ = ["./proxyclip.py"]

method = dict(
    readout=dict(_delete_=True, type="PooledReadout", affinity=dict(type="GuideAffinity", gamma=20.0)),
)
