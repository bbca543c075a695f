"""Threads, forks, exits and signals: what happens outside the training's own flow of control.

Input: a method to call in the background, an owner to notify. Output: calls on a daemon thread, after a fork and at
exit, and signals that are deferred while records are delivered. Private.
"""
