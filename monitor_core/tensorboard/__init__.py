"""The internals of the `TensorBoard` sink: the parts of a run that it writes, and the formats it writes them in.

Input: blocks, logs and a model's handle. Output: event files that TensorBoard reads. Private, except as documented in
`monitor_core.tensorboard.parts` and `monitor_core.tensorboard.formats`.
"""
