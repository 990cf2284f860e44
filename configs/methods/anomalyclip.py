"""AnomalyCLIP (Zhou et al., ICLR 2024): one normal and one anomalous prompt, learned object-agnostically.

The tower of the paper is ``ViT-L-14-336/openai``; pass the authors' prompts with ``texts.source``. One tap is read, as
in the released scripts, whose four taps turned out to be one buffer. The image embedding is the class token
without the final norm. Departure: positional embeddings are resized from the original parameter at every size.
"""

method = dict(
    task="anomaly",
    head=dict(type="TextMapHead", side_blocks=19, taps=(-1,), tau=0.07, pooled="bare"),
    texts=dict(type="PromptTexts", source=None),
    tiler=dict(type="SquareTiler", size_px=518),
    upsampler=dict(sigma_px=4.0),
    pos_embed="bilinear_square",
    resize="bicubic",
)
