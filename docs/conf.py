"""Sphinx configuration: sphinx-build -W docs docs/_build."""

import ntm

project = "ntm"
author = "the ntm authors"
release = ntm.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "fieldlist"]
myst_heading_anchors = 3
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
