"""Labelled training programs: what is to be trained, what is wrong with it, and how it is built on each stack."""
