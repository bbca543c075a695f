"""Plots of activations over a training. In: files of `ActivationDump`. Out: matplotlib figures. Private."""
