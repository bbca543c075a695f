"""Records in memory: columns of floats that grow, the batches of a run, and the numbering of epochs and steps.

In: rows and blocks. Out: NumPy arrays. It touches no files. Private.
"""
