"""Requirements of ovperc, and whether the environment meets them.

Uses only the standard library and the ``packaging`` vendored by pip, so that it works before anything is installed.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALL_HINT = "in a checkout of ovperc run: pip install -e ."


def declared_requirements(root: Path = ROOT) -> tuple[list[str], dict[str, list[str]]]:
    """Requirements of ovperc and of each extra.

    In a checkout they are read from the literals ``CORE`` and ``EXTRAS`` of ``setup.py``, without running
    it; elsewhere from the metadata of the installed package.

    Raises:
        ValueError: neither is available.
    """
    script = root / "setup.py"
    if script.is_file():
        tree = ast.parse(script.read_text(encoding="utf-8"))
        literals = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("CORE", "EXTRAS")
        }
        return literals["CORE"], literals["EXTRAS"]
    try:
        metadata = importlib.metadata.metadata("ovperc")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"no setup.py in {root}, and ovperc is not installed; {INSTALL_HINT}") from None
    core: list[str] = []
    extras: dict[str, list[str]] = {name: [] for name in metadata.get_all("Provides-Extra") or [] if name != "all"}
    for line in importlib.metadata.requires("ovperc") or []:
        requirement, _, marker = line.partition(";")
        owners = [name for name in extras if f'extra == "{name}"' in marker.replace("'", '"')]
        for target in [extras[name] for name in owners] if "extra" in marker else [core]:
            target.append(requirement.strip())
    return core, extras


def unmet(requirement: str) -> str | None:
    """Why the environment does not meet a requirement, or None if it does."""
    try:
        import packaging.requirements as reader
    except ImportError:
        import pip._vendor.packaging.requirements as reader  # type: ignore[no-redef]
    wanted = reader.Requirement(requirement)
    try:
        installed = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement} is not installed"
    if not wanted.specifier.contains(installed, prereleases=True):
        return f"{requirement} is required, {installed} is installed"
    return None


def satisfies(extras: Iterable[str], root: Path = ROOT) -> bool:
    """Whether ovperc, its requirements and those of ``extras`` are installed.

    An installation from another checkout does not count.
    """
    core, known = declared_requirements(root)
    wanted = [*core, *(line for extra in extras for line in known[extra])]
    return installed_from(root) and all(unmet(line) is None for line in wanted)


def installed_from(root: Path) -> bool:
    """Whether the installed ovperc is an editable installation of this checkout."""
    # A checkout also contains an egg-info folder, which is no evidence of an installation.
    origins = (found.read_text("direct_url.json") for found in importlib.metadata.distributions(name="ovperc"))
    return any(origin is not None and json.loads(origin).get("url") == root.as_uri() for origin in origins)


def project_name(requirement: str) -> str:
    """``"torch>=2.6"`` -> ``"torch"``."""
    return requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
