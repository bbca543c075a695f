"""Diagnosis: what is wrong with a training, in sentences.

Input: what was observed of a run, live or from a record. Output: findings. Observing and judging are two things: what
observes (`data`, `probe`, the model handles' ``summary``) produces plain values that JSON can hold; the rules in
`rules` are plain objects that read those values alone. So a finding is the same live and afterwards. Public through
``monitor_core`` (`Diagnosis`, `diagnose`); the modules themselves are private.
"""
