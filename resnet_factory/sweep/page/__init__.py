"""The page of a sweep: one HTML file with linked views, which needs no network.

The views are Bokeh's: scatter, distributions, parallel coordinates, filters and table are views of one column
source, so that a selection in one is a selection in all, without code of ours. Measured with 20,000 rows:

* Bokeh 3.9 is 2.2 MB inlined with its widgets, table and WebGL; columns are binary arrays of few bytes a row.
* Plotly is 4.6 MB (3.5 MB without maps and 3-D), repeats the columns in every trace as JSON, has a table that
  neither sorts nor selects, and links selections only by Dash, a server, or by code of one's own.
* Vega-Altair is 0.8 MB and links best, but it has no table, draws 20,000 marks without WebGL, and its
  columns are JSON: five times the bytes.

What Bokeh leaves open are a few short scripts in `scripts/`. Colours of axes are CSS variables of the page, so that
dark and light follow the reader's system.
"""
