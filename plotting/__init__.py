"""Pictures of recorded data, as matplotlib figures; needs the extra ``plot``."""
