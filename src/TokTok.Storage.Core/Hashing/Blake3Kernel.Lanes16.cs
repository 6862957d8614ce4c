using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Hashing;

internal static unsafe partial class Blake3Kernel
{
    /// <summary>16 inputs, one in each 32-bit lane.</summary>
    /// <remarks>Thirty-two registers hold the whole state; rounds are a loop for the reason that <see cref="Hash8"/> gives.</remarks>
    [SkipLocalsInit]
    private static void Hash16(
        byte* input, nuint stride, int blockCount, uint* key, ulong counter, uint counterStep, uint flags, uint flagsStart, uint flagsEnd, byte* output)
    {
        unchecked
        {
            byte* space = stackalloc byte[(16 * 64) + 63];
            var m = (Vector512<uint>*)(((nuint)space + 63) & ~(nuint)63);

            // Constant data of the image: it does not move.
            var schedule = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Schedule));
            Vector512<uint> h0 = Vector512.Create(key[0]);
            Vector512<uint> h1 = Vector512.Create(key[1]);
            Vector512<uint> h2 = Vector512.Create(key[2]);
            Vector512<uint> h3 = Vector512.Create(key[3]);
            Vector512<uint> h4 = Vector512.Create(key[4]);
            Vector512<uint> h5 = Vector512.Create(key[5]);
            Vector512<uint> h6 = Vector512.Create(key[6]);
            Vector512<uint> h7 = Vector512.Create(key[7]);
            uint* counters = stackalloc uint[32];
            for (uint lane = 0; lane < 16; lane++)
            {
                ulong laneCounter = counter + (lane * counterStep);
                counters[lane] = (uint)laneCounter;
                counters[lane + 16] = (uint)(laneCounter >> 32);
            }

            Vector512<uint> counterLow = Vector512.Load(counters);
            Vector512<uint> counterHigh = Vector512.Load(counters + 16);
            for (int block = 0; block < blockCount; block++)
            {
                uint blockFlags = flags | (block == 0 ? flagsStart : 0) | (block == blockCount - 1 ? flagsEnd : 0);
                Transpose(input + (block * BlockSize), stride, m);
                Vector512<uint> v0 = h0;
                Vector512<uint> v1 = h1;
                Vector512<uint> v2 = h2;
                Vector512<uint> v3 = h3;
                Vector512<uint> v4 = h4;
                Vector512<uint> v5 = h5;
                Vector512<uint> v6 = h6;
                Vector512<uint> v7 = h7;
                Vector512<uint> v8 = Vector512.Create(Iv0);
                Vector512<uint> v9 = Vector512.Create(Iv1);
                Vector512<uint> v10 = Vector512.Create(Iv2);
                Vector512<uint> v11 = Vector512.Create(Iv3);
                Vector512<uint> v12 = counterLow;
                Vector512<uint> v13 = counterHigh;
                Vector512<uint> v14 = Vector512.Create((uint)BlockSize);
                Vector512<uint> v15 = Vector512.Create(blockFlags);
                byte* at = schedule;
                for (int round = 0; round < RoundCount; round++)
                {
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7,
                        ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, at);
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v5, ref v6, ref v7, ref v4,
                        ref v10, ref v11, ref v8, ref v9, ref v15, ref v12, ref v13, ref v14, m, at + 8);
                    at += 16;
                }

                h0 = v0 ^ v8;
                h1 = v1 ^ v9;
                h2 = v2 ^ v10;
                h3 = v3 ^ v11;
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
        ref Vector512<uint> a0, ref Vector512<uint> a1, ref Vector512<uint> a2, ref Vector512<uint> a3,
        ref Vector512<uint> b0, ref Vector512<uint> b1, ref Vector512<uint> b2, ref Vector512<uint> b3,
        ref Vector512<uint> c0, ref Vector512<uint> c1, ref Vector512<uint> c2, ref Vector512<uint> c3,
        ref Vector512<uint> d0, ref Vector512<uint> d1, ref Vector512<uint> d2, ref Vector512<uint> d3,
        Vector512<uint>* m, byte* at)
    {
        unchecked
        {
            a0 = a0 + m[at[0]] + b0;
            a1 = a1 + m[at[2]] + b1;
            a2 = a2 + m[at[4]] + b2;
            a3 = a3 + m[at[6]] + b3;
            d0 = RotateRight16(d0 ^ a0);
            d1 = RotateRight16(d1 ^ a1);
            d2 = RotateRight16(d2 ^ a2);
            d3 = RotateRight16(d3 ^ a3);
            c0 += d0;
            c1 += d1;
            c2 += d2;
            c3 += d3;
            b0 = RotateRight12(b0 ^ c0);
            b1 = RotateRight12(b1 ^ c1);
            b2 = RotateRight12(b2 ^ c2);
            b3 = RotateRight12(b3 ^ c3);
            a0 = a0 + m[at[1]] + b0;
            a1 = a1 + m[at[3]] + b1;
            a2 = a2 + m[at[5]] + b2;
            a3 = a3 + m[at[7]] + b3;
            d0 = RotateRight8(d0 ^ a0);
            d1 = RotateRight8(d1 ^ a1);
            d2 = RotateRight8(d2 ^ a2);
            d3 = RotateRight8(d3 ^ a3);
            c0 += d0;
            c1 += d1;
            c2 += d2;
            c3 += d3;
            b0 = RotateRight7(b0 ^ c0);
            b1 = RotateRight7(b1 ^ c1);
            b2 = RotateRight7(b2 ^ c2);
            b3 = RotateRight7(b3 ^ c3);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> RotateRight16(Vector512<uint> v) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(v, 16) : (v >>> 16) | (v << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> RotateRight12(Vector512<uint> v) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(v, 12) : (v >>> 12) | (v << 20);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> RotateRight8(Vector512<uint> v) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(v, 8) : (v >>> 8) | (v << 24);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> RotateRight7(Vector512<uint> v) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(v, 7) : (v >>> 7) | (v << 25);

    /// <summary>Word i of the sixteen blocks, into m[i]: two transpositions of eight lanes side by side, so an AVX2 machine can check this path.</summary>
    [SkipLocalsInit]
    private static void Transpose(byte* input, nuint stride, Vector512<uint>* m)
    {
        unchecked
        {
            Vector256<uint>* halves = stackalloc Vector256<uint>[2 * 16];
            Transpose(input, stride, halves);
            Transpose(input + (8 * stride), stride, halves + 16);
            for (int word = 0; word < 16; word++)
            {
                m[word] = Vector512.Create(halves[word], halves[word + 16]);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Untranspose(
        Vector512<uint> h0, Vector512<uint> h1, Vector512<uint> h2, Vector512<uint> h3,
        Vector512<uint> h4, Vector512<uint> h5, Vector512<uint> h6, Vector512<uint> h7, byte* output)
    {
        Untranspose(
            h0.GetLower(), h1.GetLower(), h2.GetLower(), h3.GetLower(), h4.GetLower(), h5.GetLower(), h6.GetLower(), h7.GetLower(), output);
        Untranspose(
            h0.GetUpper(), h1.GetUpper(), h2.GetUpper(), h3.GetUpper(), h4.GetUpper(), h5.GetUpper(), h6.GetUpper(), h7.GetUpper(),
            output + (8 * CvSize));
    }
}
