"""Packaging of ovperc. ``configs/`` and ``demo/assets`` travel inside the wheel as package data."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

CORE = [
    "torch>=2.6",
    "torchvision",
    "numpy",
    "opencv-python",
    "pillow",
    "mmengine>=0.10.7,<0.11",
    "mmcv-lite>=2.1,<2.2",  # mmsegmentation 1.2.2 refuses mmcv >= 2.2 at import
    "mmsegmentation>=1.2.2,<2",
    "open_clip_torch>=3.2",
    "timm>=1.0.20",
    "segment-anything>=1.0",
    "safetensors",
    "scipy",
    "pycocotools",
    "filelock>=3.12",
    "ftfy",
    "regex",
    "matplotlib",
    "pyyaml",
    "rich",
]
EXTRAS = {
    "export": ["onnx", "onnxruntime", "onnxscript"],
    "eval": ["faster-coco-eval"],
    "siglip": ["transformers"],
    "gpu": ["xformers"],
    "demo": ["scikit-image"],
    "docs": ["mkdocs-material>=9.6,<10", "mkdocstrings[python]>=1,<2"],
    # The tests also run the exported files and compare with the reference libraries.
    "dev": [
        "pytest",
        "pytest-xdist",
        "hypothesis>=6.100",
        "pre-commit>=4",
        "ruff>=0.17,<0.18",  # the version decides how files are formatted
        "mypy>=2.4,<2.5",
        "scikit-image",
        "scikit-learn",
        "cloudpickle",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "transformers",
    ],
}

setup(
    name="ovperc",
    version="0.1.0",
    description="Dense open-vocabulary perception: name things in plain words, get masks",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["ovperc", "ovperc.*"]), "ovperc._configs"],
    package_dir={"ovperc._configs": "configs"},
    package_data={
        "ovperc": ["py.typed", "assets/**/*", "text/vocabularies/*"],
        "ovperc._configs": ["**/*.py"],
    },
    install_requires=CORE,
    extras_require={
        **EXTRAS,
        "all": sorted({name for extra in ("export", "eval", "siglip", "demo") for name in EXTRAS[extra]}),
    },
    entry_points={"console_scripts": ["ovperc=ovperc.cli.main:main"]},
)
