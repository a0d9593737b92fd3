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
    return _environment(package).get_template(template).render(**values).encode()


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("albert_infer.common")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "rows": rows}
    return environment


def share(value: float, digits: int = 1) -> str:
    """A share in percent; `n/a` where it is not defined."""
    return f"{value:.{digits}%}" if math.isfinite(value) else UNDEFINED


def rows(value: float) -> str:
    """A count with commas."""
    return f"{value:,.0f}"
