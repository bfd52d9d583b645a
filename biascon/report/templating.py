"""Rendering of the templates of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2


def render_template(
    template: str, *, escape: Callable[[str], str] | None = None, **values: Any
) -> str:
    """Return a template of ``report/templates`` with its values; an undefined name is an error.

    Args:
        template: The file name of the template.
        escape: For a Markdown template: what its filter ``md`` does to a text. Without it the template is
            HTML, and every value is escaped.
        values: The values by name.
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
