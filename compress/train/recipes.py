"""The networks of the Deep Compression paper on digits: dense reference, pruned, shared, saved, measured."""

from __future__ import annotations

import copy
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.compress.datasets import SIDE, Digits
from eie.compress.format.file import load
from eie.compress.format.sizes import SizeReport
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.train.blocks import Blocks
from eie.compress.train.export import save
from eie.compress.train.loop import Teacher, Training, fit
from eie.compress.train.pruning import Schedule, prune
from eie.compress.train.sensitivity import accuracy
from eie.compress.train.sharing import Shared, share
from eie.errors import ModelError

_CALIBRATION = 500
_CLASSES = 10
# How a recipe is pruned when its fully connected layers are in blocks.
_IN_BLOCKS = Training(epochs=20, lr=2e-3, bfloat16=True)
_TEST_BATCH = 1000


@dataclass(frozen=True)
class PublishedRow:
    """A row of the paper's tables 2 and 3.

    Share of weights kept (%), bits of a code (before, after Huffman), bits of an index (before, after), and size after
    all of it (% of float32).
    """

    kept: float
    code_bits: float
    code_coded: float
    index_bits: float
    index_coded: float
    rate: float


@dataclass(frozen=True)
class Published:
    """What the paper reports of a network. error : in percent, dense and compressed. rate : times smaller."""

    dense_error: float
    error: float
    rate: float
    rows: Mapping[str, PublishedRow]
    total: PublishedRow


@dataclass(frozen=True)
class Recipe:
    """How one network is trained and compressed.

    densities, bits : share of the weights kept and bits of a code, by layer. image : whether inputs are [1, 28, 28].
    dense : of the reference, on digits as they are. All that follows learns from distorted ones, shifted by up to
    `shift` pixels (see `distort`): teacher, the dense network trained on; and pruned and shared, which start from the
    teacher and learn from it, too (see `Teacher` for temperature and teacher_share).
    blocks : layers that are in blocks instead.
    """

    name: str
    build: Callable[[], nn.Module]
    image: bool
    batch: int
    dense: Training
    teacher: Training
    pruned: Training
    shared: Training
    densities: Mapping[str, float]
    bits: Mapping[str, float]
    shift: float
    schedule: Schedule
    published: Published
    temperature: float = 2.0
    teacher_share: float = 0.5
    blocks: Mapping[str, Blocks] = field(default_factory=dict)

    def in_blocks(self, blocks: Blocks, bits: int | None = None) -> Recipe:
        """The same with fully connected layers in blocks: the last one, of 10 outputs, in free ones of at least two
        rows. bits : of their codes (default: the recipe's).
        """
        full = [name for name in self.densities if name.startswith("fc")]
        last = Blocks(min(blocks.n, _CLASSES // 2), order=blocks.order, seed=blocks.seed)
        return replace(
            self,
            pruned=_IN_BLOCKS,
            densities={name: share for name, share in self.densities.items() if name not in full},
            bits=(dict.fromkeys(full, bits) if bits else {}) | dict(self.bits),
            blocks=dict.fromkeys(full[:-1], blocks) | {full[-1]: last},
        )


def lenet_300_100() -> nn.Sequential:
    """784-300-100-10 with ReLU between."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(784, 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, 10),
        )
    )


def lenet_5() -> nn.Sequential:
    """Caffe's LeNet: two convolutions without an activation, each with 2 x 2 max pooling, and two FC layers.

    The memory format makes an epoch on a CPU take 9 s instead of 15.
    """
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flat=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return,unused-ignore]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="lenet-300-100",
            build=lenet_300_100,
            image=False,
            batch=128,
            dense=Training(epochs=25, lr=2e-3),
            teacher=Training(epochs=12, lr=2e-3),
            pruned=Training(epochs=45, lr=0.01, momentum=0.9),
            shared=Training(epochs=4, lr=1e-4),
            densities={"fc1": 0.035, "fc2": 0.065, "fc3": 0.3},
            bits={"*": 4},
            shift=0.25,
            schedule=Schedule(),
            published=Published(
                1.64,
                1.58,
                40,
                {
                    "fc1": PublishedRow(8, 6, 4.4, 5, 3.7, 2.32),
                    "fc2": PublishedRow(9, 6, 4.4, 5, 4.3, 3.04),
                    "fc3": PublishedRow(26, 6, 4.3, 5, 3.2, 12.70),
                },
                PublishedRow(8, 6, 5.1, 5, 3.7, 2.49),
            ),
        ),
        Recipe(
            name="lenet-5",
            build=lenet_5,
            image=True,
            batch=128,
            dense=Training(epochs=12, lr=2e-3),
            teacher=Training(epochs=10, lr=2e-3),
            pruned=Training(epochs=30, lr=0.004, momentum=0.9),
            shared=Training(epochs=2, lr=1e-4),
            densities={"conv1": 0.6, "conv2": 0.16, "fc1": 0.025, "fc2": 0.2},
            bits={"*": 4},
            shift=1.5,
            schedule=Schedule(),
            published=Published(
                0.80,
                0.74,
                39,
                {
                    "conv1": PublishedRow(66, 8, 7.2, 5, 1.5, 67.45),
                    "conv2": PublishedRow(12, 8, 7.2, 5, 3.9, 5.28),
                    "fc1": PublishedRow(8, 5, 4.5, 5, 4.5, 2.45),
                    "fc2": PublishedRow(19, 5, 5.2, 5, 3.7, 6.13),
                },
                PublishedRow(8, 5.3, 4.1, 5, 4.4, 2.55),
            ),
        ),
    )
}


# ---- data --------------------------------------------------------------------------------------------------


def as_inputs(images: np.ndarray[tuple[int, int], np.dtype[np.uint8]], image: bool) -> Tensor:
    """Pixels 0..255 as 0..1, with no mean taken off: the background stays exactly zero, which the accelerator skips."""
    x = torch.tensor(images, dtype=torch.float32) / 255
    return x.view(-1, 1, SIDE, SIDE).to(memory_format=torch.channels_last) if image else x


def distort(x: Tensor, shift: float) -> Tensor:
    """Turn, stretch and shift each digit at random: a linear map off by up to 0.12, a shift of up to `shift` pixels."""
    n = len(x)
    u = 2 * torch.rand(6, n) - 1
    # The image is 2 wide.
    step = 2 * shift / SIDE
    maps = [1 + 0.1 * u[0], 0.12 * u[1], step * u[2], 0.12 * u[3], 1 + 0.1 * u[4], step * u[5]]
    affine = torch.stack(maps, 1).view(n, 2, 3)
    grid = functional.affine_grid(affine, [n, 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(x.reshape(n, 1, SIDE, SIDE), grid, align_corners=False).view_as(x)


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of digits in an order drawn anew in each pass (what is left over at the end is left out that time)."""

    x: Tensor
    y: Tensor
    size: int
    change: Callable[[Tensor], Tensor] | None = None
    shuffle: bool = True

    def __len__(self) -> int:
        return len(self.x) // self.size if self.shuffle else math.ceil(len(self.x) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x)) if self.shuffle else torch.arange(len(self.x))
        for place in order[: len(self) * self.size].split(self.size):
            x = self.x[place]
            yield (self.change(x) if self.change else x), self.y[place]


# ---- the run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Outcome of a recipe.

    Errors in percent of `tested` digits; fixed_error : in the accelerator's arithmetic. seconds, cpu_seconds : what a
    run took, checkpoints of an earlier one not counted.
    """

    recipe: Recipe
    dense_error: float
    teacher_error: float
    pruned_error: float
    error: float
    fixed_error: float
    saturations: int
    tested: int
    seconds: float
    cpu_seconds: float
    size: SizeReport
    path: Path
    dense: nn.Module = field(repr=False)
    pruned: nn.Module = field(repr=False)
    shared: Shared = field(repr=False)


@dataclass(frozen=True, eq=False)
class Bench:
    """A recipe's data: what it learns from, and what it is measured on."""

    recipe: Recipe
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    @classmethod
    def of(cls, recipe: Recipe, digits: Digits, holdout: int = 0) -> Bench:
        """All digits; or with `holdout`, measured on that many training digits that are not trained on."""
        if not 0 <= holdout <= len(digits.images) - recipe.batch:
            raise ModelError(f"holdout must be from 0 to {len(digits.images) - recipe.batch}, not {holdout}")
        x, y = as_inputs(digits.images, recipe.image), torch.tensor(digits.labels, dtype=torch.int64)
        if holdout:
            return cls(recipe, x[:-holdout], y[:-holdout], x[-holdout:], y[-holdout:])
        test_y = torch.tensor(digits.test_labels, dtype=torch.int64)
        return cls(recipe, x, y, as_inputs(digits.test_images, recipe.image), test_y)

    @property
    def train(self) -> Batches:
        """Training batches as they are."""
        return Batches(self.x, self.y, self.recipe.batch)

    @property
    def retrain(self) -> Batches:
        """Distorted training batches."""
        return replace(self.train, change=partial(distort, shift=self.recipe.shift))

    @property
    def calibration(self) -> Tensor:
        """Digits that the fixed-point scales follow from."""
        return self.x[:_CALIBRATION]

    def accuracy(self, model: nn.Module) -> float:
        """Right answers in percent of the digits that are measured on."""
        return accuracy(Batches(self.test_x, self.test_y, _TEST_BATCH, shuffle=False))(model)

    def fixed_error(self, path: Path) -> tuple[float, int]:
        """Wrong answers in percent and clipped sums of a `.eie` file in the accelerator's arithmetic."""
        layers = load(path)
        x = self.test_x.reshape(len(self.test_x), -1).numpy()
        run = fixed_forward(layers, quantize_inputs(layers[0], x))
        wrong = run.y.argmax(axis=1) != self.test_y.numpy()
        return 100 * float(wrong.mean()), sum(run.saturations) + sum(run.writeback_saturations)


@contextmanager
def single_thread() -> Iterator[None]:
    """The order of additions, and so the last bits, follow from the number of threads: one, on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_dense(bench: Bench, training: Training) -> nn.Module:
    """The dense reference of a recipe."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        model = bench.recipe.build()
    fit(model, bench.train, functional.cross_entropy, training)
    return model


def run_recipe(
    bench: Bench, folder: Path, seed: int = 1, progress: bool = True, base: Path | None = None
) -> Result:
    """Train, compress and measure a recipe's network; files and checkpoints go to `folder`, those of the dense network
    and the teacher to `base` (default: `folder`), where those of another recipe for the same network are taken up. The
    same seed on the same machine gives the same file. A run that was killed goes on where it was.
    """
    start = (folder if base is None else base) / "checkpoints"
    began, cpu = time.perf_counter(), time.process_time()
    recipe, loss = bench.recipe, functional.cross_entropy
    everywhere = Training(
        seed=seed, progress=progress, evaluate=bench.accuracy, folder=folder / "checkpoints"
    )

    def training(of: Training, teacher: Teacher | None = None) -> Training:
        return replace(
            everywhere,
            epochs=of.epochs,
            lr=of.lr,
            momentum=of.momentum,
            bfloat16=of.bfloat16,
            teacher=teacher,
        )

    with single_thread():
        model = train_dense(bench, replace(training(recipe.dense), folder=start))
        dense = copy.deepcopy(model)
        how = replace(training(recipe.teacher), folder=start / "teacher")
        fit(model, bench.retrain, loss, how)
        teacher = Teacher(copy.deepcopy(model), recipe.temperature, recipe.teacher_share)
        how = training(recipe.pruned, teacher)
        prune(
            model,
            bench.retrain,
            loss,
            density=recipe.densities,
            blocks=recipe.blocks,
            training=how,
            schedule=recipe.schedule,
        )
        pruned = copy.deepcopy(model)
        shared = share(
            model,
            bench.retrain,
            loss,
            bits=recipe.bits,
            blocks=recipe.blocks,
            training=training(recipe.shared, teacher),
        )
        path = folder / f"{recipe.name}.eie"
        report = save(path, model, shared, bench.calibration)
        dense_error, teacher_error, pruned_error, error = (
            100 - bench.accuracy(net) for net in (dense, teacher.model, pruned, model)
        )
        fixed, saturations = bench.fixed_error(path)
    return Result(
        recipe,
        dense_error,
        teacher_error,
        pruned_error,
        error,
        fixed,
        saturations,
        len(bench.test_x),
        time.perf_counter() - began,
        time.process_time() - cpu,
        report.size,
        path,
        dense,
        pruned,
        shared,
    )
