"""The mutants of a module: every small change of its source that the tests should notice.

Rules that hold here:

- a mutant is known by what it does (room, place, statement before and after), not by a number: it stays the same mutant
  when something else in the file changes;
- left out is what no run can tell apart: annotations and what else is there for type checkers only, docstrings,
  imports, ``__all__``, and the message of an ``assert``; nor is False replaced by None, only by True;
- nothing here runs anything.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Final, TypeAlias, TypeVar

__all__ = ["Mutant", "make_mutants"]

Step: TypeAlias = "tuple[str, int | None]"
"""From a node to a part of it: the field, and the place in it if it is a list."""

Path: TypeAlias = tuple[Step, ...]

_NodeT = TypeVar("_NodeT", bound=ast.AST)
_T = TypeVar("_T")

# Where tests look least: at the bounds.  That a comparison is there at all is tried by turning the condition round.
COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Div,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}

# A decorator without effect when the program runs.
_TYPING_DECORATOR: Final = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module.

    Attributes:
        room: the module, below the package.
        place: the function or class that it is in, dotted; ``<module>`` outside of all.
        before, after: the statement without what is indented below it.
        nth: counts the same change of equal statements in one place, from 1.
        lines: where one of them is run the mutant may show; empty for what is run on import only.
        is_inside: only the code in a function is another.
    """

    room: str
    place: str
    before: str
    after: str
    nth: int
    lines: tuple[int, ...]
    is_inside: bool
    path: Path = field(repr=False)
    new: ast.AST = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What tells it from all others, in any version of the source."""
        return (self.room, self.place, self.before, self.after, self.nth)

    def compile(self, source: str, filename: str) -> CodeType:
        """Compile the mutated *source*, which has to be what the mutant was made from."""
        tree = ast.parse(source)
        _swap(tree, self.path, self.new)
        return compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)

    def __str__(self) -> str:
        number = f" ({self.nth})" if self.nth > 1 else ""
        return f"{self.room} {self.place}{number}\n    - {self.before}\n    + {self.after}"


def make_mutants(room: str, source: str) -> list[Mutant]:
    """Return all mutants of *source*, the module *room*, in the order of the source."""
    tree = ast.parse(source)
    found: list[Mutant] = []
    seen: set[tuple[Path, str]] = set()
    counts: Counter[tuple[str, str, str]] = Counter()
    for spot in _walk(tree, _Spot(tree)):
        for new in _changes(spot.node):
            before = _head(_get(tree, spot.statement))
            old = _swap(tree, spot.path, new)
            after = _head(_get(tree, spot.statement))
            _swap(tree, spot.path, old)
            # Two ways to the same code are one mutant.
            if after == before or (spot.statement, after) in seen:
                continue
            seen.add((spot.statement, after))
            change = (spot.place, before, after)
            counts[change] += 1
            found.append(
                Mutant(
                    room=room,
                    place=spot.place,
                    before=before,
                    after=after,
                    nth=counts[change],
                    lines=spot.lines,
                    is_inside=spot.in_function,
                    path=spot.path,
                    new=new,
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node that may be changed, and where it stands."""

    node: ast.AST
    path: Path = ()
    place: str = "<module>"
    statement: Path = ()
    lines: tuple[int, ...] = ()
    in_function: bool = False


def _walk(node: ast.AST, spot: _Spot) -> Iterator[_Spot]:
    """Go through everything that a run can meet; *spot* is that of *node*."""
    if _is_for_type_checkers(node):
        return
    inner = spot
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            spot = replace(spot, statement=spot.path, lines=_lines_of_head(node) if spot.in_function else ())
            inner = replace(spot, place=_below(spot.place, node.name), in_function=True)
        case ast.ClassDef():
            spot = replace(spot, statement=spot.path, lines=())
            inner = replace(spot, place=_below(spot.place, node.name), in_function=False)
        case ast.stmt() | ast.ExceptHandler():
            lines = _lines_of_head(node) if spot.in_function else ()
            inner = spot = replace(spot, statement=spot.path, lines=lines)
    yield spot
    for name, value in ast.iter_fields(node):
        parts = value if isinstance(value, list) else [value]
        for index, part in enumerate(parts):
            if isinstance(part, ast.AST) and not _is_unseen(node, name, index):
                step = (name, index if isinstance(value, list) else None)
                # A definition's decorators and defaults are not inside of it.
                in_function = inner.in_function if name == "body" else spot.in_function
                yield from _walk(part, replace(inner, node=part, path=(*spot.path, step), in_function=in_function))


def _below(place: str, name: str) -> str:
    return name if place == "<module>" else f"{place}.{name}"


def _end(node: ast.stmt | ast.ExceptHandler) -> int:
    return node.end_lineno or node.lineno


def _lines_of_head(node: ast.stmt | ast.ExceptHandler) -> tuple[int, ...]:
    body: list[ast.stmt] = getattr(node, "body", [])
    last = max(node.lineno, body[0].lineno - 1) if body else _end(node)
    return tuple(range(node.lineno, last + 1))


def _head(node: ast.AST) -> str:
    """Write a statement down, without what is indented below it."""
    short = copy.copy(node)
    for name in ("body", "handlers", "orelse", "finalbody"):
        if hasattr(node, name):
            setattr(short, name, [])
    return " ".join(ast.unparse(short).split())


def _get(tree: ast.AST, path: Path) -> ast.AST:
    for name, index in path:
        part = getattr(tree, name)
        tree = part if index is None else part[index]
    return tree


def _swap(tree: ast.AST, path: Path, new: ast.AST) -> ast.AST:
    """Put *new* in the place that *path* leads to, and return what was there."""
    *way, (name, index) = path
    parent = _get(tree, tuple(way))
    old = _get(parent, ((name, index),))
    ast.copy_location(new, old)
    if index is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[index] = new
    return old


def _is_unseen(node: ast.AST, name: str, index: int) -> bool:
    """Whether no run can tell this part of *node* from others."""
    match node:
        case ast.AnnAssign() | ast.arg():
            return name == "annotation"
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return name == "returns"
        case ast.ClassDef():
            return name == "bases"
        case ast.Assert():
            return name == "msg"
        case ast.Call(func=ast.Name(id="cast")):
            return name == "args" and index == 0
        case _:
            return False


def _is_for_type_checkers(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return True
        case ast.FunctionDef(decorator_list=[ast.Name(id="overload"), *_]):
            return True
        case ast.AsyncFunctionDef(decorator_list=[ast.Name(id="overload"), *_]):
            return True
        case _:
            return False


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Make everything that *node* is changed into."""
    match node:
        case ast.Constant():
            yield from _other_constants(node)
        case ast.FormattedValue(conversion=114):
            yield _with(node, conversion=-1)
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield _with(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            for index in range(len(node.values)):
                others = _without(node.values, index)
                yield _with(node, values=others) if len(others) > 1 else others[0]
        case ast.UnaryOp():
            yield node.operand
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield _with(node, op=OPERATORS[type(node.op)]())
        case ast.IfExp():
            yield from (_with(node, test=test) for test in _negations(node.test))
        case ast.Lambda():
            yield _with(node, body=ast.Constant(None))
        case ast.Call():
            yield from _other_calls(node)
        case ast.Dict():
            for index in range(len(node.keys)):
                yield _with(node, keys=_without(node.keys, index), values=_without(node.values, index))
        case ast.Set() if len(node.elts) > 1:
            for index in range(len(node.elts)):
                yield _with(node, elts=_without(node.elts, index))
        case ast.comprehension():
            for index, condition in enumerate(node.ifs):
                others = _without(node.ifs, index)
                yield from (_with(node, ifs=[*others, other]) for other in _negations(condition))
                yield _with(node, ifs=others)
        case ast.ExceptHandler():
            yield _with(node, type=ast.Tuple([], ast.Load()))
        case ast.stmt():
            yield from _other_statements(node)


def _other_statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.If():
            for test in (*_negations(node.test), ast.Constant(False), ast.Constant(True)):
                yield _with(node, test=test)
        case ast.While():
            for test in (*_negations(node.test), ast.Constant(False)):
                yield _with(node, test=test)
        case ast.For():
            yield _with(node, iter=ast.Tuple([], ast.Load()))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign():
            if type(node.op) in OPERATORS:
                yield _with(node, op=OPERATORS[type(node.op)]())
            yield ast.Assign([node.target], node.value)
            yield ast.Pass()
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if isinstance(value, ast.Constant) and value.value is None:
                yield _with(node, value=ast.Constant(""))
            elif not _is_nothing(value):
                yield _with(node, value=ast.Constant(None))
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not isinstance(targets[0], ast.Name):
                yield ast.Pass()
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            for index, mark in enumerate(node.decorator_list):
                if not (isinstance(mark, ast.Name) and mark.id == _TYPING_DECORATOR):
                    yield _with(node, decorator_list=_without(node.decorator_list, index))
        case ast.Raise():
            if node.cause is not None:
                yield _with(node, cause=None)
            yield ast.Pass()
        case ast.Expr() | ast.Delete():
            yield ast.Pass()


def _other_constants(node: ast.Constant) -> Iterator[ast.Constant]:
    match node.value:
        case bool() as truth:
            yield ast.Constant(not truth)
        case int() | float() as number:
            yield ast.Constant(number + 1)
        case str() as text:
            yield ast.Constant(f"XX{text}XX")
            yield ast.Constant(text.lower() if text.isupper() else text.upper())


def _other_calls(node: ast.Call) -> Iterator[ast.Call]:
    if isinstance(node.func, ast.Name) and node.func.id == "cast":
        return
    for index, argument in enumerate(node.args):
        if not (isinstance(argument, ast.Starred) or _is_nothing(argument)):
            yield _with(node, args=[*node.args[:index], ast.Constant(None), *node.args[index + 1 :]])
        yield _with(node, args=_without(node.args, index))
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None and not _is_nothing(keyword.value):
            given = ast.keyword(keyword.arg, ast.Constant(None))
            yield _with(node, keywords=[*node.keywords[:index], given, *node.keywords[index + 1 :]])
        yield _with(node, keywords=_without(node.keywords, index))


def _negations(test: ast.expr) -> list[ast.expr]:
    """Turn a condition round, unless it is one that is turned round where it stands."""
    match test:
        case ast.UnaryOp(op=ast.Not()) | ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot()]):
            return []
        case ast.Compare(ops=[ast.In() | ast.NotIn()]):
            return []
        case _:
            return [ast.UnaryOp(ast.Not(), test)]


def _is_nothing(node: ast.expr) -> bool:
    """Whether it does what None does, in a condition at least; of False there is a better mutant, which is True."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _with(node: _NodeT, **fields: object) -> _NodeT:
    """Copy *node* with other *fields*."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _without(items: Sequence[_T], index: int) -> list[_T]:
    return [*items[:index], *items[index + 1 :]]
