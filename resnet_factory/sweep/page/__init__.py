"""The page of a sweep: one HTML file with linked views, which needs no network.

Its views are Bokeh's: scatter, distributions, parallel coordinates, filters and table show one column source,
so that a selection in one is a selection in all. Inlined, with widgets, table and WebGL, Bokeh 3.9 is 2.2 MB,
and columns are binary arrays: 20,000 architectures of twelve numbers per stage make a file of 4 MB. Of the
alternatives, Plotly's library is larger, its table neither sorts nor selects, and its charts are linked by a
server (Dash) or by code of one's own; Vega-Altair's is smaller and links as well, but has no table, draws
without WebGL, and its columns are JSON.

What Bokeh leaves open are the short scripts in `scripts/`. The colours of axes and widgets are CSS variables
of the page, so that dark and light follow the reader's system.
"""
