"""TensorBoard's file formats, written without TensorFlow: event files, scalars, histograms, images, graphs, text.

Input: NumPy arrays and plain objects. Output: bytes of event files. Private.
"""
