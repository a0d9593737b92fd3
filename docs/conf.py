"""How the site is built from `docs/`: `make docs`. Every warning fails the build."""

from albert_infer import __version__

project = "albert-infer"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"albert-infer {__version__}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
html_show_copyright = False
# Docstrings name code in single backticks.
default_role = "literal"
# Blocks without a language are output.
highlight_language = "none"
# Headings that other pages link to, down to this depth.
myst_heading_anchors = 3
# A name of ours that has no page is a mistake; those of other projects have no index on this machine.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!albert_infer\.).*")]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
