"""Sound for networks that work on spectra: frames into log powers, gains into sound."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile

from eie.compress.float_layers import FloatArray
from eie.compress.readers.files import UNREADABLE, reason_of
from eie.errors import ModelError

Spectra = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Sound:
    """How a network takes sound; docs/networks.md gives the definition.

    rate : samples a second. window, hop, fft : samples. floor : least power.
    """

    rate: int
    window: int
    hop: int
    fft: int
    floor: float = 1e-12

    def __post_init__(self) -> None:
        for name in ("rate", "window", "hop", "fft"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 1 << 20:
                raise ModelError(f"{name} must be a whole number from 1 to {1 << 20}, not {value!r}")
        if not self.hop <= self.window <= self.fft:
            raise ModelError(
                f"hop ({self.hop}), window ({self.window}) and fft ({self.fft}) must be in ascending order"
            )
        if isinstance(self.floor, bool) or not isinstance(self.floor, int | float) or not 0 < self.floor < 1:
            raise ModelError(f"floor must be a number between 0 and 1, not {self.floor!r}")

    @property
    def frequencies(self) -> int:
        """Numbers in a frame's spectrum."""
        return self.fft // 2 + 1

    @property
    def hop_us(self) -> float:
        """Time from one frame to the next: what a network has for each."""
        return self.hop / self.rate * 1e6

    @property
    def _root_hann(self) -> FloatArray:
        return np.sqrt(np.hanning(self.window + 1)[:-1])

    def read(self, path: Path) -> FloatArray:
        """Samples in -1 to 1 of a .wav file's first channel.

        Raises
        ------
        ModelError : it cannot be read, has another rate, or is shorter than a window.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are no sound
                rate, samples = wavfile.read(path)
        except (*UNREADABLE, IndexError, UnboundLocalError) as error:
            raise ModelError(f"{path}: cannot be read as .wav: {reason_of(error)}") from None
        if rate != self.rate:
            raise ModelError(
                f"{path} has {rate} samples a second, but the network takes {self.rate}: resample it, "
                f"for example: sox {path.name} -r {self.rate} OUT.wav"
            )
        first = samples if samples.ndim == 1 else samples[:, 0]
        if len(first) < self.window:
            raise ModelError(f"{path} has {len(first)} samples: one frame needs {self.window}")
        if first.dtype.kind == "f":
            if not np.isfinite(first).all():
                raise ModelError(f"{path} holds samples that are not finite numbers")
            return first.astype(np.float64)
        if first.dtype == np.uint8:
            return (first.astype(np.float64) - 128) / 128
        return first.astype(np.float64) / -float(np.iinfo(first.dtype).min)

    def spectra(self, samples: FloatArray) -> Spectra:
        """Spectra of all whole frames, [frames, frequencies]."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.window)[:: self.hop]
        return np.fft.rfft(frames * self._root_hann, self.fft)

    def features(self, spectra: Spectra) -> FloatArray:
        """What the network takes: log10 of each power."""
        return np.log10(np.maximum(np.abs(spectra) ** 2, self.floor))

    def resynthesis(self, spectra: Spectra) -> FloatArray:
        """Samples whose frames have these spectra: overlapping frames added, each under the window once more.

        Where windows do not add up to 1, their sum divides.
        """
        frames = np.fft.irfft(spectra, self.fft)[:, : self.window] * self._root_hann
        samples = np.zeros((len(frames) - 1) * self.hop + self.window)
        weight = np.zeros_like(samples)
        for number, frame in enumerate(frames):
            span = slice(number * self.hop, number * self.hop + self.window)
            samples[span] += frame
            weight[span] += self._root_hann**2
        # Only the outermost samples have next to no weight: they stay as small as they are.
        return samples / np.maximum(weight, 0.1)

    def wav(self, samples: FloatArray) -> bytes:
        """A .wav file of 16 bits."""
        whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
        data = io.BytesIO()
        wavfile.write(data, self.rate, whole)
        return data.getvalue()
