"""Data in the formats that TensorBoard reads, made without TensorFlow: event files, and what goes into them."""
