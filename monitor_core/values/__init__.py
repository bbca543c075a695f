"""Metric values: kept raw when logged, fetched late and together, delivered as blocks of columns.

Input: what a training logs, of any framework. Output: floats (`scalar`) and float64 columns (`Block`). Public through
``monitor_core`` (`Block`, `scalar`); the modules themselves are private.
"""
