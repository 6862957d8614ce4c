using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Erasure;

/// <summary>Rows of a matrix over GF(256) times columns of bytes: outputs from inputs, both contiguous slices of one length.</summary>
/// <remarks>Source: Plank, Greenan, Miller, Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions (FAST 2013).
/// A product by a constant is two lookups of 16 bytes, one for each nibble, which a byte shuffle does for a whole vector. Up to four outputs and
/// two vectors go together: a table once loaded serves two products, an input once split into nibbles eight.
/// Slices are often a power of two long. Then the bytes at one place of all slices share one set of the first and second caches, eight lines each
/// on many processors, and push each other out before their neighbours are read. So no more than four inputs are read side by side. For few outputs
/// their products are added to a strip of each output, four inputs at a time. For many, a piece of each input in turn is copied into a window in the
/// order the products read it, and all outputs are made from the window, which stays in the first cache.
/// A last part of a block is padded with zeros, so every product is of whole vectors.</remarks>
internal static unsafe class ErasureKernel
{
    /// <summary>Bytes of a coefficient's tables: products of the low nibbles, then of the high ones.</summary>
    internal const int TableSize = 2 * 16;

    private const int WindowBytes = 16 * 1024;
    private const int StripBytes = 2 * 1024;
    private const int InputsTogether = 4;
    private const int RowsTogether = 4;

    /// <summary>Up to so many outputs, adding to them costs less than the window.</summary>
    private const int MaxRowsInPlace = 8;

    /// <summary>Two vectors of the widest path.</summary>
    private const int MaxBlockBytes = 2 * 64;

    /// <summary>The tables of all 256 constants.</summary>
    private static readonly byte[] s_tables = AllTables();

    /// <summary>Tables of a matrix, in row order.</summary>
    internal static byte[] Tables(ReadOnlySpan<byte> matrix)
    {
        var tables = new byte[matrix.Length * TableSize];
        for (int i = 0; i < matrix.Length; i++)
        {
            s_tables.AsSpan(matrix[i] * TableSize, TableSize).CopyTo(tables.AsSpan(i * TableSize));
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
            Range(path, table, inputCount, outputCount, input, output, length, length, length);
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
            Range(path, table, inputCount, 1, input + from, to, length, output.Length, output.Length);
        }
    }

    private static byte[] AllTables()
    {
        var tables = new byte[256 * TableSize];
        for (int constant = 0; constant < 256; constant++)
        {
            for (int nibble = 0; nibble < 16; nibble++)
            {
                tables[(constant * TableSize) + nibble] = Gf256.Multiply((byte)constant, (byte)nibble);
                tables[(constant * TableSize) + 16 + nibble] = Gf256.Multiply((byte)constant, (byte)(nibble << 4));
            }
        }

        return tables;
    }

    private static void Range(
        KernelPath path, byte* tables, int inputCount, int outputCount, byte* input, byte* output, nint inputStep, nint outputStep, nint length)
    {
        switch (path)
        {
            case KernelPath.Vector512:
                Range<Lanes512, Vector512<byte>>(tables, inputCount, outputCount, input, output, inputStep, outputStep, length);
                break;
            case KernelPath.Vector256:
                Range<Lanes256, Vector256<byte>>(tables, inputCount, outputCount, input, output, inputStep, outputStep, length);
                break;
            case KernelPath.Vector128:
                Range<Lanes128, Vector128<byte>>(tables, inputCount, outputCount, input, output, inputStep, outputStep, length);
                break;
            default:
                Scalar(tables, inputCount, outputCount, input, output, inputStep, outputStep, length);
                break;
        }
    }

    private static void Scalar(
        byte* tables, int inputCount, int outputCount, byte* input, byte* output, nint inputStep, nint outputStep, nint length)
    {
        unchecked
        {
            for (int row = 0; row < outputCount; row++)
            {
                for (nint i = 0; i < length; i++)
                {
                    int sum = 0;
                    for (int c = 0; c < inputCount; c++)
                    {
                        byte value = input[(c * inputStep) + i];
                        sum ^= tables[(c * TableSize) + (value & 15)] ^ tables[(c * TableSize) + 16 + (value >> 4)];
                    }

                    output[(row * outputStep) + i] = (byte)sum;
                }

                tables += (nint)inputCount * TableSize;
            }
        }
    }

    [SkipLocalsInit]
    private static void Range<TLanes, TVector>(
        byte* tables, int inputCount, int outputCount, byte* input, byte* output, nint inputStep, nint outputStep, nint length)
        where TLanes : ILanes<TVector>
        where TVector : unmanaged
    {
        unchecked
        {
            byte* room = stackalloc byte[Math.Max(WindowBytes, inputCount * MaxBlockBytes) + (RowsTogether * MaxBlockBytes) + MaxBlockBytes];
            byte* last = (byte*)(((nint)room + MaxBlockBytes - 1) & ~(MaxBlockBytes - 1));
            byte* window = last + (RowsTogether * MaxBlockBytes);
            nint block = 2 * sizeof(TVector);
            nint whole = length / block * block;
            nint tableStep = (nint)inputCount * TableSize;
            nint windowStep = inputCount * block;
            if (outputCount <= MaxRowsInPlace)
            {
                for (nint from = 0; from < whole; from += StripBytes)
                {
                    nint bytes = Math.Min(StripBytes, whole - from);
                    for (int c = 0; c < inputCount; c += InputsTogether)
                    {
                        Rows<TLanes, TVector>(
                            tables + (c * TableSize), tableStep, Math.Min(InputsTogether, inputCount - c), outputCount,
                            input + from + (c * inputStep), inputStep, block, output + from, outputStep, bytes, adds: c > 0);
                    }
                }
            }
            else
            {
                nint strip = Math.Max(1, WindowBytes / windowStep) * block;
                for (nint from = 0; from < whole; from += strip)
                {
                    nint bytes = Math.Min(strip, whole - from);
                    Fill<TLanes, TVector>(window, windowStep, inputCount, input + from, inputStep, bytes);
                    Rows<TLanes, TVector>(
                        tables, tableStep, inputCount, outputCount, window, block, windowStep, output + from, outputStep, bytes, adds: false);
                }
            }

            if (whole < length)
            {
                FillLast(window, block, inputCount, input + whole, inputStep, length - whole);
                for (int row = 0; row < outputCount; row += RowsTogether)
                {
                    int rows = Math.Min(RowsTogether, outputCount - row);
                    Rows<TLanes, TVector>(
                        tables + (row * tableStep), tableStep, inputCount, rows, window, block, windowStep, last, block, block, adds: false);
                    for (int i = 0; i < rows; i++)
                    {
                        Unsafe.CopyBlockUnaligned(output + ((row + i) * outputStep) + whole, last + (i * block), (uint)(length - whole));
                    }
                }
            }
        }
    }

    /// <summary>Whole blocks: block b of input c goes to b·windowStep + c·block.</summary>
    private static void Fill<TLanes, TVector>(byte* window, nint windowStep, int inputCount, byte* input, nint inputStep, nint bytes)
        where TLanes : ILanes<TVector>
        where TVector : unmanaged
    {
        unchecked
        {
            nint block = 2 * sizeof(TVector);
            for (int c = 0; c < inputCount; c++)
            {
                byte* to = window;
                for (nint at = 0; at < bytes; at += block)
                {
                    TLanes.Store(TLanes.Load(input + at), to);
                    TLanes.Store(TLanes.Load(input + at + sizeof(TVector)), to + sizeof(TVector));
                    to += windowStep;
                }

                window += block;
                input += inputStep;
            }
        }
    }

    /// <summary>Less than a block, and zeros after it.</summary>
    private static void FillLast(byte* window, nint block, int inputCount, byte* input, nint inputStep, nint bytes)
    {
        unchecked
        {
            Unsafe.InitBlockUnaligned(window, 0, (uint)(inputCount * block));
            for (int c = 0; c < inputCount; c++)
            {
                Unsafe.CopyBlockUnaligned(window + (c * block), input + (c * inputStep), (uint)bytes);
            }
        }
    }

    private static void Rows<TLanes, TVector>(
        byte* tables, nint tableStep, int inputCount, int rows, byte* source, nint columnStep, nint blockStep, byte* output, nint outputStep, nint bytes, bool adds)
        where TLanes : ILanes<TVector>
        where TVector : unmanaged
    {
        unchecked
        {
            while (rows > 0)
            {
                // 3 and 2 are faster than 4 and 1.
                int now = rows == RowsTogether + 1 ? 3 : Math.Min(RowsTogether, rows);
                switch (now)
                {
                    case 4:
                        Blocks<TLanes, TVector, Four>(tables, tableStep, inputCount, source, columnStep, blockStep, output, outputStep, bytes, adds);
                        break;
                    case 3:
                        Blocks<TLanes, TVector, Three>(tables, tableStep, inputCount, source, columnStep, blockStep, output, outputStep, bytes, adds);
                        break;
                    case 2:
                        Blocks<TLanes, TVector, Two>(tables, tableStep, inputCount, source, columnStep, blockStep, output, outputStep, bytes, adds);
                        break;
                    default:
                        Blocks<TLanes, TVector, One>(tables, tableStep, inputCount, source, columnStep, blockStep, output, outputStep, bytes, adds);
                        break;
                }

                rows -= now;
                tables += now * tableStep;
                output += now * outputStep;
            }
        }
    }

    /// <summary>Up to four rows, a to d, times whole blocks of two vectors, 0 and 1. The count is a type, so code for rows that are not there is left out.</summary>
    private static void Blocks<TLanes, TVector, TCount>(
        byte* tables, nint tableStep, int inputCount, byte* source, nint columnStep, nint blockStep, byte* output, nint outputStep, nint bytes, bool adds)
        where TLanes : ILanes<TVector>
        where TVector : unmanaged
        where TCount : ICount
    {
        unchecked
        {
            nint thrice = 3 * tableStep;
            for (byte* end = output + bytes; output < end; output += 2 * sizeof(TVector))
            {
                TVector a0 = TLanes.Zero, a1 = TLanes.Zero, b0 = TLanes.Zero, b1 = TLanes.Zero;
                TVector c0 = TLanes.Zero, c1 = TLanes.Zero, d0 = TLanes.Zero, d1 = TLanes.Zero;
                if (adds)
                {
                    (a0, a1) = (TLanes.Load(output), TLanes.Load(output + sizeof(TVector)));
                    if (TCount.Value > 1)
                    {
                        (b0, b1) = (TLanes.Load(output + outputStep), TLanes.Load(output + outputStep + sizeof(TVector)));
                    }

                    if (TCount.Value > 2)
                    {
                        (c0, c1) = (TLanes.Load(output + (2 * outputStep)), TLanes.Load(output + (2 * outputStep) + sizeof(TVector)));
                    }

                    if (TCount.Value > 3)
                    {
                        (d0, d1) = (TLanes.Load(output + (3 * outputStep)), TLanes.Load(output + (3 * outputStep) + sizeof(TVector)));
                    }
                }

                byte* from = source;
                byte* table = tables;
                for (int left = inputCount; left > 0; left--)
                {
                    TVector value0 = TLanes.Load(from), value1 = TLanes.Load(from + sizeof(TVector));
                    TVector low0 = TLanes.Low(value0), low1 = TLanes.Low(value1), high0 = TLanes.High(value0), high1 = TLanes.High(value1);
                    TVector entries = TLanes.Table(table);
                    a0 = TLanes.Xor(a0, TLanes.Lookup(entries, low0));
                    a1 = TLanes.Xor(a1, TLanes.Lookup(entries, low1));
                    entries = TLanes.Table(table + 16);
                    a0 = TLanes.Xor(a0, TLanes.Lookup(entries, high0));
                    a1 = TLanes.Xor(a1, TLanes.Lookup(entries, high1));
                    if (TCount.Value > 1)
                    {
                        entries = TLanes.Table(table + tableStep);
                        b0 = TLanes.Xor(b0, TLanes.Lookup(entries, low0));
                        b1 = TLanes.Xor(b1, TLanes.Lookup(entries, low1));
                        entries = TLanes.Table(table + tableStep + 16);
                        b0 = TLanes.Xor(b0, TLanes.Lookup(entries, high0));
                        b1 = TLanes.Xor(b1, TLanes.Lookup(entries, high1));
                    }

                    if (TCount.Value > 2)
                    {
                        entries = TLanes.Table(table + (2 * tableStep));
                        c0 = TLanes.Xor(c0, TLanes.Lookup(entries, low0));
                        c1 = TLanes.Xor(c1, TLanes.Lookup(entries, low1));
                        entries = TLanes.Table(table + (2 * tableStep) + 16);
                        c0 = TLanes.Xor(c0, TLanes.Lookup(entries, high0));
                        c1 = TLanes.Xor(c1, TLanes.Lookup(entries, high1));
                    }

                    if (TCount.Value > 3)
                    {
                        entries = TLanes.Table(table + thrice);
                        d0 = TLanes.Xor(d0, TLanes.Lookup(entries, low0));
                        d1 = TLanes.Xor(d1, TLanes.Lookup(entries, low1));
                        entries = TLanes.Table(table + thrice + 16);
                        d0 = TLanes.Xor(d0, TLanes.Lookup(entries, high0));
                        d1 = TLanes.Xor(d1, TLanes.Lookup(entries, high1));
                    }

                    from += columnStep;
                    table += TableSize;
                }

                TLanes.Store(a0, output);
                TLanes.Store(a1, output + sizeof(TVector));
                if (TCount.Value > 1)
                {
                    TLanes.Store(b0, output + outputStep);
                    TLanes.Store(b1, output + outputStep + sizeof(TVector));
                }

                if (TCount.Value > 2)
                {
                    TLanes.Store(c0, output + (2 * outputStep));
                    TLanes.Store(c1, output + (2 * outputStep) + sizeof(TVector));
                }

                if (TCount.Value > 3)
                {
                    TLanes.Store(d0, output + (3 * outputStep));
                    TLanes.Store(d1, output + (3 * outputStep) + sizeof(TVector));
                }

                source += blockStep;
            }
        }
    }

    private interface ICount
    {
        static abstract int Value { get; }
    }

    private readonly struct One : ICount
    {
        public static int Value => 1;
    }

    private readonly struct Two : ICount
    {
        public static int Value => 2;
    }

    private readonly struct Three : ICount
    {
        public static int Value => 3;
    }

    private readonly struct Four : ICount
    {
        public static int Value => 4;
    }

    /// <summary>What the products need of a vector width.</summary>
    private interface ILanes<TVector>
        where TVector : unmanaged
    {
        static abstract TVector Zero { get; }

        static abstract TVector Load(byte* from);

        static abstract void Store(TVector value, byte* to);

        static abstract TVector Xor(TVector a, TVector b);

        /// <summary>Low nibbles.</summary>
        static abstract TVector Low(TVector value);

        /// <summary>High nibbles, moved down.</summary>
        static abstract TVector High(TVector value);

        /// <summary>16 bytes, once for every 128 bits.</summary>
        static abstract TVector Table(byte* from);

        /// <summary>Entries of a table by indexes below 16.</summary>
        static abstract TVector Lookup(TVector table, TVector indexes);
    }

    private readonly struct Lanes128 : ILanes<Vector128<byte>>
    {
        public static Vector128<byte> Zero => Vector128<byte>.Zero;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Load(byte* from) => Vector128.Load(from);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Vector128<byte> value, byte* to) => value.Store(to);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Xor(Vector128<byte> a, Vector128<byte> b) => a ^ b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Low(Vector128<byte> value) => value & Vector128.Create((byte)15);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> High(Vector128<byte> value) => value >>> 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Table(byte* from) => Vector128.Load(from);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Lookup(Vector128<byte> table, Vector128<byte> indexes) => Vector128.ShuffleNative(table, indexes);
    }

    private readonly struct Lanes256 : ILanes<Vector256<byte>>
    {
        public static Vector256<byte> Zero => Vector256<byte>.Zero;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Load(byte* from) => Vector256.Load(from);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Vector256<byte> value, byte* to) => value.Store(to);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Xor(Vector256<byte> a, Vector256<byte> b) => a ^ b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Low(Vector256<byte> value) => value & Vector256.Create((byte)15);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> High(Vector256<byte> value) => (value.AsUInt16() >>> 4).AsByte() & Vector256.Create((byte)15);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Table(byte* from) => Avx2.BroadcastVector128ToVector256(from);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Lookup(Vector256<byte> table, Vector256<byte> indexes) => Avx2.Shuffle(table, indexes);
    }

    private readonly struct Lanes512 : ILanes<Vector512<byte>>
    {
        public static Vector512<byte> Zero => Vector512<byte>.Zero;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Load(byte* from) => Vector512.Load(from);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Vector512<byte> value, byte* to) => value.Store(to);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Xor(Vector512<byte> a, Vector512<byte> b) => a ^ b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Low(Vector512<byte> value) => value & Vector512.Create((byte)15);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> High(Vector512<byte> value) => (value.AsUInt16() >>> 4).AsByte() & Vector512.Create((byte)15);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Table(byte* from) => Avx512F.IsSupported
            ? Avx512F.BroadcastVector128ToVector512((uint*)from).AsByte()
            : Vector512.Create(Avx2.BroadcastVector128ToVector256(from), Avx2.BroadcastVector128ToVector256(from));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Lookup(Vector512<byte> table, Vector512<byte> indexes) => Avx512BW.IsSupported
            ? Avx512BW.Shuffle(table, indexes)
            : Vector512.Create(Avx2.Shuffle(table.GetLower(), indexes.GetLower()), Avx2.Shuffle(table.GetUpper(), indexes.GetUpper()));
    }
}
