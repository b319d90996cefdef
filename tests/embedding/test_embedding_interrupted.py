"""Ctrl-C and the end of the program, asked for while a manager is open in an asyncio host: the host's rules hold."""

from __future__ import annotations

import os

import pytest

from tests.embedding.process import Ended, in_each_loop, run_program

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")


@in_each_loop
def test_ctrl_c_under_asyncio_run_cancels_the_body_and_comes_out_after_the_cleanup(loop: str) -> None:
    assert run_program("ctrl_c_with_a_runner", loop) == Ended(
        code=0,
        host=["the handler is the runner's: True", "the body was cancelled", "KeyboardInterrupt", "threads: []"],
        downloads=["a cleaned up", "b cleaned up"],
        err="",
    )


@in_each_loop
def test_ctrl_c_without_a_runner_comes_out_of_the_loop_and_the_block_can_be_left_afterwards(loop: str) -> None:
    python = "the handler is Python's: True"
    assert run_program("ctrl_c_without_a_runner", loop, "cancel") == Ended(
        code=0,
        host=[python, "KeyboardInterrupt", python, "CancelledError", "threads: []", "True", "over"],
        downloads=["a cleaned up", "b cleaned up"],
        err="",
    )


@in_each_loop
def test_ctrl_c_without_a_runner_after_which_nobody_leaves_the_block_ends_the_downloads_at_exit(loop: str) -> None:
    python = "the handler is Python's: True"
    assert run_program("ctrl_c_without_a_runner", loop, "leave") == Ended(
        code=0,
        host=[python, "KeyboardInterrupt", python, "True", "over"],
        downloads=["a cleaned up", "b cleaned up"],
        err="the program ends inside a manager's block: its downloads are cancelled, and nobody is told\n",
    )


@pytest.mark.parametrize("where", ["body", "callback"])
@in_each_loop
def test_system_exit_ends_the_program_with_its_code_after_the_cleanup(loop: str, where: str) -> None:
    assert run_program("system_exit_in_the_body", loop, where) == Ended(
        code=3, host=[], downloads=["a cleaned up"], err=""
    )


RAISED = pytest.mark.parametrize(("what", "shown"), [("exit", "SystemExit(7)"), ("interrupt", "KeyboardInterrupt()")])


@RAISED
@in_each_loop
def test_what_no_download_may_raise_leaves_the_block_in_a_group(loop: str, what: str, shown: str) -> None:
    assert run_program("system_exit_in_a_download", loop, what, "trio") == Ended(
        code=0,
        host=[
            f"group of {shown} True",
            "failed ManagerCrashedError",
            "failed ManagerCrashedError",
            "cancelled NoneType",
            "cancelling: 0",
            "threads: []",
            "over",
        ],
        downloads=["a cleaned up"],
        err="",
    )


@RAISED
@in_each_loop
def test_what_asyncio_lets_out_of_the_loop_leaves_the_block_too(loop: str, what: str, shown: str) -> None:
    assert run_program("system_exit_in_a_download", loop, what, "host") == Ended(
        code=0,
        host=[
            f"group of {shown} True",
            "failed ManagerCrashedError",
            "failed ManagerCrashedError",
            "cancelled NoneType",
            "threads: []",
            f"out of the loop: {shown} True",
            "over",
        ],
        downloads=["a cleaned up"],
        err="",
    )
