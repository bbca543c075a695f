"""What the `TensorBoard` sink is made of: the parts of a run it writes, and the formats they are written in.

In: blocks, logs and a model's handle. Out: event files that TensorBoard reads. Private, except as documented in
`monitor_core.tensorboard.parts` and `monitor_core.tensorboard.formats`.
"""
