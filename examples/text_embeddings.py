"""The second experiment, in detail: a small network that learns which words are praise, and every tab of TensorBoard.

Reviews as sequences of words, an embedding, two 1D convolutions, global max pooling, a sigmoid. The reviews are
IMDB's if Keras has them or can download them, else generated ones over a small vocabulary of real words, whose label
follows from their words. Either way the embedding learns what the task needs: words of praise end up on one side, words
of blame on the other, which the Projector shows in three dimensions.

    python examples/text_embeddings.py --epochs 6 --out out/text
    tensorboard --logdir out/text/tensorboard

writes ``tensorboard/``, ``activations/`` with each layer's output for the same two reviews after every epoch, and two
diagrams of the model, ``model.png`` and ``model_shapes.png``.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from monitor_core import ActivationDump, Progress, TensorBoard
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.plotting import plot_model


def _words(text: str) -> list[str]:
    return text.split()


PRAISE = _words("""
    admirable amazing astonishing beautiful brilliant captivating charming clever compelling delightful elegant engaging
    enjoyable excellent exceptional extraordinary fantastic flawless fresh funny gorgeous great gripping heartwarming
    impressive inspiring lovely magnificent marvelous masterful memorable moving outstanding perfect powerful remarkable
    satisfying splendid stunning superb touching unforgettable witty wonderful
""")
BLAME = _words("""
    annoying atrocious awful awkward bad bland boring cheap clumsy confusing disappointing dreadful dull embarrassing
    empty flat forgettable frustrating horrible incoherent inept laughable lazy lifeless mediocre messy painful pathetic
    pointless poor predictable ridiculous shallow sloppy stale stupid tedious terrible tiresome ugly unbearable
    unconvincing weak worthless
""")
TOPICS = _words("""
    acting actor actress camera cast character comedy costume dialogue director drama editing ending film hero humor
    lighting movie music opening performance picture plot scene score screenplay script sequel setting soundtrack story
    villain
""")
CLAUSES = (
    "the {topic} is {opinion}",
    "the {topic} was {opinion} and so was the {topic}",
    "i found the {topic} {opinion}",
    "{opinion} {topic} from start to end",
    "my friends called the {topic} {opinion}",
    "we saw it on a quiet evening in the city",
    "the {topic} comes between the first and the second hour",
    "the {topic} was made by the same studio as the {topic}",
)
SPECIAL = ("(padding)", "(start)", "(unknown)", "(unused)")  # the meaning of Keras's indices 0 to 3
CLASSES = ("negative", "positive")
DIMENSIONS = 32
OPTIMIZER = "rmsprop"
BATCH_SIZE = 64


class Reviews(NamedTuple):
    """Reviews as word indices: ``x (n, length) int32``, ``y (n,) float32``, 1 for praise; ``words`` by index."""

    source: str
    x: np.ndarray
    y: np.ndarray
    words: list[str]

    def text(self, review: int) -> str:
        """Return a review as text."""
        return " ".join(self.words[number] for number in self.x[review] if number >= len(SPECIAL))


def load_reviews(count: int, *, made: bool = False) -> Reviews:
    """Return IMDB's reviews if available, else, or on request, generated ones."""
    if not made:
        try:
            return imdb_reviews(count)
        except Exception as error:  # Keras raises a bare Exception if a download fails
            print(f"IMDB's reviews are not available ({error}); using generated ones.")
    return made_reviews(count)


def imdb_reviews(count: int, words: int = 2000, length: int = 500, patience: float = 5.0) -> Reviews:
    """Return IMDB's first reviews, with its most frequent words; ``patience`` is in seconds."""
    waits = socket.getdefaulttimeout()
    socket.setdefaulttimeout(patience)
    try:
        (sequences, labels), _ = keras.datasets.imdb.load_data(num_words=words)
        numbers = keras.datasets.imdb.get_word_index()
    finally:
        socket.setdefaulttimeout(waits)
    names = {number + 3: word for word, number in numbers.items()}
    vocabulary = [*SPECIAL, *(names[number] for number in range(len(SPECIAL), words))]
    return _as_arrays("imdb", sequences[:count], labels[:count], vocabulary, length)


def made_reviews(count: int, length: int = 60, seed: int = 0) -> Reviews:
    """Return reviews made of `CLAUSES`: most opinions in a review agree, and its label says which they are."""
    random = np.random.default_rng(seed)
    fixed = {word for clause in CLAUSES for word in clause.split() if not word.startswith("{")}
    vocabulary = [*SPECIAL, *sorted({*fixed, *TOPICS}), *PRAISE, *BLAME]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    values = dict.fromkeys(PRAISE, 1) | dict.fromkeys(BLAME, -1)
    sequences, labels = [], []
    while len(labels) < count:
        words = _made_review(random)
        praise = sum(values.get(word, 0) for word in words)
        if praise:  # else the label would be ambiguous
            sequences.append([1, *(numbers[word] for word in words)])
            labels.append(praise > 0)
    return _as_arrays("made", sequences, labels, vocabulary, length)


def _made_review(random: np.random.Generator) -> list[str]:
    def one_of(choices):
        return choices[random.integers(len(choices))]

    words, is_praise = [], random.random() < 0.5
    for _ in range(random.integers(4, 8)):
        for word in one_of(CLAUSES).split():
            if word == "{topic}":
                words.append(one_of(TOPICS))
            elif word == "{opinion}":
                is_usual = random.random() < 0.9
                words.append(one_of(PRAISE if is_usual == is_praise else BLAME))
            else:
                words.append(word)
    return words


def _as_arrays(source: str, sequences, labels, vocabulary: list[str], length: int) -> Reviews:
    x = keras.utils.pad_sequences(sequences, maxlen=length, dtype="int32")
    return Reviews(source, x, np.asarray(labels, "float32"), vocabulary)


def build_model(reviews: Reviews) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input(reviews.x.shape[1:], dtype="int32", name="review"),
            keras.layers.Embedding(len(reviews.words), DIMENSIONS, name="embed"),
            keras.layers.Conv1D(32, 7, activation="relu", name="phrases"),
            keras.layers.MaxPooling1D(5, name="strongest"),
            keras.layers.Conv1D(32, 7, activation="relu", name="passages"),
            keras.layers.GlobalMaxPooling1D(name="strongest_of_all"),
            keras.layers.Dense(1, "sigmoid", name="praise"),
        ],
        name="reader",
    )
    model.compile(OPTIMIZER, "binary_crossentropy", metrics=["accuracy"])
    return model


def sentiment(word: str) -> str:
    return "positive" if word in PRAISE else "negative" if word in BLAME else "neutral"


def separation(matrix: np.ndarray, words: list[str]) -> float:
    """Return the share of words of praise and blame that the first principal component puts on the right side.

    Args:
        matrix: The embedding, ``(words, dimensions)``.
        words: The word of each row.
    """
    centred = matrix - matrix.mean(axis=0)
    component = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    is_praise, is_blame = np.isin(words, PRAISE), np.isin(words, BLAME)
    middle = (component[is_praise].mean() + component[is_blame].mean()) / 2
    share = np.mean((component > middle)[is_praise | is_blame] == is_praise[is_praise | is_blame])
    return float(max(share, 1 - share))  # the sign of a component is arbitrary


def board(folder: Path, reviews: Reviews, hparams: dict[str, object]) -> TensorBoard:
    """Return the sink with all of its outputs enabled."""
    return TensorBoard(
        folder,
        update_freq="batch",
        histogram_freq=1,
        write_images=True,
        write_activations=True,
        write_gradients=True,
        embeddings_freq=1,
        embeddings_metadata={
            "embed": {"word": reviews.words, "sentiment": [sentiment(word) for word in reviews.words]}
        },
        predictions_freq=1,
        class_names=CLASSES,
        text={f"reviews/{CLASSES[int(reviews.y[number])]}": reviews.text(number) for number in range(8)},
        hparams=hparams,
        hparams_metrics=["loss", "accuracy", "val_loss", "val_accuracy"],
    )


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--reviews", type=int, default=2000, help="how many to train on, and how many to validate with")
    parser.add_argument("--made", action="store_true", help="use generated reviews instead of IMDB's")
    parser.add_argument("--out", type=Path, default=Path("out/text"))
    arguments = parser.parse_args(options)
    arguments.out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(0)
    reviews = load_reviews(arguments.reviews, made=arguments.made)
    model = build_model(reviews)
    plot_model(KerasModel(model), to_file=arguments.out / "model.png")
    plot_model(KerasModel(model), show_shapes=True, to_file=arguments.out / "model_shapes.png")

    cut = len(reviews.y) * 4 // 5
    hparams = {"reviews": reviews.source, "optimizer": OPTIMIZER, "batch_size": BATCH_SIZE, "dimensions": DIMENSIONS}
    logs = arguments.out / "tensorboard"
    dump = ActivationDump(arguments.out / "activations" / "{epoch:04d}.npz", samples=2)
    adapter = KerasAdapter(Progress(), dump, board(logs, reviews, hparams))
    adapter.fit(
        model,
        reviews.x[:cut],
        reviews.y[:cut],
        epochs=arguments.epochs,
        batch_size=BATCH_SIZE,
        validation_data=(reviews.x[cut:], reviews.y[cut:]),
    )

    share = separation(dict(KerasModel(model).embeddings())["embed"], reviews.words)
    print(f"The embedding's first principal component separates {share:.0%} of the words of praise and blame.")
    print(f"Open it all with:  tensorboard --logdir {logs}")
    print("In the Projector choose the last run, and colour by sentiment.")


if __name__ == "__main__":
    main()
