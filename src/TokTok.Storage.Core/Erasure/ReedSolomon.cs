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

        // One product, however many are missing.
        int k = DataSlices;
        var rows = new byte[wantedIndexes.Length * k];
        RebuildingRows(presentIndexes, wantedIndexes, rows);
        ErasureKernel.Multiply(_path, ErasureKernel.Tables(rows), k, wantedIndexes.Length, present, wanted, length);
    }

    /// <summary>The matrix that makes wanted slices from present ones.</summary>
    /// <remarks>A codeword is a polynomial of degree below k: at point x it is slice x times the product of x xor c over the data points c other
    /// than x, which for parity is the Cauchy formula with its denominators cleared. So any k slices give any other by Lagrange's formula, k²
    /// steps in all where inverting the rows that are left would take k³.</remarks>
    private void RebuildingRows(ReadOnlySpan<int> present, ReadOnlySpan<int> wanted, Span<byte> rows)
    {
        int k = DataSlices;
        Span<int> factors = stackalloc int[MaxSlices];
        for (int i = 0; i < k; i++)
        {
            factors[i] = LogOfScale(present[i]) - LogOfDifferences(present[i], present);
        }

        for (int r = 0; r < wanted.Length; r++)
        {
            Span<byte> row = rows.Slice(r * k, k);
            int held = present.IndexOf(wanted[r]);
            if (held >= 0)
            {
                row[held] = 1;
                continue;
            }

            int common = LogOfDifferences(wanted[r], present) - LogOfScale(wanted[r]);
            for (int i = 0; i < k; i++)
            {
                row[i] = Gf256.PowerOfTwo(common + factors[i] - Gf256.Log((byte)(wanted[r] ^ present[i])));
            }
        }
    }

    private int LogOfScale(int index)
    {
        int log = 0;
        for (int c = 0; c < DataSlices; c++)
        {
            log += c == index ? 0 : Gf256.Log((byte)(c ^ index));
        }

        return log;
    }

    private static int LogOfDifferences(int index, ReadOnlySpan<int> others)
    {
        int log = 0;
        foreach (int other in others)
        {
            log += other == index ? 0 : Gf256.Log((byte)(other ^ index));
        }

        return log;
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
