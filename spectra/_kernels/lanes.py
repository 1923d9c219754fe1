"""Numbers that stand side by side in memory, held in the vector registers of a processor.

A row of a block is a few numbers wide. Left to itself the compiler keeps the sums of a row apart and adds them one by
one; with `Lanes` for a type it adds them four or eight at a time, and they stay in registers from one row to the next.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDEST = 16  # numbers that still leave registers for sums beside them
_PIECES = (8, 4, 2, 1)  # of which a width is made, for processors have no registers of three or ten


class Lanes(types.Type):
    """A type of so many numbers: a tuple of vectors, each as wide as a power of two."""

    def __init__(self, width: int, dtype):
        self.width, self.dtype = width, dtype
        super().__init__(name=f"Lanes({width}, {dtype})")

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Where each vector begins, and its width."""
        found, start = [], 0
        for piece in _PIECES:
            while self.width - start >= piece:
                found.append((start, piece))
                start += piece
        return found


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        number = manager.lookup(lanes.dtype).get_value_type()
        vectors = [ir.VectorType(number, width) for _, width in lanes.pieces]
        super().__init__(manager, lanes, ir.LiteralStructType(vectors))


@intrinsic(prefer_literal=True)
def fill(context, x, width):
    """The number x, so many times."""

    def generate(context, builder, signature, args):
        return _packed(context, builder, signature.return_type,
                       [_splat(builder, args[0], width) for _, width in signature.return_type.pieces])

    return Lanes(width.literal_value, x)(x, width), generate


@intrinsic(prefer_literal=True)
def load(context, V, i, j, width):
    """The numbers from V[i, j] on."""

    def generate(context, builder, signature, args):
        first = _address(context, builder, signature, args[:3])
        return _packed(context, builder, signature.return_type, [
            builder.load(_vector_at(builder, first, start, width), align=_alignment(V))
            for start, width in signature.return_type.pieces])

    return Lanes(width.literal_value, V.dtype)(V, i, j, width), generate


@intrinsic
def store(context, W, i, j, x):
    """Write x to W[i, j] and on."""

    def generate(context, builder, signature, args):
        first = _address(context, builder, signature, args[:3])
        for vector, (start, width) in zip(_unpacked(builder, args[3], x), x.pieces, strict=True):
            builder.store(vector, _vector_at(builder, first, start, width), align=_alignment(W))
        return context.get_dummy_value()

    return types.void(W, i, j, x), generate


@intrinsic
def multiply_add(context, x, y, z):
    """x y + z, where x may be a single number."""

    def generate(context, builder, signature, args):
        ys, zs = (_unpacked(builder, value, y) for value in args[1:])
        xs = (_unpacked(builder, args[0], x) if isinstance(x, Lanes)
              else [_splat(builder, args[0], width) for _, width in y.pieces])
        fused = {"flags": ("contract",)}
        return _packed(context, builder, z, [
            builder.fadd(builder.fmul(a, b, **fused), c, **fused) for a, b, c in zip(xs, ys, zs, strict=True)])

    return z(x, y, z), generate


@intrinsic
def double(context, x):
    """x in double precision."""
    wide = Lanes(x.width, types.float64)

    def generate(context, builder, signature, args):
        if x.dtype == types.float64:
            return args[0]
        return _packed(context, builder, wide, [
            builder.fpext(vector, ir.VectorType(ir.DoubleType(), width))
            for vector, (_, width) in zip(_unpacked(builder, args[0], x), x.pieces, strict=True)])

    return wide(x), generate


@intrinsic
def ask_for(context, V, i, j):
    """Start the transfer of the memory of V[i, j] to the nearest cache."""

    def generate(context, builder, signature, args):
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]), "llvm.prefetch.p0i8")
        address = builder.bitcast(_address(context, builder, signature, args), byte)
        reading, nearest, data = (ir.Constant(i32, x) for x in (0, 3, 1))
        builder.call(function, [address, reading, nearest, data])
        return context.get_dummy_value()

    return types.void(V, i, j), generate


def _address(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], array, args[1:])


def _vector_at(builder, first, start, width):
    moved = builder.gep(first, [ir.Constant(ir.IntType(64), start)])
    return builder.bitcast(moved, ir.VectorType(first.type.pointee, width).as_pointer())


def _alignment(array) -> int:
    return array.dtype.bitwidth // 8  # rows begin anywhere


def _splat(builder, x, width):
    vector = ir.VectorType(x.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), everywhere)


def _packed(context, builder, lanes, vectors):
    value = ir.Constant(context.get_value_type(lanes), ir.Undefined)
    for position, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, position)
    return value


def _unpacked(builder, value, lanes):
    return [builder.extract_value(value, position) for position in range(len(lanes.pieces))]
