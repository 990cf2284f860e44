"""clip-mini: full images at 112 px, the world's prompts, and readouts that keep the residual stream.

With mean pooling and a convolutional stem, the residual stream carries most of the patch information. Methods whose
published readout drops it (ProxyCLIP, CLIP-DINOiser, Trident) use CLIP Surgery's dual path here;
``ovperc.load(..., as_published=True)`` gives the published methods.
"""

_surgery = dict(type="FeatureSurgery")
_guided_path = dict(type="DualPathReadout", affinity=dict(type="GuideAffinity", gamma=20.0), layers=6)
_pooled_path = dict(
    type="PooledReadout",
    affinity=dict(type="GuideAffinity", gamma=20.0),
    readout=dict(type="DualPathReadout", affinity=dict(type="SelfAttention", pairs=("vv",)), layers=6),
)
_proxyclip = dict(readout=_guided_path, classifier=dict(logit_scale=100.0), logit_rule=_surgery)
_trident = dict(
    _proxyclip,
    guide=dict(zoom=1.5),
    splice=dict(aggregator=dict(cos_factor=3.0, keep_negative=False, share=0.5)),
    tiler=dict(_delete_=True, type="Tiler", short_side_px=112, whole_patches=True),
)
_proposer = dict(points=14, min_quality=0.7, min_stability=0.75)
_heads = dict(rpn=dict(before=(300, 200), after=(100, 60), rpn_iou=0.7), fusion=dict(scale=23.0))

tower = dict(
    companions={
        "clip-dinoiser": "dinoiser-mini",
        "dino-vitb8": "dino-mini",
        "dino-vitb16": "dino-mini",
        "dinov2-vitb14-reg": "dino-mini",
        "sam-vit-b": "sam-mini",
    },
    tasks=dict(
        segmentation=dict(templates="world", native_px=112, tiler=dict(_delete_=True, type="Tiler", short_side_px=112)),
        detection=dict(templates="world", tiler=dict(_delete_=True, type="Tiler", short_side_px=112)),
        anomaly=dict(tiler=dict(size_px=112)),
    ),
    methods=dict(
        proxyclip=dict(_proxyclip, guide=dict(zoom=1.5)),
        proxyclip_dinov2=dict(_proxyclip, guide=dict(zoom=1.5)),
        proxyclip_sam=_proxyclip,
        proxyclip_pool=dict(_proxyclip, guide=dict(zoom=1.5), readout=_pooled_path),
        clip_dinoiser=dict(
            readout=dict(
                type="DinoiserAffinityReadout",
                weights="clip-dinoiser",
                readout=dict(type="DualPathReadout", affinity=dict(type="GuideAffinity", gamma=10.0), layers=6),
                zoom=2,
            ),
            logit_rule=_surgery,
        ),
        trident=_trident,
        trident_sam=dict(_trident, refiner=dict(coarse_threshold=0.0, use_mask=False)),
        fvlm=_heads,
        vild=dict(_heads, max_detections=100),
        sam_regions=dict(
            proposer=_proposer,
            vlm=dict(crop_px=48),
            fusion=dict(scale=23.0),
        ),
        panoptic_surgery=dict(proposer=_proposer),
        panoptic_maskclip=dict(proposer=_proposer),
        anomalyclip=dict(head=dict(side_blocks=6), texts=dict(source="anomalyclip-mini")),
        april_gan=dict(head=dict(adapters="april-gan-mini", taps=(1, 3, 4, 5))),
        patch_memory=dict(tiler=dict(_delete_=True, type="Tiler", short_side_px=112, whole_patches=True)),
    ),
)
