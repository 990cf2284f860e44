"""What the documentation site names exists; the complete check is `make docs`."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REFERENCES = sorted(
    match[1]
    for page in (ROOT / "docs" / "reference").glob("*.md")
    for match in re.finditer(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
)


def pages(entry: object) -> list[str]:
    """Paths below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in pages(value)]


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_names_resolve(name: str) -> None:
    found = pkgutil.resolve_name(name)
    assert found.__doc__, f"{name} has no docstring"


def test_navigation_holds_every_page_once() -> None:
    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert set(listed) == written


def test_contributing_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:ovperc|configs|docs|tests|benchmarks|tools|demo)/[\w/.]*)`", text))
    assert len(named) > 15
    assert not [path for path in named if not (ROOT / path).exists()]
