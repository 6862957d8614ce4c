using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Hashing;

internal static unsafe partial class Blake3Kernel
{
    private const int PrefetchBytes = 256;

    /// <summary>8 inputs, one in each 32-bit lane.</summary>
    /// <remarks>Sixteen registers hold the rows a, b and d of the state and what a step works on; row c lies in memory, where its next use is far
    /// enough off. Rounds are a loop that looks its words up, since seven rounds written out make the compiler keep words and halves of rotations
    /// on the stack: that ran at less than half the speed.</remarks>
    [SkipLocalsInit]
    private static void Hash8(
        byte* input, nuint stride, int blockCount, uint* key, ulong counter, uint counterStep, uint flags, uint flagsStart, uint flagsEnd, byte* output)
    {
        unchecked
        {
            byte* space = stackalloc byte[((16 + 4 + 2) * 32) + 31];
            var m = (Vector256<uint>*)(((nuint)space + 31) & ~(nuint)31);
            Vector256<uint>* c = m + 16;
            Vector256<uint>* rotations = c + 4;
            rotations[0] = Vector256.Create((byte)2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13).AsUInt32();
            rotations[1] = Vector256.Create((byte)1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12).AsUInt32();

            // Constant data of the image: it does not move.
            var schedule = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(WordOffsets8));
            Vector256<uint> h0 = Vector256.Create(key[0]);
            Vector256<uint> h1 = Vector256.Create(key[1]);
            Vector256<uint> h2 = Vector256.Create(key[2]);
            Vector256<uint> h3 = Vector256.Create(key[3]);
            Vector256<uint> h4 = Vector256.Create(key[4]);
            Vector256<uint> h5 = Vector256.Create(key[5]);
            Vector256<uint> h6 = Vector256.Create(key[6]);
            Vector256<uint> h7 = Vector256.Create(key[7]);
            uint* counters = stackalloc uint[16];
            for (uint lane = 0; lane < 8; lane++)
            {
                ulong laneCounter = counter + (lane * counterStep);
                counters[lane] = (uint)laneCounter;
                counters[lane + 8] = (uint)(laneCounter >> 32);
            }

            Vector256<uint> counterLow = Vector256.Load(counters);
            Vector256<uint> counterHigh = Vector256.Load(counters + 8);
            for (int block = 0; block < blockCount; block++)
            {
                uint blockFlags = flags | (block == 0 ? flagsStart : 0) | (block == blockCount - 1 ? flagsEnd : 0);
                Transpose(input + (block * BlockSize), stride, m);
                if (blockCount > 1)
                {
                    // Eight streams a chunk apart are more than hardware prefetchers follow; a hint past the end of the input does no harm.
                    for (nuint lane = 0; lane < 8; lane++)
                    {
                        Sse.Prefetch0(input + (block * BlockSize) + (lane * stride) + PrefetchBytes);
                    }
                }

                Vector256<uint> v0 = h0;
                Vector256<uint> v1 = h1;
                Vector256<uint> v2 = h2;
                Vector256<uint> v3 = h3;
                Vector256<uint> v4 = h4;
                Vector256<uint> v5 = h5;
                Vector256<uint> v6 = h6;
                Vector256<uint> v7 = h7;
                c[0] = Vector256.Create(Iv0);
                c[1] = Vector256.Create(Iv1);
                c[2] = Vector256.Create(Iv2);
                c[3] = Vector256.Create(Iv3);
                Vector256<uint> v12 = counterLow;
                Vector256<uint> v13 = counterHigh;
                Vector256<uint> v14 = Vector256.Create((uint)BlockSize);
                Vector256<uint> v15 = Vector256.Create(blockFlags);
                byte* at = schedule;
                for (int round = 0; round < RoundCount; round++)
                {
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7,
                        c, c + 1, c + 2, c + 3, ref v12, ref v13, ref v14, ref v15, (uint*)m, at, rotations);
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v5, ref v6, ref v7, ref v4,
                        c + 2, c + 3, c, c + 1, ref v15, ref v12, ref v13, ref v14, (uint*)m, at + 8, rotations);
                    at += 16;
                }

                h0 = v0 ^ c[0];
                h1 = v1 ^ c[1];
                h2 = v2 ^ c[2];
                h3 = v3 ^ c[3];
                h4 = v4 ^ v12;
                h5 = v5 ^ v13;
                h6 = v6 ^ v14;
                h7 = v7 ^ v15;
            }

            Untranspose(h0, h1, h2, h3, h4, h5, h6, h7, output);
        }
    }

    /// <summary>Four mixings side by side, step by step, so that no step waits for the one before; their words are at the next eight places of the schedule.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mix(
        ref Vector256<uint> a0, ref Vector256<uint> a1, ref Vector256<uint> a2, ref Vector256<uint> a3,
        ref Vector256<uint> b0, ref Vector256<uint> b1, ref Vector256<uint> b2, ref Vector256<uint> b3,
        Vector256<uint>* c0, Vector256<uint>* c1, Vector256<uint>* c2, Vector256<uint>* c3,
        ref Vector256<uint> d0, ref Vector256<uint> d1, ref Vector256<uint> d2, ref Vector256<uint> d3,
        uint* words, byte* at, Vector256<uint>* rotations)
    {
        unchecked
        {
            a0 = a0 + *(Vector256<uint>*)(words + at[0]) + b0;
            a1 = a1 + *(Vector256<uint>*)(words + at[2]) + b1;
            a2 = a2 + *(Vector256<uint>*)(words + at[4]) + b2;
            a3 = a3 + *(Vector256<uint>*)(words + at[6]) + b3;
            d0 = Avx2.Shuffle((d0 ^ a0).AsByte(), rotations[0].AsByte()).AsUInt32();
            d1 = Avx2.Shuffle((d1 ^ a1).AsByte(), rotations[0].AsByte()).AsUInt32();
            d2 = Avx2.Shuffle((d2 ^ a2).AsByte(), rotations[0].AsByte()).AsUInt32();
            d3 = Avx2.Shuffle((d3 ^ a3).AsByte(), rotations[0].AsByte()).AsUInt32();
            Vector256<uint> sum = *c0 + d0;
            *c0 = sum;
            b0 ^= sum;
            sum = *c1 + d1;
            *c1 = sum;
            b1 ^= sum;
            sum = *c2 + d2;
            *c2 = sum;
            b2 ^= sum;
            sum = *c3 + d3;
            *c3 = sum;
            b3 ^= sum;
            b0 = RotateRight12(b0);
            b1 = RotateRight12(b1);
            b2 = RotateRight12(b2);
            b3 = RotateRight12(b3);
            a0 = a0 + *(Vector256<uint>*)(words + at[1]) + b0;
            a1 = a1 + *(Vector256<uint>*)(words + at[3]) + b1;
            a2 = a2 + *(Vector256<uint>*)(words + at[5]) + b2;
            a3 = a3 + *(Vector256<uint>*)(words + at[7]) + b3;
            d0 = Avx2.Shuffle((d0 ^ a0).AsByte(), rotations[1].AsByte()).AsUInt32();
            d1 = Avx2.Shuffle((d1 ^ a1).AsByte(), rotations[1].AsByte()).AsUInt32();
            d2 = Avx2.Shuffle((d2 ^ a2).AsByte(), rotations[1].AsByte()).AsUInt32();
            d3 = Avx2.Shuffle((d3 ^ a3).AsByte(), rotations[1].AsByte()).AsUInt32();
            sum = *c0 + d0;
            *c0 = sum;
            b0 ^= sum;
            sum = *c1 + d1;
            *c1 = sum;
            b1 ^= sum;
            sum = *c2 + d2;
            *c2 = sum;
            b2 ^= sum;
            sum = *c3 + d3;
            *c3 = sum;
            b3 ^= sum;
            b0 = RotateRight7(b0);
            b1 = RotateRight7(b1);
            b2 = RotateRight7(b2);
            b3 = RotateRight7(b3);
        }
    }

    /// <summary><see cref="Schedule"/> as offsets in words of vectors of eight.</summary>
    private static ReadOnlySpan<byte> WordOffsets8 =>
    [
        0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120,
        16, 48, 24, 80, 56, 0, 32, 104, 8, 88, 96, 40, 72, 112, 120, 64,
        24, 32, 80, 96, 104, 16, 56, 112, 48, 40, 72, 0, 88, 120, 64, 8,
        80, 56, 96, 72, 112, 24, 104, 120, 32, 0, 88, 16, 40, 64, 8, 48,
        96, 104, 72, 88, 120, 80, 112, 64, 56, 16, 40, 24, 0, 8, 48, 32,
        72, 112, 88, 40, 64, 96, 120, 8, 104, 24, 0, 80, 16, 48, 32, 56,
        88, 120, 40, 0, 8, 72, 64, 48, 112, 80, 16, 96, 24, 32, 56, 104,
    ];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RotateRight12(Vector256<uint> v) => (v >>> 12) | (v << 20);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RotateRight7(Vector256<uint> v) => (v >>> 7) | (v << 25);

    /// <summary>Word i of the eight blocks, into m[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(byte* input, nuint stride, Vector256<uint>* m)
    {
        unchecked
        {
            TransposeHalf(input, stride, m);
            TransposeHalf(input + 32, stride, m + 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeHalf(byte* input, nuint stride, Vector256<uint>* m)
    {
        unchecked
        {
            Vector256<uint> r0 = Vector256.Load((uint*)input);
            Vector256<uint> r1 = Vector256.Load((uint*)(input + stride));
            Vector256<uint> r2 = Vector256.Load((uint*)(input + (2 * stride)));
            Vector256<uint> r3 = Vector256.Load((uint*)(input + (3 * stride)));
            Vector256<uint> r4 = Vector256.Load((uint*)(input + (4 * stride)));
            Vector256<uint> r5 = Vector256.Load((uint*)(input + (5 * stride)));
            Vector256<uint> r6 = Vector256.Load((uint*)(input + (6 * stride)));
            Vector256<uint> r7 = Vector256.Load((uint*)(input + (7 * stride)));
            Transpose(ref r0, ref r1, ref r2, ref r3, ref r4, ref r5, ref r6, ref r7);
            m[0] = r0;
            m[1] = r1;
            m[2] = r2;
            m[3] = r3;
            m[4] = r4;
            m[5] = r5;
            m[6] = r6;
            m[7] = r7;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Untranspose(
        Vector256<uint> h0, Vector256<uint> h1, Vector256<uint> h2, Vector256<uint> h3,
        Vector256<uint> h4, Vector256<uint> h5, Vector256<uint> h6, Vector256<uint> h7, byte* output)
    {
        Transpose(ref h0, ref h1, ref h2, ref h3, ref h4, ref h5, ref h6, ref h7);
        var to = (Vector256<uint>*)output;
        to[0] = h0;
        to[1] = h1;
        to[2] = h2;
        to[3] = h3;
        to[4] = h4;
        to[5] = h5;
        to[6] = h6;
        to[7] = h7;
    }

    /// <summary>Interleaves by 32, then 64, then 128 bits: row i becomes what was column i.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(
        ref Vector256<uint> r0, ref Vector256<uint> r1, ref Vector256<uint> r2, ref Vector256<uint> r3,
        ref Vector256<uint> r4, ref Vector256<uint> r5, ref Vector256<uint> r6, ref Vector256<uint> r7)
    {
        Vector256<ulong> ab0145 = Avx2.UnpackLow(r0, r1).AsUInt64();
        Vector256<ulong> ab2367 = Avx2.UnpackHigh(r0, r1).AsUInt64();
        Vector256<ulong> cd0145 = Avx2.UnpackLow(r2, r3).AsUInt64();
        Vector256<ulong> cd2367 = Avx2.UnpackHigh(r2, r3).AsUInt64();
        Vector256<ulong> ef0145 = Avx2.UnpackLow(r4, r5).AsUInt64();
        Vector256<ulong> ef2367 = Avx2.UnpackHigh(r4, r5).AsUInt64();
        Vector256<ulong> gh0145 = Avx2.UnpackLow(r6, r7).AsUInt64();
        Vector256<ulong> gh2367 = Avx2.UnpackHigh(r6, r7).AsUInt64();
        Vector256<uint> abcd04 = Avx2.UnpackLow(ab0145, cd0145).AsUInt32();
        Vector256<uint> abcd15 = Avx2.UnpackHigh(ab0145, cd0145).AsUInt32();
        Vector256<uint> abcd26 = Avx2.UnpackLow(ab2367, cd2367).AsUInt32();
        Vector256<uint> abcd37 = Avx2.UnpackHigh(ab2367, cd2367).AsUInt32();
        Vector256<uint> efgh04 = Avx2.UnpackLow(ef0145, gh0145).AsUInt32();
        Vector256<uint> efgh15 = Avx2.UnpackHigh(ef0145, gh0145).AsUInt32();
        Vector256<uint> efgh26 = Avx2.UnpackLow(ef2367, gh2367).AsUInt32();
        Vector256<uint> efgh37 = Avx2.UnpackHigh(ef2367, gh2367).AsUInt32();
        r0 = Avx2.Permute2x128(abcd04, efgh04, 0x20);
        r1 = Avx2.Permute2x128(abcd15, efgh15, 0x20);
        r2 = Avx2.Permute2x128(abcd26, efgh26, 0x20);
        r3 = Avx2.Permute2x128(abcd37, efgh37, 0x20);
        r4 = Avx2.Permute2x128(abcd04, efgh04, 0x31);
        r5 = Avx2.Permute2x128(abcd15, efgh15, 0x31);
        r6 = Avx2.Permute2x128(abcd26, efgh26, 0x31);
        r7 = Avx2.Permute2x128(abcd37, efgh37, 0x31);
    }
}
