"""HTML pages that are one file each: style and pictures are in it, nothing is loaded from elsewhere, no script runs.

Texts are escaped by the template engine, without exception.
"""

from __future__ import annotations

import math
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

# For a figure that has no value.
UNDEFINED = "n/a"


def html_page(package: str, template: str, **values: object) -> bytes:
    """The page that a template of the package makes of the values, UTF-8; the template extends `page.html.j2`."""
    return environment(package).get_template(template).render(**values).encode()


@cache
def environment(package: str) -> Environment:
    """The template engine for the templates of a package: it escapes each text, and refuses an unknown name."""
    engine = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("albert_infer.common")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters |= {"share": share, "rows": rows}
    return engine


def share(value: float, digits: int = 1) -> str:
    """A share in percent; `n/a` where it is not defined."""
    return f"{value:.{digits}%}" if math.isfinite(value) else UNDEFINED


def rows(value: float) -> str:
    """A count with commas."""
    return f"{value:,.0f}"
