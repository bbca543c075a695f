"""Lay out a layered graph with nested groups as boxes and lines with coordinates.

It turns nodes, edges and groups into positions, and knows neither models nor matplotlib; see README.md. Private.
"""
