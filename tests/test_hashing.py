"""Digests of what is written in any order are those of the whole, and one hop hashes no more than it may."""

from __future__ import annotations

import hashlib
import tempfile
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.disk._storage import read_at, write_at
from trio_dlm.downloaders.http.files import _hashing
from trio_dlm.downloaders.http.files._hashing import PrefixHashes

SIZE = 32

# What is done to a file: a piece of it is written (perhaps again), some of it is hashed, another digest is wanted.
STEPS = st.lists(
    st.tuples(st.just("write"), st.integers(0, SIZE - 1), st.integers(1, SIZE))
    | st.just(("read", 0, 0))
    | st.just(("require", 0, 0)),
    max_size=12,
)


@given(STEPS, st.integers(1, 8), st.integers(1, 8))
def test_digests_are_those_of_what_is_there_in_the_end(
    steps: list[tuple[str, int, int]], per_hop: int, per_read: int
) -> None:
    content = bytearray(SIZE)
    hashes = PrefixHashes(["sha256"])
    with (
        tempfile.TemporaryFile(buffering=0) as file,
        mock.patch.multiple(_hashing, _HASHED_PER_HOP=per_hop, _READ_BYTES=per_read),
    ):
        fd = file.fileno()
        write_at(fd, bytes(content), 0)
        for number, (step, offset, size) in enumerate(steps, 1):
            if step == "write":
                data = bytes([number]) * min(size, SIZE - offset)
                content[offset : offset + len(data)] = data
                write_at(fd, data, offset)
                hashes.take(data, offset)
            elif step == "read":
                assert hashes.read_some(fd, SIZE)
            else:
                hashes.require(["sha256", "md5"])
        while not hashes.reached(SIZE):
            assert hashes.read_some(fd, SIZE)
    digests = hashes.digests()
    assert digests["sha256"] == hashlib.sha256(content).digest()
    if any(step == "require" for step, _, _ in steps):
        assert digests["md5"] == hashlib.md5(content).digest()
    else:
        assert digests.keys() == {"sha256"}


@given(st.integers(0, SIZE), st.integers(1, 8), st.integers(1, 8))
def test_one_hop_reads_no_more_than_it_may_and_no_byte_twice(size: int, per_hop: int, per_read: int) -> None:
    reads: list[tuple[int, int]] = []

    def read(fd: int, size_bytes: int, offset: int) -> bytes:
        reads.append((offset, size_bytes))
        return read_at(fd, size_bytes, offset)

    hashes = PrefixHashes(["sha256", "md5"])
    with (
        tempfile.TemporaryFile(buffering=0) as file,
        mock.patch.multiple(_hashing, _HASHED_PER_HOP=per_hop, _READ_BYTES=per_read, read_at=read),
    ):
        write_at(file.fileno(), bytes(size), 0)
        while not hashes.reached(size):
            before = len(reads)
            assert hashes.read_some(file.fileno(), size)
            assert 0 < sum(count for _, count in reads[before:]) <= per_hop
    assert sum(count for _, count in reads) == size
    assert hashes.digests()["md5"] == hashlib.md5(bytes(size)).digest()


def test_the_end_of_a_file_that_should_be_longer_is_told() -> None:
    hashes = PrefixHashes(["sha256"])
    with tempfile.TemporaryFile(buffering=0) as file:
        write_at(file.fileno(), b"abc", 0)
        assert not hashes.read_some(file.fileno(), 4)


def test_without_an_algorithm_there_is_nothing_to_hash() -> None:
    hashes = PrefixHashes()
    hashes.take(b"abc", 0)
    assert hashes.reached(3)
    assert hashes.digests() == {}
