"""CompressedLayer: one pruned, weight-shared matrix with its codebook, bias and shifts, whatever the PE count."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockCodes, BlockStructure
from eie.conv import Conv
from eie.errors import LayerError
from eie.fixed import MAX_SHIFT, limits, quantize
from eie.prefix import Prefix, check_prefixes, share_text
from eie.shown import table

MAX_DIM = 1 << 24
# Of so many inputs the sum of magnitudes fits an adder machine's register (`eie.config.SUM_BITS`), whatever they are.
MAX_ADDER_COLS = (1 << 17) - 1


def _as(array: npt.ArrayLike, dtype: npt.DTypeLike, what: str) -> npt.NDArray[Any]:
    """`array` as `dtype`, refused when a value would change."""
    try:
        given = np.asarray(array)
    except ValueError as error:
        raise LayerError(f"{what} is not an array: {error}") from None
    if given.dtype.kind not in "iu" and given.size:
        raise LayerError(f"{what} must hold integers, not {given.dtype}")
    cast = given.astype(dtype)
    if not np.array_equal(cast, given):
        info = np.iinfo(np.dtype(dtype))
        raise LayerError(f"{what} must lie in {info.min}..{info.max}, not {given.min()}..{given.max()}")
    return cast


def _bias(bias: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.int32]:
    return np.zeros(rows, np.int32) if bias is None else _as(bias, np.int32, "bias")


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array itself if nobody can write to its memory through numpy, or else a copy that nobody can write to."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            array = array.copy()
            array.flags.writeable = False
            break
        owner = owner.base
    return array


@dataclass(frozen=True, eq=False, repr=False)
class CompressedLayer:
    """A sparse matrix of code indices in compressed-sparse-column form, and what the arithmetic needs with it.

    The arrays are read-only; those that somebody else could still write to are copied.

    Only non-zero code indices are stored; fillers and interleaving over PEs arise when the layer is loaded
    (`eie.csc.interleave`).

    Parameters
    ----------
    shape : (rows, cols) = (outputs, inputs).
    indptr : int64[cols + 1], entries before each column.
    indices : int32[nnz], row of each entry, ascending inside a column.
    codes : uint8[nnz], code index of each entry, never 0.
    codebook : int16[2**weight_bits], codebook[0] = 0.
    bias : int32[rows], the accumulators' start values in the accumulators' scale.
    relu : whether write-back clips negative sums to 0.
    product_shift, output_shift : 0..31, see `eie.fixed`.
    name : shown in tables and messages.
    x_frac, w_frac : fraction bits of the input activations and of the codes (0: plain integers). The accumulator
        has `acc_frac` and the output `y_frac` fraction bits, which follow.
    conv : the geometry, when the matrix is that of a convolution.
    follows : whether it may take the outputs of the layer before it in its network; false where something else that
        is in no layer stands between them.
    blocks : where the weights lie, when the matrix is block-diagonal (docs/blocks.md): all of them in the blocks, those
        of blocks that are the same the same. The codebook then has 0, the other values in ascending order, and zeros
        behind them, in as few bits as hold them.
    exit : whether it is an early exit of its network: what it gives is the network's answer where that is sure enough,
        and otherwise the layer behind it takes what it took (docs/learn.md).
    prefixes : what it is at the narrower widths of its network, ascending; () where there is only the whole.
    adder : whether it adds instead of multiplying (docs/adder.md): y = bias + sum abs(w) - sum abs(x - w) before
        write-back, with all weights, so that the bias begins with what an input of zeros gives. Inputs and weights
        have one scale (x_frac = w_frac), and product_shift is 0.
    scale, scale_frac : int16[rows], by which write-back multiplies each sum, with so many fraction bits; or None.

    Raises
    ------
    LayerError : on construction, from `check()`.

    Examples
    --------
    >>> layer = CompressedLayer.from_dense([[0.5, 0, -1], [0, 0.25, 0]], relu=False, name="fc")
    >>> layer
    CompressedLayer('fc', 2 x 3, 50.0 % of the weights, 4-bit codes)
    >>> layer.shape, layer.nnz, layer.quantize([0.5, 0, 1]).shape
    ((2, 3), 3, (3,))
    """

    shape: tuple[int, int]
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint8]
    codebook: npt.NDArray[np.int16]
    bias: npt.NDArray[np.int32]
    relu: bool = True
    product_shift: int = 0
    output_shift: int = 0
    name: str = "layer"
    x_frac: int = 0
    w_frac: int = 0
    conv: Conv | None = None
    follows: bool = True
    blocks: BlockStructure | None = None
    exit: bool = False
    prefixes: tuple[Prefix, ...] = ()
    adder: bool = False
    scale: npt.NDArray[np.int16] | None = None
    scale_frac: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    _entries_checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.check()
        self._freeze()

    def _freeze(self) -> None:
        for name in ("indptr", "indices", "codes", "codebook", "bias", "scale"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _read_only(getattr(self, name)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()  # pickle forgets it

    @classmethod
    def from_codes(
        cls,
        codes: npt.ArrayLike,
        codebook: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        relu: bool = True,
        product_shift: int = 0,
        output_shift: int = 0,
        *,
        name: str = "layer",
        x_frac: int = 0,
        w_frac: int = 0,
        conv: Conv | None = None,
    ) -> CompressedLayer:
        """Layer from a dense matrix of code indices, uint8[rows, cols], where 0 means pruned.

        `codebook` is int16[2**weight_bits] with codebook[0] = 0; `bias` is int32[rows] (default zeros).

        >>> layer = CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
        >>> layer.decode().tolist()
        [[0, 10], [-20, 0]]
        """
        dense = _as(codes, np.uint8, "codes")
        if dense.ndim != 2:
            raise LayerError(f"codes must have two dimensions (rows, cols), not {dense.ndim}")
        rows, cols = dense.shape
        # Column-major order makes the flat positions of the non-zeros ascend by column, then row.
        by_column = np.empty((cols, rows), np.uint8)
        for top in range(0, rows, 16):  # in strips: a transposition in one go misses the cache at every step
            by_column[:, top : top + 16] = dense[top : top + 16].T
        flat = np.flatnonzero(by_column != 0)
        indptr = np.searchsorted(flat, np.arange(cols + 1) * rows)
        indices, kept = (flat % max(rows, 1)).astype(np.int32), by_column.ravel()[flat]
        table, start = _as(codebook, np.int16, "codebook"), _bias(bias, rows)
        about = (relu, product_shift, output_shift, name, x_frac, w_frac, conv)
        return cls((rows, cols), indptr, indices, kept, table, start, *about)._checked()

    @classmethod
    def from_blocks(
        cls,
        blocks: BlockCodes,
        bias: npt.ArrayLike | None = None,
        relu: bool = True,
        product_shift: int = 0,
        output_shift: int = 0,
        *,
        name: str = "layer",
        x_frac: int = 0,
        w_frac: int = 0,
    ) -> CompressedLayer:
        """Layer from the codes of its blocks; `blocks` of the layer are their structure, and `block_codes` has them
        again.

        >>> from eie.blocks import BlockCodes, BlockStructure
        >>> structure = BlockStructure(rows=2, cols=4, blocks=2, distinct=1)
        >>> codes = np.array([[0, 1]], np.uint8)
        >>> layer = CompressedLayer.from_blocks(BlockCodes(structure, (codes,), np.array([-3, 5], np.int16)))
        >>> layer.decode().tolist()
        [[-3, 5, 0, 0], [0, 0, -3, 5]]

        Raises
        ------
        LayerError : codes that are not those of the structure's distinct blocks, and what `check` refuses.
        """
        indptr, indices, codes, codebook = blocks.expanded()
        shape, start = blocks.structure.shape, _bias(bias, blocks.structure.rows)
        about = (relu, product_shift, output_shift, name, x_frac, w_frac)
        made = cls(shape, indptr, indices, codes, codebook, start, *about, blocks=blocks.structure)
        return made._checked()

    def _checked(self) -> CompressedLayer:
        self.check(full=True)
        return self

    @classmethod
    def from_dense(cls, weight: Any, **options: Any) -> CompressedLayer:
        """Layer from a matrix of real numbers [outputs, inputs]: pruned, weight-shared, in fixed point.

        weight : an array of any type, a list of lists, or a torch tensor. Options, all by name:

        weight_bits : of a code index, 1 to 8 (4), or None for the fewest that move the weights by at most 5 %.
        density : share of the weights to keep, the largest (default: all that are not 0).
        bias : a number for each output. relu : whether negative outputs become 0 (True).
        inputs : vectors [n, inputs] that the scales follow from (default: random ones from 0 to 1).
        name : for messages. acc_bits : 16 or 32, the accumulators to choose scales for.

        >>> layer = CompressedLayer.from_dense([[0.5, 0, -1], [0, 0.25, 0]], density=0.5, relu=False)
        >>> layer.nnz, (layer.decode() / 2.0**layer.w_frac).tolist()
        (3, [[0.5, 0.0, -1.0], [0.0, 0.25, 0.0]])

        Raises
        ------
        ModelError : no matrix of finite real numbers, or an option out of its range.
        """
        return _compressor().from_dense(weight, **options)

    @classmethod
    def from_sparse(cls, matrix: Any, **options: Any) -> CompressedLayer:
        """Layer from a sparse matrix of scipy's [outputs, inputs], of any format; its zeros are not stored.

        Options as in `from_dense`, without density. A matrix of more than 2**26 elements is never made dense; its
        scales then follow from the largest input alone, so that no sum saturates.

        >>> import scipy.sparse
        >>> layer = CompressedLayer.from_sparse(scipy.sparse.csr_array([[0, 2.0], [0, 0], [-1.0, 0]]))
        >>> layer.shape, layer.nnz
        ((3, 2), 2)

        Raises
        ------
        ModelError : no such matrix, or an option out of its range.
        """
        return _compressor().from_sparse(matrix, **options)

    def quantize(self, x: npt.ArrayLike, act_bits: int = 16) -> npt.NDArray[np.int64]:
        """Real inputs as the fixed-point activations that the layer takes.

        Parameters
        ----------
        x : real numbers of any shape.
        act_bits : of an activation in the machine; what lies beyond is clipped.

        Returns
        -------
        int64 of the shape of `x`: the nearest numbers with `x_frac` fraction bits.

        Raises
        ------
        LayerError : no real numbers, or not finite.

        Examples
        --------
        >>> layer = CompressedLayer.from_codes([[1]], [0, 3], x_frac=8)
        >>> layer.quantize([0.5, -0.25, 300.0]).tolist()
        [128, -64, 32767]
        """
        try:
            given = np.asarray(x, np.float64)
        except (TypeError, ValueError) as error:
            raise LayerError(f"inputs of layer {self.name!r} must be real numbers: {error}") from None
        if not np.isfinite(given).all():
            raise LayerError(f"inputs of layer {self.name!r} must be finite")
        return quantize(given, self.x_frac, act_bits)

    def __repr__(self) -> str:
        return (
            f"CompressedLayer({self.name!r}, {self.rows} x {self.cols}, {100 * self.density:.1f} % of the weights, "
            f"{self.weight_bits}-bit codes{', ReLU' if self.relu else ''}{', convolution' if self.conv else ''}"
            f"{f', {self.blocks}' if self.blocks else ''}{', early exit' if self.exit else ''}"
            f"{', adder' if self.adder else ''}{', scaled rows' if self.scale is not None else ''}"
            f"{f', {len(self.prefixes) + 1} widths' if self.prefixes else ''})"
        )

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("outputs x inputs", f"{self.rows} x {self.cols}"),
            ("weights kept", f"{self.nnz:,} of {self.rows * self.cols:,} ({100 * self.density:.1f} %)"),
            ("code bits", self.weight_bits),
            ("ReLU", "yes" if self.relu else "no"),
            (
                "fraction bits",
                f"inputs {self.x_frac}, weights {self.w_frac}, sums {self.acc_frac}, outputs {self.y_frac}",
            ),
        ]
        widths = ", ".join(share_text(prefix.share) for prefix in self.prefixes)
        known = (("convolution", self.conv), ("blocks", self.blocks), ("narrower widths", widths))
        extra = [(what, one) for what, one in known if one]
        return table(f"Layer {self.name}", [*rows, *extra])

    # ---- sizes ---------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """Outputs of the matrix."""
        return self.shape[0]

    @property
    def cols(self) -> int:
        """Inputs of the matrix."""
        return self.shape[1]

    @property
    def inputs(self) -> int:
        """Numbers that the layer takes: `cols`, or a whole image for a convolution (0: its size is not known)."""
        return self.conv.inputs(self.cols) if self.conv else self.cols

    @property
    def outputs(self) -> int:
        """Numbers that the layer gives: `rows`, or a whole image after pooling for a convolution."""
        return self.conv.outputs(self.rows) if self.conv else self.rows

    @property
    def nnz(self) -> int:
        """Stored entries, fillers not included."""
        return len(self.codes)

    @property
    def density(self) -> float:
        """Stored entries over rows * cols."""
        return self.nnz / (self.rows * self.cols)

    @property
    def weight_bits(self) -> int:
        """Bits of a code index."""
        return (len(self.codebook) - 1).bit_length()

    @property
    def acc_frac(self) -> int:
        """Fraction bits of the accumulator."""
        return self.x_frac if self.adder else self.x_frac + self.w_frac - self.product_shift

    @property
    def y_frac(self) -> int:
        """Fraction bits of the output activations."""
        return self.acc_frac + self.scale_frac - self.output_shift

    # ---- contents ------------------------------------------------------------------------------------------

    def column_of_entry(self) -> npt.NDArray[np.int64]:
        """Column of each entry, int64[nnz]."""
        return np.repeat(np.arange(self.cols), np.diff(self.indptr))

    def dense_codes(self) -> npt.NDArray[np.uint8]:
        """Code indices as a dense matrix, uint8[rows, cols]."""
        dense = np.zeros(self.shape, np.uint8)
        dense[self.indices, self.column_of_entry()] = self.codes
        return dense

    def decode(self) -> npt.NDArray[np.int16]:
        """Weights as a dense matrix, int16[rows, cols] = codebook[codes]."""
        return self.codebook[self.dense_codes()]

    def block_codes(self) -> BlockCodes:
        """The codes of the distinct blocks, without indices.

        Raises
        ------
        LayerError : a layer without `blocks`, or with weights that are not where these say.
        """
        if self.blocks is None:
            raise LayerError(f"layer {self.name!r} has no block structure")
        values = self.codebook[self.codes]
        known = self.codebook[self.codebook != 0]
        try:
            return BlockCodes.of(self.blocks, self.indices, self.column_of_entry(), values, known)
        except LayerError as error:
            raise LayerError(f"layer {self.name!r}: {error}") from None

    def with_blocks(self, structure: BlockStructure) -> CompressedLayer:
        """The same layer, known to be block-diagonal. Its codebook is ordered (`blocks`).

        Raises
        ------
        LayerError : it has a weight in none of the blocks, or blocks that should be the same differ.
        """
        try:
            of_matrix = BlockCodes.of(
                structure, self.indices, self.column_of_entry(), self.codebook[self.codes]
            )
            indptr, indices, codes, codebook = of_matrix.expanded()
        except LayerError as error:
            raise LayerError(f"layer {self.name!r}: {error}") from None
        return replace(self, indptr=indptr, indices=indices, codes=codes, codebook=codebook, blocks=structure)

    def narrowed(self, share: int) -> CompressedLayer:
        """The layer at one of its network's widths, in thousandths: its first rows and columns, with their entries.

        Raises
        ------
        LayerError : it has no such width.
        """
        known = {prefix.share: prefix for prefix in self.prefixes} | {1000: Prefix(1000, *self.shape)}
        if share not in known:
            names = ", ".join(map(share_text, known))
            raise LayerError(f"layer {self.name!r} has no width {share_text(share)} (it has {names})")
        _, rows, cols = known[share]
        stop = int(self.indptr[cols])
        kept = self.indices[:stop] < rows
        before = np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))
        return replace(
            self,
            shape=(rows, cols),
            indptr=before[self.indptr[: cols + 1]],
            indices=self.indices[:stop][kept],
            codes=self.codes[:stop][kept],
            bias=self.bias[:rows],
            prefixes=(),
            meta=dict(self.meta),
        )

    def equals(self, other: CompressedLayer) -> bool:
        """Whether every field but `meta` is the same."""
        names = [each.name for each in fields(self) if each.init and each.name != "meta"]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    # ---- checks --------------------------------------------------------------------------------------------

    def _require(self, ok: bool, text: str) -> None:
        if not ok:
            raise LayerError(f"layer {self.name!r}: {text}")

    def check(self, full: bool = False) -> None:
        """Raise `LayerError` where the layer breaks its rules.

        The shallow check (constant time in the entries) covers shapes, types and scalars; `full` reads every
        entry as well, once in a layer's life: rows inside the matrix and ascending, codes inside the codebook and
        never 0.
        """
        for name in ("product_shift", "output_shift", "x_frac", "w_frac", "scale_frac"):
            value = getattr(self, name)
            self._require(isinstance(value, int), f"{name} must be an integer, not {value!r}")
        rows, cols = self.shape
        if self.exit:
            self._require(self.blocks is None and self.conv is None, "an early exit is a plain matrix")
        if self.conv is not None:
            try:
                for width in (cols, *(prefix.cols for prefix in self.prefixes)):
                    self.conv.channels(width)
            except LayerError as error:
                self._require(False, str(error))
        if self.prefixes:
            self._require(
                self.blocks is None and not self.exit,
                "a layer with narrower widths is no exit, and has no blocks",
            )
            problem = check_prefixes(self.prefixes, rows, cols)
            self._require(not problem, problem)
        self._require(1 <= rows <= MAX_DIM and 1 <= cols <= MAX_DIM, f"a {rows} x {cols} matrix has no layer")
        expected = {
            "indptr": (np.int64, (cols + 1,)),
            "indices": (np.int32, (self.nnz,)),
            "codes": (np.uint8, (self.nnz,)),
            "codebook": (np.int16, (self.codebook.size,)),
            "bias": (np.int32, (rows,)),
            "scale": (np.int16, (rows,)),
        }
        for name, (dtype, shape) in expected.items():
            array = getattr(self, name)
            if name == "scale" and array is None:
                self._require(self.scale_frac == 0, f"scale_frac is {self.scale_frac}, but there is no scale")
            elif array.dtype != dtype or array.shape != shape:  # the text takes longer than the check
                self._require(
                    False,
                    f"{name} must be {np.dtype(dtype).name}{list(shape)}, "
                    f"not {array.dtype.name}{list(array.shape)}",
                )
        self._require(
            len(self.codebook) in {1 << b for b in range(1, 9)},
            f"the codebook must hold 2, 4, 8, ... 256 codes, not {len(self.codebook)}",
        )
        self._require(int(self.codebook[0]) == 0, f"codebook[0] must be 0, not {self.codebook[0]}")
        for name in ("product_shift", "output_shift"):
            shift = getattr(self, name)
            self._require(0 <= shift <= MAX_SHIFT, f"{name} must be from 0 to {MAX_SHIFT}, not {shift}")
        self._require(
            int(self.indptr[0]) == 0 and int(self.indptr[-1]) == self.nnz,
            f"column pointers must run from 0 to {self.nnz}, not {self.indptr[0]} to {self.indptr[-1]}",
        )
        if self.blocks is not None:
            self._require(
                self.blocks.shape == self.shape,
                f"its blocks are those of a {self.blocks.rows} x {self.blocks.cols} matrix, not {rows} x {cols}",
            )
            values = self.codebook[1 : 1 + np.count_nonzero(self.codebook)].astype(np.int64)
            self._require(
                bool((np.diff(values) > 0).all() and (values != 0).all())
                and self.weight_bits == max(1, values.size.bit_length()),
                "the codebook of blocks must be 0, the other values in ascending order, and zeros, in as few bits as "
                "hold them",
            )
        if self.row_scale is not None:
            self._check_adder()
        if full and not self._entries_checked:
            self._check_entries()
            object.__setattr__(self, "_entries_checked", True)

    def _check_adder(self) -> None:
        what = "an adder layer" if self.adder else "a layer with scaled rows"
        self._require(
            self.blocks is None and not self.exit and not self.prefixes,
            f"{what} has no blocks and no narrower widths, and is no early exit",
        )
        if not self.adder:
            return
        self._require(
            self.product_shift == 0 and self.x_frac == self.w_frac,
            "of an adder layer product_shift must be 0, and x_frac be w_frac, not "
            f"{self.product_shift}, {self.x_frac} and {self.w_frac}",
        )
        self._require(
            self.cols <= MAX_ADDER_COLS,
            f"an adder layer has at most {MAX_ADDER_COLS} inputs, not {self.cols}",
        )

    @property
    def row_scale(self) -> npt.NDArray[np.int16] | None:
        """What stands in the machine to scale rows with: `scale`, or ones of an adder layer without; None for products.

        Adder passes always scale, so that a PE's place without a row, where the scale is 0, gives 0.
        """
        return np.ones(self.rows, np.int16) if self.adder and self.scale is None else self.scale

    def largest_sum(self) -> int:
        """Of an adder layer, the largest value that an accumulator can reach with any input: bias + 2 sum abs(w)."""
        sizes = np.abs(self.codebook.astype(np.int64))[self.codes]
        total = np.bincount(self.indices, sizes, self.rows).astype(np.int64)
        return int((self.bias + 2 * total).max())

    def _check_entries(self) -> None:
        counts = np.diff(self.indptr)
        self._require(
            bool((counts >= 0).all()), f"column pointers fall after column {int(np.argmin(counts))}"
        )
        if not self.nnz:
            return
        low, high = int(self.indices.min()), int(self.indices.max())
        self._require(
            low >= 0 and high < self.rows, f"row {low if low < 0 else high} is outside 0..{self.rows - 1}"
        )
        rises = np.diff(self.indices.astype(np.int64)) > 0
        starts = np.unique(self.indptr[1:-1])
        rises[starts[(starts > 0) & (starts < self.nnz)] - 1] = True
        if not rises.all():
            place = int(np.argmin(rises)) + 1
            self._require(False, f"rows do not ascend in column {int(self.column_of_entry()[place])}")
        self._require(
            bool((self.codes != 0).all()), "an entry with code 0 is stored (only fillers may have it)"
        )
        self._require(
            int(self.codes.max()) < len(self.codebook),
            f"code {int(self.codes.max())} is outside the codebook of {len(self.codebook)}",
        )
        if self.blocks is not None:
            self.block_codes()
        if self.adder:
            most = self.largest_sum()
            self._require(
                most <= limits(32)[1], f"a sum may reach {most}, which no accumulator of 32 bits holds"
            )

    def check_widths(self, *, weight_bits: int, code_bits: int, acc_bits: int) -> None:
        """Raise `LayerError` unless codes and bias fit a configuration's widths."""
        hint = "" if self.blocks is None else " (with indices, blocks take one code more than they have)"
        self._require(
            self.weight_bits <= weight_bits,
            f"{self.weight_bits}-bit code indices do not fit weight_bits = {weight_bits}{hint}",
        )
        for what, array, bits in (("code", self.codebook, code_bits), ("bias", self.bias, acc_bits)):
            low, high = limits(bits)
            outside = np.flatnonzero((array < low) | (array > high))
            if outside.size:
                place = int(outside[0])
                self._require(
                    False,
                    f"{what} {int(array[place])} at index {place} does not fit {bits} bits ({low}..{high})",
                )
        if self.adder:
            most, needed = self.largest_sum(), 8
            while limits(needed)[1] < most:
                needed += 1
            self._require(
                needed <= acc_bits,
                f"a sum may reach {most}, which {acc_bits} bits would clip: an adder layer's result is a difference "
                f"of large sums, so use acc_bits={needed} or more",
            )


def _compressor() -> Any:
    """The compressor, which imports this module, and takes its time to load: handed out on first use, as `eie.load`."""
    return importlib.import_module("eie.compress.matrix")


def as_activations(
    x: npt.ArrayLike, layer: CompressedLayer, act_bits: int, size: int | None = None
) -> npt.NDArray[np.int64]:
    """Input vector `x` as int64[size] (default: cols), refused unless it holds so many integers of `act_bits` bits."""
    size = layer.cols if size is None else size
    try:
        given = np.asarray(x)
    except ValueError as error:
        raise LayerError(f"input of layer {layer.name!r} is not an array: {error}") from None
    if given.shape != (size,):
        raise LayerError(
            f"input of layer {layer.name!r} must be a vector of {size} activations, "
            f"not an array of shape {given.shape}"
        )
    if given.dtype.kind not in "iu":
        raise LayerError(f"input of layer {layer.name!r} must hold integers (fixed point), not {given.dtype}")
    low, high = limits(act_bits)
    # Before the cast: an unsigned 64-bit number would wrap.
    outside = np.flatnonzero((given < low) | (given > high))
    if outside.size:
        place = int(outside[0])
        raise LayerError(
            f"input of layer {layer.name!r}: {int(given[place])} at index {place} does not fit {act_bits} bits"
        )
    return given.astype(np.int64)
