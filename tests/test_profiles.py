"""Which profile of Hypothesis is loaded, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.errors import InvalidArgument

from trio_dlm.testing._profiles import register_profiles


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HYPOTHESIS_PROFILE", "CI"):
        monkeypatch.delenv(name, raising=False)
    yield
    # The rest of the tests go on with the profile that they began with.
    monkeypatch.undo()
    register_profiles()


def test_a_developer_is_not_kept_waiting() -> None:
    assert register_profiles() == "dev"
    assert (settings().max_examples, settings().stateful_step_count) == (50, 20)


def test_a_machine_that_checks_changes_tries_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert register_profiles() == "ci"
    assert (settings().max_examples, settings().stateful_step_count) == (200, 40)
    assert settings().derandomize
    assert settings().database is None
    assert settings().print_blob


@pytest.mark.parametrize("on_ci", [True, False])
def test_the_environment_names_the_profile(monkeypatch: pytest.MonkeyPatch, on_ci: bool) -> None:
    if on_ci:
        monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("HYPOTHESIS_PROFILE", "soak")
    assert register_profiles() == "soak"
    assert (settings().max_examples, settings().stateful_step_count) == (20_000, 80)
    assert settings().database is not None


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPOTHESIS_PROFILE", "")
    assert register_profiles() == "dev"


def test_a_profile_of_ones_own_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.register_profile("of my own", max_examples=7)
    monkeypatch.setenv("HYPOTHESIS_PROFILE", "of my own")
    assert register_profiles() == "of my own"
    assert settings().max_examples == 7


def test_a_profile_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPOTHESIS_PROFILE", "fortnight")
    with pytest.raises(InvalidArgument, match="fortnight"):
        register_profiles()


@pytest.mark.parametrize("name", ["dev", "ci", "soak"])
def test_no_profile_has_a_deadline(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HYPOTHESIS_PROFILE", name)
    register_profiles()
    assert settings().deadline is None
