"""The reference of the public names, taken from the ``__all__`` of each public module.

Rules that hold here:

- ``.. public-names:: open_manager Download*`` documents those of ``trio_dlm.__all__`` that it names, ``:of: MODULE``
  those of another one of :data:`MODULES`; what the reference has already is not shown again, so patterns go from the
  special to the general;
- a name that two modules give is shown once, in the first of them that has it;
- ``:made-by-us:`` hides the constructors, for classes that users get and do not make;
- data and type aliases have no docstring that Sphinx could find: they are written by hand, as ``.. py:data::``;
- members that rooms need of each other, and users do not, are in :data:`INTERNAL`;
- a public name that the reference lacks, and a pattern that shows nothing, are warnings, and warnings stop the build;
- references to a name by the private module that defines it lead to where it is documented.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import trio_dlm

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

logger = logging.getLogger(__name__)

# What users import from, and the page that shows it.
MODULES = {
    "trio_dlm": "docs/reference/api.rst",
    "trio_dlm.asgi": "docs/reference/asgi.rst",
    "trio_dlm.testing": "docs/reference/testing.rst",
    "trio_dlm.testing.operations": "docs/reference/testing.rst",
    "trio_dlm.testing.origin": "docs/reference/testing.rst",
    "trio_dlm.testing.world": "docs/reference/testing.rst",
}

# Called by the manager, or by a manager's parts, and of no use to anybody else: they are without an underscore since
# another module calls them.
INTERNAL = {
    "DownloadJob": ("close",),
    "ProgressMeter": ("open_run", "close_run", "disconnect", "forget", "settle", "read"),
    "Subscription": ("note", "wake"),
}

# Used as ``async with …``, though no async generator is in sight by which sphinxcontrib-trio could tell.
for function in (trio_dlm.open_manager, trio_dlm.DownloadManager.events):
    function.__returns_acontextmanager__ = True  # type: ignore[attr-defined]


def is_shown(env: BuildEnvironment, module: str, name: str) -> bool:
    """Whether the reference has what *name* means in *module*, in whatever module."""
    objects = env.domains.python_domain.objects
    value = getattr(importlib.import_module(module), name)
    same = [each for each in MODULES if getattr(importlib.import_module(each), name, None) is value]
    # Data and type aliases are no objects of their own module.
    return any(f"{each}.{name}" in objects for each in {module, *same})


def names_of(module: str) -> list[str]:
    """Return the public names of *module*."""
    return sorted(set(importlib.import_module(module).__all__))


class PublicNames(SphinxDirective):
    """``.. public-names:: PATTERN…``."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {  # noqa: RUF012  docutils reads it, and has it so
        "made-by-us": directives.flag,
        "of": lambda argument: directives.choice(argument, tuple(MODULES)),
    }

    def run(self) -> list[nodes.Node]:
        """Document the public names that the patterns mean, in the order of the patterns."""
        found: list[nodes.Node] = []
        module = self.options.get("of", "trio_dlm")
        for pattern in self.arguments[0].split():
            names = [name for name in names_of(module) if fnmatchcase(name, pattern)]
            new = [name for name in names if not is_shown(self.env, module, name)]
            if not new:
                logger.warning("%s means no public name that is not shown yet", pattern, location=self.get_location())
            for name in new:
                found += self.parse_text_to_nodes(self.entry(module, name))
        return found

    def entry(self, module: str, name: str) -> str:
        """Return the lines that document the public *name* of *module*."""
        value = getattr(importlib.import_module(module), name)
        signature = "()" if "made-by-us" in self.options else ""
        if inspect.isclass(value) and issubclass(value, BaseException):
            # How a class of errors builds its message is its own business.
            return f".. autoexception:: {module}.{name}()\n   :show-inheritance:\n"
        if inspect.isclass(value):
            if value is trio_dlm.DownloadOptions:
                signature = f"({signature_of(value)})"
            if unknown := [each for each in INTERNAL.get(name, ()) if not hasattr(value, each)]:
                logger.warning("%s has no %s", name, ", ".join(unknown), location=self.get_location())
            hidden = ", ".join(INTERNAL.get(name, ()))
            exclude = f"   :exclude-members: {hidden}\n" if hidden else ""
            return f".. autoclass:: {module}.{name}{signature}\n   :members:\n{exclude}"
        if inspect.isroutine(value):
            return f".. autofunction:: {module}.{name}\n"
        logger.warning("%s is data: describe it by hand, as .. py:data::", name, location=self.get_location())
        return ""


def signature_of(record: type) -> str:
    """Return the keywords of a record with their defaults, where its constructor says no more than ``**fields``."""
    return ", ".join(["*", *(f"{each.name}={default_of(each)}" for each in dataclasses.fields(record) if each.init)])


def default_of(field: dataclasses.Field[Any]) -> str:
    """Return what stands for the default of *field* in a signature."""
    return "{}" if field.default is dataclasses.MISSING else repr(field.default)


def check_all_shown(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names that the reference does not have."""
    for module, page in MODULES.items():
        if missing := [name for name in names_of(module) if name != "__version__" and not is_shown(env, module, name)]:
            logger.warning("%s does not show %s", page, ", ".join(missing))


def shared_parts(one: list[str], other: list[str]) -> int:
    """Return how many parts two dotted names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def lead_to_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Resolve ``trio_dlm._records.Progress``, and ``HttpDownloader`` without its module, as what is documented."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    parts = node["reftarget"].split(".")
    for start in range(len(parts)):
        tail = ".".join(parts[start:])
        # What is documented under its public name is known by that of its module as well.
        found = [
            name
            for name, entry in domain.objects.items()
            if name.startswith("trio_dlm.") and name.endswith(f".{tail}") and not entry.aliased
        ]
        # Of two that have a name the nearer is meant.  A method that two classes have is nobody's in particular.
        if len(found) > 1 and start > 0:
            near = {name: shared_parts(name.split("."), parts) for name in found}
            found = [name for name in found if near[name] == max(near.values())]
        if len(found) == 1 and tail[0].isupper():
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, content)
    return None


def keep_first_line(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Keep napoleon from reading ``It holds a slot: …`` below an attribute as a type and its description."""
    if what in {"attribute", "data", "property"} and lines:
        # An empty comment: napoleon looks at the first line that is not blank.
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the checks."""
    app.add_directive("public-names", PublicNames)
    app.connect("env-check-consistency", check_all_shown)
    app.connect("missing-reference", lead_to_public)
    # Before napoleon, whose priority is the ordinary 500.
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
    return {"parallel_read_safe": False}
