"""What a process has written when it is killed is there for the next one, and nothing else is believed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import everything, wanted
from trio_dlm.downloaders.http.files._claim import claim
from trio_dlm.downloaders.http.files._part import Part
from trio_dlm.downloaders.http.rules._version import Validator, Version

TOTAL = 4 * 1024 * 1024
PIECE = 4096


def content(offset: int) -> bytes:
    return b"%015d\n" % offset * (PIECE // 16)


# Four threads write pieces in stripes, as segments arrive, and each says what it has written.
WRITER = """
import sys, threading
from pathlib import Path
from tests.parts import wanted
from tests.test_part_killed import PIECE, TOTAL, content
from trio_dlm.downloaders.http.files._claim import claim
from trio_dlm.downloaders.http.rules._version import Validator, Version
part = claim(wanted(Path(sys.argv[1])))
part.begin(Version(Validator("etag", '"1"'), total=TOTAL), set())
def write(start):
    for offset in range(start, start + TOTAL // 4, PIECE):
        part.write(offset, [content(offset)])
        sys.stdout.write(f"{offset}\\n")
        sys.stdout.flush()
for number in range(4):
    threading.Thread(target=write, args=(number * TOTAL // 4,)).start()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
@pytest.mark.parametrize("pieces", [1, 7, 100, 600])
def test_what_was_written_before_a_kill_is_gone_on_from(tmp_path: Path, pieces: int) -> None:
    told: set[int] = set()
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told.update(int(writer.stdout.readline()) for _ in range(pieces))
        writer.kill()
        # The last of them may have been torn.
        told.update(int(line) for line in writer.stdout if line.endswith("\n"))
    assert set(everything(tmp_path)) == {"a.iso.part", "a.iso.part.json", "a.iso.part.lock"}

    part = claim(wanted(tmp_path))
    assert isinstance(part, Part)
    assert part.version == Version(Validator("etag", '"1"'), total=TOTAL)
    assert all(part.held.covers(offset, offset + PIECE) for offset in told)
    on_disk = (tmp_path / "a.iso.part").read_bytes()
    for start, stop in part.held:
        expected = b"".join(content(offset) for offset in range(start, stop, PIECE))
        assert on_disk[start:stop] == expected
    missing = part.held.missing(TOTAL)
    for start, stop in missing:
        part.write(start, [content(offset) for offset in range(start, stop, PIECE)])
    part.publish(TOTAL)
    assert everything(tmp_path) == {"a.iso": b"".join(content(offset) for offset in range(0, TOTAL, PIECE))}
