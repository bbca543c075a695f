"""Sending to servers without making a training wait: a bounded queue, retries with back-off, HTTP.

In: messages from hooks. Out: deliveries on a thread of their own; what could not be delivered is counted. Public
through ``monitor_core`` (`NetworkSink`, `DeliveryError`); the modules themselves are private.
"""
