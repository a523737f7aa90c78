"""What axe-core holds against a page."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SCRIPT = (Path(__file__).with_name("vendor") / "axe.min.js").read_text(encoding="utf-8")
OF_COLOURS = ("color-contrast", "link-in-text-block")
"""The rules that look at colours: all that another colour scheme can break."""
JUDGE = """(rules) => axe.run({resultTypes: ["violations"], ...(rules ? {runOnly: {type: "rule", values: rules}} : {})})
  .then(({violations}) => violations.filter(({impact}) => impact === "serious" || impact === "critical")
    .map(({id, nodes}) => [id, nodes.map(({html, any}) => [html, any.map(({message}) => message)])]))"""


def serious(page: Page) -> list[Any]:
    """Serious and critical findings on the page as it is shown, in the light scheme and, where colours count, in the dark one."""
    page.evaluate(SCRIPT)
    page.emulate_media(color_scheme="light")
    light: list[Any] = page.evaluate(JUDGE)
    page.emulate_media(color_scheme="dark")
    dark: list[Any] = page.evaluate(JUDGE, list(OF_COLOURS))
    return [*light, *dark]
