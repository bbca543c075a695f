"""TensorBoard's file formats, written without TensorFlow: event files, scalars, histograms, images, graphs, text.

In: NumPy arrays and plain objects. Out: bytes of event files. Private.
"""
