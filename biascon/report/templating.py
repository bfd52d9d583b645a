"""Templates of the report, filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2


def make_renderer(
    template: str, *, escape: Callable[[str], str] | None = None, **values: Any
) -> str:
    """Return a template of ``report/templates`` with its values; a name that is not given is an error.

    Args:
        template: Its file name.
        escape: What the filter ``md`` of a Markdown template does to what comes from data; without, the
            template is HTML and everything is escaped.
        values: The names that the template uses.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("biascon.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=escape is None,
    )
    if escape is not None:
        environment.filters["md"] = lambda text: escape(str(text))
    return environment.get_template(template).render(**values)
