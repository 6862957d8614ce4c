using System.Buffers.Binary;

using TokTok.Storage.Core;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Arenas;

/// <summary>A block as written in an arena: type, codec and length, then the packed payload, encrypted together under the block's own key.</summary>
/// <remarks>Format: docs/format.md 5. All methods are pure and safe from many threads; buffers belong to the caller.</remarks>
internal static class Clump
{
    internal const int HeaderSize = 1 + 1 + 2 + sizeof(uint);
    internal const int CodecOffset = 1;

    internal static readonly int MaxBytes = Dare.CipherBytes(HeaderSize + BlockLimits.MaxBlockBytes);

    internal static Score ScoreOf(KeyDomain domain, BlockType type, ReadOnlySpan<byte> plain)
    {
        Span<byte> score = stackalloc byte[Score.Size];
        Blake3.KeyedHash(domain.ScoreKey((byte)type), plain, score);
        return Score.Read(score);
    }

    /// <summary>The key that the block's clumps of an epoch are encrypted with. The caller clears it.</summary>
    internal static void KeyOf(KeyDomain domain, uint epoch, Score score, Span<byte> key)
    {
        Span<byte> scoreBytes = stackalloc byte[Score.Size];
        score.Write(scoreBytes);
        domain.BlockKey(epoch, scoreBytes, key);
    }

    /// <summary>Packs and encrypts into the start of <paramref name="target"/> (at least <see cref="MaxBytes"/>); returns the clump's bytes.</summary>
    /// <param name="scratch">At least HeaderSize + plain.Length bytes; holds plaintext afterwards.</param>
    internal static int Write(
        KeyDomain domain, uint epoch, Score score, BlockType type, ReadOnlySpan<byte> plain, int level, Compressor compressor, IRandomSource random, Span<byte> scratch, Span<byte> target)
    {
        Span<byte> payload = scratch.Slice(HeaderSize, plain.Length);
        Codec codec = compressor.Compress(plain, payload, level, out int payloadBytes);
        scratch[0] = (byte)type;
        scratch[CodecOffset] = (byte)codec;
        scratch[2] = 0;
        scratch[3] = 0;
        BinaryPrimitives.WriteUInt32LittleEndian(scratch[4..], (uint)plain.Length);
        Span<byte> key = stackalloc byte[Dare.KeySize];
        KeyOf(domain, epoch, score, key);
        int bytes = Dare.Encrypt(key, random, scratch[..(HeaderSize + payloadBytes)], target);
        key.Clear();
        return bytes;
    }

    /// <summary>Decrypts, unpacks and checks against the score. False: the bytes are not this block's clump; target is then unspecified but never plaintext of another block.</summary>
    /// <param name="scratch">At least the clump's length; holds its plaintext afterwards.</param>
    internal static bool TryRead(
        KeyDomain domain, uint epoch, Score score, BlockType type, ReadOnlySpan<byte> clump, Compressor compressor, Span<byte> scratch, Span<byte> target, out int plainBytes)
    {
        plainBytes = 0;
        Span<byte> key = stackalloc byte[Dare.KeySize];
        KeyOf(domain, epoch, score, key);
        bool opened = Dare.TryDecrypt(key, clump, scratch, out int innerBytes);
        key.Clear();
        if (!opened || innerBytes < HeaderSize || scratch[0] != (byte)type || scratch[2] != 0 || scratch[3] != 0)
        {
            return false;
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(scratch[4..]);
        if (length > BlockLimits.MaxBlockBytes || length > target.Length || scratch[CodecOffset] > (byte)Codec.Zstd)
        {
            return false;
        }

        Span<byte> plain = target[..(int)length];
        if (!compressor.TryDecompress((Codec)scratch[CodecOffset], scratch[HeaderSize..innerBytes], plain) || ScoreOf(domain, type, plain) != score)
        {
            plain.Clear();
            return false;
        }

        plainBytes = (int)length;
        return true;
    }
}
