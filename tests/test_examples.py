"""What the documentation shows is run, and what it repeats is the same.

Rules that hold here:

- every file in ``docs/examples`` runs as a user would run it: a process of its own, in an empty directory, in the
  development mode of Python, which tells of files and tasks left open;
- the bots are the exception: they run until they are told to end, and need a chat, which test_bots.py has for them;
- examples need no network but loopback; one that takes URLs on its command line gets two of a server in this process;
- a code block below ``<!-- example: docs/examples/NAME.py -->`` is that file, to the letter.  Pages in reStructuredText
  include the file itself and need no test.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
BOTS: Final = {"bot_asyncio", "bot_trio"}
EXAMPLES: Final = sorted(path for path in ROOT.glob("docs/examples/*.py") if path.stem not in BOTS)
MARKED_BLOCK: Final = re.compile(
    r"<!-- example: (?P<file>\S+) -->\n+```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)

# What the server has for examples that take URLs.
SERVED: Final = {"small.txt": b"more than a few bytes", "large.bin": bytes(range(256)) * 4096}

# These check a downloader as thoroughly as their readers would.
SLOW: Final = {"check_downloader", "torture"}

# Another example takes a second or two.  This is for a machine that is busy with something else.
PATIENCE_S: Final = 60


def environment() -> dict[str, str]:
    """Return an environment in which an example imports the package that the tests import, and needs no proxy."""
    spec = importlib.util.find_spec("trio_dlm")
    assert spec is not None
    (package,) = map(Path, spec.submodule_search_locations or ())
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def marked_blocks() -> list[tuple[Path, str, str]]:
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [
        (page, match["file"], match["code"])
        for page in pages
        for match in MARKED_BLOCK.finditer(page.read_text("utf-8"))
    ]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a directory, and does not write a line to stderr for every request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass


@pytest.fixture(scope="session")
def served_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Serve two files on loopback while the tests run."""
    directory = tmp_path_factory.mktemp("served")
    for name, content in SERVED.items():
        (directory / name).write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, name="file server of the examples")
        thread.start()
        try:
            yield [f"http://127.0.0.1:{server.server_port}/{name}" for name in SERVED]
        finally:
            server.shutdown()
            thread.join()


def takes_urls(example: Path) -> bool:
    return "sys.argv[1:]" in example.read_text("utf-8")


@pytest.mark.parametrize(
    "example",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else (), id=path.stem) for path in EXAMPLES],
)
def test_an_example_runs_to_its_end_and_leaves_nothing_open(
    example: Path, tmp_path: Path, served_urls: list[str]
) -> None:
    arguments = served_urls if takes_urls(example) else []
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(example), *arguments],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = f"\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    assert "Warning: " not in done.stderr, said
    if arguments:
        # Under whatever names, it has both files, and nothing else.
        got = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert got == set(SERVED.values()), said


@pytest.mark.parametrize(("page", "file", "code"), marked_blocks(), ids=lambda value: getattr(value, "name", None))
def test_a_code_block_is_the_file_that_it_names(page: Path, file: str, code: str) -> None:
    assert code == (ROOT / file).read_text("utf-8"), f"{page.name} and {file} differ: copy the file into the page"


def test_every_code_block_of_the_readme_that_is_python_names_its_file() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count("```python") == len(MARKED_BLOCK.findall(readme))
