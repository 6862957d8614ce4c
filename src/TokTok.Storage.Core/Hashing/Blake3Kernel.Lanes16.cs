using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Hashing;

internal static unsafe partial class Blake3Kernel
{
    /// <summary>16 inputs, one in each 32-bit lane.</summary>
    [SkipLocalsInit]
    private static void Hash16(
        byte* input, nuint stride, int blockCount, uint* key, ulong counter, uint counterStep, uint flags, uint flagsStart, uint flagsEnd, byte* output)
    {
        unchecked
        {
            byte* space = stackalloc byte[(16 * 64) + 63];
            var m = (Vector512<uint>*)(((nuint)space + 63) & ~(nuint)63);
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
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 0);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 1);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 2);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 3);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 4);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 5);
                Round(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref v10, ref v11, ref v12, ref v13, ref v14, ref v15, m, 6);
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Round(
        ref Vector512<uint> v0, ref Vector512<uint> v1, ref Vector512<uint> v2, ref Vector512<uint> v3,
        ref Vector512<uint> v4, ref Vector512<uint> v5, ref Vector512<uint> v6, ref Vector512<uint> v7,
        ref Vector512<uint> v8, ref Vector512<uint> v9, ref Vector512<uint> v10, ref Vector512<uint> v11,
        ref Vector512<uint> v12, ref Vector512<uint> v13, ref Vector512<uint> v14, ref Vector512<uint> v15,
        Vector512<uint>* m, int round)
    {
        unchecked
        {
            Mix(ref v0, ref v4, ref v8, ref v12, m + Schedule[(16 * round) + 0], m + Schedule[(16 * round) + 1]);
            Mix(ref v1, ref v5, ref v9, ref v13, m + Schedule[(16 * round) + 2], m + Schedule[(16 * round) + 3]);
            Mix(ref v2, ref v6, ref v10, ref v14, m + Schedule[(16 * round) + 4], m + Schedule[(16 * round) + 5]);
            Mix(ref v3, ref v7, ref v11, ref v15, m + Schedule[(16 * round) + 6], m + Schedule[(16 * round) + 7]);
            Mix(ref v0, ref v5, ref v10, ref v15, m + Schedule[(16 * round) + 8], m + Schedule[(16 * round) + 9]);
            Mix(ref v1, ref v6, ref v11, ref v12, m + Schedule[(16 * round) + 10], m + Schedule[(16 * round) + 11]);
            Mix(ref v2, ref v7, ref v8, ref v13, m + Schedule[(16 * round) + 12], m + Schedule[(16 * round) + 13]);
            Mix(ref v3, ref v4, ref v9, ref v14, m + Schedule[(16 * round) + 14], m + Schedule[(16 * round) + 15]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mix(ref Vector512<uint> a, ref Vector512<uint> b, ref Vector512<uint> c, ref Vector512<uint> d, Vector512<uint>* x, Vector512<uint>* y)
    {
        unchecked
        {
            a = a + b + *x;
            d = RotateRight16(d ^ a);
            c += d;
            b = RotateRight12(b ^ c);
            a = a + b + *y;
            d = RotateRight8(d ^ a);
            c += d;
            b = RotateRight7(b ^ c);
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
