using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Files;

/// <summary>A folder whose content this device does not keep itself. Path: names joined by slashes, without a leading one; empty for all of the volume.</summary>
public sealed record FreedFolder(VolumeId Volume, ReadOnlyMemory<byte> Path, long SinceSeconds)
{
    /// <summary>Whether a path is the folder or lies below it.</summary>
    public bool Holds(ReadOnlySpan<byte> path) => IsBelow(path, Path.Span);

    internal static bool IsBelow(ReadOnlySpan<byte> path, ReadOnlySpan<byte> folder) =>
        folder.IsEmpty || (path.StartsWith(folder) && (path.Length == folder.Length || path[folder.Length] == (byte)'/'));
}

/// <summary>The folders that are freed on this device. Immutable; none lies below another.</summary>
/// <remarks>Format: docs/format.md 17.8. A folder is its path, in the present and in every snapshot of its volume.</remarks>
public sealed class FreedList
{
    public const int MaxFolders = 4096;
    public const int MaxPathBytes = 4096;

    private readonly Dictionary<VolumeId, FreedNode> _volumes = [];

    private FreedList(IReadOnlyList<FreedFolder> folders)
    {
        Folders = folders;
        foreach (FreedFolder folder in folders)
        {
            if (!_volumes.TryGetValue(folder.Volume, out FreedNode? node))
            {
                _volumes[folder.Volume] = node = new FreedNode();
            }

            node.Add(folder.Path.Span);
        }
    }

    public static FreedList Empty { get; } = new([]);

    /// <summary>By volume and path.</summary>
    public IReadOnlyList<FreedFolder> Folders { get; }

    /// <summary>The freed folder that a path is, or lies in; null: none.</summary>
    public FreedFolder? Find(VolumeId volume, ReadOnlyMemory<byte> path) => Folders.FirstOrDefault(folder => folder.Volume == volume && folder.Holds(path.Span));

    /// <summary>With a folder, which takes the place of those below it; the same list where it is freed already.</summary>
    public FreedList With(FreedFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return Find(folder.Volume, folder.Path) is not null ? this : Of([.. Without(folder.Volume, folder.Path).Folders, folder]);
    }

    /// <summary>Without a folder, and without those below it; the same list where there are none.</summary>
    public FreedList Without(VolumeId volume, ReadOnlyMemory<byte> path)
    {
        FreedFolder[] left = [.. Folders.Where(folder => folder.Volume != volume || !FreedFolder.IsBelow(folder.Path.Span, path.Span))];
        return left.Length == Folders.Count ? this : new FreedList(left);
    }

    /// <summary>How far a volume's root is freed; null: nothing of it is.</summary>
    internal FreedNode? Of(VolumeId volume) => _volumes.GetValueOrDefault(volume);

    internal FieldWriter Write()
    {
        var writer = new FieldWriter(1024);
        writer.U32((uint)Folders.Count);
        foreach (FreedFolder folder in Folders)
        {
            folder.Volume.Write(writer.Take(VolumeId.Size));
            writer.I64(folder.SinceSeconds);
            writer.U16((ushort)folder.Path.Length);
            writer.Bytes(folder.Path.Span);
        }

        return writer;
    }

    /// <exception cref="DamagedFormatException">Not exactly one list.</exception>
    internal static FreedList Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "freed");
        int count = reader.Count(MaxFolders, "the count");
        FreedList list = Empty;
        for (int i = 0; i < count; i++)
        {
            VolumeId volume = VolumeId.Read(reader.Bytes(VolumeId.Size));
            long since = reader.I64();
            int pathBytes = reader.U16();
            if (pathBytes > MaxPathBytes)
            {
                throw reader.Damaged($"a path of {pathBytes} bytes, at most {MaxPathBytes} expected");
            }

            byte[] path = reader.Bytes(pathBytes).ToArray();
            FreedList longer = list.With(new FreedFolder(volume, path, since));
            if (longer.Folders.Count != i + 1 || !IsPath(path))
            {
                throw reader.Damaged($"path {i} is none, or lies below another");
            }

            list = longer;
        }

        reader.End();
        return list;
    }

    private static FreedList Of(IEnumerable<FreedFolder> folders)
    {
        FreedFolder[] all = [.. folders];
        Array.Sort(all, static (a, b) => (a.Volume.Bytes.High, a.Volume.Bytes.Low).CompareTo((b.Volume.Bytes.High, b.Volume.Bytes.Low)) is not 0 and var order ? order : a.Path.Span.SequenceCompareTo(b.Path.Span));
        return new FreedList(all);
    }

    private static bool IsPath(byte[] path)
    {
        foreach (Range name in path.Length == 0 ? default : path.AsSpan().Split((byte)'/'))
        {
            if (!Entry.IsName(path.AsSpan(name)))
            {
                return false;
            }
        }

        return true;
    }
}

/// <summary>How far a directory is freed: wholly, or some names below it. Null stands for "not at all".</summary>
internal sealed class FreedNode
{
    private Dictionary<string, FreedNode>? _children;

    internal bool IsWhole { get; private set; }

    internal void Add(ReadOnlySpan<byte> path)
    {
        if (path.IsEmpty)
        {
            IsWhole = true;
            return;
        }

        int slash = path.IndexOf((byte)'/');
        string name = KeyOf(slash < 0 ? path : path[..slash]);
        _children ??= new Dictionary<string, FreedNode>(StringComparer.Ordinal);
        if (!_children.TryGetValue(name, out FreedNode? child))
        {
            _children[name] = child = new FreedNode();
        }

        child.Add(slash < 0 ? [] : path[(slash + 1)..]);
    }

    internal FreedNode? Child(ReadOnlySpan<byte> name) => IsWhole ? this : _children?.GetValueOrDefault(KeyOf(name));

    private static string KeyOf(ReadOnlySpan<byte> name) => System.Text.Encoding.Latin1.GetString(name);
}

/// <summary>The list on disk.</summary>
/// <remarks>Format: docs/format.md 17.8. No file: nothing is freed. The cache key stays the caller's.</remarks>
public sealed class FreedFile(IDisk disk, string stateFolder, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const string Name = "freed";

    private readonly EncryptedFile _file = new(disk, stateFolder, Name, "TDFSFRE1", "tdfs 2026-11 freed v1", cacheKey, random, clock);

    /// <exception cref="DamagedFormatException">It is there and cannot be read: as none, it would bring everything back here.</exception>
    public FreedList Read() => Parse(_file.Read());

    /// <summary>Durable when it returns.</summary>
    public async ValueTask<FreedList> ChangeAsync(Func<FreedList, FreedList> change, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(change);
        FreedList after = FreedList.Empty;
        await _file.ChangeAsync(
            bytes =>
            {
                FreedList before = Parse(bytes);
                after = change(before);
                return ReferenceEquals(before, after) ? null : after.Write();
            },
            cancel).ConfigureAwait(false);
        return after;
    }

    private FreedList Parse(byte[]? bytes) =>
        bytes is not null ? FreedList.Read(bytes)
        : !disk.FileExists(stateFolder + "/" + Name) ? FreedList.Empty
        : throw new DamagedFormatException($"{stateFolder}/{Name}: found a damaged file, expected what `tdfs free` wrote; take it away and free the folders again before the next repair, which else keeps everything here");
}
