using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Erasure;

/// <summary>Rows of a matrix over GF(256) times columns of bytes: outputs from inputs, both contiguous slices of one length.</summary>
/// <remarks>Source: Plank, Greenan, Miller, Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions (FAST 2013).
/// A product by a constant is two lookups of 16 bytes, one for each nibble, which a byte shuffle does for a whole vector.
/// Four outputs go together, so an input is loaded once for four rows; strips of 1 KiB keep every input of a strip in the first cache.</remarks>
internal static unsafe class ErasureKernel
{
    /// <summary>Bytes of a coefficient's tables: products of the low nibbles, then of the high ones.</summary>
    internal const int TableSize = 2 * 16;

    private const int StripBytes = 1024;
    private const int RowsTogether = 4;

    /// <summary>Tables of a matrix, in row order.</summary>
    internal static byte[] Tables(ReadOnlySpan<byte> matrix)
    {
        var tables = new byte[matrix.Length * TableSize];
        for (int i = 0; i < matrix.Length; i++)
        {
            for (int nibble = 0; nibble < 16; nibble++)
            {
                tables[(i * TableSize) + nibble] = Gf256.Multiply(matrix[i], (byte)nibble);
                tables[(i * TableSize) + 16 + nibble] = Gf256.Multiply(matrix[i], (byte)(nibble << 4));
            }
        }

        return tables;
    }

    /// <summary>Output r at r·length = sum over c of matrix[r, c] times input c at c·length.</summary>
    internal static void Multiply(
        KernelPath path, ReadOnlySpan<byte> tables, int inputCount, int outputCount, ReadOnlySpan<byte> inputs, Span<byte> outputs, int length)
    {
        fixed (byte* table = tables)
        fixed (byte* input = inputs)
        fixed (byte* output = outputs)
        {
            unchecked
            {
                for (nint from = 0; from < length; from += StripBytes)
                {
                    nint strip = Math.Min(StripBytes, length - from);
                    for (int row = 0; row < outputCount; row += RowsTogether)
                    {
                        int rows = Math.Min(RowsTogether, outputCount - row);
                        Strip(
                            path, table + ((nint)row * inputCount * TableSize), inputCount, rows, input + from, output + ((nint)row * length) + from, length, strip);
                    }
                }
            }
        }
    }

    /// <summary>One output, only bytes from <paramref name="from"/> on, as many as <paramref name="output"/> holds.</summary>
    internal static void MultiplyRange(
        KernelPath path, ReadOnlySpan<byte> tables, int inputCount, ReadOnlySpan<byte> inputs, int length, int from, Span<byte> output)
    {
        fixed (byte* table = tables)
        fixed (byte* input = inputs)
        fixed (byte* to = output)
        {
            Strip(path, table, inputCount, 1, input + from, to, length, output.Length);
        }
    }

    private static void Strip(KernelPath path, byte* tables, int inputCount, int rows, byte* input, byte* output, nint length, nint strip)
    {
        unchecked
        {
            nint at = 0;
            if (path == KernelPath.Vector512)
            {
                at = rows switch
                {
                    4 => Four512(tables, inputCount, input, output, length, at, strip),
                    _ => Rows512(tables, inputCount, rows, input, output, length, at, strip),
                };
            }

            if (path >= KernelPath.Vector256)
            {
                at = rows switch
                {
                    4 => Four256(tables, inputCount, input, output, length, at, strip),
                    _ => Rows256(tables, inputCount, rows, input, output, length, at, strip),
                };
            }

            if (path >= KernelPath.Vector128)
            {
                at = Rows128(tables, inputCount, rows, input, output, length, at, strip);
            }

            for (int row = 0; row < rows; row++)
            {
                byte* rowTables = tables + ((nint)row * inputCount * TableSize);
                for (nint i = at; i < strip; i++)
                {
                    int sum = 0;
                    for (int c = 0; c < inputCount; c++)
                    {
                        byte value = input[(c * length) + i];
                        sum ^= rowTables[(c * TableSize) + (value & 15)] ^ rowTables[(c * TableSize) + 16 + (value >> 4)];
                    }

                    output[(row * length) + i] = (byte)sum;
                }
            }
        }
    }

    private static nint Four512(byte* tables, int inputCount, byte* input, byte* output, nint length, nint at, nint strip)
    {
        unchecked
        {
            nint rowStep = (nint)inputCount * TableSize;
            Vector512<byte> mask = Vector512.Create((byte)15);
            for (; at + 64 <= strip; at += 64)
            {
                Vector512<byte> sum0 = Vector512<byte>.Zero;
                Vector512<byte> sum1 = Vector512<byte>.Zero;
                Vector512<byte> sum2 = Vector512<byte>.Zero;
                Vector512<byte> sum3 = Vector512<byte>.Zero;
                byte* from = input + at;
                byte* table = tables;
                for (int c = 0; c < inputCount; c++)
                {
                    Vector512<byte> value = Vector512.Load(from);
                    Vector512<byte> low = value & mask;
                    Vector512<byte> high = (value.AsUInt16() >>> 4).AsByte() & mask;
                    sum0 ^= Product(table, low, high);
                    sum1 ^= Product(table + rowStep, low, high);
                    sum2 ^= Product(table + (2 * rowStep), low, high);
                    sum3 ^= Product(table + (3 * rowStep), low, high);
                    from += length;
                    table += TableSize;
                }

                sum0.Store(output + at);
                sum1.Store(output + length + at);
                sum2.Store(output + (2 * length) + at);
                sum3.Store(output + (3 * length) + at);
            }

            return at;
        }
    }

    private static nint Rows512(byte* tables, int inputCount, int rows, byte* input, byte* output, nint length, nint at, nint strip)
    {
        unchecked
        {
            Vector512<byte> mask = Vector512.Create((byte)15);
            for (; at + 64 <= strip; at += 64)
            {
                byte* table = tables;
                for (int row = 0; row < rows; row++)
                {
                    Vector512<byte> sum = Vector512<byte>.Zero;
                    byte* from = input + at;
                    for (int c = 0; c < inputCount; c++)
                    {
                        Vector512<byte> value = Vector512.Load(from);
                        sum ^= Product(table, value & mask, (value.AsUInt16() >>> 4).AsByte() & mask);
                        from += length;
                        table += TableSize;
                    }

                    sum.Store(output + (row * length) + at);
                }
            }

            return at;
        }
    }

    private static nint Four256(byte* tables, int inputCount, byte* input, byte* output, nint length, nint at, nint strip)
    {
        unchecked
        {
            nint rowStep = (nint)inputCount * TableSize;
            Vector256<byte> mask = Vector256.Create((byte)15);
            for (; at + 32 <= strip; at += 32)
            {
                Vector256<byte> sum0 = Vector256<byte>.Zero;
                Vector256<byte> sum1 = Vector256<byte>.Zero;
                Vector256<byte> sum2 = Vector256<byte>.Zero;
                Vector256<byte> sum3 = Vector256<byte>.Zero;
                byte* from = input + at;
                byte* table = tables;
                for (int c = 0; c < inputCount; c++)
                {
                    Vector256<byte> value = Vector256.Load(from);
                    Vector256<byte> low = value & mask;
                    Vector256<byte> high = (value.AsUInt16() >>> 4).AsByte() & mask;
                    sum0 ^= Product(table, low, high);
                    sum1 ^= Product(table + rowStep, low, high);
                    sum2 ^= Product(table + (2 * rowStep), low, high);
                    sum3 ^= Product(table + (3 * rowStep), low, high);
                    from += length;
                    table += TableSize;
                }

                sum0.Store(output + at);
                sum1.Store(output + length + at);
                sum2.Store(output + (2 * length) + at);
                sum3.Store(output + (3 * length) + at);
            }

            return at;
        }
    }

    private static nint Rows256(byte* tables, int inputCount, int rows, byte* input, byte* output, nint length, nint at, nint strip)
    {
        unchecked
        {
            Vector256<byte> mask = Vector256.Create((byte)15);
            for (; at + 32 <= strip; at += 32)
            {
                byte* table = tables;
                for (int row = 0; row < rows; row++)
                {
                    Vector256<byte> sum = Vector256<byte>.Zero;
                    byte* from = input + at;
                    for (int c = 0; c < inputCount; c++)
                    {
                        Vector256<byte> value = Vector256.Load(from);
                        sum ^= Product(table, value & mask, (value.AsUInt16() >>> 4).AsByte() & mask);
                        from += length;
                        table += TableSize;
                    }

                    sum.Store(output + (row * length) + at);
                }
            }

            return at;
        }
    }

    private static nint Rows128(byte* tables, int inputCount, int rows, byte* input, byte* output, nint length, nint at, nint strip)
    {
        unchecked
        {
            Vector128<byte> mask = Vector128.Create((byte)15);
            for (; at + 16 <= strip; at += 16)
            {
                byte* table = tables;
                for (int row = 0; row < rows; row++)
                {
                    Vector128<byte> sum = Vector128<byte>.Zero;
                    byte* from = input + at;
                    for (int c = 0; c < inputCount; c++)
                    {
                        Vector128<byte> value = Vector128.Load(from);
                        sum ^= Vector128.ShuffleNative(Vector128.Load(table), value & mask) ^
                            Vector128.ShuffleNative(Vector128.Load(table + 16), value >>> 4);
                        from += length;
                        table += TableSize;
                    }

                    sum.Store(output + (row * length) + at);
                }
            }

            return at;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Product(byte* table, Vector256<byte> low, Vector256<byte> high) =>
        Avx2.Shuffle(Avx2.BroadcastVector128ToVector256(table), low) ^ Avx2.Shuffle(Avx2.BroadcastVector128ToVector256(table + 16), high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<byte> Product(byte* table, Vector512<byte> low, Vector512<byte> high) =>
        Avx512BW.IsSupported
            ? Avx512BW.Shuffle(Vector512.Create(Vector128.Load(table)), low) ^ Avx512BW.Shuffle(Vector512.Create(Vector128.Load(table + 16)), high)
            : Vector512.Create(Product(table, low.GetLower(), high.GetLower()), Product(table, low.GetUpper(), high.GetUpper()));
}
