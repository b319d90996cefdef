"""What checks make of what they saw: where bytes are from, what was asked and answered, which promise is broken."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trio_dlm.testing._errors import PromiseBrokenError
from trio_dlm.testing.checks._environment import no_proxies, without_proxies
from trio_dlm.testing.checks._exchanges import MOST_REQUESTS, Exchange, watch
from trio_dlm.testing.checks._found import describe_bytes
from trio_dlm.testing.checks._promises import Breach, Outcome, Promise, check_asked, judge, must_deliver
from trio_dlm.testing.checks._report import BrokenDownloadError, CheckReport, Tally
from trio_dlm.testing.checks._whereabouts import find_mistake, look_around, look_at, tell, tell_error
from trio_dlm.testing.origin._acts import Act, Close, Hold, Reset, Send, Wait
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource
from trio_dlm.testing.origin.faults import Changed, DropAt, Fault, Refuse, Serve

FIRST = bytes(number * factor % 251 for factor in (1, 3, 7, 11) for number in range(250))
RESOURCE = Resource(FIRST)
RESOURCE.change()
SECOND = RESOURCE.body
VERSIONS = [FIRST, SECOND]


class Scripted:
    """A fault that does what it was given."""

    def __init__(self, *acts: Act) -> None:
        self.acts = acts

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        return self.acts


def asked(*lines: str, at_s: float = 0.0) -> Request:
    return Request.parse("\r\n".join(["GET /file.bin HTTP/1.1", "Host: origin.test", *lines]).encode(), at_s=at_s)


def exchange(*acts: Act, request: Request | None = None) -> Exchange:
    return Exchange(request or asked(), Scripted(), list(acts))


def head(status: str, *lines: str) -> Send:
    return Send("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())


def broken(outcome: Outcome, *more: Outcome, plan: FaultPlan | None = None, **changed: Any) -> list[Breach]:
    facts: dict[str, Any] = {
        "plan": FaultPlan((Scripted(),)) if plan is None else plan,
        "versions": VERSIONS,
        "wanted": None,
        "promises": frozenset(Promise),
        "retries": 0,
        "limit_s": 10.0,
    }
    return judge([outcome, *more], **{**facts, **changed})


GOT = Outcome(succeeded=True, said="success", found=FIRST)
FAILED = Outcome(succeeded=False, said="exit status 1", found=None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "nothing"),
        (b"", "an empty file"),
        (FIRST, "1000 bytes, the whole of version 1"),
        (SECOND, "1000 bytes, the whole of version 2"),
        (FIRST[:1], "1 byte, the first 1 of version 1"),
        (SECOND[:400], "400 bytes, the first 400 of version 2"),
        (FIRST + b"!", "1001 bytes, the whole of version 1 and 1 byte more"),
        (FIRST[:400] + SECOND[400:], "1000 bytes: 0-399 of version 1, 400-999 of version 2"),
        (FIRST[:400] + FIRST, "1400 bytes: 0-399 of version 1, 400-1399 is 0-999 of version 1"),
        (FIRST[300:], "700 bytes: 0-699 is 300-999 of version 1"),
        (b"\xff" * 20 + FIRST[20:], "1000 bytes: 0-19 of no version, 20-999 of version 1"),
        (FIRST[:500] + b"\xff" * 20, "520 bytes: 0-499 of version 1, 500-519 of no version"),
        (b"404 Not Found\n", "14 bytes: 0-13 of no version"),
        (SECOND[:999] + FIRST[999:], "1000 bytes: 0-998 of version 2, 999 of version 1"),
    ],
)
def test_a_file_is_told_by_the_stretches_it_is_made_of(found: bytes | None, said: str) -> None:
    assert describe_bytes(found, VERSIONS) == said


def test_an_empty_file_that_is_right_is_told_as_such() -> None:
    assert describe_bytes(b"", [b""]) == "an empty file, which is whole"


def test_a_file_of_many_stretches_is_told_in_a_few_words() -> None:
    found = b"".join((FIRST, SECOND)[number % 2][number * 50 : number * 50 + 50] for number in range(20))
    assert describe_bytes(found, VERSIONS).endswith("350-399 of version 2, and 12 more stretches")


def test_a_request_is_told_with_its_range_and_conditions() -> None:
    request = asked("Accept: */*", "Range: bytes=100-", 'If-Range: "v1"')
    assert exchange(request=request).asked == 'GET /file.bin, Range: bytes=100-, If-Range: "v1"'


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        ([], "nothing"),
        ([Wait(3.0)], "nothing"),
        ([Close()], "nothing, then closed"),
        ([Send(b"\0\1\2")], "3 bytes without a whole header"),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-")], "25 bytes without a whole header"),
        (
            [head("200 OK", "Date: today", "content-length: 9", 'ETag: "v1"'), Send(b"abc"), Reset()],
            '200 OK, Content-Length: 9, ETag: "v1"; 3 bytes of body, then reset',
        ),
        ([head("103 Early Hints"), head("404 Not Found"), Close(clean=False)],
         "1xx, 404 Not Found; 0 bytes of body, then closed without notice"),
        ([head("200 OK", "Content-Length: 3"), Send(b"abc")], "200 OK; 3 bytes of body"),
        ([head("200 OK", 'ETag: "v1"', "Last-Modified: today")], '200 OK, ETag: "v1"; 0 bytes of body'),
        ([head("200 OK", "Last-Modified: today")], "200 OK, Last-Modified: today; 0 bytes of body"),
        ([head("103 Early Hints"), head("100 Continue"), Hold()], "2 times 1xx, then silence"),
        ([head("103 Early Hints"), Send(b"?")], "1xx; 1 byte without a whole header"),
    ],
)  # fmt: skip
def test_a_reply_is_told_by_what_decides_its_bytes(acts: list[Act], said: str) -> None:
    assert exchange(*acts).answered == said


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (head("503 Service Unavailable", "Retry-After: 7"), 7),
        (head("429 Too Many Requests", "Retry-After: Wed, 21 Oct 2037 07:28:00 GMT"), None),
        (head("429 Too Many Requests"), None),
        (head("200 OK", "Retry-After: 7"), None),
        (Send(b"junk"), None),
    ],
)
def test_only_seconds_of_a_refusal_count_as_retry_after(reply: Send, seconds: int | None) -> None:
    assert exchange(reply).retry_after_s == seconds


def test_a_watched_plan_does_the_same_and_is_written_down() -> None:
    acts: list[Act] = [head("200 OK"), Send(b"abc"), Close()]
    fault = Scripted(*acts)
    log: list[Exchange] = []
    plan = watch(FaultPlan((fault,), then=Scripted(Hold())), log)
    first, second = (plan.for_request(number).answer(asked(), RESOURCE) for number in range(2))
    taken = iter(first)
    assert [next(taken), next(taken)] == acts[:2]
    assert list(second) == [Hold()]
    assert log[0].fault is fault
    assert log[0].acts == acts[:2], "what was not taken was not done"
    assert log[1].acts == [Hold()]


def test_who_asks_without_end_gets_no_answer() -> None:
    log: list[Exchange] = []
    plan = watch(FaultPlan(then=Scripted(Close())), log)
    acts = [list(plan.for_request(number).answer(asked(), RESOURCE)) for number in range(MOST_REQUESTS)]
    assert acts == [[Close()]] * (MOST_REQUESTS - 1) + [[Hold()]]


def test_what_did_not_end_is_told_before_what_it_left() -> None:
    outcome = Outcome(succeeded=False, said="it spins", found=b"", ended=False)
    assert broken(outcome) == [
        Breach(Promise.PROMPT, 0, "it spins"),
        Breach(Promise.ABSENT, 0, "an empty file"),
    ]
    error = str(BrokenDownloadError(broken(outcome)[0], FaultPlan(), [outcome]))
    assert error.endswith("\n    it did not end")


def test_what_came_after_the_breach_and_the_middle_of_a_loop_are_left_out() -> None:
    outcome = replace(FAILED, exchanges=tuple(exchange(Close()) for _ in range(20)))
    report = str(BrokenDownloadError(Breach(Promise.PROMPT, 0, "?"), FaultPlan(), [outcome, GOT]))
    lines = report.partition("answered:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6", "7", "…", "20", "run"]
    assert lines[7].strip() == "…  and 12 more"


def test_a_plan_whose_faults_pass_has_to_be_got_over_by_who_tries_often_enough() -> None:
    honest, dropped, changed = FaultPlan((Serve(),)), FaultPlan((DropAt(7), DropAt(9))), FaultPlan((Changed(),))
    assert must_deliver(honest, retries=0, has_digest=True)
    assert must_deliver(dropped, retries=2, has_digest=True)
    assert not must_deliver(dropped, retries=1, has_digest=True)
    assert must_deliver(changed, retries=1, has_digest=False)
    assert not must_deliver(changed, retries=1, has_digest=True), "what was wanted is no more"
    assert not must_deliver(FaultPlan((Refuse(404),)), retries=9, has_digest=False)


def test_whole_files_and_honest_failures_break_nothing() -> None:
    assert broken(GOT) == []
    assert broken(replace(GOT, found=SECOND)) == []
    assert broken(FAILED) == []
    assert broken(FAILED, GOT) == []
    assert broken(replace(FAILED, found=FIRST)) == []


@pytest.mark.parametrize(
    ("outcome", "promise", "said"),
    [
        (replace(GOT, found=FIRST[:9]), Promise.EXACT, "9 bytes, the first 9 of version 1"),
        (replace(GOT, found=None), Promise.EXACT, "nothing"),
        (replace(FAILED, found=b""), Promise.ABSENT, "an empty file"),
        (replace(FAILED, is_documented=False), Promise.DOCUMENTED, "exit status 1"),
        (replace(FAILED, said="", ended=False, is_documented=False), Promise.PROMPT,
         "it had not ended after 10 s, and was stopped"),
        (replace(FAILED, exchanges=(exchange(request=replace(asked(), number=MOST_REQUESTS - 1)),)), Promise.PROMPT,
         "after 500 requests it would have gone on"),
        (replace(GOT, connections_left=2), Promise.CLOSED, "open connections: 2"),
        (replace(GOT, exchanges=(exchange(request=asked("Range: bytes=7-")),)), Promise.GUARDED,
         "GET /file.bin, Range: bytes=7-, and no condition"),
        (replace(GOT, exchanges=(exchange(head("503 Busy", "Retry-After: 7")), exchange(request=asked(at_s=6.5)))),
         Promise.PATIENT, "Retry-After: 7, and it asked again after 6.5 s"),
        (replace(GOT, exchanges=(exchange(request=asked("Range: bytes=7-", 'If-Range: W/"v1"')),)), Promise.GUARDED,
         'GET /file.bin, Range: bytes=7-, If-Range: W/"v1", and a weak tag is no condition'),
        (replace(GOT, mistaken="a link, instead of a file"), Promise.EXACT, "a link, instead of a file"),
        (replace(GOT, outside=("evil",)), Promise.EXACT, "outside of the directory: evil"),
        (replace(FAILED, outside=("evil",)), Promise.ABSENT, "outside of the directory: evil"),
    ],
)  # fmt: skip
def test_each_promise_is_broken_by_what_it_rules_out(outcome: Outcome, promise: Promise, said: str) -> None:
    assert broken(outcome) == [Breach(promise, 0, said)]
    assert broken(outcome, promises=frozenset(Promise) - {promise}) == []


@pytest.mark.parametrize("line", ['If-Range: "v1"', 'If-Match: "v1"'])
def test_a_range_with_a_condition_is_guarded(line: str) -> None:
    assert broken(replace(GOT, exchanges=(exchange(request=asked("Range: bytes=7-", line)),))) == []
    assert broken(replace(GOT, exchanges=(exchange(request=asked("Range: bytes=0-")),))) == []


def test_who_waits_as_long_as_was_asked_for_is_patient() -> None:
    exchanges = (exchange(head("503 Busy", "Retry-After: 7")), exchange(request=asked(at_s=7.0)))
    assert broken(replace(GOT, exchanges=exchanges)) == []


def test_what_was_asked_before_the_refusal_was_there_is_not_held_against_it() -> None:
    refused = exchange(Wait(0.5), head("503 Busy", "Retry-After: 7"))
    beside, again = exchange(request=asked(at_s=0.25)), exchange(request=asked(at_s=7.5))
    assert broken(replace(GOT, exchanges=(refused, beside, again))) == []
    early = exchange(request=asked(at_s=7.25))
    (breach,) = broken(replace(GOT, exchanges=(refused, beside, early, again)))
    assert breach == Breach(Promise.PATIENT, 0, "Retry-After: 7, and it asked again after 6.75 s")


def test_a_refusal_is_on_its_way_for_as_long_as_it_is_given() -> None:
    log: list[Exchange] = []
    acts: list[Act] = [Wait(1.0), head("503 Busy", "Retry-After: 7")]
    plan = watch(FaultPlan((Scripted(*acts),), then=Scripted(head("200 OK"))), log, latency_s=0.25)
    assert list(plan.for_request(0).answer(asked(at_s=2.0), RESOURCE)) == [acts[0], Wait(0.25), acts[1]]
    assert list(plan.for_request(1).answer(asked(), RESOURCE)) == [head("200 OK")]
    assert log[0].refused_at_s == 3.25


@pytest.mark.parametrize(
    ("validators", "is_excused"), [("strong", False), ("date", False), ("weak", True), ("none", True)]
)
def test_a_digest_is_condition_enough_where_no_validator_is_one(validators: Any, is_excused: bool) -> None:
    outcome = replace(GOT, exchanges=(exchange(request=asked("Range: bytes=7-")),))
    plan = FaultPlan((Scripted(),), validators=validators)
    assert (broken(outcome, plan=plan, wanted=FIRST) == []) == is_excused
    assert broken(outcome, plan=plan) != []


def test_an_honest_file_has_to_be_delivered_at_the_first_attempt() -> None:
    assert broken(FAILED, GOT, plan=FaultPlan()) == [Breach(Promise.SERVED, 0, "exit status 1")]


def served(*faults: Fault) -> tuple[Exchange, ...]:
    return tuple(Exchange(asked(), fault) for fault in faults)


LATER_ATTEMPTS: list[tuple[tuple[Exchange, ...], FaultPlan, dict[str, Any], bool]] = [
    (served(Serve()), FaultPlan((Refuse(),)), {}, True),
    (served(Serve(), Serve()), FaultPlan((Refuse(),), validators="none"), {"wanted": FIRST}, True),
    (served(Serve(), DropAt()), FaultPlan((Refuse(), Serve(), DropAt())), {}, False),
    # It asked for nothing.
    ((), FaultPlan((Refuse(),)), {}, True),
    ((), FaultPlan((Refuse(), Refuse())), {}, False),
    # The file that the digest is of is no more; or there may be no connection to be had.
    (served(Serve()), FaultPlan((Changed(),)), {"wanted": FIRST}, False),
    (served(Serve()), FaultPlan((Refuse(),), max_connections=1), {}, False),
]


@pytest.mark.parametrize(("exchanges", "plan", "facts", "must"), LATER_ATTEMPTS)
def test_what_a_failure_has_left_behind_is_no_excuse_for_a_later_attempt(
    exchanges: tuple[Exchange, ...], plan: FaultPlan, facts: dict[str, Any], must: bool
) -> None:
    first = replace(FAILED, exchanges=served(plan.steps[0]))
    later = replace(FAILED, said="exit status 2", exchanges=exchanges)
    found = [Breach(Promise.SERVED, 1, "exit status 2")] if must else []
    assert broken(first, later, plan=plan, **facts) == found
    assert broken(first, replace(later, succeeded=True, found=FIRST), plan=plan, **facts) == []


def test_with_a_digest_another_version_is_as_wrong_as_a_mixture() -> None:
    (breach,) = broken(replace(GOT, found=SECOND), wanted=FIRST)
    assert breach.promise is Promise.EXACT
    assert breach.found == "1000 bytes, the whole of version 2; the digest that was given is that of version 1"


def test_a_report_has_the_promise_the_plan_the_exchanges_and_the_finding() -> None:
    first = exchange(head("200 OK", "Content-Length: 1000"), Send(FIRST[:400]), Close())
    second = exchange(head("206 Partial Content"), Send(SECOND[400:]), request=asked("Range: bytes=400-"))
    outcomes = [
        replace(FAILED, found=FIRST[:400], others=("file.bin.state",), exchanges=(first,)),
        replace(GOT, found=FIRST[:400] + SECOND[400:], exchanges=(second,)),
    ]
    plan = FaultPlan()
    (breach,) = broken(*outcomes, promises={Promise.EXACT})
    error = BrokenDownloadError(breach, plan, outcomes, given=" (given a name)")
    assert isinstance(error, PromiseBrokenError)
    assert (error.promise, error.plan, error.outcomes) == (Promise.EXACT, plan, tuple(outcomes))
    assert str(error).splitlines() == [
        "EXACT is broken: success means the bytes of one version that the origin had, whole.",
        "Found: 1000 bytes: 0-399 of version 1, 400-999 of version 2",
        "",
        "The origin's plan (given a name):",
        "    FaultPlan()",
        "",
        "What was asked, and what was answered:",
        "    1  GET /file.bin                     200 OK, Content-Length: 1000; 400 bytes of body, then closed",
        "    run 1 ended with exit status 1, beside file.bin.state",
        "    2  GET /file.bin, Range: bytes=400-  206 Partial Content; 600 bytes of body",
        "    run 2 ended with success",
    ]


def test_the_reply_to_a_long_request_has_a_line_of_its_own() -> None:
    asks = asked("Range: bytes=400-", f"If-Range: {'x' * 60}")
    outcome = replace(GOT, found=None, exchanges=(exchange(Close(), request=asks),))
    lines = str(BrokenDownloadError(Breach(Promise.EXACT, 0, "nothing"), FaultPlan(), [outcome])).splitlines()
    assert lines[-3].endswith("x" * 60)
    assert lines[-2].strip() == "nothing, then closed"
    assert lines[-1].strip() == "it ended with success"


def test_the_figures_of_a_check_are_a_few_readable_lines() -> None:
    tally = Tally()
    assert str(tally.report()) == "0 plans, 0 requests, no promise broken\nended: nothing\nmet: nothing"
    tally.add([replace(FAILED, said="exit status 7: no", exchanges=(exchange(),)), GOT])
    tally.add([GOT])
    report = tally.report()
    assert report == CheckReport(2, 1, {"Scripted": 1}, {"success": 2, "exit status 7": 1})
    assert str(report).splitlines() == [
        "2 plans, 1 requests, no promise broken",
        "ended: success 2, exit status 7 1",
        "met: Scripted 1",
    ]


def test_a_long_list_of_figures_is_cut() -> None:
    report = CheckReport(1, 12, {f"Fault{number}": 1 for number in range(12)}, {"success": 1})
    assert str(report).endswith("Fault9 1, and 2 others")


def test_what_lies_in_a_directory_is_the_file_and_the_names_of_others(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    assert look_at(tmp_path, path) == (None, ())
    path.write_bytes(b"abc")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b").touch()
    (tmp_path / "a").touch()
    assert look_at(tmp_path, path) == (b"abc", ("a", "below/b"))


def test_what_lies_around_is_what_is_neither_his_own_nor_leads_to_it(tmp_path: Path) -> None:
    mine = tmp_path / "downloads" / "0"
    assert look_around(tmp_path, [mine]) == ()
    mine.mkdir(parents=True)
    (mine / "file.bin").touch()
    (tmp_path / "downloads" / "evil").touch()
    (tmp_path / "below").mkdir()
    assert look_around(tmp_path, [mine]) == ("below", "downloads/evil")


def test_what_a_result_names_is_a_file_in_the_directory_of_the_size_it_says(tmp_path: Path) -> None:
    directory = tmp_path / "downloads"
    directory.mkdir()
    path, link, loop = directory / "file.bin", directory / "link", directory / "loop"
    path.write_bytes(b"abc")
    link.symlink_to(path)
    loop.symlink_to(loop)
    assert find_mistake(directory, path, 3) is None
    assert find_mistake(directory, path, 4) == "a file of 3 bytes, and the result says 4"
    for missing in (directory / "none", directory / "no" / "file.bin"):
        assert find_mistake(directory, missing, 4) is None, "that shows otherwise"
    assert find_mistake(directory, link, 3) == "a link, instead of a file"
    for outside in (
        tmp_path / "file.bin",
        tmp_path / "no" / "file.bin",
        directory / ".." / "file.bin",
        loop / "file.bin",
    ):
        assert find_mistake(directory, outside, 3) == "a file that is not in the directory"


def test_what_others_say_is_told_without_where_it_was(tmp_path: Path) -> None:
    said = f"one\n\ncannot write {tmp_path / 'file.bin'} in {tmp_path} from http://127.0.0.1:4711/ \n \n"
    assert tell(said, tmp_path, address="127.0.0.1:4711") == "cannot write file.bin in . from http://origin/"
    assert tell("", tmp_path) == ""
    assert tell("x" * 161, tmp_path) == "x" * 159 + "…"


def test_an_error_is_told_by_its_class_and_its_first_line(tmp_path: Path) -> None:
    assert tell_error(ValueError("first\nsecond"), tmp_path) == "ValueError: first"
    assert tell_error(ValueError(), tmp_path) == "ValueError"
    assert tell_error(None, tmp_path) == "Cancelled"


def test_proxies_are_out_of_the_way_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    assert without_proxies({"PATH": "x", "https_proxy": "y", "NO_PROXY": "z"}) == {"PATH": "x"}
    monkeypatch.setenv("http_proxy", "http://proxy.test")
    with no_proxies():
        assert "http_proxy" not in os.environ
    assert os.environ["http_proxy"] == "http://proxy.test"


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"promises": {"EXACT"}}, TypeError, r"such as {Promise.EXACT}, got 'EXACT' in it"),
        ({"promises": ()}, ValueError, "promises is empty"),
        ({"runs": 0}, ValueError, "runs is 1 or more, got 0"),
        ({"retries": -1}, ValueError, "retries is 0 or more, got -1"),
        ({"limit_s": 0.0}, ValueError, "limit_s is a positive number of seconds, got 0.0"),
        ({"limit_s": math.nan}, ValueError, "got nan"),
    ],
)
def test_what_nothing_could_be_found_with_is_refused(wrong: dict[str, Any], error: type[Exception], said: str) -> None:
    right: dict[str, Any] = {"promises": {Promise.EXACT}, "retries": 0, "runs": 1, "limit_s": 0.1}
    check_asked(**right)
    with pytest.raises(error, match=said):
        check_asked(**{**right, **wrong})
