using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>Where a block's bytes lie verbatim in its clump in a sealed arena, to be fetched in parts.</summary>
/// <remarks>
/// Both ciphers around them are counter modes, so a part costs what its own bytes cost. Nothing here is checked (<see cref="IBlockParts"/> says who does).
/// Made while the whole clump lies decrypted before the reader, of what was found there: no key is kept, and none of the bytes. Immutable.
/// </remarks>
internal sealed class ClumpParts : IBlockParts
{
    /// <summary>A raw block of a frame that is shorter is left to whoever unpacks.</summary>
    private const int ShortestRun = 8 * 1024;

    private readonly Catalog _catalog;
    private readonly ArenaReader _reader;
    private readonly KeyDomain _domain;
    private readonly Score _score;
    private readonly uint _ordinal;
    private readonly int _offset;
    private readonly int _length;
    private readonly byte[] _header;
    private readonly VerbatimRun[] _runs;

    private ClumpParts(Catalog catalog, ArenaReader reader, KeyDomain domain, Score score, ClumpPlace place, byte[] header, VerbatimRun[] runs)
    {
        _catalog = catalog;
        _reader = reader;
        _domain = domain;
        _score = score;
        _ordinal = place.Arena.Ordinal;
        _offset = place.Offset;
        _length = place.Length;
        _header = header;
        _runs = runs;
    }

    /// <param name="clump">As it lies in the arena, the arena's cipher taken off.</param>
    /// <param name="inner">What it decrypts to.</param>
    /// <returns>Null: nothing of the block lies there verbatim.</returns>
    internal static ClumpParts? Of(
        Catalog catalog, ArenaReader reader, KeyDomain domain, Score score, ClumpPlace place, ReadOnlySpan<byte> clump, ReadOnlySpan<byte> inner, ReadOnlySpan<byte> plain)
    {
        if (!Dare.CanDecryptParts(clump))
        {
            return null;
        }

        ReadOnlySpan<byte> payload = inner[Clump.HeaderSize..];
        VerbatimRun[] runs = (Codec)inner[Clump.CodecOffset] == Codec.Raw ? [new VerbatimRun(0, 0, plain.Length)] : [.. ZstdFrame.VerbatimRuns(payload, plain, ShortestRun)];
        return runs.Length == 0 ? null : new ClumpParts(catalog, reader, domain, score, place, clump[..Dare.HeaderSize].ToArray(), runs);
    }

    public bool Has(int offset, out int end)
    {
        foreach (VerbatimRun run in _runs)
        {
            if (offset < run.PlainEnd)
            {
                bool isWithin = offset >= run.PlainOffset;
                end = isWithin ? run.PlainEnd : run.PlainOffset;
                return isWithin;
            }
        }

        end = int.MaxValue;
        return false;
    }

    public async ValueTask<bool> TryFetchAsync(int offset, Memory<byte> target, CancellationToken cancel)
    {
        while (!target.IsEmpty)
        {
            if (!TryFind(offset, out int at, out int count) || _catalog.Arena(_ordinal) is not { State: not ArenaState.Trashed } arena)
            {
                return false;
            }

            count = Math.Min(Math.Min(count, target.Length), Dare.PayloadSize - (at % Dare.PayloadSize));
            if (!await _reader.TryReadAsync(arena, _offset + Dare.PositionOf(at), target[..count], cancel).ConfigureAwait(false))
            {
                return false;
            }

            Decrypt(arena.Epoch, at, target.Span[..count]);
            target = target[count..];
            offset += count;
        }

        return true;
    }

    /// <summary>Where in the clump's plaintext an offset of the block stands, and how many bytes stand there in a row.</summary>
    private bool TryFind(int offset, out int at, out int count)
    {
        foreach (VerbatimRun run in _runs)
        {
            if (offset >= run.PlainOffset && offset < run.PlainEnd)
            {
                at = Clump.HeaderSize + run.PackedOffset + (offset - run.PlainOffset);
                count = run.PlainEnd - offset;
                return true;
            }
        }

        (at, count) = (0, 0);
        return false;
    }

    private void Decrypt(uint epoch, int at, Span<byte> data)
    {
        Span<byte> key = stackalloc byte[Dare.KeySize];
        Clump.KeyOf(_domain, epoch, _score, key);
        Dare.DecryptUnchecked(key, _header, _length, at, data);
        key.Clear();
    }
}
