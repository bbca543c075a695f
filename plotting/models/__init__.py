"""The plot of a model's layers, from a `LayerGraph` to a figure or an image file. Private; see the parent package."""
