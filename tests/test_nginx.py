"""The command against nginx: two hundred files of all sizes, and every byte of them.

Rules that hold here:

- the command runs as a user would run it, in a process of its own, and only what a user sees is looked at;
- the bytes of a file follow from its name, so what arrived is compared with what was meant.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.command import command
from tests.nginx import Nginx, find_nginx, run_nginx

# From nothing over one byte, the edges of a receive buffer and of a socket's to more than fits into both.
_SIZES: Final = (0, 1, 1_000, 4_095, 4_096, 16_384, 65_535, 65_537, 200_000, 1_048_576)
_LARGE: Final = 3 * 1024 * 1024 + 17
_COUNT: Final = 200


def _make_content(number: int) -> bytes:
    size = _LARGE if number % 50 == 49 else _SIZES[number % len(_SIZES)]
    return random.Random(number).randbytes(size)


def _name(number: int) -> str:
    return f"file-{number:03d}.bin"


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = find_nginx()
    if program is None:
        pytest.skip("nginx is not installed")
    root = tmp_path_factory.mktemp("origin")
    for number in range(_COUNT):
        (root / _name(number)).write_bytes(_make_content(number))
    with run_nginx(program, prefix=tmp_path_factory.mktemp("nginx"), root=root) as nginx:
        yield nginx


async def test_two_hundred_files_arrive_with_all_their_bytes(origin: Nginx, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("".join(f"{origin.url}{_name(number)}\n" for number in range(_COUNT)), "utf-8")
    into = tmp_path / "into"

    done = await command("get", "-j", "5", "-d", str(into), "-i", str(urls), cwd=tmp_path)

    assert done.code == 0, done.err
    assert not done.err
    assert sorted(path.name for path in into.iterdir()) == [_name(number) for number in range(_COUNT)]
    wrong = [number for number in range(_COUNT) if (into / _name(number)).read_bytes() != _make_content(number)]
    assert not wrong


async def test_a_missing_file_is_one_line_on_stderr_and_status_1(origin: Nginx, tmp_path: Path) -> None:
    into = tmp_path / "into"

    done = await command("get", "-d", str(into), f"{origin.url}missing.bin", f"{origin.url}{_name(1)}", cwd=tmp_path)

    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "missing.bin" in line
    assert "404" in line
    assert (into / _name(1)).read_bytes() == _make_content(1)
    assert [path.name for path in into.iterdir()] == [_name(1)]
