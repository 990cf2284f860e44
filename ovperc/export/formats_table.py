"""Methods x formats of the export as one Markdown table: agreement, mIoU and time, from checked folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.core.atomic import atomic_write
from ovperc.evaluation.reports.model_table import markdown_table

if TYPE_CHECKING:
    from ovperc.export.plan import ExportPlan
    from ovperc.runtime.manifest import Manifest

METHODS = ("maskclip", "sclip", "clearclip", "naclip", "gem", "clip_surgery", "proxyclip", "clip_dinoiser", "trident")
FORMATS = ("fp32", "fp16", "int8", "int8-calibrated")
_CALIBRATION_SCENES = 32
_HEAD = ("method", "format", "MB", "labels equal", "worst image", "stated", "mIoU", "loss", "ms", "of eager")


@dataclass(frozen=True)
class Row:
    """One export and its figures.

    Attributes:
        method: its name.
        form: one of ``FORMATS``.
        manifest: of the folder, checked.
        megabytes: of the model file, without the text tower.
    """

    method: str
    form: str
    manifest: Manifest
    megabytes: float


def plan_of(form: str, scenes: int) -> ExportPlan:
    """What to export for a column of the table.

    Raises:
        ValueError: an unknown format; near matches are offered.
    """
    from ovperc.core.naming import suggest
    from ovperc.export.plan import ExportPlan

    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; {suggest(form, FORMATS)}")
    calibration = _CALIBRATION_SCENES if form == "int8-calibrated" else 0
    return ExportPlan(precision=form.partition("-")[0], check_images=scenes, calibration_images=calibration)


def measure(methods: Sequence[str], formats: Sequence[str], scenes: int, folder: Path) -> list[Row]:
    """Exports and checks every pair that is not in the folder yet; a method is traced once for all precisions.

    Args:
        methods: names.
        formats: of ``FORMATS``.
        scenes: to compare on.
        folder: that the exports are kept in, ``METHOD-FORMAT`` each.
    """
    plans = {form: plan_of(form, scenes) for form in formats}
    rows = []
    for method in methods:
        missing = [form for form in formats if _finished(folder / f"{method}-{form}", scenes) is None]
        if missing:
            _export(method, {form: plans[form] for form in missing}, folder)
        for form in formats:
            manifest = _finished(folder / f"{method}-{form}", scenes)
            size = next((folder / f"{method}-{form}").glob("model.*")).stat().st_size
            rows.append(Row(method, form, manifest, size / 1e6))
            print(_line(rows[-1]), flush=True)
    return rows


def _finished(folder: Path, scenes: int) -> Manifest | None:
    from ovperc.runtime.manifest import FolderError, Manifest

    try:
        manifest = Manifest.read(folder)
    except FolderError:
        return None
    return manifest if manifest.parity.get("images") == scenes else None


def _export(method: str, plans: dict[str, ExportPlan], folder: Path) -> None:
    from ovperc.export.folder import TASKS, export_folder
    from ovperc.tasks.load import load

    predictor, traced = load(method), None
    for form, plan in plans.items():
        traced = traced or TASKS.find(predictor)(predictor, plan).trace()
        export_folder(predictor, plan, folder / f"{method}-{form}", traced)


def export_table(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    return markdown_table(_HEAD, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    parity, latency = row.manifest.parity, row.manifest.latency
    return [
        row.method,
        row.form,
        f"{row.megabytes:.1f}",
        f"{100 * parity['label_agreement']:.3f} %",
        f"{100 * parity['worst_image']:.2f} %",
        f"{100 * parity['stated_agreement']:g} %",
        f"{parity['miou_exported']:.2f}",
        f"{parity['miou_loss']:+.2f}",
        f"{latency['exported_ms']:.0f}",
        f"{latency['of_eager']:.2f} x",
    ]


def _line(row: Row) -> str:
    return "  ".join(_cells(row))


def _document(rows: Sequence[Row], command: str, scenes: int) -> str:
    latency = rows[0].manifest.latency
    image = "x".join(map(str, latency["size_hw"]))
    return f"""# Methods x formats of the export

```bash
{command}
```

clip-mini, {scenes} scenes of world-base, {latency["words"]} classes.

- The files take any size and are checked on five sizes and shapes.
- "labels equal": pixels with the label of eager Python. "loss": eager minus exported, percentage points of mIoU.
- "ms": median of five calls on an image of {image}, all of {latency["cpus"]} cores; "of eager": median share of the
  eager method's time over five pairs in turn. Take the shares, not the milliseconds.
- `int8-calibrated` has its ranges fixed on {_CALIBRATION_SCENES} scenes that no check uses; of `trident` only the tower
  of the tiles, SAM takes its own from every image.

{export_table(rows)}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes the table; 1 where an agreement is below the stated one."""
    parser = argparse.ArgumentParser(prog="tools/export_table.py", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--check", type=int, default=20, metavar="N", help="scenes (default 20)")
    parser.add_argument("--work-dir", type=Path, default=Path("exports/table"), help="keeps the exports; goes on there")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/export_formats.md"), metavar="FILE")
    arguments = parser.parse_args(argv)
    rows = measure(arguments.methods, arguments.formats, arguments.check, arguments.work_dir)
    given = " ".join(sys.argv[1:] if argv is None else argv)
    document = _document(rows, f"python tools/export_table.py {given}".rstrip(), arguments.check)
    with atomic_write(arguments.out) as (temporary,):
        Path(temporary).write_text(document, encoding="utf-8")
    below = [row for row in rows if row.manifest.parity["label_agreement"] < row.manifest.parity["stated_agreement"]]
    return 1 if below else 0
