"""A dead host is not hammered, and a flaky one is not given up."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules import _budget
from trio_dlm.downloaders.http.rules._address import Origin
from trio_dlm.downloaders.http.rules._budget import FORGET_AFTER_S, FULL_CREDIT, REWARD, HostBudget

HOST: Final = Origin("https", "example.org", 443)
OTHER: Final = Origin("https", "example.net", 443)
RETRIES: Final = 5


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> HostBudget:
    return HostBudget(clock)


def fail(budget: HostBudget, times: int, origin: Origin = HOST) -> None:
    for _ in range(times):
        budget.note_failure(origin)


# Hypothesis draws the seed only: to draw every choice takes it a hundred times as long.
orders = st.integers(0, 2**32).map(random.Random)


class Downloads:
    """Downloads from one host with so many retries each, a number of them at once, in an order drawn by *order*."""

    def __init__(self, budget: HostBudget, *, at_once: int, order: random.Random, retries: int = RETRIES) -> None:
        self.budget = budget
        self.at_once = at_once
        self.order = order
        self.retries = retries
        self.requests = 0
        self.saved = 0

    def run(self, count: int, succeeds: Callable[[int], bool]) -> None:
        """Run *count* of them; *succeeds* is asked about each attempt with the number of the download's failures."""
        waiting = count
        running: list[int] = []
        while waiting or running:
            while waiting and len(running) < self.at_once:
                running.append(0)
                waiting -= 1
            failed = running.pop(self.order.randrange(len(running)))
            self.requests += 1
            if succeeds(failed):
                self.budget.note_success(HOST)
                self.saved += 1
                continue
            self.budget.note_failure(HOST)
            if failed < self.retries and self.budget.may_retry(HOST):
                running.append(failed + 1)


@given(st.integers(1, 500), orders)
def test_five_hundred_downloads_from_a_dead_host_make_at_most_599_requests(at_once: int, order: random.Random) -> None:
    downloads = Downloads(HostBudget(Clock()), at_once=at_once, order=order)
    downloads.run(500, lambda failed: False)
    assert downloads.requests <= 599


@given(st.integers(0, RETRIES), orders)
def test_sixteen_downloads_at_once_get_all_of_their_retries(failures: int, order: random.Random) -> None:
    downloads = Downloads(HostBudget(Clock()), at_once=16, order=order)
    downloads.run(16, lambda failed: failed == failures)
    assert downloads.saved == 16
    assert downloads.requests == 16 * (1 + failures)


@given(orders)
def test_a_host_where_each_download_needs_all_attempts_serves_any_number(order: random.Random) -> None:
    downloads = Downloads(HostBudget(Clock()), at_once=8, order=order)
    downloads.run(300, lambda failed: failed == RETRIES)
    assert downloads.saved == 300


@given(st.integers(1, 200), st.integers(0, 20), orders)
def test_retries_are_paid_by_the_credit_and_the_successes(at_once: int, percent: int, order: random.Random) -> None:
    downloads = Downloads(HostBudget(Clock()), at_once=at_once, order=order, retries=1000)
    downloads.run(200, lambda failed: order.randrange(100) < percent)
    assert downloads.requests - 200 <= FULL_CREDIT - 1 + REWARD * downloads.saved


def test_a_host_without_a_failure_may_be_tried_again(budget: HostBudget) -> None:
    assert budget.may_retry(HOST)


def test_credit_ends_with_the_hundredth_failure(budget: HostBudget) -> None:
    fail(budget, 99)
    assert budget.may_retry(HOST)
    fail(budget, 1)
    assert not budget.may_retry(HOST)


def test_hosts_do_not_pay_for_each_other(budget: HostBudget) -> None:
    fail(budget, 1000)
    assert not budget.may_retry(HOST)
    assert budget.may_retry(OTHER)
    assert budget.may_retry(HOST._replace(port=8443))
    assert budget.may_retry(HOST._replace(scheme="http"))


def test_a_host_that_comes_back_is_trusted_after_its_first_success(budget: HostBudget) -> None:
    fail(budget, 1000)
    budget.note_success(HOST)
    fail(budget, 4)
    assert budget.may_retry(HOST)
    fail(budget, 1)
    assert not budget.may_retry(HOST)


def test_successes_do_not_save_up_more_than_the_full_credit(budget: HostBudget) -> None:
    for _ in range(1000):
        budget.note_success(HOST)
    fail(budget, 3)
    for _ in range(1000):
        budget.note_success(HOST)
    fail(budget, 100)
    assert not budget.may_retry(HOST)


def test_a_queue_that_works_on_a_dead_host_one_by_one_stays_without_credit(budget: HostBudget, clock: Clock) -> None:
    for _ in range(200):
        clock.now += FORGET_AFTER_S - 1
        budget.note_failure(HOST)
    assert not budget.may_retry(HOST)


def test_a_host_without_trouble_for_ten_minutes_starts_afresh(budget: HostBudget, clock: Clock) -> None:
    fail(budget, 1000)
    clock.now += FORGET_AFTER_S - 1
    assert not budget.may_retry(HOST)
    clock.now += 1
    assert budget.may_retry(HOST)
    fail(budget, 99)
    assert budget.may_retry(HOST)


def test_asking_for_a_retry_does_not_keep_a_host_in_mind(budget: HostBudget, clock: Clock) -> None:
    fail(budget, 1000)
    for _ in range(10):
        clock.now += FORGET_AFTER_S / 10
        budget.may_retry(HOST)
    assert budget.may_retry(HOST)


def test_a_host_with_full_credit_is_forgotten(budget: HostBudget) -> None:
    budget.note_success(HOST)
    assert len(budget) == 0
    fail(budget, 2 * REWARD)
    budget.note_success(HOST)
    assert len(budget) == 1
    budget.note_success(HOST)
    assert len(budget) == 0


def test_dead_hosts_are_forgotten_after_ten_minutes_without_being_asked_about(budget: HostBudget, clock: Clock) -> None:
    for number in range(50):
        clock.now += FORGET_AFTER_S / 10
        fail(budget, 100, Origin("http", f"host{number}.example", 80))
        assert len(budget) <= 10


def test_of_too_many_dead_hosts_the_one_that_failed_longest_ago_is_forgotten(
    budget: HostBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_budget, "MOST_ORIGINS", 3)
    hosts = [Origin("http", f"host{number}.example", 80) for number in range(4)]
    for host in hosts[:3]:
        fail(budget, 100, host)
    fail(budget, 1, hosts[0])
    fail(budget, 100, hosts[3])
    assert len(budget) == 3
    assert [budget.may_retry(host) for host in hosts] == [False, True, False, False]
