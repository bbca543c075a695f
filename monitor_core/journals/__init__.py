"""The journal of a run: its format, how it is written, and how it is read back."""
