"""How the manual is built: `make docs`. No page fetches anything from elsewhere."""

import re

from sphinx.application import Sphinx

import actguard

project = "actguard"
copyright = "the actguard authors"
version = release = actguard.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "actguard"
html_copy_source = False
html_show_sourcelink = False

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(?=(\w?))")


def markdown_code(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings mark code as Markdown does, with one backtick; what reads them here wants two."""
    text = CODE.sub(lambda found: f"``{found[1]}``" + ("\\ " if found[2] else ""), "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", markdown_code, priority=100)  # before napoleon
