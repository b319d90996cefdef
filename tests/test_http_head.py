"""How the fields of a reply are read."""

from __future__ import annotations

from tests.replies import said
from trio_dlm.downloaders.http.rules._head import quoted


def test_fields_are_found_by_their_name() -> None:
    head = said(("a", "1, X"), ("b", "2"), ("a", " Y,,"))
    assert head.values("a") == ["1, X", " Y,,"]
    assert head.first("a") == "1, X"
    assert head.first("c") is None
    assert head.items("a") == ["1", "x", "y"]


def test_the_repr_of_a_head_shows_no_fields() -> None:
    assert "hunter2" not in repr(said(("set-cookie", "hunter2")))


def test_a_field_said_twice_counts_only_if_it_says_the_same() -> None:
    assert said(("a", " x ")).only("a") == "x"
    assert said(("a", "x"), ("a", "x ")).only("a") == "x"
    assert said(("a", "x"), ("a", "y")).only("a") is None
    assert said().only("a") is None


def test_text_of_a_servers_is_printable_and_short_in_a_message() -> None:
    assert quoted("a\x1b[31mb") == "'a?[31mb'"
    assert len(quoted("x" * 10_000)) < 1000
