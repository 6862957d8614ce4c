using System.Buffers.Binary;
using System.Numerics;

namespace TokTok.Storage.Core.Tests.Hashing;

/// <summary>The slow twin: BLAKE3 as the paper's recursion says it, nothing shared with the kernel.</summary>
internal static class SlowBlake3
{
    private static readonly uint[] s_iv = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];
    private static readonly int[] s_permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

    internal static byte[] Hash(ReadOnlySpan<byte> input) => Node(input, 0, rootFlag: 8);

    /// <summary>The chaining value of a subtree whose first byte is at chunk <paramref name="chunk"/> of the whole; the root if the flag says so.</summary>
    internal static byte[] Node(ReadOnlySpan<byte> input, ulong chunk, uint rootFlag = 0)
    {
        if (input.Length > 1024)
        {
            int left = 1024;
            while (left * 2 < input.Length)
            {
                left *= 2;
            }

            return Parent(Node(input[..left], chunk), Node(input[left..], chunk + (ulong)(left / 1024)), rootFlag);
        }

        uint[] cv = s_iv;
        for (int at = 0; at == 0 || at < input.Length; at += 64)
        {
            ReadOnlySpan<byte> block = input.Slice(at, Math.Min(64, input.Length - at));
            bool last = at + 64 >= input.Length;
            cv = Compress(cv, block, chunk, (at == 0 ? 1u : 0) | (last ? 2 | rootFlag : 0));
        }

        return Bytes(cv);
    }

    internal static byte[] Parent(byte[] left, byte[] right, uint rootFlag = 0) => Bytes(Compress(s_iv, (byte[])[.. left, .. right], 0, 4 | rootFlag));

    private static uint[] Compress(uint[] cv, ReadOnlySpan<byte> block, ulong counter, uint flags)
    {
        var padded = new byte[64];
        block.CopyTo(padded);
        uint[] m = [.. Enumerable.Range(0, 16).Select(i => BinaryPrimitives.ReadUInt32LittleEndian(padded.AsSpan(4 * i)))];
        uint[] v = [.. cv, .. s_iv[..4], (uint)(counter & uint.MaxValue), (uint)(counter >> 32), (uint)block.Length, flags];
        for (int round = 0; round < 7; round++)
        {
            for (int i = 0; i < 4; i++)
            {
                Mix(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[(2 * i) + 1]);
            }

            for (int i = 0; i < 4; i++)
            {
                Mix(v, i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4), m[8 + (2 * i)], m[9 + (2 * i)]);
            }

            m = [.. s_permutation.Select(i => m[i])];
        }

        return [.. Enumerable.Range(0, 8).Select(i => v[i] ^ v[i + 8])];
    }

    private static void Mix(uint[] v, int a, int b, int c, int d, uint x, uint y)
    {
        unchecked
        {
            (v[a], v[d]) = (v[a] + v[b] + x, BitOperations.RotateRight(v[d] ^ (v[a] + v[b] + x), 16));
            v[c] += v[d];
            v[b] = BitOperations.RotateRight(v[b] ^ v[c], 12);
            (v[a], v[d]) = (v[a] + v[b] + y, BitOperations.RotateRight(v[d] ^ (v[a] + v[b] + y), 8));
            v[c] += v[d];
            v[b] = BitOperations.RotateRight(v[b] ^ v[c], 7);
        }
    }

    private static byte[] Bytes(uint[] words)
    {
        var bytes = new byte[4 * words.Length];
        for (int i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), words[i]);
        }

        return bytes;
    }
}
