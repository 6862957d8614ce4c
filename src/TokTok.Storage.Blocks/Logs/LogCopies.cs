using System.Globalization;

using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Logs;

/// <summary>One copy of a log file: in the state folder, or an object at a holder.</summary>
internal sealed record LogCopy(RecordLogHeader Header, string Where, long Bytes, string? LocalPath, IFragmentHolder? Holder, string ObjectName);

/// <summary>The files of one kind of record log: where their copies lie, which one counts, and how new bytes reach the holders.</summary>
/// <remarks>
/// Format: docs/format.md 4, 8, 9. Copies are byte for byte prefixes of the file that the device writes. A holder that fails is reported
/// in <see cref="Lag"/> and never stops a writer: the copy catches up at the next publication.
/// Not safe from many threads: the store publishes under its commit lock.
/// </remarks>
internal sealed class LogCopies(IDisk disk, string folder, string prefix, RecordLogKind kind, uint device, KeyDomain realm)
{
    private const int PublishBytes = 1024 * 1024;

    private readonly Dictionary<(HolderId Holder, ulong Number), long> _published = [];

    /// <summary>What could not be published last time, one line a holder.</summary>
    internal Dictionary<HolderId, string> Lag { get; } = [];

    /// <summary>The highest number that any file or object has by its name, whole or not: the next file takes a higher one.</summary>
    internal ulong HighestNumber { get; private set; }

    internal string PathOf(ulong number) => Paths.Join(folder, number.ToString("x16", CultureInfo.InvariantCulture));

    internal string ObjectOf(ulong number) => string.Create(CultureInfo.InvariantCulture, $"{prefix}/{device:x8}-{number:x16}");

    /// <summary>Every readable copy, in no order. Damaged headers are passed over: another copy or a lower number counts then.</summary>
    internal async ValueTask<List<LogCopy>> FindAsync(IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        var copies = new List<LogCopy>();
        if (disk.DirectoryExists(folder))
        {
            foreach (DiskEntry entry in disk.List(folder))
            {
                string path = Paths.Join(folder, entry.Name);
                CountName(entry.Name);
                if (TryHeaderOf(path) is { } header && header.Kind == kind)
                {
                    copies.Add(new LogCopy(header, path, entry.Length, path, null, ObjectOf(header.Number)));
                }
            }
        }

        byte[] bytes = new byte[RecordLogHeader.Size];
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                foreach (HolderObject found in await holder.ListObjectsAsync(prefix + "/", cancel).ConfigureAwait(false))
                {
                    CountName(found.Name[(found.Name.LastIndexOf('-') + 1)..]);
                    int read = await holder.ReadObjectAsync(found.Name, 0, bytes, cancel).ConfigureAwait(false);
                    if (TryParse(bytes.AsSpan(0, read), found.Name) is { } header && header.Kind == kind && header.Device == device)
                    {
                        copies.Add(new LogCopy(header, $"{found.Name} at holder {holder.Id}", found.Length, null, holder, found.Name));
                        _published[(holder.Id, header.Number)] = found.Length;
                    }
                }
            }
            catch (DiskException failure)
            {
                Lag[holder.Id] = failure.Message;
            }
        }

        return copies;
    }

    /// <summary>Reads the valid prefix of a copy.</summary>
    internal async ValueTask<RecordLogExtent> ReadAsync(LogCopy copy, RecordLogReader.RecordHandler handler, CancellationToken cancel)
    {
        byte[] key = new byte[32];
        KeyOf(copy.Header, key);
        try
        {
            if (copy.LocalPath is null)
            {
                return await RecordLogReader.ReadAsync(copy.Holder!, copy.ObjectName, copy.Bytes, key, handler, cancel).ConfigureAwait(false);
            }

            using IDiskFile file = disk.Open(copy.LocalPath, DiskOpen.Read);
            return RecordLogReader.Read(file, key, handler);
        }
        finally
        {
            Array.Clear(key);
        }
    }

    internal bool CanOpen(RecordLogHeader header) => header.Domain == realm.Id && realm.Epochs.Contains(header.Epoch);

    internal RecordLogWriter Begin(ulong number, IRandomSource random)
    {
        Span<byte> id = stackalloc byte[UInt256.Size];
        random.Fill(id);
        var header = new RecordLogHeader
        {
            Kind = kind,
            Domain = realm.Id,
            Epoch = realm.CurrentEpoch,
            Device = device,
            Number = number,
            LogId = UInt256.Read(id),
        };
        disk.CreateDirectory(folder);
        Span<byte> key = stackalloc byte[32];
        KeyOf(header, key);
        return new RecordLogWriter(disk, PathOf(number), header, key, random);
    }

    internal RecordLogWriter Continue(LogCopy copy, RecordLogExtent extent, IRandomSource random)
    {
        Span<byte> key = stackalloc byte[32];
        KeyOf(copy.Header, key);
        return RecordLogWriter.Continue(disk, copy.LocalPath!, copy.Header, key, random, extent);
    }

    /// <summary>Appends to every holder's copy what the writer has synced since. Durable there on return, but for the holders in <see cref="Lag"/>.</summary>
    internal async ValueTask PublishAsync(RecordLogWriter writer, IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        byte[]? buffer = null;
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                long at = _published.GetValueOrDefault((holder.Id, writer.Header.Number));
                while (at < writer.SyncedBytes)
                {
                    buffer ??= new byte[PublishBytes];
                    int read = writer.ReadSynced(at, buffer);
                    await holder.AppendObjectAsync(ObjectOf(writer.Header.Number), at, buffer.AsMemory(0, read), cancel).ConfigureAwait(false);
                    at += read;
                    _published[(holder.Id, writer.Header.Number)] = at;
                }

                Lag.Remove(holder.Id);
            }
            catch (DiskException failure)
            {
                Lag[holder.Id] = failure.Message;
            }
        }
    }

    /// <summary>Deletes the files of lower numbers, here and at the holders. The caller has made sure that nothing in them is needed.</summary>
    internal async ValueTask DeleteBelowAsync(ulong number, IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        if (disk.DirectoryExists(folder))
        {
            bool changed = false;
            foreach (DiskEntry entry in disk.List(folder))
            {
                if (ulong.TryParse(entry.Name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong found) && found < number)
                {
                    disk.Delete(Paths.Join(folder, entry.Name));
                    changed = true;
                }
            }

            if (changed)
            {
                disk.SyncDirectory(folder);
            }
        }

        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                foreach (ulong old in _published.Keys.Where(key => key.Holder == holder.Id && key.Number < number).Select(static key => key.Number).ToList())
                {
                    await holder.DeleteObjectAsync(ObjectOf(old), cancel).ConfigureAwait(false);
                    _published.Remove((holder.Id, old));
                }
            }
            catch (DiskException failure)
            {
                Lag[holder.Id] = failure.Message;
            }
        }
    }

    private void CountName(string digits)
    {
        if (digits.Length == 16 && ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong number))
        {
            HighestNumber = Math.Max(HighestNumber, number);
        }
    }

    private void KeyOf(RecordLogHeader header, Span<byte> key)
    {
        Span<byte> id = stackalloc byte[UInt256.Size];
        header.LogId.Write(id);
        realm.LogKey(header.Epoch, id, key);
    }

    private RecordLogHeader? TryHeaderOf(string path)
    {
        try
        {
            using IDiskFile file = disk.Open(path, DiskOpen.Read);
            return RecordLogReader.ReadHeader(file, path);
        }
        catch (DamagedFormatException)
        {
            return null;
        }
        catch (DiskException failure) when (failure.Failure == DiskFailure.NotFound)
        {
            return null; // a writer beside this reader ended the file's life
        }
    }

    private static RecordLogHeader? TryParse(ReadOnlySpan<byte> bytes, string name)
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
}
