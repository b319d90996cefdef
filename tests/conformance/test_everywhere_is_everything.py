"""The suite calls everything that is public: a name that is added to the library and not to these tests fails here.

The names are read from the classes as they are, and what the tests call from their source: which variable is a manager,
a task, a batch or a subscription follows from the call that made it.  Only tests that run on every backend count.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import trio_dlm
from trio_dlm import DownloadBatch, DownloadManager, DownloadTask, Subscription, open_manager

HERE: Final = Path(__file__).parent

# What makes an object of which class: the name of the function or method that is called.
MAKERS: Final[dict[str, type[Any]]] = {
    "open_manager": DownloadManager,
    "submit": DownloadTask,
    "submit_nowait": DownloadTask,
    "get_task": DownloadTask,
    "retry": DownloadTask,
    "submit_many": DownloadBatch,
    "events": Subscription,
}

# Python's own names for them, as far as there is a syntax that calls them.
SYNTAX: Final = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__getitem__", "__iter__", "__len__", "__repr__"}


# What the manager tells a subscription; no program calls it.
INTERNAL: Final = {(Subscription, "note"), (Subscription, "wake")}


def public_names(cls: type[Any]) -> set[str]:
    own = {name for base in cls.__mro__ if base.__module__.startswith("trio_dlm") for name in vars(base)}
    return {name for name in own if (not name.startswith("_") or name in SYNTAX) and (cls, name) not in INTERNAL}


def settable_names(cls: type[Any]) -> set[str]:
    found = {name: inspect.getattr_static(cls, name) for name in public_names(cls)}
    return {name for name, each in found.items() if isinstance(each, property) and each.fset is not None}


def bodies() -> Iterator[ast.AsyncFunctionDef]:
    """The tests that run on every backend, as source."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.AsyncFunctionDef) and any(
                isinstance(mark, ast.Name) and mark.id == "on_every_backend" for mark in node.decorator_list
            ):
                yield node


class Calls(ast.NodeVisitor):
    """What one test does with objects of the library: pairs of a class and a name, and the keywords of calls."""

    def __init__(self) -> None:
        self.used: set[tuple[type[Any], str]] = set()
        self.stored: set[tuple[type[Any], str]] = set()
        self.keywords: set[tuple[str, str]] = set()
        self._kinds: dict[str, type[Any]] = {}

    def read(self, body: ast.AsyncFunctionDef) -> None:
        # Twice, since a nested function may use what is made after it.
        self.visit(body)
        self.visit(body)

    def _kind(self, node: ast.expr | None) -> type[Any] | None:
        """The class of what *node* is, if that can be told."""
        match node:
            case ast.Await(value=value):
                return self._kind(value)
            case ast.Name(id=name):
                return self._kinds.get(name)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return MAKERS.get(name)
            case ast.Subscript(value=value, slice=ast.Constant() | ast.UnaryOp()) if self._kind(value) is DownloadBatch:
                return DownloadTask
        return None

    def _bind(self, target: ast.expr | None, value: ast.expr) -> None:
        kind = self._kind(value)
        if isinstance(target, ast.Name) and kind is not None:
            self._kinds[target.id] = kind

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, node.value)
        self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        for item in node.items:
            self._bind(item.optional_vars, item.context_expr)
            if (kind := self._kind(item.context_expr)) is not None:
                self.used |= {(kind, "__aenter__"), (kind, "__aexit__")}
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._iterates(node.iter, "__aiter__", "__anext__")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._iterates(node.iter, "__iter__")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._iterates(node.iter, *(("__aiter__", "__anext__") if node.is_async else ("__iter__",)))
        self.generic_visit(node)

    def _iterates(self, node: ast.expr, *names: str) -> None:
        if (kind := self._kind(node)) is not None:
            self.used |= {(kind, name) for name in names}

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._iterates(node.value, "__getitem__")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if (kind := self._kind(node.value)) is not None:
            (self.stored if isinstance(node.ctx, ast.Store) else self.used).add((kind, node.attr))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id="len" | "repr" as name) if node.args and (kind := self._kind(node.args[0])) is not None:
                self.used.add((kind, f"__{name}__"))
            case ast.Name(id=name):
                self.keywords |= {(name, keyword.arg) for keyword in node.keywords if keyword.arg is not None}
            case ast.Attribute(attr=name, value=value) if self._kind(value) is not None:
                self.keywords |= {(name, keyword.arg) for keyword in node.keywords if keyword.arg is not None}
            case ast.Attribute(attr=name, value=ast.Name(id="trio_dlm")):
                self.keywords |= {(f"trio_dlm.{name}", keyword.arg) for keyword in node.keywords if keyword.arg}
                self.used.add((type(trio_dlm), name))
        self.generic_visit(node)


@pytest.fixture(scope="module")
def calls() -> Calls:
    found = Calls()
    for body in bodies():
        of_one = Calls()
        of_one.read(body)
        found.used |= of_one.used
        found.stored |= of_one.stored
        found.keywords |= of_one.keywords
    return found


@pytest.mark.parametrize("cls", [DownloadManager, DownloadTask, DownloadBatch, Subscription])
def test_every_public_name_is_used_on_every_backend(calls: Calls, cls: type[Any]) -> None:
    assert len(public_names(cls)) > 3
    assert {name for name in public_names(cls) if (cls, name) not in calls.used} == set()
    assert {name for name in settable_names(cls) if (cls, name) not in calls.stored} == set()


def test_the_one_call_download_is_used_on_every_backend(calls: Calls) -> None:
    assert (type(trio_dlm), "download") in calls.used


def test_every_argument_is_passed_on_every_backend(calls: Calls) -> None:
    functions: dict[str, Callable[..., Any]] = {
        "open_manager": open_manager,
        "submit": DownloadManager.submit,
        "submit_nowait": DownloadManager.submit_nowait,
        "submit_many": DownloadManager.submit_many,
        "download": DownloadManager.download,
        "events": DownloadManager.events,
        "trio_dlm.download": trio_dlm.download,
    }
    wanted = {
        (name, each.name)
        for name, function in functions.items()
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    assert len(wanted) > 15
    assert wanted - calls.keywords == set()
