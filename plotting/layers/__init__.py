"""Plots of activations over a training, from files of `ActivationDump` to matplotlib figures. Private."""
