"""Finds a Chromium for the browser tests, or gets one, or says plainly that there is none.

In this order: the one `CHROMIUM` names, one that is installed, Debian's (as root), the npm package
`@sparticuz/chromium`, which carries the browser and the libraries it needs. Each is tried out
before it counts. There is no skip: without a browser the browser tests fail, naming what was tried.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Error as PlaywrightError

REPOSITORY = Path(__file__).parents[2]
DOWNLOADS = REPOSITORY / "build/chromium"
NPM_PACKAGE = "@sparticuz/chromium@153.0.0"

FLAGS = (
    "--no-sandbox",  # the sandbox cannot start as root or in most containers
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # a container's /dev/shm is 64 MB
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Two pages at once: one is always in the background, where timers would stand still.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)

INSTALLED = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{fonts}/cache</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """A browser that was seen to run."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class NoChromiumError(Exception):
    """No browser here, and none could be had."""


def find_chromium() -> Chromium:
    """The first Chromium that runs.

    Raises:
        NoChromiumError: none does; the message lists what was tried and how each failed.
    """
    tried: list[str] = []
    for find in (_named, _installed, _from_debian, _from_npm):
        try:
            chromium = find()
            if chromium is not None:
                _try_out(chromium)
                return chromium
            tried.append(f"{_title(find)}: not there")
        except (OSError, subprocess.SubprocessError, NoChromiumError) as error:
            tried.append(f"{_title(find)}: {error}")
    raise NoChromiumError(
        "the browser tests need Chromium or Chrome: install one, or set CHROMIUM to its path.\n  "
        + "\n  ".join(tried)
    )


def _title(find: Callable[[], Chromium | None]) -> str:
    return (find.__doc__ or find.__name__).rstrip(".")


def _named() -> Chromium | None:
    """The one named by CHROMIUM."""
    path = os.environ.get("CHROMIUM")
    return Chromium(Path(path)) if path else None


def _installed() -> Chromium | None:
    """An installed one."""
    for name in INSTALLED:
        path = shutil.which(name)
        if path is not None:
            return Chromium(Path(path))
    return None


def _from_debian() -> Chromium | None:
    """Debian's package, installed now."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return None
    with _alone():
        if (chromium := _installed()) is None:
            _run("apt-get", "update", "-qq")
            _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
            chromium = _installed()
    return chromium


def _from_npm() -> Chromium | None:
    """The npm package @sparticuz/chromium."""
    npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if npm is None or not sys.platform.startswith("linux"):
        return None  # it carries a Linux build only
    unpacked = DOWNLOADS / "unpacked"
    with _alone():
        if not (unpacked / "chromium").exists():
            unpacked.mkdir(parents=True, exist_ok=True)
            (DOWNLOADS / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
            _run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", NPM_PACKAGE)
            # It unpacks below the temporary folder, and its libraries only where it believes to
            # be in the cloud that it was made for.
            _run(
                str(Path(npm).parent / "node"),
                "--input-type=module",
                "-e",
                "import c from '@sparticuz/chromium'; await c.executablePath()",
                TMPDIR=str(unpacked),
                AWS_EXECUTION_ENV="nodejs24.x",
            )
    # Its own fonts.conf names folders of that cloud; without a font no text is laid out at all.
    (unpacked / "fonts.conf").write_text(FONTS.format(fonts=unpacked / "fonts"))
    libraries = [str(unpacked / "al2023/lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "FONTCONFIG_FILE": str(unpacked / "fonts.conf"),
    }
    return Chromium(unpacked / "chromium", environment)


def _run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=DOWNLOADS,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NoChromiumError(f"`{command[0]} {command[1]}` failed: {lines[-1]}")


def _try_out(chromium: Chromium) -> None:
    try:
        with launched(chromium) as browser:
            page = browser.new_page()
            page.goto("data:text/html,<p>it runs")
            text = page.inner_text("p")
    except PlaywrightError as error:
        raise NoChromiumError(f"{chromium.path} does not run: {error.message}") from error
    if text != "it runs":
        raise NoChromiumError(f"{chromium.path} lays out no text")


@contextmanager
def launched(chromium: Chromium) -> Iterator[Browser]:
    """The browser, running, until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.path,
            args=list(FLAGS),
            env={**os.environ, **chromium.environment},
            timeout=60_000,
        )
        yield browser
        browser.close()


@contextmanager
def _alone() -> Iterator[None]:
    """Keeps the other test processes out while one of them installs."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with (DOWNLOADS / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    found = find_chromium()
    sys.stdout.write(f"{found.path} {dict(found.environment)}\n")
