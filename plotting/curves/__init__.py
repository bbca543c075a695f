"""Plots of metrics over epochs and batches. In: histories. Out: matplotlib figures. Private; see the parent package."""
