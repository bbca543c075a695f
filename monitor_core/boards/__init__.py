"""The outputs for TensorBoard, a module for each; `monitor_core.sinks.tensorboard` brings them together."""
