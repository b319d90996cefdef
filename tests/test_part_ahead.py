"""What is looked at before a name is taken, and what is tidied when it is taken already."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from tests.parts import BODY, everything, finish, put, target
from trio_dlm._errors import StorageError, TargetExistsError
from trio_dlm.downloaders.disk._hops import Hops
from trio_dlm.downloaders.http.files._partfile import look_ahead


async def test_a_directory_that_cannot_be_written_to_is_found_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    limiter = trio.CapacityLimiter(1)
    with pytest.raises(StorageError, match="a part of that path is a file"):
        await look_ahead(tmp_path / "file" / "below", None, must_write=True, hops=Hops(limiter))
    assert await look_ahead(tmp_path / "missing" / "below", None, must_write=True, hops=Hops(limiter)) is None
    assert [*everything(tmp_path)] == ["file"]


@pytest.mark.parametrize(("flags", "words"), [(os.ST_RDONLY, "read-only"), (0, "may not")])
async def test_a_directory_of_somebody_else_or_of_a_read_only_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, words: str
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flags))
    limiter = trio.CapacityLimiter(1)
    with pytest.raises(StorageError, match=words):
        await look_ahead(tmp_path, "a.iso", must_write=True, hops=Hops(limiter))
    assert await look_ahead(tmp_path, "a.iso", hops=Hops(limiter)) is None


async def test_what_a_run_left_beside_its_file_is_swept_when_the_name_is_asked_for_again(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        await put(part, BODY)
        record = (tmp_path / "a.iso.part.json").read_bytes()
        await finish(part)
    (tmp_path / "a.iso.part.json").write_bytes(record)
    (tmp_path / "a.iso.part.lock").touch()
    with pytest.raises(TargetExistsError, match="the file exists"):
        async with target(tmp_path):
            pass
    assert everything(tmp_path) == {"a.iso": BODY}
