"""What failures, ends and signals are called in the words of the command line."""

from __future__ import annotations

import ast
import re
import signal
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_dlm
from tests.command import snapshot_of, stats_of
from trio_dlm import DownloadOptions, DownloadStatus, HttpClientError, StorageError, TargetExistsError, TooLargeError
from trio_dlm.cli._report import (
    _WORDS,
    Tally,
    after_retries,
    as_options,
    counts_in_words,
    error_line,
    in_words,
    one_line,
    reason_of,
    short_line,
    stopped_line,
    summary_line,
)

PACKAGE: Final = Path(trio_dlm.__file__).parent

FAILED = snapshot_of(DownloadStatus.FAILED)


def test_an_error_line_says_which_url_what_went_wrong_and_what_to_do() -> None:
    assert error_line(FAILED) == (
        "trio-dlm: https://example.org/pub/big.iso: the server answered 404 Not Found; check the URL"
    )


def test_an_error_line_has_the_url_also_where_the_error_is_about_a_file() -> None:
    error = StorageError(path="/data/x", problem="full", advice="make room")
    line = error_line(snapshot_of(DownloadStatus.FAILED, error=error, reason=str(error)))
    assert line == "trio-dlm: https://example.org/pub/big.iso: /data/x: full; make room"


def test_an_error_of_foreign_code_is_given_an_advice() -> None:
    error = KeyError("x")
    line = error_line(snapshot_of(DownloadStatus.FAILED, error=error, reason="KeyError: 'x'"))
    assert line.endswith(": KeyError: 'x'; try again, and report it if it happens again")


def test_a_failure_without_a_reason_says_so() -> None:
    assert "no reason is known" in error_line(snapshot_of(DownloadStatus.FAILED, error=None, reason=None))


@given(st.text(), st.text())
def test_an_error_line_is_one_line_without_control_characters(url: str, reason: str) -> None:
    line = error_line(snapshot_of(DownloadStatus.FAILED, url=url, reason=reason))
    assert len(line) < 4000
    assert not {unicodedata.category(char) for char in line} & {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            TargetExistsError(path="/a", problem="the file exists", advice='pass overwrite=True, overwrite="unique"'),
            "/a: the file exists; nothing was overwritten: pass --overwrite, --unique",
        ),
        (
            TooLargeError(url="http://a/?max_bytes=1", max_bytes=9, size_bytes=10),
            (
                "http://a/?max_bytes=1: larger than --max-bytes 9: the server announced 10; nothing was kept: raise "
                "--max-bytes if you want it"
            ),
        ),
    ],
)
def test_the_librarys_arguments_become_options_but_not_inside_addresses(error: Exception, words: str) -> None:
    assert as_options(str(error)) == words


def test_longer_words_that_only_contain_an_argument_are_left_alone() -> None:
    assert as_options("my_timeout_s connect_timeout_s timeout_s") == "my_timeout_s --connect-timeout --timeout"


def test_a_client_that_cannot_be_made_is_blamed_on_the_options_as_well() -> None:
    words = in_words(HttpClientError(problem="no certificate"))
    assert words.startswith("no HTTP client could be made: no certificate; check --ca-file, --proxy, SSL_CERT_FILE, ")


def texts_for_users() -> list[str]:
    """Return every text of the library's that is no docstring: the pieces of its messages are among them."""
    found: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "cli"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        ]
    return found


def test_every_row_of_the_table_of_words_is_in_a_text_of_the_library() -> None:
    texts = texts_for_users()
    assert [word for word in _WORDS if not any(word in text for text in texts)] == []


def test_no_message_about_a_download_names_an_argument_of_the_library() -> None:
    names = "|".join([*DownloadOptions.__dataclass_fields__, "client", "verify", "max_concurrent"])
    argument = re.compile(rf"(?<!\w)({names})=")
    texts = [text for text in texts_for_users() if argument.search(text)]
    assert len(texts) > 5
    assert [text for text in texts if argument.search(as_options(text))] == []


def test_the_address_in_front_of_a_reason_is_left_out() -> None:
    assert reason_of(FAILED) == "the server answered 404 Not Found; check the URL"
    assert reason_of(snapshot_of()) is None


def test_a_short_line_keeps_the_beginning_of_a_reason() -> None:
    assert short_line(FAILED, 40) == "big.iso failed: the server answered 404…"
    assert short_line(FAILED, 400) == "big.iso failed: the server answered 404 Not Found; check the URL"


def test_a_short_line_about_a_success_is_the_usual_one() -> None:
    line = short_line(snapshot_of(DownloadStatus.COMPLETED, received=2048), 60)
    assert line.startswith("big.iso: completed, 2.0 KiB in 3 s")


def test_an_unexpected_error_is_said_to_be_a_bug_and_one_of_ours_is_not() -> None:
    assert "a bug" in in_words(ExceptionGroup("x", [ExceptionGroup("y", [ZeroDivisionError("by zero")])]))
    assert in_words(OSError("disk gone")) == "disk gone"
    assert in_words(StorageError(path="/x", problem="p", advice="a")) == "/x: p; a"
    assert "no further words" in in_words(RuntimeError())


def test_text_from_outside_becomes_one_harmless_line() -> None:
    assert one_line("a\n b\t\x1b[31mc \u202e") == "a b \ufffd[31mc \ufffd"


def test_counts_leave_out_what_there_is_none_of() -> None:
    assert counts_in_words(stats_of(), 3) == "0 of 3 done"
    busy = stats_of(completed=1, failed=2, cancelled=3, active=4, pending=5, paused=6)
    assert counts_in_words(busy, 21) == "1 of 21 done, 2 failed, 3 cancelled, 4 running, 5 queued, 6 paused"
    assert counts_in_words(busy, 21, is_short=True) == "1 of 21 done, 2 failed, 3 cancelled"
    assert summary_line(stats_of(completed=3, bytes_received=1024), 3) == "3 of 3 done; 1.0 KiB received"


def test_only_a_full_delivery_is_a_success() -> None:
    tally = Tally(2)
    tally.note(snapshot_of(DownloadStatus.COMPLETED))
    tally.note(snapshot_of(DownloadStatus.DOWNLOADING))
    assert tally.exit_code == 1
    tally.note(snapshot_of(DownloadStatus.COMPLETED))
    assert tally.exit_code == 0


@pytest.mark.parametrize(
    ("total", "keeps", "words"),
    [
        (2, True, "nothing was unfinished"),
        (3, True, "1 download is unfinished: what could be kept is in NAME.part, and the same command goes on from"),
        (9, True, "7 downloads are unfinished: what could be kept is in NAME.part"),
        (9, False, "7 downloads are unfinished: nothing of that was kept (--no-resume), and the same command begins"),
    ],
)
def test_a_signal_says_what_it_left_unfinished(total: int, keeps: bool, words: str) -> None:
    tally = Tally(total)
    tally.note(snapshot_of(DownloadStatus.COMPLETED))
    tally.note(FAILED)
    line = stopped_line(signal.SIGTERM, tally, keeps=keeps)
    assert line.startswith(f"trio-dlm: stopped by SIGTERM; {words}")


def test_an_end_says_how_often_it_took_another_attempt() -> None:
    done, running = snapshot_of(DownloadStatus.COMPLETED, received=2048), snapshot_of(DownloadStatus.CANCELLED)
    for retries, words in ((0, ""), (1, "after 1 retry"), (2, "after 2 retries")):
        tried, failed, cancelled = (
            replace(each, progress=replace(each.progress, retries=retries)) for each in (done, FAILED, running)
        )
        assert after_retries(tried.progress) == words
        assert short_line(tried, 60) == f"big.iso: completed, 2.0 KiB in 3 s{words and f', {words}'}"
        assert len(short_line(tried, 30)) <= 30
        assert short_line(failed, 60).startswith(f"big.iso failed{words and f' {words}'}: the server")
        assert f"big.iso: {words and f'{words}: '}the server answered 404" in error_line(failed)
        assert "after" not in short_line(cancelled, 200)
