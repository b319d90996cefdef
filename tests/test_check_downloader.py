"""``check_downloader``: ours keeps its promises, and no bug that users have met elsewhere gets through."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import signal
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import hypothesis
import pytest
import trio
import trustme
from hypothesis import strategies as st

from tests.ways import WAYS, take_way
from trio_dlm import DownloadOptions, DownloadResult, _errors
from trio_dlm.downloaders import DownloadJob
from trio_dlm.downloaders.http import HttpDownloader, _downloader, _finishing, _fleet, _pour, _receiving, _transfer
from trio_dlm.downloaders.http._target import Target
from trio_dlm.downloaders.http.client import _client, _exchange, _faults, _own, _waits
from trio_dlm.downloaders.http.files import _part
from trio_dlm.downloaders.http.rules import _asking, _believing, _redirects, _retrying, _validators
from trio_dlm.downloaders.http.rules._coding import KEPT
from trio_dlm.downloaders.http.rules._spans import Spans
from trio_dlm.downloaders.http.rules._version import Validator
from trio_dlm.testing.checks._downloader import check_downloader
from trio_dlm.testing.checks._explore import Trial, explore
from trio_dlm.testing.checks._first import first_plans
from trio_dlm.testing.checks._promises import Breach, Outcome, Promise
from trio_dlm.testing.checks._report import BrokenDownloadError
from trio_dlm.testing.origin import faults as f
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin.faults._name import HOSTILE_NAMES

Fetch = Callable[[DownloadJob], Awaitable[DownloadResult]]

ONE = hypothesis.settings(max_examples=1, database=None, derandomize=True, phases=[hypothesis.Phase.generate])
FEW = hypothesis.settings(max_examples=25, database=None, derandomize=True)
MANY = hypothesis.settings(FEW, max_examples=500)


@pytest.fixture(autouse=True, scope="module")
def _few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # A client for each plan would load those of all authorities.
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


def broken(factory: Callable[[], Any] = HttpDownloader, **options: Any) -> BrokenDownloadError:
    """Check, expect a short plan that breaks it, and return the error."""
    with pytest.raises(BrokenDownloadError) as caught:
        check_downloader(factory, **options)
    # No more than needed by much: where shrinking stops depends on the version of Hypothesis.
    assert len(caught.value.plan.steps) <= 3
    assert str(caught.value.plan) in str(caught.value)
    return caught.value


class TestOurs:
    @pytest.mark.slow
    @pytest.mark.parametrize("library", WAYS)
    def test_the_http_downloader_keeps_every_promise(self, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
        take_way(library, monkeypatch)
        report = check_downloader()
        # Those that come first are always the same, and most of them end well.
        first = len(first_plans(4096, undetectable=True))
        assert report.examples > first
        assert report.requests >= report.examples
        assert {kind.__name__ for kind in f.FAULTS} <= set(report.faults)
        assert report.outcomes["success"] > first / 2
        assert "no end" not in report.outcomes

    def test_it_is_held_to_the_retries_that_it_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        retries = DownloadOptions().retries
        steps = (f.DropInHeader(),) * retries
        facts: dict[str, Any] = {"plans": st.just(FaultPlan(steps)), "settings": ONE}
        assert set(check_downloader(**facts).outcomes) == {"success"}
        impatient = lambda: HttpDownloader(retries=retries - 1)  # noqa: E731
        assert "ConnectionFailedError" in check_downloader(impatient, **facts).outcomes
        with pytest.raises(BrokenDownloadError) as caught:
            check_downloader(impatient, retries=retries, **facts)
        assert caught.value.promise is Promise.SERVED
        monkeypatch.setattr(_retrying, "is_retried", lambda _: False)
        with pytest.raises(BrokenDownloadError):
            check_downloader(**facts)

    @pytest.mark.slow
    def test_it_keeps_them_with_many_small_segments_and_a_mirror(self) -> None:
        report = check_downloader(IN_SEGMENTS, retries=5)
        assert "no end" not in report.outcomes
        # Of a mirror nothing is known yet that could be a condition, and what its host says of Retry-After is for it.
        promises = frozenset(Promise) - {Promise.GUARDED, Promise.PATIENT}
        mirrored = check_downloader(WITH_A_MIRROR, retries=5, promises=promises, settings=FEW)
        assert mirrored.requests > mirrored.examples

    def test_what_only_a_digest_reveals_is_tried_only_with_one(self) -> None:
        hidden = sorted(f.UNDETECTABLE, key=lambda kind: kind.__name__)
        plans = st.sampled_from([FaultPlan(), *(FaultPlan((kind(),)) for kind in hidden)])
        with_one = check_downloader(plans=plans, settings=FEW)
        assert set(with_one.faults) > {"Serve", "CorruptedBody"}
        assert with_one.outcomes["ChecksumMismatchError"] > 1
        without = check_downloader(plans=plans, checksum=False, settings=FEW)
        assert set(without.faults) == {"Serve"}
        assert set(without.outcomes) == {"success"}

    def test_every_plan_may_be_tried_with_a_digest(self) -> None:
        report = check_downloader(plans=st.just(FaultPlan((f.Changed(),))), checksum=True, settings=FEW)
        assert set(report.outcomes) == {"ChecksumMismatchError"}

    @pytest.mark.parametrize(
        "plan",
        [FaultPlan(), FaultPlan((f.DropAt(99_999), f.Changed())), FaultPlan((f.OtherBytes(),))],
        ids=repr,
    )
    def test_it_keeps_them_with_a_larger_file_and_plans_of_the_callers_own(self, plan: FaultPlan) -> None:
        report = check_downloader(plans=st.just(plan), body=bytes(range(250)) * 400, settings=FEW)
        assert set(report.faults) <= {type(each).__name__ for each in (*plan.steps, plan.then)}
        assert report.requests > 0

    def test_nothing_is_written_to_stderr(self, capfd: pytest.CaptureFixture[str], caplog: Any) -> None:
        with caplog.at_level(logging.CRITICAL):
            check_downloader(plans=st.just(FaultPlan((f.Refuse(404),))), settings=FEW)
        assert capfd.readouterr() == ("", "")


class TestPlantedInTheHttpDownloader:
    """Each of these bugs was met in somebody's downloader; see the research that the origin's faults came from."""

    def test_a_body_that_breaks_off_is_taken_for_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = _client.Exchange.read_batch

        async def careless(self: _client.Exchange, arrived: Any, *, length: int | None) -> tuple[list[bytes], bool]:
            try:
                return await read(self, arrived, length=length)
            except (_errors.ConnectionFailedError, _errors.StalledError, _errors.IncompleteBodyError):
                return [], True

        monkeypatch.setattr(_client.Exchange, "read_batch", careless)
        believe_the_end(monkeypatch)
        error = broken(ONE_STREAM)
        assert error.promise is Promise.EXACT
        assert "Found: an empty file" in str(error)

    def test_a_part_that_nobody_asked_for_is_taken_for_the_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        check = _believing._believe_part

        def careless(head: Any, ask: Any, pinned: Any, coding: Any, **more: Any) -> Any:
            if ask.is_ranged:
                return check(head, ask, pinned, coding, **more)
            length = int(head.first("content-length"))
            return _believing._whole(head, length, length, None, coding, in_ranges=False, **more)

        monkeypatch.setattr(_believing, "_believe_part", careless)
        error = broken(ONE_STREAM)
        assert error.promise is Promise.EXACT
        assert isinstance(error.plan.for_request(0), f.PartUnasked)

    def test_the_final_name_is_there_before_the_file_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write = _part.Part.write

        def hasty(self: _part.Part, offset: int, chunks: Any) -> None:
            write(self, offset, chunks)
            self._places.final.write_bytes(self._places.part.read_bytes())

        monkeypatch.setattr(_part.Part, "write", hasty)
        monkeypatch.setattr(_part, "give_name", lambda places, *_: places.part.replace(places.final))
        assert broken(lambda: HttpDownloader(overwrite=True, retries=0)).promise is Promise.ABSENT

    def test_the_part_is_left_under_the_final_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leave = _part.Part.leave

        def rename(self: _part.Part) -> None:
            self._places.part.rename(self._places.final)
            leave(self)

        monkeypatch.setattr(_part.Part, "leave", rename)
        error = broken(lambda: HttpDownloader(retries=0))
        assert error.promise is Promise.ABSENT
        assert isinstance(error.plan.for_request(0), f.DropAt | f.Stall)

    def test_compressed_bytes_are_taken_for_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_believing, "coding_of", lambda head, *, names: KEPT)
        error = broken()
        assert error.promise is Promise.EXACT
        assert isinstance(error.plan.for_request(0), f.Gzipped)

    def test_a_stall_is_taken_for_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = _client.Exchange.read_batch

        async def resigned(self: _client.Exchange, arrived: Any, *, length: int | None) -> tuple[list[bytes], bool]:
            with contextlib.suppress(_errors.StalledError):
                return await read(self, arrived, length=length)
            return [], True

        monkeypatch.setattr(_client.Exchange, "read_batch", resigned)
        believe_the_end(monkeypatch)
        error = broken(ONE_STREAM)
        assert error.promise is Promise.EXACT
        assert isinstance(error.plan.for_request(0), f.DropAt | f.Stall)

    def test_there_is_no_limit_on_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = _client.Exchange.__init__

        def patient(self: _client.Exchange, head: Any, body: Any, library: str, _: float, **more: Any) -> None:
            begin(self, head, body, library, math.inf, **more)

        monkeypatch.setattr(_client.Exchange, "__init__", patient)
        error = broken()
        assert error.promise is Promise.PROMPT
        assert "it had not ended after 86400 s" in str(error)
        assert "it did not end" in str(error)

    def test_there_is_no_limit_on_the_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = _waits.Waits._begin
        monkeypatch.setattr(_waits.Waits, "_begin", lambda self, what, _, option: begin(self, what, math.inf, option))
        # A header without an end takes as many steps as there may be; one that stops shows the same at once.
        plans = st.just(FaultPlan((f.HeaderStops(),)))
        assert broken(plans=plans, settings=FEW).promise is Promise.PROMPT

    def test_redirects_are_followed_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_redirects, "MAX_REDIRECTS", 10**9)
        error = broken()
        assert error.promise is Promise.PROMPT
        assert error.plan == FaultPlan(then=f.RedirectToItself())
        assert "after 500 requests it would have gone on" in str(error)
        assert len(str(error).splitlines()) < 20

    def test_left_over_bytes_are_the_next_reply_on_a_kept_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        take_way("httpx2", monkeypatch)
        monkeypatch.setattr(_client, "make_client", lambda library, *_, **__: library.AsyncClient(timeout=None))
        error = broken(lambda: HttpDownloader(retries=0))
        assert error.promise is Promise.EXACT
        assert isinstance(error.plan.for_request(0), f.ForgedReply)
        assert not error.outcomes[-1].connections_left

    def test_connections_are_left_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: list[Any] = []

        async def close(self: _client.Client, response: Any, body: Any) -> None:
            kept.append((response, body))
            await trio.lowlevel.checkpoint()

        @contextlib.asynccontextmanager
        async def open_client(_: object, settings: Any) -> AsyncGenerator[_client.Client, None]:
            library, clients = _client.make_clients(settings)
            kept.append(clients)
            yield _client.Client(clients[0], library)

        monkeypatch.setattr(_client.Client, "_close", close)
        monkeypatch.setattr(_downloader, "open_client", open_client)
        assert broken().promise is Promise.CLOSED

    def test_errors_of_the_library_come_out_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for room in (_own, _exchange):
            monkeypatch.setattr(room, "errors_below", lambda *_: contextlib.nullcontext())
        error = broken()
        assert error.promise is Promise.DOCUMENTED
        assert "RemoteProtocolError" in str(error)


def believe_the_end(patch: pytest.MonkeyPatch) -> None:
    """Have the end of a body be the end of the file."""
    patch.setattr(_pour, "check_received", lambda *_, **__: None)

    def is_complete(target: Target) -> bool:
        part = target._part
        if part is None or part.version is None:
            return False
        part._part.version = replace(part.version, total=part.held.end)
        return True

    patch.setattr(Target, "is_complete", property(is_complete))


def ONE_STREAM() -> HttpDownloader:  # noqa: N802
    return HttpDownloader(connections=1)


def IN_SEGMENTS() -> HttpDownloader:  # noqa: N802
    return HttpDownloader(min_segment_size=256)


def WITH_A_MIRROR() -> HttpDownloader:  # noqa: N802
    return HttpDownloader(min_segment_size=256, mirrors=["http://origin.test/mirror.bin"])


# What could be wrong about resuming, segments, digests and retries, each planted where the rule stands that it breaks.


def send_no_condition(patch: pytest.MonkeyPatch) -> None:
    headers = _asking.Ask.headers
    patch.setattr(_asking.Ask, "headers", lambda ask: headers(replace(ask, condition=None)))


def compare_no_validator(patch: pytest.MonkeyPatch) -> None:
    version_of = _believing._version_of
    patch.setattr(_believing, "_version_of", lambda head, pinned, **more: pinned or version_of(head, pinned, **more))


def take_a_weak_tag_for_a_strong_one(patch: pytest.MonkeyPatch) -> None:
    def validator_of(head: Any, *, now: object) -> Validator | None:
        tag = head.first("etag")
        return None if tag is None else Validator("etag", tag)

    patch.setattr(_believing, "validator_of", validator_of)


def take_a_date_beside_a_weak_tag(patch: pytest.MonkeyPatch) -> None:
    of_head = _validators.validator_of

    def validator_of(head: Any, *, now: Any) -> Validator | None:
        fields = tuple(each for each in head.fields if not each[1].startswith("W/"))
        return of_head(replace(head, fields=fields), now=now)

    patch.setattr(_believing, "validator_of", validator_of)


def compare_no_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_believing, "_check_bounds", lambda *_: None)


def take_the_end_of_a_part_for_the_end_of_the_file(patch: pytest.MonkeyPatch) -> None:
    part = _believing._believe_part

    def careless(*args: Any, **more: Any) -> Any:
        delivery = part(*args, **more)
        return replace(delivery, version=replace(delivery.version, total=delivery.stop))

    patch.setattr(_believing, "_believe_part", careless)


def append_the_whole(patch: pytest.MonkeyPatch) -> None:
    def careless(head: Any, ask: Any, *, pinned: Any, **more: Any) -> Any:
        delivery = believe(head, ask, pinned=pinned, **more)
        if pinned is None or head.status != 200:
            return delivery
        return replace(delivery, start=ask.start, version=pinned, is_new=False, is_whole=False)

    believe = _believing.believe
    patch.setattr(_transfer, "believe", careless)


def take_416_for_the_end(patch: pytest.MonkeyPatch) -> None:
    open_ = _transfer._Run._open

    async def careless(run: Any, source: Any, ask: Any) -> None:
        try:
            await open_(run, source, ask)
        except _errors.HttpStatusError as exc:
            part = run._target._part
            if exc.status != 416 or part is None or not part.held:
                raise
            await part.go_on(replace(part.version, total=part.held.end), ())

    patch.setattr(_transfer._Run, "_open", careless)


def keep_what_is_there_of_the_old_version(patch: pytest.MonkeyPatch) -> None:
    begin = _part.Part.begin

    def careless(part: _part.Part, version: Any, algorithms: Any) -> None:
        held = part.held
        begin(part, version, algorithms)
        part._must_start_over = False
        part.held = part._recorded = held

    patch.setattr(_part.Part, "begin", careless)


def publish_with_a_gap(patch: pytest.MonkeyPatch) -> None:
    def is_complete(target: Target) -> bool:
        part = target._part
        return part is not None and part.version is not None and part.held.end == part.version.total

    patch.setattr(Target, "is_complete", property(is_complete))
    patch.setattr(Spans, "covers", lambda *_: True)


def look_at_no_digest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_finishing, "mismatch", lambda *_: None)


def keep_what_has_another_digest(patch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    patch.setattr(_transfer._Run, "_falls_back", never)


def do_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_believing, "parse_retry_after", lambda *_, **__: None)


def try_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        _retrying.Patience, "after", lambda patience, error, *, held_bytes, draw: _retrying.Again(patience, draw)
    )


def go_on_from_what_broken_framing_left(patch: pytest.MonkeyPatch) -> None:
    take_way("httpx2", patch)
    patch.setattr(_faults, "_innermost", lambda _: "read_eof")


def put_up_with_tiny_pieces(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_receiving, "MOST_TINY_PIECES", math.inf)


def settle_nothing_by_a_plain_request(patch: pytest.MonkeyPatch) -> None:
    falls_back = _transfer._Run._falls_back

    async def never(run: Any, *facts: Any) -> bool:
        run._is_plain = True
        await falls_back(run, *facts)
        run._is_plain = False
        return False

    patch.setattr(_transfer._Run, "_falls_back", never)


def compare_no_validator_on_a_second_connection(patch: pytest.MonkeyPatch) -> None:
    def careless(head: Any, ask: Any, *, pinned: Any, **more: Any) -> Any:
        return believe(head, ask, pinned=replace(pinned, validator=None), **{**more, "has_checksum": True})

    believe = _believing.believe
    patch.setattr(_fleet, "believe", careless)


def send_no_condition_on_a_second_connection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_fleet, "Ask", lambda **facts: _asking.Ask(**{**facts, "condition": None}))


def believe_a_mirror(patch: pytest.MonkeyPatch) -> None:
    def pin(fleet: _fleet.Fleet, source: Any, delivery: Any, exchange: object) -> None:
        source.version = delivery.version

    patch.setattr(_fleet.Fleet, "_pin", pin)
    # Where nothing is known of a digest no mirror is asked at the same time.
    patch.setattr(_fleet.Fleet, "_pick_source", lambda fleet: fleet._sources[-1])
    split = _receiving.Receiver._split

    async def careless(receiver: Any, exchange: Any, delivery: Any, *more: Any) -> None:
        digests = delivery.version.digests or (f"sha-256=:{'A' * 43}=:",)
        await split(receiver, exchange, replace(delivery, version=replace(delivery.version, digests=digests)), *more)

    patch.setattr(_receiving.Receiver, "_split", careless)


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], HttpDownloader], Promise]] = [
    (send_no_condition, IN_SEGMENTS, Promise.GUARDED),
    (compare_no_validator, IN_SEGMENTS, Promise.EXACT),
    (take_a_weak_tag_for_a_strong_one, IN_SEGMENTS, Promise.GUARDED),
    (take_a_date_beside_a_weak_tag, IN_SEGMENTS, Promise.EXACT),
    (compare_no_start, IN_SEGMENTS, Promise.EXACT),
    (take_the_end_of_a_part_for_the_end_of_the_file, IN_SEGMENTS, Promise.EXACT),
    (append_the_whole, IN_SEGMENTS, Promise.EXACT),
    (take_416_for_the_end, IN_SEGMENTS, Promise.EXACT),
    (keep_what_is_there_of_the_old_version, IN_SEGMENTS, Promise.EXACT),
    (publish_with_a_gap, IN_SEGMENTS, Promise.EXACT),
    (look_at_no_digest, IN_SEGMENTS, Promise.EXACT),
    (keep_what_has_another_digest, IN_SEGMENTS, Promise.SERVED),
    (do_not_wait, IN_SEGMENTS, Promise.PATIENT),
    (try_for_ever, IN_SEGMENTS, Promise.PROMPT),
    (go_on_from_what_broken_framing_left, IN_SEGMENTS, Promise.EXACT),
    (put_up_with_tiny_pieces, IN_SEGMENTS, Promise.PROMPT),
    (settle_nothing_by_a_plain_request, IN_SEGMENTS, Promise.SERVED),
    (compare_no_validator_on_a_second_connection, IN_SEGMENTS, Promise.EXACT),
    (send_no_condition_on_a_second_connection, IN_SEGMENTS, Promise.GUARDED),
    (believe_a_mirror, WITH_A_MIRROR, Promise.EXACT),
]


@pytest.mark.parametrize(("plant", "factory", "promise"), PLANTED, ids=[each[0].__name__ for each in PLANTED])
def test_a_bug_planted_in_resuming_and_segments_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    factory: Callable[[], HttpDownloader],
    promise: Promise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert broken(factory, retries=5, promises={promise}).promise is promise


async def ask(job: DownloadJob, *lines: str) -> tuple[bytes, bytes]:
    """Ask as a beginner would: send the lines, read to the end, return header and body."""
    stream = await trio.open_tcp_stream("origin.test", 80)
    async with stream:
        request = "\r\n".join(["GET /file.bin HTTP/1.1", "Host: origin.test", "Connection: close", *lines, "", ""])
        await stream.send_all(request.encode())
        received = b"".join([each async for each in stream])
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


async def saved(job: DownloadJob, body: bytes) -> DownloadResult:
    job.directory.mkdir(parents=True, exist_ok=True)
    path = job.directory / "file.bin"
    path.write_bytes(body)
    await trio.lowlevel.checkpoint()
    return DownloadResult(path=path, size_bytes=len(body))


class TestOthers:
    """Downloaders of a user's own, as plain functions of a job."""

    def test_one_that_resumes_without_a_condition_is_unguarded(self) -> None:
        async def resume(job: DownloadJob) -> DownloadResult:
            part = job.directory / "file.part"
            have = part.read_bytes() if part.exists() else b""
            lines = [f"Range: bytes={len(have)}-"] if have else []
            head, body = await ask(job, *lines)
            if head.split()[1:2] not in ([b"200"], [b"206"]):
                raise ConnectionError("refused")
            body = have + body if b" 206 " in head else body
            if len(body) < 4096:
                job.directory.mkdir(parents=True, exist_ok=True)
                part.write_bytes(body)
                raise ConnectionError("too short")
            return await saved(job, body)

        drops = st.builds(
            FaultPlan, st.lists(st.builds(f.DropAt, st.integers(0, 4096)) | st.just(f.Changed()), max_size=6).map(tuple)
        )
        facts: dict[str, Any] = {"plans": drops, "errors": (ConnectionError,), "checksum": False, "settings": MANY}
        error = broken(lambda: resume, promises={Promise.EXACT}, **facts)
        assert "Found: 4096 bytes: 0" in str(error)
        assert "-4095 of version 2" in str(error)
        assert {type(step).__name__ for step in error.plan.steps} == {"DropAt", "Changed"}
        error = broken(lambda: resume, promises={Promise.GUARDED}, **facts)
        assert re.search(r"Range: bytes=\d+-, and no condition", str(error))

    def test_one_that_asks_again_at_once_is_impatient(self) -> None:
        async def insist(job: DownloadJob) -> DownloadResult:
            while True:
                head, body = await ask(job)
                if b" 200 " in head:
                    return await saved(job, body)

        busy = st.just(FaultPlan((f.Busy(retry_after=30),)))
        error = broken(lambda: insist, plans=busy, settings=FEW)
        assert error.promise is Promise.PATIENT
        assert "Retry-After: 30, and it asked again after 0 s" in str(error)

    def test_one_that_waits_is_not(self) -> None:
        async def wait(job: DownloadJob) -> DownloadResult:
            while True:
                head, body = await ask(job)
                if b" 200 " in head:
                    return await saved(job, body)
                await trio.sleep(30)

        check_downloader(lambda: wait, plans=st.just(FaultPlan((f.Busy(retry_after=30),))), retries=1, settings=FEW)

    def test_one_that_refuses_an_honest_file_does_not_serve(self) -> None:
        async def refuse(job: DownloadJob) -> DownloadResult:
            await trio.lowlevel.checkpoint()
            raise ConnectionError("no")

        error = broken(lambda: refuse, errors=(OSError,))
        assert error.promise is Promise.SERVED
        assert error.plan == FaultPlan()
        assert "Found: ConnectionError: no" in str(error)

    def test_one_that_does_not_heed_a_cancel_does_not_end(self) -> None:
        async def shield(job: DownloadJob) -> DownloadResult:
            with trio.CancelScope(shield=True):
                await trio.sleep(10_000)
            return await saved(job, b"")

        error = broken(lambda: shield, limit_s=10.0, plans=st.just(FaultPlan()), settings=ONE)
        assert error.promise is Promise.PROMPT
        assert "Found: it did not end, not even when it was cancelled" in str(error)

    def test_one_that_spins_does_not_end(self) -> None:
        async def spin(job: DownloadJob) -> DownloadResult:
            while True:
                await trio.lowlevel.checkpoint()

        error = broken(lambda: spin, plans=st.just(FaultPlan()), body=b"x", settings=ONE)
        assert error.promise is Promise.PROMPT
        assert "it did not end: " in str(error)

    def test_one_that_is_cancelled_by_itself_is_told_so(self) -> None:
        async def crash(job: DownloadJob) -> DownloadResult:
            await trio.lowlevel.checkpoint()
            raise OSError("disk")

        error = broken(lambda: crash)
        assert error.promise is Promise.DOCUMENTED
        assert "Found: OSError: disk" in str(error)

    def test_one_that_does_not_end_well_is_found_out(self) -> None:
        class Closing:
            async def __aenter__(self) -> Self:
                return self

            async def __aexit__(self, *_: object) -> None:
                await trio.lowlevel.checkpoint()
                raise OSError("not closed")

            async def download(self, job: DownloadJob) -> DownloadResult:
                _, body = await ask(job)
                return await saved(job, body)

        error = broken(Closing, plans=st.just(FaultPlan()), settings=FEW)
        assert error.promise is Promise.DOCUMENTED
        assert "Found: OSError: not closed" in str(error)

    def test_one_that_says_success_without_a_file_is_found_out(self) -> None:
        async def pretend(job: DownloadJob) -> DownloadResult:
            await trio.lowlevel.checkpoint()
            return DownloadResult(path=job.directory / "file.bin", size_bytes=4096)

        error = broken(lambda: pretend)
        assert error.promise is Promise.EXACT
        assert "Found: nothing" in str(error)

    def test_what_cannot_be_used_at_all_says_why(self) -> None:
        with pytest.raises(TypeError, match="a downloader is an object"):
            check_downloader(object)  # type: ignore[arg-type]


RESUMER_BUGS = {
    "no_start_check": Promise.EXACT,
    "stop_at_range_end": Promise.EXACT,
    "416_is_the_end": Promise.EXACT,
    "date_beside_weak_tag": Promise.EXACT,
    "ignore_retry_after": Promise.PATIENT,
}


class Refused(Exception):
    """What the resumer raises."""


class Resumer:
    """A small downloader that resumes within a run; *bug* is one that users have met elsewhere."""

    def __init__(self, bug: str | None = None) -> None:
        self._bug = bug

    async def download(self, job: DownloadJob) -> DownloadResult:
        held, validator, total = b"", None, None
        for _ in range(4):
            lines = [f"Range: bytes={len(held)}-", f"If-Range: {validator}"] if held else []
            try:
                with trio.fail_after(60):
                    head, body = await ask(job, *lines)
            except (trio.BrokenResourceError, trio.TooSlowError):
                continue
            status, fields = self._read(head)
            if status in ("429", "503") and fields.get("retry-after", "").isdigit():
                await trio.sleep(1 if self._bug == "ignore_retry_after" else int(fields["retry-after"]))
                continue
            if status == "416" and self._bug == "416_is_the_end" and held:
                return await saved(job, held)
            if status == "200" and "content-range" not in fields and fields.get("content-length", "").isdigit():
                held, total, validator = b"", int(fields["content-length"]), self._validator(fields)
                body = body[:total]
            elif not (status == "206" and held and self._goes_on(fields, len(held), len(body), total, validator)):
                held = b""
                continue
            held += body
            if len(held) == total or (status == "206" and self._bug == "stop_at_range_end"):
                return await saved(job, held)
            held = held if validator and len(held) < (total or 0) else b""
        raise Refused

    def _read(self, head: bytes) -> tuple[str, dict[str, str]]:
        line, *lines = head.decode("latin-1").split("\r\n")
        pairs = [each.partition(":")[::2] for each in lines]
        fields = {name.lower(): value.strip() for name, value in pairs}
        if len(fields) != len(lines) or {"content-encoding", "transfer-encoding"} & fields.keys():
            return "", {}
        return line.partition(" ")[2][:3] if line.startswith("HTTP/1.") else "", fields

    def _validator(self, fields: dict[str, str]) -> str | None:
        tag = fields.get("etag")
        if tag is None or (tag.startswith("W/") and self._bug == "date_beside_weak_tag"):
            return fields.get("last-modified")
        return None if tag.startswith("W/") else tag

    def _goes_on(
        self, fields: dict[str, str], start: int, count: int, total: int | None, validator: str | None
    ) -> bool:
        says = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields.get("content-range", ""))
        if says is None or self._validator(fields) != validator:
            return False
        first, last, size = map(int, says.groups())
        is_there = first == start or self._bug == "no_start_check"
        length = last - first + 1
        return is_there and size == total and count <= length and fields.get("content-length") == str(length)


class TestResuming:
    FACTS: ClassVar[dict[str, Any]] = {
        "retries": 0,
        "errors": (Refused,),
        "checksum": False,
    }

    def test_a_right_one_keeps_every_promise(self) -> None:
        report = check_downloader(Resumer, settings=FEW, promises=set(Promise) - {Promise.SERVED}, **self.FACTS)
        assert report.outcomes["success"] > 100

    @pytest.mark.parametrize(("bug", "promise"), RESUMER_BUGS.items())
    def test_the_bugs_that_resuming_is_known_for_are_found(self, bug: str, promise: Promise) -> None:
        error = broken(lambda: Resumer(bug), settings=ONE, promises={promise}, **self.FACTS)
        assert error.promise is promise


class TestTheOrderOfTasks:
    @staticmethod
    def turns(settings: hypothesis.settings) -> list[str]:
        found: list[str] = []

        async def hasten(job: DownloadJob) -> DownloadResult:
            order: list[str] = []

            async def turn(name: str) -> None:
                await trio.lowlevel.checkpoint()
                order.append(name)

            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(turn, name)
            found.append("".join(order))
            _, body = await ask(job)
            return await saved(job, body)

        check_downloader(lambda: hasten, plans=st.just(FaultPlan()), settings=settings)
        return found

    def test_it_is_drawn_and_the_same_in_every_check(self) -> None:
        first = self.turns(FEW)
        assert len(set(first)) > 1
        assert self.turns(FEW) == first

    def test_the_oldest_goes_first_in_the_simplest_case(self) -> None:
        assert self.turns(ONE)[0] == "abc"

    def test_it_is_told_where_it_matters(self) -> None:
        async def hasty(job: DownloadJob) -> DownloadResult:
            order: list[str] = []

            async def turn(name: str) -> None:
                await trio.lowlevel.checkpoint()
                order.append(name)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(turn, "a")
                nursery.start_soon(turn, "b")
            _, body = await ask(job)
            return await saved(job, body if order == ["a", "b"] else b"")

        error = broken(lambda: hasty, plans=st.just(FaultPlan()))
        assert error.promise is Promise.EXACT
        assert "the tasks took turns by the tape [" in str(error)


class TestWhatIsDelivered:
    """What a result says, and where things are."""

    PLAIN: ClassVar[dict[str, Any]] = {"plans": st.just(FaultPlan()), "settings": ONE}

    def test_another_size_than_that_of_the_file_is_wrong(self) -> None:
        async def lie(job: DownloadJob) -> DownloadResult:
            _, body = await ask(job)
            return DownloadResult(path=(await saved(job, body)).path, size_bytes=17)

        error = broken(lambda: lie, **self.PLAIN)
        assert error.promise is Promise.EXACT
        assert "Found: a file of 4096 bytes, and the result says 17" in str(error)

    def test_a_digest_that_was_not_verified_is_wrong(self) -> None:
        async def lie(job: DownloadJob) -> DownloadResult:
            _, body = await ask(job)
            return replace(await saved(job, body), checksum=f"sha256:{'0' * 64}")

        error = broken(lambda: lie, **self.PLAIN)
        assert error.promise is Promise.EXACT
        assert re.search(f"Found: a file whose sha256 is [0-9a-f]{{64}}, and the result says {'0' * 64}", str(error))

    def test_a_link_is_no_file(self) -> None:
        async def link(job: DownloadJob) -> DownloadResult:
            _, body = await ask(job)
            result = await saved(job, body)
            (job.directory / "link").symlink_to("file.bin")
            return DownloadResult(path=job.directory / "link", size_bytes=result.size_bytes)

        error = broken(lambda: link, **self.PLAIN)
        assert error.promise is Promise.EXACT
        assert "Found: a link, instead of a file" in str(error)

    @pytest.mark.parametrize("fails", [False, True])
    def test_what_is_written_elsewhere_is_found(self, fails: bool) -> None:
        async def stray(job: DownloadJob) -> DownloadResult:
            _, body = await ask(job)
            result = await saved(job, body)
            (job.directory.parent / "evil.bin").write_bytes(b"")
            if fails:
                raise OSError("disk")
            return result

        promises = {Promise.EXACT, Promise.ABSENT}
        error = broken(lambda: stray, promises=promises, **self.PLAIN)
        assert error.promise is (Promise.ABSENT if fails else Promise.EXACT)
        assert "Found: outside of the directory: downloads/evil.bin" in str(error)

    def test_a_name_that_leads_elsewhere_is_found_out_by_following_it(self) -> None:
        async def obey(job: DownloadJob) -> DownloadResult:
            head, body = await ask(job)
            named = re.search(rb'filename="([^"]*)"', head)
            job.directory.mkdir(parents=True, exist_ok=True)
            path = job.directory / (named[1].decode() if named else "file.bin")
            path.write_bytes(body)
            return DownloadResult(path=path, size_bytes=len(body))

        plans = st.just(FaultPlan((f.Named("../evil.bin"),)))
        error = broken(lambda: obey, plans=plans, settings=ONE)
        assert error.promise is Promise.EXACT
        assert "Found: a file that is not in the directory" in str(error)

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_ours_delivers_whatever_the_name(self, name: str) -> None:
        report = check_downloader(plans=st.just(FaultPlan(then=f.Named(name))), settings=ONE)
        assert set(report.outcomes) == {"success"}


class TestTheEndOfTheProgram:
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_it_comes_out_bare_and_leaves_no_files(
        self, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

        async def stop(job: DownloadJob) -> DownloadResult:
            job.directory.mkdir(parents=True, exist_ok=True)
            await trio.lowlevel.checkpoint()
            raise kind

        with pytest.raises(kind):
            check_downloader(lambda: stop)
        assert not list(tmp_path.iterdir())

    def test_an_interrupt_of_the_run_itself_comes_out_too(self) -> None:
        async def interrupt(job: DownloadJob) -> DownloadResult:
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()
            raise AssertionError

        with pytest.raises(KeyboardInterrupt):
            check_downloader(lambda: interrupt)

    def test_so_does_one_that_came_when_nothing_of_the_downloader_ran(self) -> None:
        @trio.lowlevel.enable_ki_protection
        def press() -> None:
            signal.raise_signal(signal.SIGINT)

        async def interrupt(job: DownloadJob) -> DownloadResult:
            press()
            await trio.sleep_forever()
            raise AssertionError

        with pytest.raises(KeyboardInterrupt):
            check_downloader(lambda: interrupt)

    def test_what_a_fault_raises_is_a_mistake_of_the_caller_and_comes_out(self) -> None:
        class Mistaken:
            def answer(self, request: object, resource: object) -> Any:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            check_downloader(plans=st.just(FaultPlan((Mistaken(),))), settings=ONE)

    def test_any_other_error_that_is_none_of_a_download_comes_out(self) -> None:
        class StoppedError(BaseException):
            pass

        async def stop(job: DownloadJob) -> DownloadResult:
            await trio.lowlevel.checkpoint()
            raise StoppedError

        with pytest.raises(BaseExceptionGroup) as caught:
            check_downloader(lambda: stop)
        assert caught.group_contains(StoppedError)


class Lingering:
    """A downloader that hangs in its end, below a shield, or in its beginning."""

    def __init__(self, where: str) -> None:
        self._where = where

    async def _linger(self, where: str) -> None:
        await trio.lowlevel.checkpoint()
        if where == self._where:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    async def __aenter__(self) -> Self:
        await self._linger("entering")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._linger("leaving")

    async def download(self, job: DownloadJob) -> DownloadResult:
        _, body = await ask(job)
        return await saved(job, body)


class TestWhatNoCancelReaches:
    PLAIN: ClassVar[dict[str, Any]] = {"plans": st.just(FaultPlan()), "body": b"x", "settings": ONE}

    @pytest.mark.parametrize("how", ["wait", "sleep", "spin", "swallow", "swallow and spin"])
    def test_it_is_broken_off_and_told(self, how: str) -> None:
        async def stay(job: DownloadJob) -> DownloadResult:
            while True:
                with contextlib.suppress(BaseException if "swallow" in how else ZeroDivisionError):
                    with trio.CancelScope(shield=True):
                        if how in ("wait", "swallow"):
                            await trio.Event().wait()
                        await trio.sleep(1000 if how == "sleep" else 0)

        error = broken(lambda: stay, **self.PLAIN)
        assert error.promise is Promise.PROMPT
        assert "Found: it did not end" in str(error)

    def test_so_is_what_leaves_trio_in_disorder(self) -> None:
        async def stay(job: DownloadJob) -> DownloadResult:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while True:
                    with contextlib.suppress(BaseException), trio.CancelScope(shield=True):
                        await trio.lowlevel.checkpoint()

        error = broken(lambda: stay, **self.PLAIN)
        assert error.promise is Promise.PROMPT

    def test_so_is_one_that_spins_before_its_first_download(self) -> None:
        class Spinning(Lingering):
            async def __aenter__(self) -> Self:
                while True:
                    with contextlib.suppress(BaseException):
                        await trio.lowlevel.checkpoint()

        error = broken(lambda: Spinning("nowhere"), **self.PLAIN)
        assert error.promise is Promise.PROMPT
        assert error.outcomes[0].exchanges == ()

    @pytest.mark.parametrize("where", ["entering", "leaving"])
    def test_so_is_the_beginning_and_the_end_of_a_downloader(self, where: str) -> None:
        error = broken(lambda: Lingering(where), **self.PLAIN)
        assert error.promise is Promise.PROMPT
        assert "Found: it did not end, not even when it was cancelled: there waits " in str(error)

    def test_trio_works_afterwards(self) -> None:
        broken(lambda: Lingering("leaving"), **self.PLAIN)
        check_downloader(lambda: Lingering("nowhere"), **self.PLAIN)


class TestNothingToFind:
    def test_a_factory_that_forgot_its_return_is_refused(self) -> None:
        nothing: Any = lambda: None  # noqa: E731
        with pytest.raises(TypeError, match=r"a downloader is an object .* got None"):
            check_downloader(nothing)

    def test_a_check_that_nobody_asked_anything_in_has_found_nothing_out(self) -> None:
        async def invent(job: DownloadJob) -> DownloadResult:
            return await saved(job, b"x")

        with pytest.raises(ValueError, match="nothing reached the origin, so that nothing was checked"):
            check_downloader(lambda: invent, promises={Promise.CLOSED}, settings=ONE)


class TestTheSearch:
    @staticmethod
    def trial(case: object, *found: Promise) -> Trial:
        outcomes = (Outcome(succeeded=True, said="success", found=None),)
        breaches = tuple(Breach(promise, 0, f"at {case}") for promise in found)
        return Trial(outcomes, breaches, lambda breach: BrokenDownloadError(breach, FaultPlan(), outcomes))

    def test_the_smallest_case_is_reported_and_none_is_tried_twice_after_it_failed(self) -> None:
        tried: list[int] = []

        def attempt(case: int) -> Trial:
            tried.append(case)
            return self.trial(case, *([Promise.EXACT] if case >= 17 else []))

        with pytest.raises(BrokenDownloadError, match="Found: at 17") as caught:
            explore(st.integers(0, 1000), attempt)
        failed = [case for case in tried if case >= 17]
        assert sorted(failed) == sorted(set(failed))
        assert not caught.value.__notes__

    def test_it_follows_the_promise_that_it_found_first(self) -> None:
        def attempt(case: int) -> Trial:
            return self.trial(case, *([Promise.ABSENT] if case >= 500 else [Promise.CLOSED] if case >= 17 else []))

        with pytest.raises(BrokenDownloadError) as caught:
            explore(st.integers(0, 1000), attempt, first=[900])
        assert caught.value.promise is Promise.ABSENT

    def test_what_comes_first_is_tried_in_its_order_and_not_shrunk(self) -> None:
        tried: list[int] = []

        def attempt(case: int) -> Trial:
            tried.append(case)
            return self.trial(case, *([Promise.EXACT] if case == 3 else []))

        with pytest.raises(BrokenDownloadError):
            explore(st.integers(0, 1000), attempt, first=[1, 2, 3, 4])
        assert tried == [1, 2, 3]

    def test_shrinking_stops_when_its_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trio_dlm.testing.checks._explore.SHRINK_S", -1.0)
        tried: list[int] = []

        def attempt(case: int) -> Trial:
            tried.append(case)
            return self.trial(case, *([Promise.EXACT] if case >= 17 else []))

        with pytest.raises(BrokenDownloadError) as caught:
            explore(st.integers(0, 1000), attempt)
        assert len([case for case in tried if case >= 17]) == 1
        assert f"at {tried[-1]}" in str(caught.value)

    def test_a_case_need_not_be_hashable(self) -> None:
        with pytest.raises(BrokenDownloadError, match=r"at \[3\]"):
            explore(st.just([3]), lambda case: self.trial(case, Promise.EXACT))

    def test_what_an_attempt_raises_comes_out(self) -> None:
        def attempt(case: int) -> Trial:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            explore(st.integers(), attempt)

    @pytest.mark.parametrize("real_time", [False, True])
    def test_the_first_plans_are_simple_and_hashable(self, real_time: bool) -> None:
        plans: Sequence[FaultPlan] = first_plans(4096, real_time=real_time)
        assert plans[0] == FaultPlan()
        assert len(set(plans)) >= 50
        assert all(len(plan.steps) <= 2 and not plan.is_undetectable for plan in plans)
        assert any(plan.is_undetectable for plan in first_plans(4096, undetectable=True))
