"""What an object must look like to be a sink: the names and signatures of its hooks, checked when it is added.

A wrong name or signature is a mistake in the sink; it is found before training begins, never during it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any, overload

from monitor_core import frameworks
from monitor_core.bus.sink import Sink
from monitor_core.errors import HookError

Hook = Callable[..., Any]

HOOKS: dict[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(method).parameters)[1:]
    for name, method in vars(Sink).items()
    if name.startswith("on_")
}
"""Every hook's name with the names of its parameters, in the order of their definition in `Sink`."""

# The hooks' names in other libraries (Keras, Lightning, transformers), where the nearest spelling would mislead.
_ELSEWHERE = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_start": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
    "on_step_begin": "on_batch_begin",
    "on_step_end": "on_batch_end",
    "on_test_begin": "on_evaluation_begin",
    "on_test_end": "on_evaluation_end",
    "on_test_batch_begin": "on_evaluation_batch_begin",
    "on_test_batch_end": "on_evaluation_batch_end",
    "on_validation_start": "on_evaluation_begin",
    "on_validation_end": "on_evaluation_end",
    "on_predict_begin": "on_prediction_begin",
    "on_predict_end": "on_prediction_end",
    "on_predict_batch_begin": "on_prediction_batch_begin",
    "on_predict_batch_end": "on_prediction_batch_end",
    "on_train_start": "on_train_begin",
    "on_epoch_start": "on_epoch_begin",
}


# Functions whose body does not run when they are called.
_NEVER_RUN = {
    "a coroutine function": inspect.iscoroutinefunction,
    "an asynchronous generator function": inspect.isasyncgenfunction,
    "a generator function": inspect.isgeneratorfunction,
}


def sink_name(sink: object) -> str:
    """Return a sink's name for messages: its ``name`` if it has one, else its class's."""
    name = getattr(sink, "name", None)
    return name if isinstance(name, str) else type(sink).__name__


def find_hooks(sink: object) -> dict[str, Hook]:
    """Return the hooks that a sink overrides, bound, after checking their names and signatures.

    Args:
        sink: A `Sink`, or any object with some of its hooks.

    Raises:
        HookError: The object is a class, has no hook, has a method ``on_...`` that is not a hook, or has a hook that
            cannot be called with the parameters that the bus passes.
    """
    name = sink_name(sink)
    _refuse_other_kinds(sink, name)
    found: dict[str, Hook] = {}
    wants_hook = getattr(sink, "wants_hook", None) or (lambda _: True)
    for attribute in dir(type(sink)) + list(getattr(sink, "__dict__", ())):
        if not attribute.startswith("on_") or not callable(hook := getattr(sink, attribute)):
            continue
        if attribute not in HOOKS:
            raise HookError(f"{name}.{attribute} is not a hook: {_nearest(attribute)}")
        if getattr(hook, "__func__", None) is not getattr(Sink, attribute):
            _check_signature(name, attribute, hook)
            if wants_hook(attribute):
                found[attribute] = hook
    if not found:
        meant = next((hook for hook in HOOKS if hasattr(sink, hook.removeprefix("on_"))), None)
        hint = f"did you mean {meant}?" if meant else f"a sink has at least one of {', '.join(HOOKS)}"
        raise HookError(f"{name} has no hook; {hint}")
    return found


def _refuse_other_kinds(sink: object, name: str) -> None:
    """Explain what to write where the object is something other than a sink."""
    if isinstance(sink, type):
        raise HookError(f"a sink must be an instance (got the class {sink.__name__}): write {sink.__name__}(...)")
    if isinstance(sink, (list, tuple, set)):
        raise HookError(f"sinks must be passed one by one (got a {name}): write *sinks")
    if inspect.isroutine(sink):
        raise HookError(f"a function needs the name of its hook (got {sink!r}): write on('epoch_end', function)")
    if (framework := frameworks.whose_callback(sink)) is not None:
        raise HookError(
            f"{name} is a {framework.title} callback, not a sink: pass it to a {framework.adapter}, or to fit"
        )


def _nearest(attribute: str) -> str:
    if attribute in _ELSEWHERE:
        return f"here it is called {_ELSEWHERE[attribute]}"
    close = difflib.get_close_matches(attribute, HOOKS, n=1)
    return f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(HOOKS)}"


_NOT_RUN = {name for parameters in HOOKS.values() for name in parameters[1:]}


def _check_signature(name: str, attribute: str, hook: Hook) -> None:
    parameters = HOOKS[attribute]
    wanted = f"{name}.{attribute} must take ({', '.join(parameters)})"
    for kind, is_kind in _NEVER_RUN.items():
        if is_kind(hook):
            raise HookError(f"{wanted} and be a plain function (got {kind})")
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):  # some built-ins have no signature
        return
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise HookError(f"{wanted} (got {signature}): {error}") from None
    if next(iter(signature.parameters)) in _NOT_RUN:  # written as for Keras: it would get the run instead
        raise HookError(f"{wanted}, run first (got {signature})")


class FunctionSink:
    """A sink with one function as its only hook, made by `on`; calling it calls the function."""

    def __init__(self, hook: str, function: Hook) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function
        setattr(self, hook, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        hook = next(attribute for attribute in vars(self) if attribute.startswith("on_"))
        return f"on({hook.removeprefix('on_')!r}, {self.name})"


@overload
def on(hook: str) -> Callable[[Hook], FunctionSink]: ...
@overload
def on(hook: str, function: Hook) -> FunctionSink: ...
def on(hook: str, function: Hook | None = None) -> FunctionSink | Callable[[Hook], FunctionSink]:
    """Make a sink from one function, as a call or as a decorator.

    Args:
        hook: The hook's name, with or without its ``on_``: ``"epoch_end"``.
        function: What to call with that hook's parameters, ``run`` first. Without it, a decorator is returned.

    Raises:
        HookError: There is no such hook, or the function cannot be called with its parameters.

    Example:
        >>> @on("epoch_end")
        ... def show(run, epoch, logs):
        ...     print(epoch, logs["loss"])
        >>> bus = Bus(show)
    """
    attribute = hook if hook.startswith("on_") else f"on_{hook}"
    if attribute not in HOOKS:
        raise HookError(f"there is no hook {hook!r}: {_nearest(attribute)}")
    if function is None:
        return lambda decorated: on(attribute, decorated)
    if not callable(function):
        raise HookError(f"function must be callable (got {function!r})")
    sink = FunctionSink(attribute, function)
    _check_signature(sink.name, attribute, function)
    return sink
