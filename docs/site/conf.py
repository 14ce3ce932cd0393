"""The site: the Markdown of the repository as it stands there, so that its links lead from page to page here, too.

``make docs`` builds it strictly: a dead link or anchor, or a page that no list of contents leads to, is an error.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import ase_mlwave

project = "ase-mlwave"
author = "The ase-mlwave developers"
release = version = ase_mlwave.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "identifiers", "mathml", "options_pages"]
html_math_renderer = "mathml"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "models/*/README.md", "examples/README.md", "datasets/README.md", "*.md"]
exclude_patterns = [".*", "ase_mlwave", "benchmarks", "build", "dist", "runs", "tests"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # cards begin below the title that a page of the zoo gives them

default_role = "py:obj"
autodoc_typehints = "none"  # numpydoc's "Parameters" have the types, with shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"ase-mlwave {release}"
html_extra_path = ["root"]  # a page at the root that leads to the first one
html_copy_source = html_show_sourcelink = False
