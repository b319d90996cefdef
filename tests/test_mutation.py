"""The mutants are small changes that compile, and those that are known to survive are mutants of the present source."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.mutation._mutants import make_mutants
from tests.mutation._report import Report, read_survivors

PACKAGE = find_spec("trio_dlm")


def source_of(room: str) -> str:
    assert PACKAGE is not None
    assert PACKAGE.submodule_search_locations is not None
    return Path(PACKAGE.submodule_search_locations[0], f"{room}.py").read_text("utf-8")


def changes(source: str) -> set[str]:
    return {mutant.after for mutant in make_mutants("room", source)}


@pytest.mark.parametrize(
    ("source", "mutated"),
    [
        ("x = a < b", {"x = None", "x = a <= b", "x = a >= b"}),
        ("x = a is b", {"x = None", "x = a is not b"}),
        ("x = a and b", {"x = None", "x = a or b", "x = a", "x = b"}),
        ("x = not a", {"x = None", "x = a"}),
        ("x = a + 1", {"x = None", "x = a - 1", "x = a + 2"}),
        ("x = None", {"x = ''"}),
        ("x = False", {"x = True"}),
        ("x = 'ab'", {"x = None", "x = 'XXabXX'", "x = 'AB'"}),
        ("x = 'AB'", {"x = None", "x = 'XXABXX'", "x = 'ab'"}),
        ("x = f'ab{c!r}'", {"x = None", "x = f'XXabXX{c!r}'", "x = f'AB{c!r}'", "x = f'ab{c}'"}),
        ("x = a if b else c", {"x = None", "x = a if not b else c"}),
        ("x = lambda: a", {"x = None", "x = lambda: None"}),
        ("x = {a: b, **c}", {"x = None", "x = {**c}", "x = {a: b}"}),
        ("x = {a, b}", {"x = None", "x = {a}", "x = {b}"}),
        ("x = [a for a in b if c]", {"x = None", "x = [a for a in b if not c]", "x = [a for a in b]"}),
        ("x.y = a", {"x.y = None", "pass"}),
        ("x: A = a", {"x: A = None"}),
        ("x += 1", {"x -= 1", "x = 1", "x += 2", "pass"}),
        ("f(a, *b)", {"pass", "f(None, *b)", "f(*b)", "f(a)"}),
        ("f(a=b, **c)", {"pass", "f(a=None, **c)", "f(**c)", "f(a=b)"}),
        ("cast('A', f(a))", {"pass", "cast('A', f(None))", "cast('A', f())"}),
        ("del a", {"pass"}),
        ("raise a from b", {"pass", "raise a"}),
        ("if a:\n b()", {"if not a:", "if False:", "if True:", "pass"}),
        ("if not a:\n b()", {"if a:", "if False:", "if True:", "pass"}),
        ("while a:\n break", {"while not a:", "while False:", "continue"}),
        ("for a in b:\n continue", {"for a in ():", "break"}),
        ("try:\n f()\nexcept A as b:\n g()", {"pass", "except () as b:"}),
        ("def f(a=1):\n return a", {"def f(a=2):", "return None"}),
        ("@b\ndef f():\n '''Do.'''", {"def f():"}),
        ("@final\nclass A(B[1]):\n '''Do.'''", set()),
        ("assert a, 'never'", set()),
        ("if TYPE_CHECKING:\n a = 1", set()),
        ("@overload\ndef f(a=1): ...", set()),
        ("import a\n__all__ = ['a']\nT = TypeVar('T')\nA: TypeAlias = 'a'", set()),
    ],
)
def test_a_mutant_is_one_small_change_of_what_a_run_can_meet(source: str, mutated: set[str]) -> None:
    assert changes(source) == mutated


def test_a_mutant_knows_where_it_is() -> None:
    (mutant,) = make_mutants("room", "class A:\n    def f(self):\n        if self:\n            raise ValueError\n")[
        -1:
    ]
    assert mutant.key == ("room", "A.f", "raise ValueError", "pass", 1)
    assert mutant.lines == (4,)


def test_decorators_and_defaults_are_not_inside_of_a_function() -> None:
    source = "@a(1)\ndef f(b=2):\n    def g(c=3):\n        if d: return 4\n"
    inside = {mutant.after: mutant.is_inside for mutant in make_mutants("room", source)}
    assert inside["@a(2) def f(b=2):"] is inside["def f(b=2):"] is inside["@a(1) def f(b=3):"] is False
    assert inside["def g(c=4):"] is inside["if False:"] is inside["return 5"] is True


def test_equal_changes_of_equal_statements_are_counted() -> None:
    assert [mutant.key[-1] for mutant in make_mutants("room", "del a\ndel a\n")] == [1, 2]


def test_a_mutant_does_what_it_says() -> None:
    source = "x = 1 + 1"
    results = []
    for mutant in make_mutants("room", source):
        space: dict[str, object] = {}
        exec(mutant.compile(source, "room.py"), space)
        results.append(space["x"])
    assert results == [None, 0, 3, 3]


def test_every_known_survivor_is_a_mutant_of_the_present_source() -> None:
    listed = [key for group in read_survivors() for key in group.mutants]
    assert len(listed) == len(set(listed)), "one is listed twice"
    made = {mutant.key for room in {key[0] for key in listed} for mutant in make_mutants(room, source_of(room))}
    assert not set(listed) - made


def test_a_survivor_without_a_reason_is_a_problem_and_so_is_a_reason_without_a_survivor() -> None:
    known, other = make_mutants("room", "f(1)\n")[:2]
    report = Report([])
    report.add(known, None)
    assert report.problems(all_of_them=True) == [f"survived without a reason: {known}"]
    report.add(other, "tests/test_a.py::test_b")
    assert report.tried == 2
