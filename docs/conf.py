"""How Sphinx builds the documentation.

Rules that hold here:

- the build asks nothing of the network, so names of other projects are shown and not linked;
- every warning is an error (``nox -s docs`` passes ``-W -n``): a name of ours that leads nowhere stops the build.
"""

from __future__ import annotations

import builtins
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "trio_dlm"
author = "the trio_dlm contributors"
copyright = author
release = version_of("trio-dlm")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    # Marks async functions, async context managers and the like as what they are.
    "sphinxcontrib_trio",
    "myst_parser",
    "life_cycle",
    "public_names",
    "unreleased",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]
default_role = "py:obj"
highlight_language = "python"

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

# sphinxcontrib-trio builds on the classes that autodoc consisted of before Sphinx 9: without them a method that returns
# an async context manager is shown as a plain one.  The dependency group "docs" keeps Sphinx below 10 for it.
autodoc_use_legacy_class_based = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = True
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# House style: a docstring may say where a rule comes from.
napoleon_custom_sections = [("Source", "notes_style")]
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

nitpick_ignore_regex = [
    ("py:.*", "|".join(name for name in dir(builtins) if not name.startswith("_"))),
    # Names of other projects and of the standard library, and what is private to us.
    ("py:.*", r"(?!trio_dlm\b)[\w]+(\.\w+)+"),
    ("py:.*", r"trio_dlm(\.\w+)*\._[A-Za-z]\w*"),
    ("py:.*", r"(\w+\.)*\w+T(_co|_contra)?"),
    # What signatures show by name, and the text explains: type aliases, and what is between the rooms.
    ("py:.*", r"(trio_dlm\._\w+\.)?(AnyAsyncClient|Download|FileOptionsFields|LaneOf|Overwrite|TaskReference)"),
    # What signatures show without its module.
    ("py:.*", "Any|Hashable|Path|PathLike|StrOrBytesPath|_Ts|datetime|optional|os"),
]


def _show_empty(*event: Any) -> tuple[str, str] | None:
    """Show the default of a field that is made anew each time as what is made, which is an empty mapping everywhere."""
    *_, signature, returned = event
    return (signature.replace("<factory>", "{}"), returned) if signature else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _show_empty)
