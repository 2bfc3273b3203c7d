"""How the manual is built: `make docs`. No page fetches anything from elsewhere."""

import actguard

project = "actguard"
copyright = "the actguard authors"
version = release = actguard.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = "actguard"
html_copy_source = False
html_show_sourcelink = False
templates_path: list[str] = []
exclude_patterns: list[str] = []
