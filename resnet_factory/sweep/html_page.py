"""The report as one HTML page that needs nothing else: text, tables and figures inside."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root{--ink:#1f2933;--soft:#52606d;--line:#e4e7eb;--pale:#f5f7fa;--accent:#0b69a3;--warm:#c2410c}
*{box-sizing:border-box}
body{margin:0;font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:#fff}
main{max-width:1240px;margin:0 auto;padding:32px 28px 64px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:18px;margin:44px 0 6px;padding-top:14px;border-top:1px solid var(--line)}
p{margin:6px 0 12px;max-width:78ch}.soft{color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.tile{background:var(--pale);border-radius:8px;padding:10px 16px;min-width:130px}
.tile b{display:block;font-size:21px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums;margin:8px 0}
th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}
.bar{display:inline-block;height:10px;background:var(--accent);border-radius:2px;vertical-align:middle;margin-right:8px}
code{font:12.5px ui-monospace,SFMono-Regular,Menlo,monospace;background:var(--pale);padding:1px 5px;border-radius:4px}
figure{margin:10px 0;overflow-x:auto}figure svg{max-width:100%;height:auto}
.pair{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,6fr);gap:28px}
.pair table{font-size:12.5px}.pair td,.pair th{padding-right:10px}
@media(max-width:1000px){.pair{grid-template-columns:1fr}}
.warn{border-left:4px solid var(--warm);background:#fff7ed;padding:8px 14px;margin:12px 0;max-width:78ch}
@media print{h2{break-after:avoid}figure{break-inside:avoid}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def heading(text: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is soft or warn."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(values: Mapping[str, str]) -> str:
    """Large numbers with what they are."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{inner}</div>'


def figure(svg: str) -> str:
    """A figure."""
    return f"<figure>{svg}</figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[int] = ()) -> str:
    """A table; numbers and the columns called `numbers` stand to the right, text between backticks is code."""
    rows = [list(row) for row in rows]
    right = [
        i in numbers or (bool(rows) and all(_is_number(row[i]) for row in rows)) for i in range(len(head))
    ]
    cells = "".join(f"<th{' class=n' if right[i] else ''}>{escape(name)}</th>" for i, name in enumerate(head))
    lines = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if right[i] else ''}>{_cell(value)}</td>" for i, value in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def bars(counts: Mapping[str, int], total: int) -> str:
    """Counts as a table with a bar each."""
    total = max(total, 1)
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td class=n>{count:,}</td><td class=n>{100 * count / total:.1f} %</td>"
        f'<td><span class="bar" style="width:{max(1, round(320 * count / total))}px"></span></td></tr>'
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )
    return f"<table><tbody>{lines}</tbody></table>"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) or value == ""


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    text = escape(str(value))
    return f"<code>{text[1:-1]}</code>" if text.startswith("`") and text.endswith("`") else text
