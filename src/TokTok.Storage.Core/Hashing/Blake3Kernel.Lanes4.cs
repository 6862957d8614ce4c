using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Hashing;

internal static unsafe partial class Blake3Kernel
{
    /// <summary>4 inputs, one in each 32-bit lane; arranged as <see cref="Hash8"/> is, for the same reason.</summary>
    [SkipLocalsInit]
    private static void Hash4(
        byte* input, nuint stride, int blockCount, uint* key, ulong counter, uint counterStep, uint flags, uint flagsStart, uint flagsEnd, byte* output)
    {
        unchecked
        {
            byte* space = stackalloc byte[((16 + 4 + 2) * 16) + 15];
            var m = (Vector128<uint>*)(((nuint)space + 15) & ~(nuint)15);
            Vector128<uint>* c = m + 16;
            Vector128<uint>* rotations = c + 4;
            rotations[0] = Vector128.Create((byte)2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13).AsUInt32();
            rotations[1] = Vector128.Create((byte)1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12).AsUInt32();

            // Constant data of the image: it does not move.
            var schedule = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Schedule));
            Vector128<uint> h0 = Vector128.Create(key[0]);
            Vector128<uint> h1 = Vector128.Create(key[1]);
            Vector128<uint> h2 = Vector128.Create(key[2]);
            Vector128<uint> h3 = Vector128.Create(key[3]);
            Vector128<uint> h4 = Vector128.Create(key[4]);
            Vector128<uint> h5 = Vector128.Create(key[5]);
            Vector128<uint> h6 = Vector128.Create(key[6]);
            Vector128<uint> h7 = Vector128.Create(key[7]);
            uint* counters = stackalloc uint[8];
            for (uint lane = 0; lane < 4; lane++)
            {
                ulong laneCounter = counter + (lane * counterStep);
                counters[lane] = (uint)laneCounter;
                counters[lane + 4] = (uint)(laneCounter >> 32);
            }

            Vector128<uint> counterLow = Vector128.Load(counters);
            Vector128<uint> counterHigh = Vector128.Load(counters + 4);
            for (int block = 0; block < blockCount; block++)
            {
                uint blockFlags = flags | (block == 0 ? flagsStart : 0) | (block == blockCount - 1 ? flagsEnd : 0);
                Transpose(input + (block * BlockSize), stride, m);
                Vector128<uint> v0 = h0;
                Vector128<uint> v1 = h1;
                Vector128<uint> v2 = h2;
                Vector128<uint> v3 = h3;
                Vector128<uint> v4 = h4;
                Vector128<uint> v5 = h5;
                Vector128<uint> v6 = h6;
                Vector128<uint> v7 = h7;
                c[0] = Vector128.Create(Iv0);
                c[1] = Vector128.Create(Iv1);
                c[2] = Vector128.Create(Iv2);
                c[3] = Vector128.Create(Iv3);
                Vector128<uint> v12 = counterLow;
                Vector128<uint> v13 = counterHigh;
                Vector128<uint> v14 = Vector128.Create((uint)BlockSize);
                Vector128<uint> v15 = Vector128.Create(blockFlags);
                byte* at = schedule;
                for (int round = 0; round < RoundCount; round++)
                {
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7,
                        c, c + 1, c + 2, c + 3, ref v12, ref v13, ref v14, ref v15, m, at, rotations);
                    Mix(
                        ref v0, ref v1, ref v2, ref v3, ref v5, ref v6, ref v7, ref v4,
                        c + 2, c + 3, c, c + 1, ref v15, ref v12, ref v13, ref v14, m, at + 8, rotations);
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
        ref Vector128<uint> a0, ref Vector128<uint> a1, ref Vector128<uint> a2, ref Vector128<uint> a3,
        ref Vector128<uint> b0, ref Vector128<uint> b1, ref Vector128<uint> b2, ref Vector128<uint> b3,
        Vector128<uint>* c0, Vector128<uint>* c1, Vector128<uint>* c2, Vector128<uint>* c3,
        ref Vector128<uint> d0, ref Vector128<uint> d1, ref Vector128<uint> d2, ref Vector128<uint> d3,
        Vector128<uint>* m, byte* at, Vector128<uint>* rotations)
    {
        unchecked
        {
            a0 = a0 + m[at[0]] + b0;
            a1 = a1 + m[at[2]] + b1;
            a2 = a2 + m[at[4]] + b2;
            a3 = a3 + m[at[6]] + b3;
            d0 = Vector128.ShuffleNative((d0 ^ a0).AsByte(), rotations[0].AsByte()).AsUInt32();
            d1 = Vector128.ShuffleNative((d1 ^ a1).AsByte(), rotations[0].AsByte()).AsUInt32();
            d2 = Vector128.ShuffleNative((d2 ^ a2).AsByte(), rotations[0].AsByte()).AsUInt32();
            d3 = Vector128.ShuffleNative((d3 ^ a3).AsByte(), rotations[0].AsByte()).AsUInt32();
            Vector128<uint> sum = *c0 + d0;
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
            a0 = a0 + m[at[1]] + b0;
            a1 = a1 + m[at[3]] + b1;
            a2 = a2 + m[at[5]] + b2;
            a3 = a3 + m[at[7]] + b3;
            d0 = Vector128.ShuffleNative((d0 ^ a0).AsByte(), rotations[1].AsByte()).AsUInt32();
            d1 = Vector128.ShuffleNative((d1 ^ a1).AsByte(), rotations[1].AsByte()).AsUInt32();
            d2 = Vector128.ShuffleNative((d2 ^ a2).AsByte(), rotations[1].AsByte()).AsUInt32();
            d3 = Vector128.ShuffleNative((d3 ^ a3).AsByte(), rotations[1].AsByte()).AsUInt32();
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> RotateRight16(Vector128<uint> v) =>
        Vector128.ShuffleNative(v.AsByte(), Vector128.Create((byte)2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> RotateRight12(Vector128<uint> v) => (v >>> 12) | (v << 20);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> RotateRight8(Vector128<uint> v) =>
        Vector128.ShuffleNative(v.AsByte(), Vector128.Create((byte)1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12)).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> RotateRight7(Vector128<uint> v) => (v >>> 7) | (v << 25);

    /// <summary>Word i of the four blocks, into m[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(byte* input, nuint stride, Vector128<uint>* m)
    {
        unchecked
        {
            for (int quarter = 0; quarter < 4; quarter++)
            {
                byte* from = input + (16 * quarter);
                Vector128<uint> a = Vector128.Load((uint*)from);
                Vector128<uint> b = Vector128.Load((uint*)(from + stride));
                Vector128<uint> c = Vector128.Load((uint*)(from + (2 * stride)));
                Vector128<uint> d = Vector128.Load((uint*)(from + (3 * stride)));
                Transpose(ref a, ref b, ref c, ref d);
                m[4 * quarter] = a;
                m[(4 * quarter) + 1] = b;
                m[(4 * quarter) + 2] = c;
                m[(4 * quarter) + 3] = d;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Untranspose(
        Vector128<uint> h0, Vector128<uint> h1, Vector128<uint> h2, Vector128<uint> h3,
        Vector128<uint> h4, Vector128<uint> h5, Vector128<uint> h6, Vector128<uint> h7, byte* output)
    {
        Transpose(ref h0, ref h1, ref h2, ref h3);
        Transpose(ref h4, ref h5, ref h6, ref h7);
        h0.Store((uint*)output);
        h4.Store((uint*)(output + 16));
        h1.Store((uint*)(output + 32));
        h5.Store((uint*)(output + 48));
        h2.Store((uint*)(output + 64));
        h6.Store((uint*)(output + 80));
        h3.Store((uint*)(output + 96));
        h7.Store((uint*)(output + 112));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(ref Vector128<uint> a, ref Vector128<uint> b, ref Vector128<uint> c, ref Vector128<uint> d)
    {
        // Interleaving by 32 and then by 64 bits; Sse2 and AdvSimd have both, each under a name of its own.
        Vector128<uint> ab01 = ZipLow(a, b);
        Vector128<uint> ab23 = ZipHigh(a, b);
        Vector128<uint> cd01 = ZipLow(c, d);
        Vector128<uint> cd23 = ZipHigh(c, d);
        a = Vector128.Create(ab01.GetLower(), cd01.GetLower());
        b = Vector128.Create(ab01.GetUpper(), cd01.GetUpper());
        c = Vector128.Create(ab23.GetLower(), cd23.GetLower());
        d = Vector128.Create(ab23.GetUpper(), cd23.GetUpper());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> ZipLow(Vector128<uint> a, Vector128<uint> b) =>
        Sse2.IsSupported ? Sse2.UnpackLow(a, b) :
        AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a, b) :
        Vector128.Create(a[0], b[0], a[1], b[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> ZipHigh(Vector128<uint> a, Vector128<uint> b) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(a, b) :
        AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a, b) :
        Vector128.Create(a[2], b[2], a[3], b[3]);
}
