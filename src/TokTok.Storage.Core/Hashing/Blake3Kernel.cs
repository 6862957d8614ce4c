using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace TokTok.Storage.Core.Hashing;

/// <summary>The BLAKE3 compression function, and its use on many inputs of one length at once.</summary>
/// <remarks>Format: docs/format.md 2.1. Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, BLAKE3 (2020), 2.2 to 2.4 and 5.3.
/// One input is compressed row-wise (four words of the state in a vector): it rules small blocks, tails and the tree's top.
/// Many are compressed lane-wise (word i of every input in one vector): <see cref="HashMany"/> serves chunks and parents alike.
/// Words are little-endian, as every machine .NET runs this on is.</remarks>
internal static unsafe partial class Blake3Kernel
{
    internal const int WordCount = 8;
    internal const int CvSize = WordCount * sizeof(uint);
    internal const int BlockSize = 64;
    internal const int ChunkSize = 1024;
    internal const int BlocksPerChunk = ChunkSize / BlockSize;
    internal const int RoundCount = 7;

    internal const uint ChunkStart = 1 << 0;
    internal const uint ChunkEnd = 1 << 1;
    internal const uint Parent = 1 << 2;
    internal const uint Root = 1 << 3;
    internal const uint Keyed = 1 << 4;
    internal const uint DeriveContext = 1 << 5;
    internal const uint DeriveMaterial = 1 << 6;

    private const uint Iv0 = 0x6A09E667;
    private const uint Iv1 = 0xBB67AE85;
    private const uint Iv2 = 0x3C6EF372;
    private const uint Iv3 = 0xA54FF53A;

    internal static ReadOnlySpan<uint> Iv => [Iv0, Iv1, Iv2, Iv3, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];

    /// <summary>Message word of each place in each round: the permutation of the paper, applied 0 to 6 times.</summary>
    private static ReadOnlySpan<byte> Schedule =>
    [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8,
        3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1,
        10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6,
        12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4,
        9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7,
        11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13,
    ];

    /// <summary>Compresses one block into 16 words: the chaining value, then the words that only extended output uses.</summary>
    /// <remarks><paramref name="output"/> may be <paramref name="cv"/>.</remarks>
    internal static void Compress(KernelPath path, uint* cv, byte* block, uint blockBytes, ulong counter, uint flags, uint* output)
    {
        if (path == KernelPath.Scalar)
        {
            CompressScalar(cv, (uint*)block, blockBytes, counter, flags, output);
        }
        else
        {
            CompressRows(cv, (uint*)block, blockBytes, counter, flags, output, wide: true);
        }
    }

    /// <summary>As <see cref="Compress"/>, keeping the eight words of the chaining value alone.</summary>
    internal static void CompressCv(KernelPath path, uint* cv, byte* block, uint blockBytes, ulong counter, uint flags, uint* output)
    {
        if (path == KernelPath.Scalar)
        {
            uint* wide = stackalloc uint[16];
            CompressScalar(cv, (uint*)block, blockBytes, counter, flags, wide);
            Unsafe.CopyBlockUnaligned(output, wide, CvSize);
        }
        else
        {
            CompressRows(cv, (uint*)block, blockBytes, counter, flags, output, wide: false);
        }
    }

    /// <summary>Chaining values of <paramref name="count"/> inputs that lie <paramref name="stride"/> apart, each of whole blocks.</summary>
    /// <param name="counterStep">1 where input i is chunk counter + i, 0 for parents.</param>
    /// <remarks>Output i lies at 32·i and may overlap an input that begins at or after 32·i, as a parent's children do:
    /// a lane group is read before it is written, and groups go upwards.</remarks>
    internal static void HashMany(
        KernelPath path, byte* input, int count, nuint stride, int blockCount, uint* key, ulong counter, uint counterStep,
        uint flags, uint flagsStart, uint flagsEnd, byte* output)
    {
        unchecked
        {
            while (path == KernelPath.Vector512 && count >= 16)
            {
                Hash16(input, stride, blockCount, key, counter, counterStep, flags, flagsStart, flagsEnd, output);
                input += 16 * stride;
                output += 16 * CvSize;
                count -= 16;
                counter += 16 * counterStep;
            }

            while (path >= KernelPath.Vector256 && count >= 8)
            {
                Hash8(input, stride, blockCount, key, counter, counterStep, flags, flagsStart, flagsEnd, output);
                input += 8 * stride;
                output += 8 * CvSize;
                count -= 8;
                counter += 8 * counterStep;
            }

            while (path >= KernelPath.Vector128 && count >= 4)
            {
                Hash4(input, stride, blockCount, key, counter, counterStep, flags, flagsStart, flagsEnd, output);
                input += 4 * stride;
                output += 4 * CvSize;
                count -= 4;
                counter += 4 * counterStep;
            }

            uint* cv = stackalloc uint[WordCount];
            for (; count > 0; count--)
            {
                Unsafe.CopyBlockUnaligned(cv, key, CvSize);
                for (int block = 0; block < blockCount; block++)
                {
                    uint blockFlags = flags | (block == 0 ? flagsStart : 0) | (block == blockCount - 1 ? flagsEnd : 0);
                    CompressCv(path, cv, input + (block * BlockSize), BlockSize, counter, blockFlags, cv);
                }

                Unsafe.CopyBlockUnaligned(output, cv, CvSize);
                input += stride;
                output += CvSize;
                counter += counterStep;
            }
        }
    }

    /// <summary>Chaining values of chunks that fill most of the lanes, the others taken along for nothing: 13 chunks cost two thirds of 8, 4 and 1.</summary>
    /// <param name="output">Room for as many values as there are lanes, at most 16.</param>
    /// <returns>False: so many are better hashed by eights, fours and singly.</returns>
    [SkipLocalsInit]
    internal static bool TryHashFew(KernelPath path, byte* input, ulong count, uint* key, ulong counter, uint flags, byte* output)
    {
        int lanes = count switch { 3 => 4, 5 or 6 or 7 => 8, > 8 and < 16 => 16, _ => 0 };
        if (lanes == 0 || path < lanes switch { 4 => KernelPath.Vector128, 8 => KernelPath.Vector256, _ => KernelPath.Vector512 })
        {
            return false;
        }

        unchecked
        {
            byte* padded = stackalloc byte[lanes * ChunkSize]; // whatever lies behind them there
            Unsafe.CopyBlockUnaligned(padded, input, (uint)count * ChunkSize);
            HashMany(path, padded, lanes, ChunkSize, BlocksPerChunk, key, counter, 1, flags, ChunkStart, ChunkEnd, output);
            return true;
        }
    }

    private static void CompressScalar(uint* cv, uint* message, uint blockBytes, ulong counter, uint flags, uint* output)
    {
        unchecked
        {
            uint* v = stackalloc uint[16]
            {
                cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7],
                Iv0, Iv1, Iv2, Iv3, (uint)counter, (uint)(counter >> 32), blockBytes, flags,
            };

            for (int round = 0; round < RoundCount; round++)
            {
                ReadOnlySpan<byte> at = Schedule.Slice(16 * round, 16);
                Mix(v, 0, 4, 8, 12, message[at[0]], message[at[1]]);
                Mix(v, 1, 5, 9, 13, message[at[2]], message[at[3]]);
                Mix(v, 2, 6, 10, 14, message[at[4]], message[at[5]]);
                Mix(v, 3, 7, 11, 15, message[at[6]], message[at[7]]);
                Mix(v, 0, 5, 10, 15, message[at[8]], message[at[9]]);
                Mix(v, 1, 6, 11, 12, message[at[10]], message[at[11]]);
                Mix(v, 2, 7, 8, 13, message[at[12]], message[at[13]]);
                Mix(v, 3, 4, 9, 14, message[at[14]], message[at[15]]);
            }

            for (int i = 0; i < WordCount; i++)
            {
                uint before = cv[i];
                output[i] = v[i] ^ v[i + 8];
                output[i + 8] = v[i + 8] ^ before;
            }
        }
    }

    private static void Mix(uint* v, int a, int b, int c, int d, uint x, uint y)
    {
        unchecked
        {
            v[a] = v[a] + v[b] + x;
            v[d] = BitOperations.RotateRight(v[d] ^ v[a], 16);
            v[c] += v[d];
            v[b] = BitOperations.RotateRight(v[b] ^ v[c], 12);
            v[a] = v[a] + v[b] + y;
            v[d] = BitOperations.RotateRight(v[d] ^ v[a], 8);
            v[c] += v[d];
            v[b] = BitOperations.RotateRight(v[b] ^ v[c], 7);
        }
    }

    private static void CompressRows(uint* cv, uint* message, uint blockBytes, ulong counter, uint flags, uint* output, bool wide)
    {
        unchecked
        {
            Vector128<uint> cvLow = Vector128.Load(cv);
            Vector128<uint> cvHigh = Vector128.Load(cv + 4);
            Vector128<uint> row0 = cvLow;
            Vector128<uint> row1 = cvHigh;
            Vector128<uint> row2 = Vector128.Create(Iv0, Iv1, Iv2, Iv3);
            Vector128<uint> row3 = Vector128.Create((uint)counter, (uint)(counter >> 32), blockBytes, flags);

            ref byte at = ref MemoryMarshal.GetReference(Schedule);
            for (int round = 0; round < RoundCount; round++)
            {
                MixRows(ref row0, ref row1, ref row2, ref row3, Gather(message, ref at, 0), Gather(message, ref at, 1));

                // The diagonals become columns, are mixed and go back.
                row1 = Vector128.Shuffle(row1, Vector128.Create(1u, 2, 3, 0));
                row2 = Vector128.Shuffle(row2, Vector128.Create(2u, 3, 0, 1));
                row3 = Vector128.Shuffle(row3, Vector128.Create(3u, 0, 1, 2));
                MixRows(ref row0, ref row1, ref row2, ref row3, Gather(message, ref at, 8), Gather(message, ref at, 9));
                row1 = Vector128.Shuffle(row1, Vector128.Create(3u, 0, 1, 2));
                row2 = Vector128.Shuffle(row2, Vector128.Create(2u, 3, 0, 1));
                row3 = Vector128.Shuffle(row3, Vector128.Create(1u, 2, 3, 0));
                at = ref Unsafe.Add(ref at, 16);
            }

            (row0 ^ row2).Store(output);
            (row1 ^ row3).Store(output + 4);
            if (wide)
            {
                (row2 ^ cvLow).Store(output + 8);
                (row3 ^ cvHigh).Store(output + 12);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Gather(uint* message, ref byte at, int first) => Vector128.Create(
        message[Unsafe.Add(ref at, first)], message[Unsafe.Add(ref at, first + 2)],
        message[Unsafe.Add(ref at, first + 4)], message[Unsafe.Add(ref at, first + 6)]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MixRows(
        ref Vector128<uint> a, ref Vector128<uint> b, ref Vector128<uint> c, ref Vector128<uint> d, Vector128<uint> x, Vector128<uint> y)
    {
        unchecked
        {
            a = a + b + x;
            d = RotateRight16(d ^ a);
            c += d;
            b = RotateRight12(b ^ c);
            a = a + b + y;
            d = RotateRight8(d ^ a);
            c += d;
            b = RotateRight7(b ^ c);
        }
    }
}
