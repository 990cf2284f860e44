"""ProxyCLIP's affinity after projection: MaskCLIP's embeddings, averaged with the patches that DINO takes as one thing.

Not a published method; it is what ``PooledReadout`` makes of published parts. The last block keeps its residual stream
and feed-forward part, which towers need whose patches speak mostly through them: those pooled by the mean, or behind a
convolutional stem, as clip-mini. On OpenAI's towers prefer ``proxyclip``. On clip-mini the embeddings and the
logit rule are CLIP Surgery's in place of MaskCLIP's.
"""

_base_ = ["./proxyclip.py"]

method = dict(
    readout=dict(_delete_=True, type="PooledReadout", affinity=dict(type="GuideAffinity", gamma=20.0)),
)
