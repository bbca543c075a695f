"""The parts of the `TensorBoard` sink, one for each kind of output: scalars, weights, embeddings, profiles and others.

Input: the sink's hooks. Output: records for the event files of `monitor_core.tensorboard.formats`. Private.
"""
