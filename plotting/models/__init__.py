"""The plot of a model's layers. In: a `LayerGraph`. Out: an image file. Private; see the parent package."""
