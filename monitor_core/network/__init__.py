"""Sending to servers without blocking the training: a bounded queue, retries with backoff, HTTP.

In: messages from hooks. Out: deliveries on a background thread; undelivered messages are counted. Public
through ``monitor_core`` (`NetworkSink`, `DeliveryError`); the modules themselves are private.
"""
