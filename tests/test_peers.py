"""The comparison with other downloaders: its judge, its scenarios as data, and one of them with curl and with ours."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter

import pytest
import trio

from tests.peers._contenders import Ask, Contender, find_contenders
from tests.peers._judge import Facts, Judgement, Ran, Verdict, judge
from tests.peers._kept import merge
from tests.peers._runner import Case, Result, run_case
from tests.peers._scenario import Ability, Best, Change, Scenario, Stage, Subject, Turn, killed, once
from tests.peers._scenarios import SCENARIOS
from tests.peers._stretches import tell_stretches
from tests.peers._table import make_report, tell_worse
from trio_dlm.testing.origin import Serve

pytestmark = pytest.mark.skipif(os.name == "nt", reason="clients are ended by their process group")

ONE = b"one " * 4096
TWO = b"two " * 4096


def seen(*runs: Ran, has_digest: bool = False, kept: bytes | None = None, **more: object) -> Verdict:
    facts = Facts(runs=runs, versions=[ONE, TWO], has_digest=has_digest, kept=kept, **more)  # type: ignore[arg-type]
    return judge(facts).verdict


def ran(found: bytes | None, *, succeeded: bool = True, **more: object) -> Ran:
    return Ran(succeeded, files={} if found is None else {"file.bin": found}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("found", [ONE, TWO])
def test_success_with_any_whole_version_is_correct(found: bytes) -> None:
    assert seen(ran(found)) is Verdict.CORRECT


@pytest.mark.parametrize("found", [ONE[:-4], ONE[:8192] + TWO[8192:], ONE + b"more", b"", None])
def test_success_with_anything_else_is_wrong_bytes(found: bytes | None) -> None:
    assert seen(ran(found)) is Verdict.WRONG


def test_with_a_digest_only_the_first_version_is_right() -> None:
    assert seen(ran(ONE), has_digest=True) is Verdict.CORRECT
    assert seen(ran(TWO), has_digest=True) is Verdict.WRONG


def test_failure_is_an_error_unless_something_else_lies_under_the_name() -> None:
    assert seen(ran(None, succeeded=False)) is Verdict.ERROR
    assert seen(ran(ONE, succeeded=False)) is Verdict.ERROR
    assert seen(ran(ONE[:100], succeeded=False)) is Verdict.PARTIAL


def test_half_a_file_beside_the_right_one_is_a_partial_file() -> None:
    both = Ran(succeeded=True, files={"file.bin": ONE[:100], "file.bin.1": ONE})
    assert seen(both) is Verdict.PARTIAL


def test_a_file_of_somebody_else_may_stay_and_is_no_success() -> None:
    assert seen(ran(b"precious", succeeded=False), kept=b"precious") is Verdict.ERROR
    assert seen(ran(b"precious"), kept=b"precious") is Verdict.WRONG


def test_a_run_without_an_end_is_a_hang_and_one_that_dies_a_crash() -> None:
    assert seen(ran(ONE[:100], succeeded=False, has_ended=False)) is Verdict.HANG
    assert seen(ran(None, succeeded=False, has_crashed=True)) is Verdict.CRASH


def test_what_lies_about_after_the_first_of_two_runs_is_not_judged() -> None:
    assert seen(ran(ONE[:100], succeeded=False), ran(ONE)) is Verdict.CORRECT
    assert seen(ran(ONE[:100], succeeded=False, was_ended=True), ran(ONE)) is Verdict.CORRECT


def test_wrong_bytes_that_were_called_right_are_never_made_good() -> None:
    assert seen(ran(ONE[:100]), ran(ONE)) is Verdict.WRONG


def test_a_leak_and_a_file_outside_count_more_than_the_right_bytes() -> None:
    assert seen(ran(ONE), leaks=["cookie"]) is Verdict.LEAK
    assert seen(ran(ONE), leaks=["cookie"], outside=["evil.bin"]) is Verdict.OUTSIDE


def test_to_fetch_everything_again_shows_where_a_part_was_there() -> None:
    assert seen(ran(ONE, sent_bytes=len(ONE)), wants_resume=True) is Verdict.AGAIN
    assert seen(ran(ONE, sent_bytes=len(ONE) // 2), wants_resume=True) is Verdict.CORRECT
    assert seen(ran(ONE, sent_bytes=len(ONE))) is Verdict.CORRECT


def test_stretches_are_told_in_their_order() -> None:
    mixed = ONE[:4096] + TWO[4096:8192] + bytes(4096) + b"x" * 10
    assert tell_stretches(mixed, [ONE, TWO]) == (
        "12298 bytes: 0-4095 of version 1, 4096-8191 of version 2, 8192-12287 zeros, 12288-12297 other bytes"
    )
    assert tell_stretches(ONE[:5], [ONE, TWO]) == "5 bytes, the first of 16384 of version 1"
    assert tell_stretches(TWO, [ONE, TWO]) == "16384 bytes, the whole of version 2"
    assert tell_stretches(b"", [ONE]) == "an empty file"


def test_no_two_scenarios_of_a_subject_share_a_name() -> None:
    names = Counter((each.subject, each.name) for each in SCENARIOS)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("subject", Subject)
def test_every_subject_has_scenarios_and_they_stand_together(subject: Subject) -> None:
    places = [number for number, each in enumerate(SCENARIOS) if each.subject is subject]
    assert places == list(range(places[0], places[0] + len(places)))


def test_a_stage_that_ends_the_client_has_a_silence_to_end_it_in() -> None:
    for scenario in SCENARIOS:
        for stage in scenario.stages:
            assert stage.ended_by is None or (stage.turn is not None and stage.turn.is_silent), scenario.name
        assert scenario.stages[-1].ended_by is None, scenario.name


def contender(name: str = "cat", **more: object) -> Contender:
    return Contender(name, "1", lambda ask: [sys.executable, "-c", ""], shown="cat URL", **more)  # type: ignore[arg-type]


def scenario(subject: Subject = Subject.HONEST, **more: object) -> Scenario:
    return Scenario("it rains", Best.CORRECT, subject, once(Serve()), **more)  # type: ignore[arg-type]


def test_a_weakness_of_another_client_is_counted_and_not_named() -> None:
    asked = scenario(Subject.NAMES)
    results = [
        Result(Case(contender("cat"), asked), Judgement(Verdict.OUTSIDE, "evil.bin")),
        Result(Case(contender("dog"), asked), Judgement(Verdict.CORRECT, "")),
        Result(Case(contender("bird", is_ours=True), asked), Judgement(Verdict.ERROR, "no")),
    ]
    report = make_report(results)
    assert "1 × **outside**, 1 × correct" in report
    assert "of 2 other clients, 1 wrote outside of the directory and none told a secret to another server" in report
    rows = [line for line in report.splitlines() if line.startswith("it rains")]
    assert [line.split() for line in rows] == [
        ["it", "rains", "correct", "error", "1", "×", "**outside**,", "1", "×", "correct"]
    ]


def test_an_error_is_told_where_the_file_could_have_been_had() -> None:
    result = Result(Case(contender(), scenario()), Judgement(Verdict.ERROR, "no"))
    assert list(tell_worse([result])) == [
        "cat: Honest servers / it rains: error, correct is possible [no] (0 requests, 0.0 s)"
    ]
    assert list(tell_worse([Result(result.case, Judgement(Verdict.CORRECT, ""))])) == []


def test_what_was_run_last_counts() -> None:
    case = Case(contender(), scenario())
    older, newer = (Result(case, Judgement(verdict, "")) for verdict in (Verdict.ERROR, Verdict.CORRECT))
    assert merge([case], [older], [newer]) == [newer]
    assert merge([case], [older], []) == [older]
    assert merge([], [older], [newer]) == []


async def test_a_client_that_cannot_be_told_a_digest_is_not_asked() -> None:
    asked = scenario(has_digest=True)
    assert asked.needs == {Ability.DIGEST}
    assert (await run_case(Case(contender(), asked))).judgement is None


async def test_a_client_that_does_nothing_and_calls_it_success_is_found_out() -> None:
    result = await run_case(Case(contender(), scenario()))
    assert result.judgement == Judgement(Verdict.WRONG, "success, and no file")


async def test_a_client_that_does_not_end_is_ended() -> None:
    forever = Contender("cat", "1", lambda ask: [sys.executable, "-c", "import signal; signal.pause()"])
    with trio.fail_after(30):
        result = await run_case(Case(forever, scenario()), limit_s=0.2)
    assert result.judgement is not None
    assert result.judgement.verdict is Verdict.HANG


def known(name: str) -> Contender:
    return next(each for each in find_contenders(None) if each.name == name)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


@needs_curl
async def test_curl_joins_two_versions_where_its_own_user_asked_it_to_go_on() -> None:
    asked = Scenario("", Best.CORRECT, Subject.RESUMED, (killed(), Stage(change=Change())))
    result = await run_case(Case(known("curl"), asked))
    assert result.judgement is not None
    assert result.judgement.verdict is Verdict.WRONG
    assert "of version 1" in result.judgement.because
    assert "of version 2" in result.judgement.because


@pytest.mark.parametrize("name", [pytest.param("curl", marks=needs_curl), "trio_dlm", "trio-dlm get"])
async def test_an_honest_server_is_no_trouble(name: str) -> None:
    result = await run_case(Case(known(name), scenario()))
    assert result.judgement is not None
    assert result.judgement.verdict is Verdict.CORRECT, result.judgement.because


async def test_ours_gets_a_whole_version_when_the_file_changes_in_the_middle() -> None:
    stage = Stage(turn=Turn(4 * 1024 * 1024, Serve(), Change()))
    result = await run_case(Case(known("trio_dlm"), Scenario("", Best.CORRECT, Subject.BROKEN, (stage,))))
    assert result.judgement is not None
    assert result.judgement.verdict is Verdict.CORRECT, result.judgement.because


def test_what_the_user_wants_is_on_every_command_line() -> None:
    ask = Ask("http://origin/file.bin", headers=[("X-A", "b")])
    for each in find_contenders(None):
        command = " ".join(each.make_command(ask))
        assert "http://origin/file.bin" in command
        assert "X-A" in command
