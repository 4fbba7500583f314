"""`eie train` on a few made-up digits and with few epochs: python small_train.py ARGUMENTS, in a process of its own."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from eie.cli.main import main
from eie.compress import datasets
from eie.compress.train import recipes
from eie.compress.train.loop import Training
from tests.support.small_mnist import idx_files

if __name__ == "__main__":
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in idx_files().items()}
    datasets.DATA_SETS["mnist"] = replace(datasets.DATA_SETS["mnist"], sha256=sums)
    for name, recipe in recipes.RECIPES.items():
        recipes.RECIPES[name] = replace(
            recipe,
            batch=32,
            dense=Training(epochs=6, lr=3e-3),
            teacher=Training(epochs=2, lr=2e-3),
            pruned=Training(epochs=2, lr=0.01, momentum=0.9),
            shared=Training(epochs=1, lr=1e-4),
        )
    main(sys.argv[1:])
