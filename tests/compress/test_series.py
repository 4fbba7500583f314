"""Series: their files, recurrent networks trained on them, and their steps on the accelerator."""

import gzip
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import eie
from eie.cli.main import main
from eie.compress import datasets
from eie.compress.datasets import Series, load_series, parse_series
from eie.compress.train import series as recipes
from eie.compress.train.series import Padded, Recurrent, SeriesRecipe, Step, error, run_series
from eie.errors import LayerError, ModelError
from eie.sim.networks.stepping import run_steps
from tests.support.json_schemas import check

SMALL = SeriesRecipe(hidden=16, batch=16, epochs=(12, 6, 2), lr=(1e-2, 3e-3, 1e-4))


def rising(count: int, seed: int) -> Series:
    """Whether the first channel rises or falls, in series of 3 to 7 steps of two channels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    values = []
    for label in labels:
        steps = np.arange(rng.integers(3, 8))
        first = (2 * label - 1) * (steps - steps.mean()) / 4 + rng.normal(0, 0.05, len(steps))
        values.append(np.stack([first, rng.normal(size=len(steps))], axis=1))
    return Series(tuple(values), labels)


def text(series: Series) -> str:
    lines = ["#a comment", "@problemName x", "@classLabel true a b", "@data"]
    for values, label in zip(series.values, series.labels, strict=True):
        lines.append(":".join([*(",".join(map(str, channel)) for channel in values.T), "ab"[label]]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", params=["gru", "lstm"])
def made(request, tmp_path_factory) -> tuple[str, Path]:
    """A small network of one kind, trained and saved."""
    folder = tmp_path_factory.mktemp(request.param)
    result = run_series(request.param, rising(96, 1), rising(64, 2), folder, recipe=SMALL, progress=False)
    assert result.error < 15
    return request.param, result.path


# ---- files -------------------------------------------------------------------------------------------------


def test_series_of_unequal_length_come_back():
    given = rising(9, 3)
    found = parse_series(text(given))
    assert np.array_equal(found.labels, given.labels)
    for one, other in zip(found.values, given.values, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,2:3:a", "no series of numbers, as long in every channel, and a class"),
        ("1,2:3,4:c", "no series of numbers, as long in every channel, and a class"),
        ("1,x:3,4:a", "no series of numbers, as long in every channel, and a class"),
        ("1,nan:3,4:a", "no series of numbers, as long in every channel, and a class"),
        ("a", "no series of numbers, as long in every channel, and a class"),
        ("1,2:a", "1 channels, not 2"),
    ],
)
def test_lines_that_are_no_series(line, problem):
    with pytest.raises(ModelError) as caught:
        parse_series(f"@classLabel true a b\n@data\n1:2:a\n{line}\n", "f.ts")
    assert str(caught.value) == f"f.ts, line 4: {problem}"
    with pytest.raises(ModelError, match=r"^f.ts holds no series$"):
        parse_series("@classLabel true a b\n@data\n", "f.ts")


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """Small series in the place of the published ones, and a pip that has their package."""
    monkeypatch.chdir(tmp_path)
    names = list(datasets.SERIES["japanese-vowels"].sha256)
    contents = dict(zip(names, (text(rising(48, 1)), text(rising(32, 2))), strict=True))
    sha = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in contents.items()}

    def extract(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "aeon.whl", "w") as wheel:
            for name, content in contents.items():
                wheel.writestr(f"aeon/datasets/data/JapaneseVowels/{name}", content)
        monkeypatch.setattr(datasets, "_call", lambda command, place, package: None)
        return datasets._from_pypi(folder)

    monkeypatch.setitem(datasets.SERIES, "japanese-vowels", datasets.DataSet(sha, "none", extract))
    return tmp_path


def test_the_command_takes_the_wheel_apart(published):
    result = CliRunner().invoke(main, ["data", "japanese-vowels"])
    assert result.exit_code == 0, result.output
    assert "is in build/japanese-vowels/\n" in result.output
    learnt, test = load_series("japanese-vowels")
    assert (len(learnt.values), len(test.values)) == (48, 32)
    path = Path("build/japanese-vowels/JapaneseVowels_TEST.ts")
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ModelError, match="is not the published file"):
        load_series("japanese-vowels")
    result = CliRunner().invoke(main, ["data", "japanese-vowels"])
    assert result.exit_code == 0
    load_series("japanese-vowels")


def test_series_may_be_packed(published):
    assert CliRunner().invoke(main, ["data", "japanese-vowels"]).exit_code == 0
    folder = Path("build/japanese-vowels")
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert CliRunner().invoke(main, ["data", "japanese-vowels"]).exit_code == 0
    assert len(load_series("japanese-vowels")[0].values) == 48


# ---- training and steps ------------------------------------------------------------------------------------


def test_zeros_behind_a_series_mean_nothing():
    torch.manual_seed(1)
    data = rising(20, 4)
    for kind in ("gru", "lstm"):
        model = Recurrent(kind, 2, 8, 2).eval()
        ((values, steps), y) = next(iter(Padded(data, 20, shuffle=False)))
        assert torch.equal(y, torch.from_numpy(data.labels))
        together = model((values, steps))
        for place, one in enumerate(data.values):
            alone = torch.tensor(one[None], dtype=torch.float32)
            torch.testing.assert_close(together[place], model((alone, torch.tensor([len(one)])))[0])


def test_steps_are_the_whole_and_the_accelerator_follows(made):
    kind, path = made
    net, data = eie.load(path), rising(24, 5)
    assert [port.name for port in net.inputs] == ["x", "h", "c"][: 2 if kind == "gru" else 3]
    # torch's own cell on the decoded weights, a whole series at a time.
    of = {layer.name: np.ldexp(layer.decode().astype(np.float64), -layer.w_frac) for layer in net.layers}
    assert {matrix.shape[1] for matrix in of.values()} == {2, 16}
    stepped = run_steps(net, data.values)
    state = [np.zeros((24, 16)) for _ in net.inputs[1:]]
    floats = np.zeros((24, 2))
    for time in range(max(map(len, data.values))):
        here = [place for place, one in enumerate(data.values) if len(one) > time]
        names = [port.name for port in net.inputs]
        given = dict(
            zip(
                names,
                [np.stack([data.values[p][time] for p in here]), *(s[here] for s in state)],
                strict=True,
            )
        )
        answer, *after = net.run_float(given).values()
        floats[here] = answer
        for whole, one in zip(state, after, strict=True):
            whole[here] = one
    assert stepped.answers == pytest.approx(floats, abs=0.05 * float(np.abs(floats).max()))
    assert stepped.error(data.labels) < 20
    assert stepped.clipped == 0
    assert stepped.steps == sum(map(len, data.values))


def test_engines_agree_in_every_step(made):
    net, data = eie.load(made[1]), rising(3, 6)
    machine = eie.sized_for(eie.ArchConfig(n_pe=4), *net.layers)
    golden, fast = (run_steps(net, data.values, machine, engine) for engine in ("golden", "fast"))
    assert np.array_equal(golden.answers, fast.answers)
    assert golden.cycles == fast.cycles > 0
    assert golden.energy_uj == pytest.approx(fast.energy_uj)
    assert run_steps(net, data.values, machine, "reference").cycles is None


def test_what_has_no_steps(made, tmp_path):
    net = eie.load(made[1])
    with pytest.raises(LayerError, match=r"series 1 must be \[steps, 2\], not \[4, 3\]"):
        run_steps(net, [np.zeros((4, 2)), np.zeros((4, 3))])
    with pytest.raises(LayerError, match=r"series 0 must be \[steps, 2\], not \[0, 2\]"):
        run_steps(net, [np.zeros((0, 2))])
    chain = eie.compress({"fc.weight": np.eye(2)})
    with pytest.raises(LayerError, match="has one input: a network of one step takes its state, too"):
        run_steps(chain, [np.zeros((4, 2))])
    with pytest.raises(ModelError, match="no recurrent network 'rnn': use one of gru, lstm"):
        Recurrent("rnn", 2, 8, 2)
    assert isinstance(Step(Recurrent("gru", 2, 8, 2)), nn.Module)


def test_the_error_is_that_of_the_series():
    model, data = Recurrent("gru", 2, 8, 2), rising(30, 7)
    right = [
        int(model((torch.tensor(one[None], dtype=torch.float32), torch.tensor([len(one)]))).argmax())
        for one in data.values
    ]
    assert error(model, data) == pytest.approx(100 * np.mean(np.array(right) != data.labels))


def test_the_command(published, monkeypatch):
    monkeypatch.setattr(recipes, "SeriesRecipe", lambda: SeriesRecipe(hidden=8, batch=16, epochs=(2, 1, 1)))
    missing = CliRunner().invoke(main, ["train", "gru", "--quiet"])
    assert missing.exit_code == 2
    assert "build/japanese-vowels holds no series: run `eie data japanese-vowels`" in missing.output
    assert CliRunner().invoke(main, ["data", "japanese-vowels"]).exit_code == 0
    result = CliRunner().invoke(main, ["train", "gru", "--quiet", "--json"])
    assert result.exit_code == 0, result.output
    found = check("train", result.stdout.splitlines()[-1])
    assert found == json.loads(Path("out/train/gru/result.json").read_text())
    stepped = run_steps(eie.load("out/train/gru/gru.eie"), rising(32, 2).values)
    assert found["fixed_error"] == pytest.approx(stepped.error(rising(32, 2).labels), abs=1e-3)
    assert found["cycles_per_step"] == stepped.cycles / stepped.steps
    shown = CliRunner().invoke(main, ["train", "gru", "--quiet"])
    assert f"{found['bytes']:,} bytes" in shown.output
    refused = CliRunner().invoke(main, ["train", "gru", "--blocks", "10"])
    assert refused.exit_code == 2
    assert "--blocks has no effect for gru" in refused.output


def test_the_measured_part(published, monkeypatch):
    from eie.sim.evaluation import learn, learn_dynamic

    assert CliRunner().invoke(main, ["data", "japanese-vowels"]).exit_code == 0
    monkeypatch.setattr(learn, "PES", 4)
    monkeypatch.setattr(learn_dynamic, "_SERIES_RECIPE", SeriesRecipe(hidden=8, batch=16, epochs=(2, 1, 1)))
    section = learn_dynamic.recurrent(1, seeds=1)
    assert section.key == "learn-recurrent"
    assert [row[0] for row in section.tables[0].rows] == ["GRU", "LSTM"]
    for kind in ("gru", "lstm"):
        (found,) = section.data[kind]
        assert found["steps"] == sum(map(len, rising(32, 2).values))
        assert found["cycles"] > 20
        assert 0 <= found["error"] <= 100
    assert learn_dynamic.recurrent(1, seeds=1) == section
