"""The documentation site: `make docs` builds it into .build/site.

The source folder is the repository, so that a link means the same here and on GitHub.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

project = "stem-amqp"
copyright = "the authors of stem-amqp, MIT licence"  # noqa: A001 - Sphinx reads this name
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "topology/README.md",
    "examples/orders/README.md",
    "examples/webshop/README.md",
    "tests/benchmarks/README.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "docs/site", "docs/screenshots"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "generated",
    "diagrams",
    "front_door",
]

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
default_role = "code"  # docstrings quote names with single backticks

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "stem-amqp"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
