"""Trains small neural networks to tell the time in words ("07:10" -> "ten past seven") and pushes what they say to a WAA Live server.

pip install scikit-learn
PYTHONPATH=. python examples/train.py [--url http://127.0.0.1:8765] [--key waa_...] [--job clock-1] [--epochs 12] [--seed 1]

There is one network for each place in the sentence. After each epoch they tell times that they were not trained on; at first hardly one
is right, after twelve epochs most are. It takes some seconds on a CPU.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.neural_network import MLPClassifier

from waa.client import Client, TrainingBatch

NUMBERS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
]
HOURS = ["twelve", *NUMBERS[1:12]]
SPECIAL = {0: "o'clock", 15: "quarter past", 30: "half past", 45: "quarter to"}
PLACES = 4
"""Words of the longest sentence: "twenty nine past seven"."""
HELD_OUT = 240
BATCH = 32


def in_words(hour: int, minute: int) -> str:
    """A time as people say it."""
    name = HOURS[(hour + (minute > 30)) % 12]
    if minute == 0:
        return f"{name} {SPECIAL[0]}"
    if minute in SPECIAL:
        return f"{SPECIAL[minute]} {name}"
    count = minute if minute < 30 else 60 - minute
    words = NUMBERS[count] if count <= 20 else f"twenty {NUMBERS[count - 20]}"
    return f"{words} {'past' if minute < 30 else 'to'} {name}"


@dataclass
class Clock:
    """A network per place; what it has learned is what ``partial_fit`` has shown it."""

    networks: list[MLPClassifier]
    words: list[list[str]]
    step: int = 0

    def learn(self, times: Sequence[str], sentences: Sequence[str]) -> None:
        """Once through all examples, in mini-batches."""
        places = [padded(sentence) for sentence in sentences]
        for network, words, column in zip(self.networks, self.words, zip(*places, strict=True), strict=True):
            network.partial_fit(digits(times), np.array(column), classes=words)
        self.step += -(-len(times) // BATCH)

    def tell(self, times: Sequence[str]) -> list[tuple[str, float]]:
        """What it says, and how sure it is: the product of the places' probabilities."""
        seen = [network.predict_proba(digits(times)) for network in self.networks]
        said = [[words[index] for index in found.argmax(axis=1)] for words, found in zip(self.words, seen, strict=True)]
        sure = np.prod([found.max(axis=1) for found in seen], axis=0)
        return [(" ".join(word for word in row if word), float(p)) for row, p in zip(zip(*said, strict=True), sure, strict=True)]


def new_clock(sentences: Sequence[str], seed: int) -> Clock:
    """It knows the words, and nothing else."""
    words = [sorted(set(column)) for column in zip(*(padded(sentence) for sentence in sentences), strict=True)]
    networks = [MLPClassifier((64,), learning_rate_init=0.003, batch_size=BATCH, random_state=seed + place) for place in range(len(words))]
    return Clock(networks, words)


def digits(times: Sequence[str]) -> np.ndarray:
    """One-hot, four digits each."""
    return np.array([[digit == other for digit in time.replace(":", "") for other in "0123456789"] for time in times], dtype=float)


def padded(sentence: str) -> list[str]:
    """A word, or none, for each place."""
    words = sentence.split()
    return words + [""] * (PLACES - len(words))


def distance(one: str, other: str) -> int:
    """Characters to insert, remove or exchange (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def push(predictions: TrainingBatch, clock: Clock, epoch: int, times: Sequence[str], sentences: Sequence[str]) -> float:
    """What the clock says of each time; gives how many are right."""
    right = 0
    for time, sentence, (said, sure) in zip(times, sentences, clock.tell(times), strict=True):
        same = sum(a == b for a, b in zip(padded(said), padded(sentence), strict=True))
        scores = {"char_error_rate": distance(said, sentence) / len(sentence), "word_accuracy": same / PLACES, "confidence": sure}
        predictions.create(epoch=epoch, step=clock.step, prompt=time, prediction=said, target=sentence, scores=scores)
        right += said == sentence
    predictions.complete_epoch(epoch)
    return right / len(times)


def main() -> None:
    """Train, and push after each epoch."""
    parser = argparse.ArgumentParser(description="Trains a small model and pushes its predictions.")
    parser.add_argument("--url", help="the server; else WAA_URL, else http://127.0.0.1:8765")
    parser.add_argument("--key", help="a key with the scope training; better in WAA_KEY or WAA_KEY_FILE")
    parser.add_argument("--job", help="name of the training; else the server makes one")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    times = np.array([f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60)])
    np.random.default_rng(options.seed).shuffle(times)
    sentences = [in_words(*map(int, time.split(":"))) for time in times]
    clock = new_clock(sentences, options.seed)

    client = Client(options.url, options.key)
    job = client.training_jobs.create(options.job, title="Telling the time in words")
    print(f"training {job.job_id}, shown at {job.url}", flush=True)
    with client.training_predictions.batch(job.job_id) as predictions:
        try:
            for epoch in range(options.epochs):
                clock.learn(times[HELD_OUT:], sentences[HELD_OUT:])
                right = push(predictions, clock, epoch, times[:HELD_OUT], sentences[:HELD_OUT])
                print(f"epoch {epoch}: {right:.1%} right", flush=True)
        except KeyboardInterrupt:
            predictions.finish("cancelled")
            raise
        predictions.finish("completed")
    print(predictions.report)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
