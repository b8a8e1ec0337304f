"""`python -m bench [--quick] [group ...]`: measure, print the table, keep it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from platform import machine, python_version, system

from bench import (
    commit,
    loading,
    memory,
    pages,
    past,
    platform,
    reads,
    search,
    service,
    storage,
    subscriptions,
    throughput,
)
from bench.figure import Figure, as_markdown
from bench.measure import Bench, Scale

HERE = Path(__file__).parent
GROUPS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    module.GROUP: module.run
    for module in (
        commit,
        throughput,
        reads,
        search,
        subscriptions,
        service,
        pages,
        loading,
        memory,
        storage,
        platform,
        past,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    begin = time.perf_counter()
    figures = [figure for name in options.groups for figure in _run(name, options)]
    print("\n" + as_markdown(figures))
    print(f"{len(figures)} figures in {time.perf_counter() - begin:.0f} s")
    if not options.quick:
        _keep(figures)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; none is all")
    parser.add_argument("--quick", action="store_true", help="small sizes, and nothing is kept")
    parser.add_argument(
        "--folder", type=Path, default=HERE / ".work", help="on the disk to measure"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}")
    options.groups = options.groups or list(GROUPS)
    return options


def _run(name: str, options: argparse.Namespace) -> Iterator[Figure]:
    folder = options.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for figure in GROUPS[name](Bench(Scale(options.quick), folder)):
            print(as_markdown([figure]).splitlines()[-1], flush=True)
            yield figure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(figures: list[Figure]) -> None:
    """Merge into results.json what was measured, and write the table where it is quoted."""
    results = HERE / "results.json"
    kept = json.loads(results.read_text())["figures"] if results.exists() else []
    groups = {figure.group for figure in figures}
    fresh = [figure.to_json() for figure in figures]
    lines = [as_markdown([figure]).splitlines()[-1] for figure in figures]
    for entry, line in zip(fresh, lines, strict=True):
        entry["line"] = line
    order = list(GROUPS)
    merged = [entry for entry in kept if entry["group"] not in groups] + fresh
    merged.sort(key=lambda entry: order.index(entry["group"]))
    results.write_text(json.dumps({"machine": _machine(), "figures": merged}, indent=1) + "\n")
    head = as_markdown([])
    table = head + "".join(entry["line"] + "\n" for entry in merged) + "\n" + _machine() + "\n"
    for page in (HERE / "README.md", HERE.parent / "README.md"):
        _replace_between_markers(page, table)


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"Medians of one run on {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"{system()} {machine()}, Python {python_version()}, "
        f"{time.strftime('%Y-%m-%d')}."
    )


def _replace_between_markers(page: Path, table: str) -> None:
    begin, end = "<!-- figures:begin -->\n", "<!-- figures:end -->"
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"{page.name} has no place for the figures")
    page.write_text(before + begin + table + end + after)


if __name__ == "__main__":
    sys.exit(main())
