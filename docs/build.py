"""Build the site: gather its pages into ``out/docs``, then let Zensical build ``out/site`` from them, strictly.

Most pages are in ``docs``, some at the top of the repository. Links between them lead from file to file, so that they
work in the repository; this script makes them lead from page to page, and removes links to files that are not pages,
such as the examples.

    python docs/build.py            # builds; any warning is an error
    python docs/build.py --gather   # only gathers the pages
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "docs"
MOVED = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",  # links to it lead to the home page
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/overhead_loop.png": "images/overhead_loop.png",
}
SHOWN = (".css", ".md", ".png", ".svg")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def page_of(file: Path) -> str | None:
    """Return where a file of the repository is on the site, relative to its root; None if it is not there."""
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
    if name in MOVED:
        return MOVED[name]
    return name.removeprefix("docs/") if name.startswith("docs/") and file.suffix in SHOWN else None


def with_site_links(text: str, file: Path, page: str) -> str:
    """Return a page's text with links between files made links between pages."""

    def replaced(match: re.Match[str]) -> str:
        mark, label, target, anchor = match.groups()
        linked = Path(os.path.normpath(file.parent / target))
        if "://" in target or target.startswith("mailto:") or not linked.exists():
            return match[0]  # the strict build finds broken links
        there = page_of(linked)
        if there is None:
            return label
        return f"{mark}[{label}]({os.path.relpath(there, os.path.dirname(page) or '.')}{anchor or ''})"  # noqa: PTH120

    return LINK.sub(replaced, text)


def gather() -> None:
    """Copy all pages and images to ``out/docs``."""
    shutil.rmtree(OUT, ignore_errors=True)
    sources = [ROOT / name for name in MOVED if name != "README.md"]
    sources += [path for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    for file in sources:
        page = page_of(file)
        if page is None:
            continue
        target = OUT / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            target.write_text(with_site_links(file.read_text(encoding="utf-8"), file, page), encoding="utf-8")
        else:
            shutil.copyfile(file, target)


def main() -> int:
    """Gather, and build unless only gathering was asked for."""
    gather()
    if "--gather" in sys.argv:
        return 0
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
