using System.Security.Cryptography;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Output;
using static TokTok.Storage.Tdfs.Output.DebugField;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>`tdfs debug stat-caches`: each volume's memory of how its files stood, read through.</summary>
/// <remarks>
/// Format: docs/format.md 16.1. Read as an import reads it, as a stream; what ends the stream early is damage, and so is a record whose entry does not decode or whose
/// directories do not nest. A racy record is one that is not trusted: its file changed so shortly before its stat that a later change may bear the same time.
/// Names of files are printed where they are asked for, and only then one row a record.
/// </remarks>
internal sealed class StatCacheDump(BlockStore store, ReadOnlyMemory<byte> key, IDisk disk, string folder, DebugPage page, bool withNames)
{
    /// <param name="name">A volume, by its name or id; null: all.</param>
    internal async ValueTask WriteAsync(string? name, CancellationToken cancel)
    {
        bool isFound = name is null;
        IReadOnlyList<DiskEntry> files = disk.DirectoryExists(folder) ? disk.List(folder) : [];
        foreach (DiskEntry file in files.OrderBy(static file => file.Name, StringComparer.Ordinal))
        {
            cancel.ThrowIfCancellationRequested();
            bool isNew = file.Name.EndsWith(StatCache.NewSuffix, StringComparison.Ordinal);
            string id = file.Name.StartsWith(StatCache.FilePrefix, StringComparison.Ordinal) ? file.Name[StatCache.FilePrefix.Length..^(isNew ? StatCache.NewSuffix.Length : 0)] : "";
            string? volume = store.Heads.FirstOrDefault(head => head.Volume.ToString() == id)?.VolumeName;
            if (name is not null && (id.Length == 0 || (name != volume && name != id)))
            {
                continue;
            }

            isFound = true;
            if (id.Length == 0 || isNew)
            {
                page.Note($"{file.Name}: {(id.Length == 0 ? "no stat cache" : "one that is being written, or was when its import was stopped; the next writer deletes it")}");
                continue;
            }

            await PutAsync(file, id, volume, cancel).ConfigureAwait(false);
        }

        if (!isFound)
        {
            throw StoreDump.NoSuch("stat cache of a volume", name!, "the name or id of one that was imported here");
        }

        if (files.Count == 0)
        {
            page.Note($"no volume has one");
        }
    }

    private async ValueTask PutAsync(DiskEntry file, string id, string? volume, CancellationToken cancel)
    {
        StatCacheReader reader;
        try
        {
            reader = StatCacheReader.Open(disk, $"{folder}/{file.Name}", key.Span);
        }
        catch (Exception damage) when (damage is DamagedFormatException or CryptographicException)
        {
            page.Row("stat cache", Bare("file", file.Name), ("volume", volume), ("bytes", file.Length));
            page.Damaged($"{file.Name}: {(damage is CryptographicException ? "found a footer that does not decrypt, expected one under this device's cache key" : damage.Message)}");
            return;
        }

        using (reader)
        {
            page.Row("stat cache", Bare("file", file.Name), ("volume", volume), ("bytes", file.Length), ("segments", reader.SegmentCount),
                ("settings", Convert.ToHexStringLower(reader.Fingerprint)[..16]), ("bases", string.Join(' ', reader.Bases)));
            if (reader.Volume.ToString() != id)
            {
                page.Damaged($"{file.Name}: found the cache of volume {reader.Volume}, expected {id}");
            }

            await PutUseAsync(reader, volume, cancel).ConfigureAwait(false);
            PutRecords(reader, file.Name, cancel);
        }
    }

    /// <summary>Whether the next import may use it, which other settings would keep it from too.</summary>
    private async ValueTask PutUseAsync(StatCacheReader reader, string? volume, CancellationToken cancel)
    {
        try
        {
            using Volume? opened = volume is null ? null : await Volume.TryOpenAsync(store, volume, cancel).ConfigureAwait(false);
            if (opened is null)
            {
                page.Note(1, $"it is of no volume that there is: no import will use it");
                return;
            }

            HashSet<SnapshotId> left = [.. reader.Bases];
            await foreach (SnapshotRecord snapshot in opened.SnapshotsAsync(cancel).ConfigureAwait(false))
            {
                left.Remove(snapshot.Id);
            }

            if (left.Count > 0 || reader.Bases.Count == 0)
            {
                page.Note(1, $"the snapshots that it leans on are gone: the next import reads every file");
            }
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            page.Note(1, $"whether its snapshots are there cannot be told: {damage.Message}");
        }
    }

    private void PutRecords(StatCacheReader reader, string file, CancellationToken cancel)
    {
        long entries = 0;
        long directories = 0;
        long racy = 0;
        long links = 0;
        var path = new Stack<byte[]>();
        for (; reader.Kind != StatRecordKind.End; reader.MoveNext())
        {
            cancel.ThrowIfCancellationRequested();
            StatRecord record = reader.Current;
            byte[] name = [];
            switch (record.Kind)
            {
                case StatRecordKind.Enter:
                    directories++;
                    path.Push(name = Join(path, record.Name));
                    break;
                case StatRecordKind.Leave:
                    if (!path.TryPop(out byte[]? left))
                    {
                        page.Damaged($"{file}, record {entries + directories}: found the end of a directory, expected none: none is open");
                    }

                    name = left ?? [];
                    break;
                default:
                    entries++;
                    name = Join(path, record.Name);
                    break;
            }

            // What a directory is trusted for stands at its end; its beginning says how it stood.
            racy += record.Kind != StatRecordKind.Enter && !record.IsTrusted ? 1 : 0;
            links += record.Link.Length > 0 ? 1 : 0;
            if (withNames)
            {
                page.Row(1, record.Kind switch { StatRecordKind.Enter => "enter", StatRecordKind.Leave => "leave", _ => "entry" }, Bare("path", name), ("inode", record.Stat.Inode), ("size", record.Stat.SizeBytes),
                    ("mtime", Show.IsoTime(record.Stat.ModifyNs)), ("ctime", Show.IsoTime(record.Stat.ChangeNs)), ("mode", Show.Mode(record.Stat.Mode)), ("owner", record.Stat.Uid), ("group", record.Stat.Gid),
                    ("links", record.Stat.LinkCount), ("entry bytes", record.Entry.Length), ("link bytes", record.Link.Length), ("racy", record.Kind != StatRecordKind.Enter && !record.IsTrusted), ("cut off", record.IsCutOff));
            }

            string where = withNames ? $"{file}, {TerminalText.Escape(name)}" : $"{file}, record {entries + directories}";
            Check(record.Entry, where);
            Check(record.Link, where);
        }

        if (reader.Damage is { } damage)
        {
            page.Damaged($"{file}, {damage}");
        }
        else if (path.Count > 0)
        {
            page.Damaged($"{file}: found its end with {path.Count} directories open, expected none");
        }

        page.Row(1, "records", ("entries", entries), ("directories", directories), ("racy", racy), ("link records", links));
    }

    private void Check(ReadOnlySpan<byte> entry, string where)
    {
        try
        {
            if (!entry.IsEmpty)
            {
                _ = Entry.Decode(entry.ToArray());
            }
        }
        catch (DamagedFormatException damage)
        {
            page.Damaged($"{where}: {damage.Message}");
        }
    }

    private static byte[] Join(Stack<byte[]> path, ReadOnlySpan<byte> name) =>
        !path.TryPeek(out byte[]? above) ? name.IsEmpty ? "/"u8.ToArray() : name.ToArray() : above.AsSpan().SequenceEqual("/"u8) ? name.ToArray() : [.. above, (byte)'/', .. name];
}
