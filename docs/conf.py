"""How the documentation is built: ``nox -s docs``. Nothing is fetched from the network."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import reference_pages  # noqa: E402  (stands beside this file)

project = "kernl_rt"
author = "the kernl_rt authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "kernl_rt"
html_copy_source = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False


def write_reference(app: Sphinx) -> None:
    reference_pages.write(HERE / "reference" / "generated")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
