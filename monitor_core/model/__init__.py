"""The model side: what a handle provides, the graph of layers, samples of data and random generators.

Input: a framework's model through its handle. Output: weights, graphs and samples as NumPy arrays and plain objects.
Public through ``monitor_core`` (`LayerGraph`); the modules themselves are private.
"""
