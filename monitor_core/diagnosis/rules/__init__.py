"""The rules, each a plain object; `RULES` has one of each kind, with its thresholds."""
