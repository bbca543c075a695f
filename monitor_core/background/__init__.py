"""Threads, forks, exits and signals: whatever happens outside the training's own flow of control.

In: a method to call in the background, an owner to notify. Out: calls on a daemon thread, after a fork and at exit, and
signals that are deferred while records are delivered. Private.
"""
