"""What may be a sink: names and signatures of hooks, and functions as sinks."""

import functools

import pytest

from monitor_core import Bus, History, HookError, Sink, on
from monitor_core.bus.hooks import HOOKS, find_hooks, sink_name
from recorders import Recorder

ALL_HOOKS = {
    "on_train_begin": ("run",),
    "on_train_end": ("run", "logs"),
    "on_epoch_begin": ("run", "epoch"),
    "on_epoch_end": ("run", "epoch", "logs"),
    "on_batch_begin": ("run", "step"),
    "on_batch_end": ("run", "step", "logs"),
    "on_block": ("run", "block"),
    "on_evaluation_begin": ("run",),
    "on_evaluation_end": ("run", "logs"),
    "on_midepoch_evaluation": ("run", "logs"),
    "on_evaluation_batch_begin": ("run", "batch"),
    "on_evaluation_batch_end": ("run", "batch", "logs"),
    "on_evaluation_block": ("run", "block"),
    "on_prediction_begin": ("run",),
    "on_prediction_end": ("run", "logs"),
    "on_prediction_batch_begin": ("run", "batch"),
    "on_prediction_batch_end": ("run", "batch", "logs"),
    "on_finding": ("run", "finding"),
    "on_snapshot": ("run", "snapshot"),
    "on_probe": ("run", "probe"),
    "on_exception": ("run", "error"),
    "on_rewind": ("run", "epoch", "step"),
}


def sink_with(**members):
    """Return a plain object of a class with these members."""
    return type("Mine", (), members)()


def test_there_are_exactly_the_hooks_of_the_design():
    """Every hook has its documented name and parameters."""
    assert HOOKS == ALL_HOOKS


def test_all_hooks_of_the_base_class_do_nothing():
    """Each hook of `Sink` can be called and returns None, so that overriding ones may call super."""
    for hook, parameters in ALL_HOOKS.items():
        assert getattr(Sink(), hook)(*parameters) is None


def test_only_overridden_hooks_are_found():
    """A sink is called for the hooks that it overrides, not for those it inherits."""

    class Mine(Sink):
        def on_epoch_end(self, run, epoch, logs): ...

    mine = Mine()
    assert find_hooks(mine) == {"on_epoch_end": mine.on_epoch_end}


def test_hooks_inherited_from_a_users_base_class_are_found():
    """A hook counts as overridden in whichever base class it is defined."""

    class Base(Sink):
        def on_epoch_end(self, run, epoch, logs): ...

    class Mine(Base):
        def on_train_begin(self, run): ...

    assert set(find_hooks(Mine())) == {"on_epoch_end", "on_train_begin"}


def test_plain_object_is_a_sink():
    """An object with some hooks needs no base class."""
    mine = sink_with(on_train_begin=lambda self, run: None)
    assert list(find_hooks(mine)) == ["on_train_begin"]


def test_hook_assigned_to_the_instance_is_found():
    """A hook may be an attribute of the object itself."""
    mine = Sink()
    mine.on_epoch_begin = lambda run, epoch: None
    assert list(find_hooks(mine)) == ["on_epoch_begin"]


@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
def test_static_and_class_methods_are_hooks(wrap):
    """A hook may be a static or a class method."""
    function = (lambda run, epoch: None) if wrap is staticmethod else (lambda cls, run, epoch: None)
    assert list(find_hooks(sink_with(on_epoch_begin=wrap(function)))) == ["on_epoch_begin"]


def test_attribute_that_cannot_be_called_is_not_a_hook():
    """Settings named ``on_...`` and hooks set to None are ignored."""
    mine = sink_with(on_gpu=True, on_epoch_begin=None, on_train_begin=lambda self, run: None)
    assert list(find_hooks(mine)) == ["on_train_begin"]


def test_wants_hook_leaves_hooks_out():
    """A sink is not called for overridden hooks that it does not want."""
    assert set(find_hooks(Recorder("on_block", "on_train_end"))) == {"on_block", "on_train_end"}


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("on_epoch_ends", "did you mean on_epoch_end?"),
        ("on_bach_end", "did you mean on_batch_end?"),
        ("on_train_batch_end", "here it is called on_batch_end"),
        ("on_test_end", "here it is called on_evaluation_end"),
        ("on_validation_start", "here it is called on_evaluation_begin"),
        ("on_predict_batch_begin", "here it is called on_prediction_batch_begin"),
        ("on_zzz", "the hooks are on_train_begin, on_train_end, "),
    ],
)
def test_misspelt_hook_is_refused_with_the_nearest_name(misspelt, nearest):
    """A method ``on_...`` that is not a hook is an error when the sink is added, naming the right one."""
    mine = sink_with(**{misspelt: lambda self, *args: None, "on_block": lambda self, run, block: None})
    with pytest.raises(HookError) as caught:
        Bus(mine)
    assert str(caught.value).startswith(f"Mine.{misspelt} is not a hook: {nearest}")


def test_misspelt_hook_on_the_instance_is_refused():
    """Names are checked on the object as well as on its class."""
    mine = Sink()
    mine.on_epok_end = lambda run, epoch, logs: None
    with pytest.raises(HookError, match=r"Sink.on_epok_end is not a hook: did you mean on_epoch_end\?"):
        Bus(mine)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, epoch, logs: None,
        lambda self, run, epoch, logs, more: None,
        lambda self, run, epoch, logs, *, more: None,
        lambda self, run, *, epoch, logs: None,
        lambda self, **logs: None,
    ],
)
def test_wrong_signature_is_refused(function):
    """A hook that cannot be called as the bus calls it is an error that shows both signatures."""
    with pytest.raises(HookError, match=r"Mine.on_epoch_end must take \(run, epoch, logs\) \(got \("):
        Bus(sink_with(on_epoch_end=function))


@pytest.mark.parametrize(
    "function",
    [
        lambda self, *args: None,
        lambda self, a, b, c: None,
        lambda self, run, epoch, logs=None: None,
        lambda self, run, epoch, logs, more=1, **rest: None,
        lambda self, run, /, epoch, logs: None,
    ],
)
def test_signature_that_takes_the_arguments_is_accepted(function):
    """Parameters may have other names and defaults, and there may be more of them."""
    assert list(find_hooks(sink_with(on_epoch_end=function))) == ["on_epoch_end"]


async def _coroutine(self, run):
    """A hook that would never run."""


async def _async_generator(self, run):
    yield


def _generator(self, run):
    yield


@pytest.mark.parametrize("function", [_coroutine, _async_generator, _generator])
def test_hook_whose_body_would_never_run_is_refused(function):
    """Calling a coroutine function or a generator function runs none of its code: it is refused when added."""
    with pytest.raises(HookError, match=r"Mine.on_train_begin must take \(run\) and be a plain function"):
        Bus(sink_with(on_train_begin=function))


def test_class_is_refused():
    """Passing the class instead of an instance is an error that shows what to write."""
    with pytest.raises(HookError, match=r"a sink must be an instance \(got the class History\): write History\(...\)"):
        Bus(History)


def test_keras_callback_is_refused():
    """A Keras callback is recognised, and the error points to the adapter."""
    members = {"set_model": lambda self, model: None, "set_params": lambda self, params: None}
    callback = sink_with(**members, on_train_batch_end=lambda self, batch, logs=None: None)
    with pytest.raises(HookError, match="Mine is a Keras callback, not a sink: pass it to a KerasAdapter"):
        Bus(callback)


@pytest.mark.parametrize("thing", [object(), 3, None, Sink()])
def test_object_without_hooks_is_refused(thing):
    """An object without hooks is refused with the list of hooks."""
    with pytest.raises(HookError, match="has no hook; a sink has at least one of on_train_begin, on_train_end, "):
        Bus(thing)


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        ([History()], r"sinks must be passed one by one \(got a list\): write \*sinks"),
        (print, r"a function needs the name of its hook \(got <built-in function print>\): write on\('epoch_end', "),
        (type("Mine", (), {"epoch_end": print})(), "Mine has no hook; did you mean on_epoch_end?"),
    ],
)
def test_error_says_what_to_write_instead(thing, hint):
    """A list of sinks, a bare function and a hook without its ``on_`` are refused with what to write instead."""
    with pytest.raises(HookError, match=hint):
        Bus(thing)


def test_refused_sink_leaves_the_bus_as_it_was():
    """A sink that is refused is not on the bus."""
    bus = Bus(recorder := Recorder())
    with pytest.raises(HookError):
        bus.add(object())
    assert bus.sinks == (recorder,)


def test_name_of_a_sink():
    """Messages call a sink by its ``name``, if that is a string, else by its class."""
    assert [sink_name(Recorder(name="mine")), sink_name(sink_with(name=3)), sink_name(sink_with())] == [
        "mine",
        "Mine",
        "Mine",
    ]


@pytest.mark.parametrize("hook", ["epoch_begin", "on_epoch_begin"])
def test_on_as_a_call(hook):
    """A function becomes a sink by a call, with or without ``on_`` in the hook's name."""
    calls = []
    bus = Bus(on(hook, lambda run, epoch: calls.append((run, epoch))))
    bus.train_begin()
    bus.epoch_begin(0)
    assert calls == [(bus.run, 0)]


def test_on_as_a_decorator():
    """A decorated function is a sink, has the function's name, and can still be called."""

    @on("train_begin")
    def announce(run):
        return f"received {run}"

    assert (announce.name, announce("it"), repr(announce)) == ("announce", "received it", "on('train_begin', announce)")
    assert list(find_hooks(announce)) == ["on_train_begin"]


def test_on_takes_any_callable():
    """Bound methods, partial functions and callable objects are accepted."""
    calls = []
    bus = Bus(
        on("epoch_begin", functools.partial(lambda name, run, epoch: calls.append(name), "partial")),
        on("epoch_begin", lambda *args: calls.append("lambda")),
    )
    bus.train_begin()
    bus.epoch_begin(0)
    assert calls == ["partial", "lambda"]


def test_on_refuses_an_unknown_hook():
    """A misspelt name is an error at once, also in a decorator."""
    with pytest.raises(HookError, match=r"there is no hook 'epok_end': did you mean on_epoch_end\?"):
        on("epok_end")


def test_on_refuses_a_wrong_signature():
    """The function's parameters are checked when the sink is made."""
    with pytest.raises(HookError, match=r"show.on_epoch_end must take \(run, epoch, logs\) \(got \(epoch\)\)"):

        @on("epoch_end")
        def show(epoch): ...


def test_on_refuses_a_coroutine_function():
    """An async function is refused."""
    with pytest.raises(HookError, match=r"must take \(run\) and be a plain function"):

        @on("train_begin")
        async def show(run): ...


def test_on_refuses_what_cannot_be_called():
    """An object that is not callable is refused with its value."""
    with pytest.raises(HookError, match=r"function must be callable \(got 3\)"):
        on("train_begin", 3)


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin"])
def test_hook_as_in_keras_is_refused(hook):
    """A hook whose optional logs would swallow an argument, as Keras's do, would get the run in the wrong place."""
    functions = {"on_train_begin": lambda logs=None: None, "on_epoch_begin": lambda epoch, logs=None: None}
    with pytest.raises(HookError, match=rf"{hook} must take \(run.*\), run first"):
        on(hook, functions[hook])
