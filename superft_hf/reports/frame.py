"""The frame of a report: one HTML file that asks for nothing beside itself.

What stays true: every text from outside is escaped by `text`; figures travel as JSON, in which no `<` is left
that could end the script; and the policy in the head forbids the browser any request.
"""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from plotly.offline import get_plotlyjs

from superft_hf.reports.palette import palettes, variables

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "form-action 'none'; base-uri 'none'"
)

_CSS = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
@media print { :root { color-scheme: light; LIGHT } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--text); line-height: 1.5;
  font: 14px/1.5 "Superft Sans", Inter, system-ui, -apple-system, "Segoe UI", sans-serif;
  font-variant-numeric: tabular-nums }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 48px }
h1 { font-size: 1.55rem; line-height: 1.3; font-weight: 600; margin: 0 0 4px }
h2 { font-size: 1.25rem; font-weight: 600; margin: 36px 0 12px }
h3 { font-size: 1rem; font-weight: 600; margin: 0 0 8px }
p { margin: 0 0 10px; overflow-wrap: anywhere }
.quiet { color: var(--quiet); font-size: .86rem }
.know { color: var(--know) }
.test { color: var(--test) }
.right { color: var(--right) } .wrong { color: var(--wrong) }
section, .cell { border: 1px solid var(--line); border-radius: 6px; padding: 16px; margin: 0 0 14px;
  min-width: 0 }
.pair { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  margin: 0 0 14px }
.pair > * { margin: 0 }
.scroll { overflow-x: auto; margin: 0 0 10px }
td.wrap { overflow-wrap: anywhere; min-width: 12em }
.tall { max-height: 460px; overflow: auto }
table { border-collapse: collapse; width: 100%; font-size: .93rem }
th { text-align: left; font-weight: 500; color: var(--quiet); white-space: nowrap; vertical-align: bottom }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line) }
td.n, th.n { text-align: right; white-space: nowrap }
tr:last-child td { border-bottom: 0 }
figure { margin: 0; min-width: 0 }
.pictures { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)) }
.pictures figure { font-size: .86rem; overflow-wrap: anywhere }
.pictures img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--panel);
  border-radius: 2px; display: block; margin: 0 0 4px }
.pictures img.small { image-rendering: pixelated }
summary { cursor: pointer; font-weight: 600 }
details[open] > summary { margin: 0 0 10px }
summary h2 { display: inline; margin: 0; font-size: 1rem }
code { font-size: .9em; overflow-wrap: anywhere }
@media print {
  main { max-width: none; padding: 0 }
  section, .cell, figure, tr { break-inside: avoid }
  .tall { max-height: none; overflow: visible }
}
"""

_SCRIPT = """
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), palettes = read("palettes");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = (value, palette) =>
    typeof value === "string" ? palette[value] ?? value
    : Array.isArray(value) ? value.map((one) => paint(one, palette))
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, paint(one, palette)]))
    : value;
  const draw = (theme) => {
    for (const [id, figure] of Object.entries(figures)) {
      const { data, layout } = paint(figure, palettes[theme]);
      Plotly.react(id, data, layout, { displayModeBar: false, responsive: true });
    }
  };
  const drawTheme = () => draw(dark.matches ? "dark" : "light");
  const folded = [...document.querySelectorAll("details")];
  for (const one of folded)
    one.addEventListener("toggle", () => one.querySelectorAll("figure > div").forEach(Plotly.Plots.resize));
  let closed = [];
  dark.addEventListener("change", drawTheme);
  addEventListener("beforeprint", () => {
    closed = folded.filter((one) => !one.open);
    for (const one of closed) one.open = true;
    draw("light");
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
    drawTheme();
  });
  drawTheme();
})();
"""


class Figures:
    """The figures of a report, each with the place where it is drawn."""

    def __init__(self) -> None:
        self._specs: dict[str, Mapping[str, Any]] = {}

    def place(self, spec: Mapping[str, Any], described: str) -> str:
        """The HTML where a figure goes; `described` says in words what it shows."""
        name = f"figure-{len(self._specs) + 1}"
        self._specs[name] = spec
        height = spec["layout"]["height"]
        return (
            f'<figure aria-label="{text(described)}">'
            f'<div id="{name}" style="min-height: {height}px"></div></figure>'
        )

    def to_json(self) -> str:
        """All of them, by the id of their place."""
        return _json(self._specs)


def document(title: str, body: str, figures: Figures) -> str:
    """The whole file.

    Args:
        title: Plain text, for the browser's tab.
        body: HTML.
        figures: Those placed in the body.
    """
    style = _CSS.replace("LIGHT", variables("light")).replace("DARK", variables("dark"))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            f"<main>{body}</main>",
            f'<script type="application/json" id="palettes">{_json(palettes())}</script>',
            f'<script type="application/json" id="figures">{figures.to_json()}</script>',
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{_SCRIPT}</script>",
            "</body>",
            "</html>",
        ]
    )


def text(value: object) -> str:
    """Anything as text of an element or an attribute."""
    return html.escape(str(value), quote=True)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), wrapped: int = -1
) -> str:
    """A table of plain texts.

    Args:
        head: Of the columns.
        rows: Their cells.
        numbers: Which columns stand at the right.
        wrapped: A column whose cells break anywhere, such as one of fingerprints.
    """
    marks = dict.fromkeys(numbers, ' class="n"') | {wrapped: ' class="wrap"'}

    def line(cells: Sequence[str], tag: str) -> str:
        made = (f"<{tag}{marks.get(place, '')}>{text(cell)}</{tag}>" for place, cell in enumerate(cells))
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def card(title: str, *parts: str, note: str = "") -> str:
    """A titled part of the page; the parts are HTML."""
    quiet = f'<p class="quiet">{text(note)}</p>' if note else ""
    return f"<section><h3>{text(title)}</h3>{quiet}{''.join(parts)}</section>"


def folded(title: str, *parts: str, is_open: bool = False) -> str:
    """A part that opens on a click; the parts are HTML."""
    opened = " open" if is_open else ""
    return f"<section><details{opened}><summary>{text(title)}</summary>{''.join(parts)}</details></section>"


def side_by_side(*parts: str) -> str:
    """Cards beside each other where there is room."""
    return f'<div class="pair">{"".join(parts)}</div>'


def _json(value: Any) -> str:
    """JSON that may stand in a script: without `<`, and with null for what is no number."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return found.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
