"""The changes since the last release, on the page of changes.

Rules that hold here:

- ``CHANGELOG.md`` has the releases, ``newsfragments`` what comes next; the page shows both, and neither is written to;
- the kinds of changes, their order and the mark in the changelog are those of towncrier, in ``pyproject.toml``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGE = "changelog"


def unreleased(directory: Path, kinds: list[dict[str, str]]) -> str:
    """Return the news fragments in *directory* as Markdown, by kind; nothing if there are none."""
    sections: list[str] = []
    for kind in kinds:
        fragments = [path.read_text("utf-8") for path in sorted(directory.glob(f"*.{kind['directory']}.md"))]
        if fragments:
            items = "\n".join("- " + "\n  ".join(text.strip().splitlines()) for text in fragments)
            sections.append(f"### {kind['name']}\n\n{items}\n")
    return "\n".join(["## Not released yet\n", *sections]) if sections else ""


def add_unreleased(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put them into the page, below what stands above the first release."""
    if docname != PAGE:
        return
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
    before, mark, releases = (ROOT / settings["filename"]).read_text("utf-8").partition(settings["start_string"])
    if not mark:
        raise ValueError(f"{settings['filename']} has no line {settings['start_string']!r}, where the news goes")
    app.env.note_dependency(str(ROOT / settings["filename"]))
    for path in (ROOT / settings["directory"]).glob("*.md"):
        app.env.note_dependency(str(path))
    content[0] = before + unreleased(ROOT / settings["directory"], settings["type"]) + releases


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("source-read", add_unreleased)
    return {"parallel_read_safe": True}
