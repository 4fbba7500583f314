"""MiniLM (all-MiniLM-L6-v2) whole: exported as an ONNX graph, compressed, and run on sentences.

    python examples/models/fetch.py minilm minilm-words
    python examples/transformers/minilm.py export            # build/models/minilm.onnx
    python examples/transformers/minilm.py measure --write   # the tables, into docs/networks.md as well

Embeddings, attention, layer norms and GELU run on the host, every projection on the accelerator. `measure` also trains:
pruned networks that learn the float network's vectors of the sentences on the project's own pages, some minutes each.
"""

from __future__ import annotations

import contextlib
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eie.compress.format.file import measure as sizes_of
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import StepGraph, Trained
from eie.sim.networks.run import GraphNetwork, GraphRun

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import ROOT, Page, errors_told, table

if TYPE_CHECKING:
    from torch import Tensor, nn

MODELS = ROOT / "build" / "models"
WEIGHTS, WORDS, GRAPH = (MODELS / f"minilm{end}" for end in (".safetensors", "-words.txt", ".onnx"))
PAGE = Page(
    "docs/networks.md",
    "<!-- tables: examples/transformers/minilm.py measure --write -->",
    "<!-- end of MiniLM -->",
)
N_PE = 64
# Of the training: words of a sentence, sentences of a batch. Taken as they are, tried with no others.
LENGTHS, BATCH, EPOCHS, RATE = (4, 24), 32, 2, 2e-4
Array = npt.NDArray[Any]

# Pairs that mean the same, roughly, and others; scales follow from the last ten.
SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays a musical instrument.",
    "The cat sleeps on the warm windowsill.",
    "A kitten is napping in the sun.",
    "The stock market fell sharply on Monday.",
    "Shares lost much of their value at the start of the week.",
    "How do I reset my password?",
    "I forgot my login and need a new one.",
    "The bridge over the river is closed for repairs.",
    "Sparse matrices skip multiplications with zero.",
)
OTHERS = (
    "She bought fresh bread at the bakery this morning.",
    "The train to the coast leaves at nine.",
    "Engineers measured the power that the chip takes.",
    "It rained all night and the garden is wet.",
    "Children learn to read in their first years at school.",
    "The museum shows paintings of the last century.",
    "A new law on data protection was passed.",
    "He repaired the old radio in his workshop.",
    "Memory is the bottleneck of large networks.",
    "Where can I find the opening hours?",
)


# ---- words -------------------------------------------------------------------------------------------------


def words_of(text: str) -> Iterator[str]:
    """Words and punctuation, in small letters without accents."""
    plain = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    word = ""
    for c in [*plain, " "]:
        if c.isalnum():
            word += c
            continue
        if word:
            yield word
        word = ""
        if not c.isspace():
            yield c


def pieces(word: str, known: Mapping[str, int]) -> list[int]:
    """A word as the longest pieces that are known, from the left."""
    found: list[int] = []
    start = 0
    while start < len(word):
        ends = (end for end in range(len(word), start, -1) if ("##" * bool(start) + word[start:end]) in known)
        end = next(ends, 0)
        if not end:
            return [known["[UNK]"]]
        found.append(known["##" * bool(start) + word[start:end]])
        start = end
    return found


def tokens_of(sentences: Sequence[str]) -> dict[str, Array]:
    """Inputs of the graph: numbers of the pieces, and where there are any."""
    known = {word: number for number, word in enumerate(WORDS.read_text().splitlines())}
    rows = [
        [known["[CLS]"], *(one for word in words_of(text) for one in pieces(word, known)), known["[SEP]"]]
        for text in sentences
    ]
    longest = max(map(len, rows))
    tokens, mask = (np.zeros((len(rows), longest), np.int64) for _ in range(2))
    for place, row in enumerate(rows):
        tokens[place, : len(row)], mask[place, : len(row)] = row, 1
    return {"tokens": tokens, "mask": mask}


# ---- the graph ---------------------------------------------------------------------------------------------


def encoder() -> nn.Module:
    """The network with its published weights: tokens and mask [batch, time] in, a vector for each sentence out."""
    import torch
    from safetensors.torch import load_file
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        """One layer of the encoder, its modules called as in the file."""

        def __init__(self, width: int, inner: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            linear = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
            norm = {"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, 1e-12)}
            self.attention = nn.ModuleDict({"self": nn.ModuleDict(linear), "output": nn.ModuleDict(norm)})
            self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
            self.output = nn.ModuleDict(
                {"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, 1e-12)}
            )

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            def split(y: Tensor) -> Tensor:
                return y.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

            own, after = self.attention["self"], self.attention["output"]
            q, k, v = (split(own[name](x)) for name in ("query", "key", "value"))
            weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
            seen = (weights @ v).transpose(1, 2).reshape(x.shape)
            x = after["LayerNorm"](x + after["dense"](seen))
            inner = functional.gelu(self.intermediate["dense"](x))
            return self.output["LayerNorm"](x + self.output["dense"](inner))

    class Encoder(nn.Module):
        """Tokens in, a vector of length one for each sentence out."""

        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleDict(
                {
                    "word_embeddings": nn.Embedding(30522, 384),
                    "position_embeddings": nn.Embedding(512, 384),
                    "token_type_embeddings": nn.Embedding(2, 384),
                    "LayerNorm": nn.LayerNorm(384, 1e-12),
                }
            )
            self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(384, 1536, 12) for _ in range(6))})

        def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
            table = self.embeddings
            places = torch.arange(tokens.shape[1])
            x = table["word_embeddings"](tokens) + table["position_embeddings"](places)
            x = table["LayerNorm"](x + table["token_type_embeddings"].weight[0])
            real = mask.to(x.dtype)
            for block in self.encoder["layer"]:
                x = block(x, (1 - real[:, None, None]) * -1e4)
            mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            return functional.normalize(mean)

    model = Encoder().eval()
    held = {name: one for name, one in load_file(WEIGHTS).items() if not name.startswith("pooler")}
    held.pop("embeddings.position_ids", None)
    model.load_state_dict(held)
    return model


def export(model: nn.Module, path: Path) -> None:
    """Write the network as an ONNX graph."""
    import torch

    given = {name: torch.from_numpy(array) for name, array in tokens_of(SENTENCES[:2]).items()}
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(given.values()),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=list(given),
            output_names=["sentence"],
            dynamic_axes={name: {0: "batch", 1: "time"} for name in given},
        )


# ---- training ----------------------------------------------------------------------------------------------


def pages() -> list[str]:
    """Sentences of the project's own pages, unlike those that are measured: the text that every clone has."""
    found: dict[str, None] = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = re.sub(r"(?s:```.*?```|<!--.*?-->)|^(?:[|#>]|    ).*$", "\n\n", page.read_text(), flags=re.M)
        for paragraph in re.split(r"\n\s*\n|^\s*[-*] ", text, flags=re.M):
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", " ".join(paragraph.split()))
            for sentence in re.split(r"(?<=[.:?]) ", plain):
                if LENGTHS[0] <= len(sentence.split()) <= LENGTHS[1]:
                    found.setdefault(sentence)
    return list(found)


class Lessons:
    """Batches of sentences with the float network's vectors, in an order drawn anew in each epoch."""

    def __init__(self, model: nn.Module, sentences: Sequence[str]) -> None:
        import torch

        by_length = sorted(sentences, key=lambda one: len(one.split()))
        self.batches: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(by_length), BATCH):
            given = [torch.from_numpy(a) for a in tokens_of(by_length[start : start + BATCH]).values()]
            with torch.no_grad():
                self.batches.append((torch.stack(given), model(*given)))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        import torch

        return (self.batches[i] for i in torch.randperm(len(self.batches)))


def distilled(density: float) -> Path:
    """The graph of a network that learnt the float network's vectors while it was pruned; trained if not there."""
    path = MODELS / f"minilm-{100 * density:g}.onnx"
    if path.exists():
        return path
    from torch import nn

    from eie.compress import train

    class Student(nn.Module):
        """Both inputs as one tensor, as the training loop hands them over."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, given: Tensor) -> Tensor:
            answer: Tensor = self.inner(given[0], given[1])
            return answer

    def distance(found: Tensor, right: Tensor) -> Tensor:
        return (found - right).square().sum(-1).mean()

    student = Student(encoder())
    how = train.Training(epochs=EPOCHS, lr=RATE, folder=path.with_suffix(""))
    train.prune(student, Lessons(encoder(), pages()), distance, density=density, training=how)
    export(student.inner, path)
    return path


# ---- figures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """Share of the weights that stay, bits of a code and of a sum; whether the network learnt after pruning."""

    density: float
    bits: int
    acc_bits: int = 32
    learnt: bool = False


SETTINGS = (
    *(Setting(1.0, 8), Setting(0.5, 8), Setting(1.0, 4), Setting(0.7, 6)),
    *(Setting(1.0, 8, 16), Setting(0.3, 8)),
    *(Setting(0.5, 8, learnt=True), Setting(0.3, 8, learnt=True), Setting(0.3, 5, learnt=True)),
)
HEADINGS = (
    *(
        "kept",
        "trained",
        "code bits",
        "sum bits",
        "vectors, relative error",
        "similarities, largest change",
        "correlation",
    ),
    *("nearest sentence the same", "cycles a token", "µs", "µJ", "smaller"),
)


def similarities(vectors: Array) -> Array:
    """Cosines of all pairs of sentences."""
    return np.asarray(vectors @ vectors.T, np.float64)


def row_of(setting: Setting, run: GraphRun, exact: Array, tokens: int, ratio: float) -> list[str]:
    """Of the table."""
    ours, right = similarities(run.outputs), similarities(exact)
    pairs = np.triu_indices(len(ours), 1)
    away = np.eye(len(ours)) * 9
    same = int(((ours - away).argmax(1) == (right - away).argmax(1)).sum())
    cycles = (run.cycles or 0) / tokens
    return [
        f"{100 * setting.density:g} %",
        "yes" if setting.learnt else "no",
        str(setting.bits),
        str(setting.acc_bits),
        f"{100 * np.linalg.norm(run.outputs - exact) / np.linalg.norm(exact):.1f} %",
        f"{np.abs(ours - right)[pairs].max():.3f}",
        f"{np.corrcoef(ours[pairs], right[pairs])[0, 1]:.4f}",
        f"{same} of {len(ours)}",
        f"{cycles:,.0f}",
        f"{cycles / run.cfg.clock_hz * 1e6:,.1f}",
        f"{(run.energy_uj or 0) / tokens:,.1f}",
        f"{ratio:.1f} x",
    ]


def pairs_of(run: GraphRun, exact: Array) -> list[list[str]]:
    """Similarities of some pairs, the float network's and ours."""
    ours, right = similarities(run.outputs), similarities(exact)
    chosen = ((0, 1), (2, 3), (4, 5), (6, 7), (0, 4), (2, 8), (6, 9))
    return [[SENTENCES[a], SENTENCES[b], f"{right[a, b]:.3f}", f"{ours[a, b]:.3f}"] for a, b in chosen]


def compressed(graph: StepGraph, met: Mapping[str, Array], setting: Setting) -> tuple[GraphNetwork, float]:
    """The network, and how many times smaller its matrices are."""
    widths = Widths(acc_bits=setting.acc_bits)
    how = Settings((setting.density,), weight_bits=setting.bits, widths=widths)
    layers = compress_each(graph.trained, [met[name] for name in graph.layers], how)
    return GraphNetwork(graph, layers, "MiniLM"), sizes_of(layers).ratio


def measure(settings: Sequence[Setting]) -> str:
    """The text for the page."""
    whole = read_graph(GRAPH)
    given = tokens_of(SENTENCES)
    exact = whole.evaluate(given, Trained(whole))["sentence"]
    count = int(given["mask"].size)
    rows, shown = [], ""
    for setting in settings:
        graph = read_graph(distilled(setting.density)) if setting.learnt else whole
        met = graph.met_by_each(tokens_of(OTHERS))
        network, ratio = compressed(graph, met, setting)
        run = network.run(
            given, network.machine(ArchConfig(n_pe=N_PE, acc_bits=setting.acc_bits)), watch=not rows
        )
        rows.append(row_of(setting, run, exact, count, ratio))
        print(f"minilm: {' | '.join(rows[-1])}", file=sys.stderr)
        if not shown:
            host = ", ".join(
                f"{name} {note.microseconds / 1000:.1f} ms" for name, note in [*run.host.items()][:6]
            )
            shown = (
                f"{len(run.records)} matrices have {100 * run.share:.1f} % of all multiply-accumulates; the others are "
                f"attention's own products. The host took longest for {host}."
            )
            similar = table(("sentence", "another", "float", "8 bits"), pairs_of(run, exact))
    return "\n\n".join(
        [
            "### MiniLM on sentences",
            f"{len(SENTENCES)} sentences, {count} tokens with padding, {N_PE} PEs, 800 MHz; "
            f"scales from {len(OTHERS)} other sentences. {shown}",
            table(HEADINGS, rows),
            f"Trained: {EPOCHS} epochs of the sentences on these pages, in which "
            "the float network's vectors were learnt while connections were cut (`eie.compress.train.prune`).",
            "All weights kept, 8-bit codes, 32-bit sums:",
            similar,
        ]
    )


def main() -> None:
    """Do what the command line asks for."""
    parser = PAGE.arguments(__doc__)
    parser.add_argument("what", choices=("export", "measure"))
    parser.add_argument(
        "--settings", type=int, default=len(SETTINGS), help="only the first so many of the table"
    )
    arguments = parser.parse_args()
    needed = (WEIGHTS, WORDS) if arguments.what == "export" else (GRAPH, WORDS)
    for path in needed:
        if not path.exists():
            parser.error(f"{path} is missing: run examples/models/fetch.py minilm minilm-words, then export")
    with errors_told():
        if arguments.what == "export":
            export(encoder(), GRAPH)
            print(GRAPH)
            return
        text = measure(SETTINGS[: arguments.settings])
    print(text)
    if arguments.write:
        PAGE.write(text)


if __name__ == "__main__":
    main()
