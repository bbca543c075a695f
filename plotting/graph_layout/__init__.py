"""The layout of a layered graph with nested groups, as boxes and lines with coordinates.

In: nodes, edges and groups. Out: positions. It knows neither models nor matplotlib; see README.md. Private.
"""
