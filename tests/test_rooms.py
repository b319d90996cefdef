"""The rooms of the package keep to their table.

Rules that hold here:

- `rooms.toml` beside this file is the table, and the only one;
- the source is read, never imported, so that a broken module cannot hide a broken rule; the package that is read is the
  one that the tests would import;
- an import below ``if TYPE_CHECKING:`` does not count: nothing happens by it;
- an import inside a function counts: it says who knows whom as much as one at the top.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest

PACKAGE: Final = "trio_dlm"
ROOT: Final = "__init__"
TABLE: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("rooms.toml").read_text("utf-8"))


# Stands for an import by a computed name.
COMPUTED: Final = "<computed>"


@dataclass(frozen=True)
class Room:
    """One module: its name below the package, its tree, and what it imports."""

    name: str
    tree: ast.Module
    ours: frozenset[str]
    foreign: frozenset[str]


def read_package() -> dict[str, str]:
    """Return the source of every module, under its name below the package."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None, f"{PACKAGE} is not installed"
    (where,) = map(Path, spec.submodule_search_locations or ())
    sources = {}
    for path in sorted(where.rglob("*.py")):
        parts = path.relative_to(where).with_suffix("").parts
        name = ".".join(parts if len(parts) == 1 or parts[-1] != ROOT else parts[:-1])
        sources[name] = path.read_text("utf-8")
    return sources


def parse(sources: Mapping[str, str], packages: Iterable[str] = ()) -> dict[str, Room]:
    """Read the imports of *sources*; *packages* names those that are packages without a module below them."""
    prefixes = {name.rpartition(".")[0] for name in sources} | set(packages) | {ROOT}
    rooms = {}
    for name, source in sources.items():
        tree = ast.parse(source, name)
        ours: set[str] = set()
        foreign: set[str] = set()
        for target in imported(tree, name, is_package=name in prefixes):
            head, _, below = target.partition(".")
            if head != PACKAGE:
                foreign.add(target)
            else:
                ours.add(nearest(below, sources))
        rooms[name] = Room(name, tree, frozenset(ours - {name}), frozenset(foreign))
    return rooms


def nearest(below: str, known: Iterable[str]) -> str:
    """Return the module that *below* names or is taken from: `_status.DownloadStatus` is `_status`."""
    while below and below not in known:
        below = below.rpartition(".")[0]
    return below or ROOT


def imported(tree: ast.Module, name: str, *, is_package: bool) -> Iterator[str]:
    """Yield the absolute dotted name of everything that is imported when the code runs."""
    here = [PACKAGE, *([] if name == ROOT else name.split("."))]
    for node in executed(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = here[: len(here) + (1 if is_package else 0) - level] if level else []
                prefix = ".".join([*base, *([module] if module else [])])
                yield from (f"{prefix}.{each.name}" for each in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"), args=args
            ):
                match args:
                    case [ast.Constant(value=str(target)), *_]:
                        yield target
                    case _:
                        yield COMPUTED
            case _:
                pass


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below *node* but those that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from executed(other)
        else:
            yield child
            yield from executed(child)


def is_below(target: str, names: Iterable[str]) -> bool:
    """Whether the dotted *target* is one of *names* or below one."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def is_listed(name: str, patterns: Iterable[str]) -> bool:
    """Whether a module is meant by one of *patterns*."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def place(name: str) -> int | None:
    """Return the number of the layer in which a module stands; an exact name wins over a pattern."""
    layers = [[*layer["modules"], *layer.get("later", [])] for layer in TABLE["layers"]]
    exact = [number for number, modules in enumerate(layers) if name in modules]
    found = exact or [number for number, modules in enumerate(layers) if is_listed(name, modules)]
    assert len(found) <= 1, f"{name} stands in more than one layer of rooms.toml"
    return found[0] if found else None


def upward_imports(rooms: Mapping[str, Room]) -> list[str]:
    """Name every import that goes from a lower layer to a higher one, and every module without a place."""
    problems = []
    for room in rooms.values():
        rank = place(room.name)
        if rank is None:
            problems.append(f"{room.name} has no place: add it to a layer of tests/rooms.toml")
            continue
        for target in sorted(room.ours):
            other = place(target)
            if other is not None and other > rank:
                low, high = (TABLE["layers"][number]["name"] for number in (rank, other))
                problems.append(f"{room.name} ({low}) imports {target} ({high}), which is above it")
    return problems


def impurities(room: Room) -> list[str]:
    """Name what a pure room does that reads a clock, a random number or the outside world."""
    rules = TABLE["pure"]
    problems = [f"imports {target}" for target in sorted(room.foreign) if is_below(target, rules["imports_nothing_of"])]
    for node in executed(room.tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in rules["calls_none_of"]:
                problems.append(f"line {node.lineno} calls {called}()")
            case ast.Call(func=ast.Attribute(attr=called)) if called in rules["calls_no_method"]:
                problems.append(f"line {node.lineno} calls .{called}()")
            case ast.Attribute(value=ast.Name(id="os"), attr=used) if used not in rules["uses_of_os_only"]:
                problems.append(f"line {node.lineno} uses os.{used}")
            case _:
                pass
    problems += [
        f"imports {target}"
        for target in sorted(room.foreign)
        if target.startswith("os.") and target.split(".")[1] not in rules["uses_of_os_only"]
    ]
    return [f"{room.name} is a pure room and {problem}" for problem in problems]


def strangers(rooms: Mapping[str, Room]) -> list[str]:
    """Name every module that imports a foreign package which is another module's business."""
    problems = []
    for rule in TABLE["foreign"]:
        importers = sorted(
            room.name for room in rooms.values() if any(is_below(target, rule["packages"]) for target in room.foreign)
        )
        what = " or ".join(rule["packages"])
        problems += [
            f"{name} imports {what}, which is for {rule['modules']}"
            for name in importers
            if not is_listed(name, rule["modules"])
        ]
        if rule.get("single") and len(importers) > 1:
            problems.append(f"{' and '.join(importers)} import {what}; one module may")
    problems += [
        f"{room.name} imports by a computed name"
        for room in rooms.values()
        if COMPUTED in room.foreign and not is_listed(room.name, TABLE["computed_imports"]["modules"])
    ]
    return problems


@pytest.fixture(scope="module")
def rooms() -> dict[str, Room]:
    return parse(read_package())


def test_every_module_has_a_place_and_imports_flow_downward(rooms: dict[str, Room]) -> None:
    assert upward_imports(rooms) == []


def test_no_two_modules_import_each_other_by_any_way_round(rooms: dict[str, Room]) -> None:
    try:
        TopologicalSorter({room.name: room.ours for room in rooms.values()}).prepare()
    except CycleError as exc:
        pytest.fail(f"a circle of imports: {' <- '.join(exc.args[1])}")


def test_pure_rooms_read_no_clock_and_touch_nothing(rooms: dict[str, Room]) -> None:
    pure = [room for room in rooms.values() if is_listed(room.name, TABLE["pure"]["modules"])]
    assert [problem for room in pure for problem in impurities(room)] == []


def test_each_foreign_package_has_one_door(rooms: dict[str, Room]) -> None:
    assert strangers(rooms) == []


def test_what_is_imported_is_declared(rooms: dict[str, Room]) -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in declared}
    imports = {target.partition(".")[0] for room in rooms.values() for target in room.foreign - {COMPUTED}}
    assert sorted(imports - names - sys.stdlib_module_names) == [], "pyproject.toml does not declare these"


def test_the_table_names_no_module_that_is_gone(rooms: dict[str, Room]) -> None:
    listed = {
        *(module for layer in TABLE["layers"] for module in layer["modules"]),
        *TABLE["pure"]["modules"],
        *TABLE["fully_covered"]["modules"],
        *TABLE["computed_imports"]["modules"],
    }
    gone = sorted(pattern for pattern in listed if not any(fnmatchcase(name, pattern) for name in rooms))
    assert gone == [], "rooms.toml names modules that do not exist"


# The checker itself, on planted sources.


def planted(**sources: str) -> dict[str, Room]:
    return parse({name.replace("__in__", "."): source for name, source in sources.items()}, ["downloaders", "cli"])


@pytest.mark.parametrize(
    "source",
    [
        "from ._manager import DownloadManager",
        "from . import _manager",
        "import trio_dlm._manager",
        "import trio_dlm._manager as m",
        "from trio_dlm import _manager",
        "from trio_dlm._manager import DownloadManager",
        "def f():\n    from ._manager import DownloadManager",
        "try:\n    from ._manager import DownloadManager\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from ._manager import DownloadManager",
        "import importlib\nimportlib.import_module('trio_dlm._manager')",
    ],
)
def test_a_planted_upward_import_is_found(source: str) -> None:
    assert upward_imports(planted(_status=source, _manager="")) == [
        "_status (vocabulary) imports _manager (the manager), which is above it"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\nif TYPE_CHECKING:\n    from ._manager import DownloadManager",
        "import typing\nif typing.TYPE_CHECKING:\n    from . import _manager",
        "import trio, click",
    ],
)
def test_what_only_type_checkers_see_is_no_upward_import(source: str) -> None:
    assert upward_imports(planted(_status=source, _manager="")) == []


def test_a_name_from_the_root_counts_as_an_import_of_the_root() -> None:
    assert upward_imports(planted(_status="from . import open_manager", __init__="")) == [
        "_status (vocabulary) imports __init__ (the public names), which is above it"
    ]


def test_relative_imports_in_a_package_below_are_followed() -> None:
    found = planted(
        downloaders="from ._protocol import Downloader",
        downloaders__in___protocol="from .. import _status\nfrom .._manager import DownloadManager",
        _status="",
        _manager="from .downloaders import Downloader",
    )
    assert found["downloaders"].ours == {"downloaders._protocol"}
    assert found["downloaders._protocol"].ours == {"_status", "_manager"}
    assert found["_manager"].ours == {"downloaders"}
    assert len(upward_imports(found)) == 1


def test_a_module_without_a_place_is_named() -> None:
    assert upward_imports(planted(_brand_new="")) == ["_brand_new has no place: add it to a layer of tests/rooms.toml"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import trio", "imports trio"),
        ("from time import monotonic", "imports time.monotonic"),
        ("import urllib.request", "imports urllib.request"),
        ("from random import random", "imports random.random"),
        ("from os import getpid", "imports os.getpid"),
        ("import os\nos.stat('x')", "line 2 calls .stat()"),
        ("import os\nx = os.environ", "line 2 uses os.environ"),
        ("from datetime import datetime\ndatetime.now()", "line 2 calls .now()"),
        ("open('x')", "line 1 calls open()"),
        ("from pathlib import Path\nPath('x').read_text()", "line 2 calls .read_text()"),
    ],
)
def test_an_impure_line_is_found(source: str, problem: str) -> None:
    found = planted(_status=source)["_status"]
    assert f"_status is a pure room and {problem}" in impurities(found)


def test_a_pure_line_is_let_through() -> None:
    source = """
import os
from os import PathLike
from urllib.parse import urlsplit
if TYPE_CHECKING:
    from random import Random
os.fspath("x")
"""
    assert impurities(planted(_status=source)["_status"]) == []


def test_an_import_by_a_computed_name_is_found() -> None:
    found = parse({"_manager": "import importlib\nimportlib.import_module(name)"})
    assert strangers(found) == ["_manager imports by a computed name"]


def test_a_second_door_to_the_http_client_is_found() -> None:
    found = parse(
        {"downloaders.http.client._client": "import httpx", "_manager": "import httpx2", "cli.get": "import rich.live"}
    )
    assert strangers(found) == [
        "_manager imports httpx or httpx2, which is for ['downloaders.http.client._client']",
        "_manager and downloaders.http.client._client import httpx or httpx2; one module may",
    ]
