"""Plots of metrics over epochs and batches, from histories to matplotlib figures. Private; see the parent package."""
