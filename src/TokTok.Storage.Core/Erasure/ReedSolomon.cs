using System.Diagnostics;

namespace TokTok.Storage.Core.Erasure;

/// <summary>Systematic Reed–Solomon over GF(256): m parity slices for k data slices, any k of the k + m give back all.</summary>
/// <remarks>Format: docs/format.md 2.6. Parity row r, column c is the inverse of (k + r) xor c: the bytes of ISA-L's gf_gen_cauchy1_matrix and
/// klauspost's WithCauchyMatrix. Slices of one call are contiguous and of one length. Indexes: data 0 to k - 1, parity k to k + m - 1.
/// Immutable, so one coder serves any number of threads. Encode and Verify allocate nothing; Reconstruct allocates its matrix.</remarks>
public sealed class ReedSolomon
{
    /// <summary>Elements of the field, so slices of an arena.</summary>
    public const int MaxSlices = 256;

    private const int VerifyStripBytes = 4096;

    private readonly KernelPath _path;
    private readonly byte[] _parityTables;

    public ReedSolomon(int dataSlices, int paritySlices)
        : this(KernelPaths.Best, dataSlices, paritySlices)
    {
    }

    internal ReedSolomon(KernelPath path, int dataSlices, int paritySlices)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dataSlices, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dataSlices, MaxSlices - 1);
        ArgumentOutOfRangeException.ThrowIfNegative(paritySlices);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(paritySlices, MaxSlices - dataSlices);
        (_path, DataSlices, ParitySlices) = (path, dataSlices, paritySlices);
        var matrix = new byte[paritySlices * dataSlices];
        for (int row = 0; row < paritySlices; row++)
        {
            CodingRow(dataSlices + row, matrix.AsSpan(row * dataSlices, dataSlices));
        }

        _parityTables = ErasureKernel.Tables(matrix);
    }

    /// <summary>k.</summary>
    public int DataSlices { get; }

    /// <summary>m.</summary>
    public int ParitySlices { get; }

    /// <summary>Writes all parity slices.</summary>
    public void Encode(ReadOnlySpan<byte> data, Span<byte> parity, int sliceBytes)
    {
        CheckSlices(data.Length, DataSlices, sliceBytes, nameof(data));
        CheckSlices(parity.Length, ParitySlices, sliceBytes, nameof(parity));
        ErasureKernel.Multiply(_path, _parityTables, DataSlices, ParitySlices, data, parity, sliceBytes);
    }

    /// <summary>Writes one parity slice, <paramref name="parityIndex"/> from 0 to m - 1.</summary>
    public void EncodeRow(int parityIndex, ReadOnlySpan<byte> data, Span<byte> parity, int sliceBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(parityIndex);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(parityIndex, ParitySlices);
        CheckSlices(data.Length, DataSlices, sliceBytes, nameof(data));
        CheckSlices(parity.Length, 1, sliceBytes, nameof(parity));
        int rowBytes = DataSlices * ErasureKernel.TableSize;
        ErasureKernel.Multiply(_path, _parityTables.AsSpan(parityIndex * rowBytes, rowBytes), DataSlices, 1, data, parity, sliceBytes);
    }

    /// <summary>True if this is the parity of this data.</summary>
    public bool Verify(ReadOnlySpan<byte> data, ReadOnlySpan<byte> parity, int sliceBytes)
    {
        CheckSlices(data.Length, DataSlices, sliceBytes, nameof(data));
        CheckSlices(parity.Length, ParitySlices, sliceBytes, nameof(parity));
        Span<byte> expected = stackalloc byte[VerifyStripBytes];
        for (int row = 0; row < ParitySlices; row++)
        {
            ReadOnlySpan<byte> tables = _parityTables.AsSpan(row * DataSlices * ErasureKernel.TableSize, DataSlices * ErasureKernel.TableSize);
            for (int from = 0; from < sliceBytes; from += VerifyStripBytes)
            {
                int strip = Math.Min(VerifyStripBytes, sliceBytes - from);
                ErasureKernel.MultiplyRange(_path, tables, DataSlices, data, sliceBytes, from, expected[..strip]);
                if (!expected[..strip].SequenceEqual(parity.Slice((row * sliceBytes) + from, strip)))
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>Rebuilds wanted slices from any k. Ranges of slices work as whole slices do, so a damaged group can be mended alone.</summary>
    /// <param name="presentIndexes">Exactly k distinct indexes, in any order.</param>
    /// <param name="present">Those slices, <paramref name="length"/> bytes each, in that order.</param>
    /// <param name="wantedIndexes">Indexes to rebuild; one that is present is copied.</param>
    /// <param name="wanted">Room for them, in that order.</param>
    public void Reconstruct(
        ReadOnlySpan<int> presentIndexes, ReadOnlySpan<byte> present, ReadOnlySpan<int> wantedIndexes, Span<byte> wanted, int length)
    {
        if (presentIndexes.Length != DataSlices)
        {
            throw new ArgumentException($"{DataSlices} slices rebuild; {presentIndexes.Length} are given.", nameof(presentIndexes));
        }

        CheckIndexes(presentIndexes, distinct: true, nameof(presentIndexes));
        CheckIndexes(wantedIndexes, distinct: false, nameof(wantedIndexes));
        CheckSlices(present.Length, DataSlices, length, nameof(present));
        CheckSlices(wanted.Length, wantedIndexes.Length, length, nameof(wanted));

        // present = P · data, so wanted = W · P^-1 · present, one product however many are missing.
        int k = DataSlices;
        var inverse = new byte[k * k];
        Invert(presentIndexes, inverse);
        var rows = new byte[wantedIndexes.Length * k];
        Span<byte> coding = stackalloc byte[MaxSlices];
        coding = coding[..k];
        for (int i = 0; i < wantedIndexes.Length; i++)
        {
            CodingRow(wantedIndexes[i], coding);
            Span<byte> row = rows.AsSpan(i * k, k);
            for (int middle = 0; middle < k; middle++)
            {
                AddMultiple(row, inverse.AsSpan(middle * k, k), coding[middle]);
            }
        }

        ErasureKernel.Multiply(_path, ErasureKernel.Tables(rows), k, wantedIndexes.Length, present, wanted, length);
    }

    /// <summary>The row of the whole matrix that makes slice <paramref name="index"/> from data: identity, then Cauchy.</summary>
    internal void CodingRow(int index, Span<byte> row)
    {
        row.Clear();
        if (index < DataSlices)
        {
            row[index] = 1;
            return;
        }

        for (int column = 0; column < row.Length; column++)
        {
            row[column] = Gf256.Invert((byte)(index ^ column));
        }
    }

    /// <summary>Gauss and Jordan. Any k rows of identity and Cauchy are independent, so a pivot is always found.</summary>
    private void Invert(ReadOnlySpan<int> indexes, Span<byte> inverse)
    {
        int k = DataSlices;
        var matrix = new byte[k * k];
        for (int row = 0; row < k; row++)
        {
            CodingRow(indexes[row], matrix.AsSpan(row * k, k));
            inverse[(row * k) + row] = 1;
        }

        for (int column = 0; column < k; column++)
        {
            int pivot = column;
            while (matrix[(pivot * k) + column] == 0)
            {
                pivot++;
                Debug.Assert(pivot < k, "k distinct rows are independent");
            }

            Span<byte> row = matrix.AsSpan(column * k, k);
            Span<byte> inverseRow = inverse.Slice(column * k, k);
            if (pivot != column)
            {
                // Adding does what swapping would: the diagonal was 0 and is the pivot now.
                AddMultiple(row, matrix.AsSpan(pivot * k, k), 1);
                AddMultiple(inverseRow, inverse.Slice(pivot * k, k), 1);
            }

            byte scale = Gf256.Invert(row[column]);
            Scale(row, scale);
            Scale(inverseRow, scale);
            for (int other = 0; other < k; other++)
            {
                byte factor = matrix[(other * k) + column];
                if (other != column && factor != 0)
                {
                    AddMultiple(matrix.AsSpan(other * k, k), row, factor);
                    AddMultiple(inverse.Slice(other * k, k), inverseRow, factor);
                }
            }
        }
    }

    private static void AddMultiple(Span<byte> row, ReadOnlySpan<byte> other, byte factor)
    {
        for (int i = 0; i < row.Length; i++)
        {
            row[i] ^= Gf256.Multiply(other[i], factor);
        }
    }

    private static void Scale(Span<byte> row, byte factor)
    {
        for (int i = 0; i < row.Length; i++)
        {
            row[i] = Gf256.Multiply(row[i], factor);
        }
    }

    private void CheckIndexes(ReadOnlySpan<int> indexes, bool distinct, string name)
    {
        Span<bool> seen = stackalloc bool[MaxSlices];
        seen.Clear();
        foreach (int index in indexes)
        {
            if (index < 0 || index >= DataSlices + ParitySlices)
            {
                throw new ArgumentOutOfRangeException(name, $"Slice {index} is not in 0 to {DataSlices + ParitySlices - 1}.");
            }

            if (distinct && seen[index])
            {
                throw new ArgumentException($"Slice {index} is given twice.", name);
            }

            seen[index] = true;
        }
    }

    private static void CheckSlices(int bytes, int slices, int sliceBytes, string name)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sliceBytes);
        if (bytes != (long)slices * sliceBytes)
        {
            throw new ArgumentException($"{slices} slices of {sliceBytes} bytes are {(long)slices * sliceBytes} bytes; the span has {bytes}.", name);
        }
    }
}
