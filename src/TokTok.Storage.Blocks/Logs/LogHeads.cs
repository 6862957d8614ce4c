using System.Collections.Concurrent;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Logs;

/// <summary>What is known of log files at holders: the header and the last bytes, by name and length. A file of the same name and length as before is not asked for again.</summary>
/// <remarks>
/// A file that a device writes only grows, and the name tells the line and the number: another file under the same name and of the same length is written only by a copy of a state folder, in a line whose files
/// are left as they are at every holder that has them. What is not a header is asked for again each time: it may be put anew.
/// As safe from many threads as its users want: a store has one, and looks at the holders from more than one place.
/// </remarks>
internal sealed class LogHeads
{
    internal const int TailBytes = 64;

    /// <summary>A file of up to so many bytes is asked for whole: that costs no more than a request for its header, and one for its end.</summary>
    private const int WholeBytes = 16 * 1024;

    private readonly ConcurrentDictionary<(HolderId Holder, string Name), Seen> _seen = new();

    /// <summary>A file's header; null: it has none that can be read.</summary>
    /// <param name="isGone">Set where nothing lies there any more.</param>
    internal async ValueTask<RecordLogHeader?> HeaderAsync(IFragmentHolder holder, HolderObject found, Action isGone, CancellationToken cancel)
    {
        if (_seen.TryGetValue((holder.Id, found.Name), out Seen? seen) && seen.Length == found.Length)
        {
            return seen.Header;
        }

        bool isWhole = found.Length is > RecordLogHeader.Size and <= WholeBytes;
        byte[] bytes = new byte[isWhole ? (int)found.Length : RecordLogHeader.Size];
        int read = await holder.ReadObjectAsync(found.Name, 0, bytes, cancel).ConfigureAwait(false);
        if (read == 0 && found.Length > 0)
        {
            isGone();
        }

        if (TryParse(bytes.AsSpan(0, Math.Min(read, RecordLogHeader.Size)), found.Name) is not { } header)
        {
            return null;
        }

        _seen[(holder.Id, found.Name)] = new Seen(found.Length, header, isWhole && read == bytes.Length ? bytes[^Math.Min(TailBytes, bytes.Length)..] : null);
        return header;
    }

    /// <summary>The last bytes of a file of that length; null: not known.</summary>
    internal byte[]? TailOf(HolderId holder, string name, long length) => _seen.TryGetValue((holder, name), out Seen? seen) && seen.Length == length ? seen.Tail : null;

    internal void NoteTail(HolderId holder, string name, long length, byte[] tail)
    {
        if (tail.Length > 0 && _seen.TryGetValue((holder, name), out Seen? seen) && seen.Length == length)
        {
            _ = _seen.TryUpdate((holder, name), seen with { Tail = tail }, seen);
        }
    }

    /// <summary>Forgets the files under a prefix that a holder lists no more.</summary>
    internal void KeepOnly(HolderId holder, string prefix, IReadOnlyList<HolderObject> listed)
    {
        HashSet<string>? names = null;
        foreach ((HolderId Holder, string Name) known in _seen.Keys.Where(known => known.Holder == holder && known.Name.StartsWith(prefix, StringComparison.Ordinal)))
        {
            names ??= [.. listed.Select(static each => each.Name)];
            if (!names.Contains(known.Name))
            {
                _seen.TryRemove(known, out Seen? _);
            }
        }
    }

    internal static RecordLogHeader? TryParse(ReadOnlySpan<byte> bytes, string name)
    {
        try
        {
            return RecordLogHeader.Read(bytes, name);
        }
        catch (DamagedFormatException)
        {
            return null;
        }
    }

    private sealed record Seen(long Length, RecordLogHeader Header, byte[]? Tail);
}
