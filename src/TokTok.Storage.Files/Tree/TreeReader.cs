using System.Runtime.CompilerServices;
using System.Text;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A name in a tree: its path from the root, the entry with links resolved, and whether it was a link.</summary>
/// <param name="Path">Names joined by slashes, without a leading one; empty for the root.</param>
public readonly record struct TreeItem(ReadOnlyMemory<byte> Path, Entry Entry, bool IsLink)
{
    /// <summary>The last name of the path.</summary>
    public ReadOnlyMemory<byte> Name => Path[(Path.Span.LastIndexOf((byte)'/') + 1)..];

    /// <summary>The path for people; bytes that are no UTF-8 show as replacement characters.</summary>
    public string Display => Encoding.UTF8.GetString(Path.Span);
}

/// <summary>Reads a tree: by path, by directory, or all of it in order.</summary>
/// <remarks>Safe from many threads. Order is that of names as bytes, a directory before what is in it. Memory is bounded by the depth of the tree:
/// the way down is kept on the heap, so that no nesting overflows a stack, and is refused beyond <see cref="EntryLimits.MaxDirectoryDepth"/>.</remarks>
public sealed class TreeReader(SortedTable table, TableRoot links)
{
    /// <summary>The tree of a snapshot.</summary>
    public static TreeReader Of(Volume volume, SnapshotRecord snapshot)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(snapshot);
        return new TreeReader(volume.Tables, snapshot.Links);
    }

    /// <summary>The entry at a path below a directory, or null. Leading, trailing and doubled slashes are passed over; an empty path is the root.</summary>
    public async ValueTask<TreeItem?> ResolveAsync(Entry root, ReadOnlyMemory<byte> path, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(root);
        Entry entry = root;
        bool isLink = false;
        int depth = 0;
        ReadOnlyMemory<byte> rest = path;
        while (!rest.IsEmpty)
        {
            int slash = rest.Span.IndexOf((byte)'/');
            ReadOnlyMemory<byte> name = slash < 0 ? rest : rest[..slash];
            rest = slash < 0 ? default : rest[(slash + 1)..];
            if (name.IsEmpty)
            {
                continue;
            }

            TreeItem? child = entry.Type == EntryType.Directory && ++depth <= EntryLimits.MaxDirectoryDepth
                ? await FindAsync(entry, name, cancel).ConfigureAwait(false)
                : null;
            if (child is not TreeItem found)
            {
                return null;
            }

            entry = found.Entry;
            isLink = found.IsLink;
        }

        return new TreeItem(Normal(path), entry, isLink);
    }

    /// <summary>One name of a directory, or null.</summary>
    public async ValueTask<TreeItem?> FindAsync(Entry directory, ReadOnlyMemory<byte> name, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(directory);
        ReadOnlyMemory<byte>? value = Entry.IsName(name.Span) ? await table.GetAsync(directory.Children, name, cancel).ConfigureAwait(false) : null;
        return value is ReadOnlyMemory<byte> bytes
            ? await ItemAsync(name, Entry.Decode(bytes), cancel).ConfigureAwait(false)
            : null;
    }

    /// <summary>The names of a directory in order, from one on. Paths are the names.</summary>
    public async IAsyncEnumerable<TreeItem> ListAsync(
        Entry directory, ReadOnlyMemory<byte> from = default, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(directory);
        await foreach (TableItem item in table.ScanAsync(directory.Children, from, cancel).ConfigureAwait(false))
        {
            CheckName(item.Key);
            yield return await ItemAsync(item.Key, Entry.Decode(item.Value), cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Everything below a directory in order, each directory before its names; the directory itself is not among them.</summary>
    /// <param name="prefix">Path of the directory, set before every path.</param>
    public async IAsyncEnumerable<TreeItem> WalkAsync(
        Entry directory, ReadOnlyMemory<byte> prefix = default, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(directory);
        var path = new Stack<(ReadOnlyMemory<byte> Prefix, IAsyncEnumerator<TreeItem> Names)>();
        try
        {
            path.Push((prefix, ListAsync(directory, default, cancel).GetAsyncEnumerator(cancel)));
            while (path.TryPeek(out (ReadOnlyMemory<byte> Prefix, IAsyncEnumerator<TreeItem> Names) top))
            {
                if (!await top.Names.MoveNextAsync().ConfigureAwait(false))
                {
                    path.Pop();
                    await top.Names.DisposeAsync().ConfigureAwait(false);
                    continue;
                }

                TreeItem item = top.Names.Current with { Path = Join(top.Prefix, top.Names.Current.Path) };
                yield return item;
                if (item.Entry.Type == EntryType.Directory)
                {
                    if (path.Count >= EntryLimits.MaxDirectoryDepth)
                    {
                        throw new DamagedFormatException($"tree: expected at most {EntryLimits.MaxDirectoryDepth} directories inside one another, found more");
                    }

                    path.Push((item.Path, ListAsync(item.Entry, default, cancel).GetAsyncEnumerator(cancel)));
                }
            }
        }
        finally
        {
            while (path.TryPop(out (ReadOnlyMemory<byte> Prefix, IAsyncEnumerator<TreeItem> Names) left))
            {
                await left.Names.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>Content of a file.</summary>
    public FileContentReader OpenContent(Entry file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.Type == EntryType.File && !file.IsLink
            ? new FileContentReader(table.Blocks, file.Content)
            : throw new ArgumentException("Only a file, its link resolved, has content.", nameof(file));
    }

    /// <summary>Extended attributes of any entry.</summary>
    public ValueTask<IReadOnlyList<Xattr>> AttributesAsync(Entry entry, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(entry);
        return AttributeList.LoadAsync(table.Blocks, entry.Attributes, cancel);
    }

    internal static ReadOnlyMemory<byte> Join(ReadOnlyMemory<byte> prefix, ReadOnlyMemory<byte> name)
    {
        if (prefix.IsEmpty)
        {
            return name;
        }

        byte[] joined = new byte[prefix.Length + 1 + name.Length];
        prefix.CopyTo(joined);
        joined[prefix.Length] = (byte)'/';
        name.CopyTo(joined.AsMemory(prefix.Length + 1));
        return joined;
    }

    internal static void CheckName(ReadOnlyMemory<byte> name)
    {
        if (!Entry.IsName(name.Span))
        {
            throw new DamagedFormatException($"directory: expected a name, found {name.Length} bytes {Convert.ToHexString(name.Span[..Math.Min(name.Length, 32)])}");
        }
    }

    internal async ValueTask<TreeItem> ItemAsync(ReadOnlyMemory<byte> path, Entry stored, CancellationToken cancel) => stored.IsLink
        ? new TreeItem(path, await LinkTable.ResolveAsync(table, links, stored, cancel).ConfigureAwait(false), true)
        : new TreeItem(path, stored, false);

    internal static ReadOnlyMemory<byte> Normal(ReadOnlyMemory<byte> path)
    {
        ReadOnlyMemory<byte> normal = default;
        ReadOnlyMemory<byte> rest = path;
        while (!rest.IsEmpty)
        {
            int slash = rest.Span.IndexOf((byte)'/');
            ReadOnlyMemory<byte> name = slash < 0 ? rest : rest[..slash];
            rest = slash < 0 ? default : rest[(slash + 1)..];
            normal = name.IsEmpty ? normal : Join(normal, name);
        }

        return normal;
    }
}
