using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;

using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Logs;

/// <summary>One state folder's files of one kind.</summary>
/// <remarks>A class, as what groups and sets are made by: their code for references is there when the process starts.</remarks>
internal sealed record LogLine(uint Device, ulong Incarnation);

/// <summary>One copy of a log file: in the state folder, or an object at a holder.</summary>
internal sealed record LogCopy(RecordLogHeader Header, string Where, long Bytes, string? LocalPath, IFragmentHolder? Holder, string ObjectName)
{
    internal LogLine Line => new(Header.Device, Header.Incarnation);
}

/// <summary>The files of one kind of record log: where their copies lie, which line is ours, and how new bytes reach the holders.</summary>
/// <remarks>
/// Format: docs/format.md 4, 8, 9. Copies are byte for byte prefixes of the file that the device writes. A holder that fails is reported
/// in <see cref="Lag"/> and never stops a writer: the copy catches up at the next publication. A copy that is no prefix of ours was written by somebody
/// else under our device number and incarnation (a copy of this state folder, or a later state of it): it is never overwritten, and <see cref="IsForked"/> tells
/// the writer to go on as another incarnation.
/// Not safe from many threads: the store publishes under its commit lock. What it asks of the holders it asks of all of them side by side, and each of these notes only what is its holder's.
/// A journal that is synced often leaves one file whose life has ended behind, without its header, for the next one to be written into (<see cref="RecordLogWriter"/>). What a reader that had it
/// open finds in it counts only if the header is there still when it has read to the end.
/// </remarks>
internal sealed class LogCopies(IDisk disk, string folder, string prefix, RecordLogKind kind, uint device, KeyDomain realm, LogHeads heads)
{
    private const int PublishBytes = 1024 * 1024;
    private const int CompareBytes = 256 * 1024;
    private const int NumberDigits = 16;

    /// <summary>Less is not worth keeping; of more so much is kept.</summary>
    private const int MinSpareBytes = 64 * 1024;
    private const int MaxSpareBytes = 64 * 1024 * 1024;

    private static readonly Comparer<LogCopy> s_byNumber = Comparer<LogCopy>.Create(static (one, other) =>
    {
        int order = one.Header.Number.CompareTo(other.Header.Number);
        order = order != 0 ? order : other.Bytes.CompareTo(one.Bytes);
        return order != 0 ? order : (one.LocalPath is null).CompareTo(other.LocalPath is null);
    });

    private readonly ConcurrentDictionary<(HolderId Holder, string ObjectName), (RecordLogHeader Header, long Bytes)> _atHolders = new();
    private readonly ConcurrentDictionary<LogCopy, RecordLogExtent> _extents = new(ReferenceEqualityComparer.Instance); // of the copies that were read
    private readonly ConcurrentDictionary<(HolderId Holder, string ObjectName), long> _published = new(); // compared with ours in this process
    private readonly ConcurrentDictionary<(HolderId Holder, string Name), bool> _unsynced = new(); // appended to, and not synced since
    private readonly ConcurrentDictionary<HolderId, bool> _failing = new(); // listed their copies and failed to give one, since copies were last looked for
    private readonly List<(LogLine? Line, ulong Number)> _names = [];
    private readonly List<LogCopy> _locked = [];

    /// <summary>What could not be published last time, one line a holder.</summary>
    internal ConcurrentDictionary<HolderId, string> Lag { get; } = new(); // whoever asks for the status reads it beside a publication

    /// <summary>The incarnation under which the next file is begun.</summary>
    internal ulong Incarnation { get; private set; }

    /// <summary>Whether a holder has a file of our line that somebody else wrote.</summary>
    internal bool IsForked { get; private set; }

    /// <summary>Whether a file that was listed was gone when it was to be read: a writer beside us ended its life, and what it held is in one that was not listed.</summary>
    internal bool HasMissed { get; private set; }

    /// <summary>Copies of the account's logs whose epoch's keys are not here, since copies were last looked for: somebody writes what cannot be read yet, so nothing of his counts as known.</summary>
    internal IReadOnlyList<LogCopy> Locked => _locked;

    /// <summary>Whether a line goes on in a file that cannot be opened: what can be read of it is not its newest.</summary>
    internal bool IsLocked(LogLine line) => _locked.Exists(copy => copy.Line == line);

    /// <summary>The epoch under which files are begun now.</summary>
    internal uint CurrentEpoch => realm.CurrentEpoch;

    /// <summary>From here on files are begun in a line of their own.</summary>
    internal void GoOnAs(ulong incarnation)
    {
        Incarnation = incarnation;
        IsForked = false;
    }

    /// <summary>The highest number that a file here, or an object of these lines, has by its name, whole or not: the next file takes a higher one.</summary>
    internal ulong HighestNumber(IReadOnlySet<LogLine> own)
    {
        ulong highest = 0;
        foreach ((LogLine? line, ulong number) in _names)
        {
            highest = line is null || own.Contains(line) ? Math.Max(highest, number) : highest;
        }

        return highest;
    }

    internal string PathOf(ulong number) => Paths.Join(folder, number.ToString("x16", CultureInfo.InvariantCulture));

    internal string ObjectOf(RecordLogHeader header) =>
        string.Create(CultureInfo.InvariantCulture, $"{prefix}/{header.Device:x8}-{header.Incarnation:x16}-{header.Number:x16}");

    /// <summary>Every copy whose key we have, of every line, in no order; those whose key we lack are <see cref="Locked"/>. Damaged headers are passed over: another copy or a lower number counts then.</summary>
    internal async ValueTask<List<LogCopy>> FindAsync(IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        _failing.Clear();
        _locked.Clear();
        var copies = new List<LogCopy>();
        if (disk.DirectoryExists(folder))
        {
            foreach (DiskEntry entry in disk.List(folder))
            {
                string path = Paths.Join(folder, entry.Name);
                CountName(null, entry.Name);
                if (TryHeaderOf(path) is { } header && header.Kind == kind && header.Domain == realm.Id)
                {
                    (CanOpen(header) ? copies : _locked).Add(new LogCopy(header, path, entry.Length, path, null, ObjectOf(header)));
                }
            }
        }

        // All holders at once: each asks as if it were alone, and what they have is taken up in their order.
        AtHolder[] seen = [.. holders.Select(static holder => new AtHolder(holder))];
        await SideBySide.EachAsync(seen, at => LookAsync(at, cancel)).ConfigureAwait(false);
        foreach (AtHolder at in seen)
        {
            HasMissed |= at.HasMissed;
            foreach (HolderObject listed in at.Listed)
            {
                CountObject(listed.Name);
            }

            foreach ((HolderObject found, RecordLogHeader? header) in at.Files)
            {
                if (header is null || header.Kind != kind || header.Domain != realm.Id || ObjectOf(header) != found.Name)
                {
                    continue;
                }

                var copy = new LogCopy(header, $"{found.Name} at holder {at.Holder.Id}", found.Length, null, at.Holder, found.Name);
                if (!CanOpen(header))
                {
                    _locked.Add(copy);
                    continue;
                }

                copies.Add(copy);
                _atHolders[(at.Holder.Id, found.Name)] = (header, found.Length);
            }

            if (at.Failure is { } failure)
            {
                Lag[at.Holder.Id] = failure.Message;
            }
        }

        return copies;
    }

    private async Task LookAsync(AtHolder at, CancellationToken cancel)
    {
        IFragmentHolder holder = at.Holder;
        try
        {
            at.Listed = await holder.ListObjectsAsync(prefix + "/", cancel).ConfigureAwait(false);
            heads.KeepOnly(holder.Id, prefix + "/", at.Listed);
            foreach (HolderObject found in at.Listed)
            {
                at.Files.Add((found, await heads.HeaderAsync(holder, found, () => at.HasMissed = true, cancel).ConfigureAwait(false)));
            }
        }
        catch (DiskException failure)
        {
            at.Failure = failure;
        }
    }

    /// <summary>What one holder has, as far as it gave it.</summary>
    private sealed class AtHolder(IFragmentHolder holder)
    {
        internal IFragmentHolder Holder { get; } = holder;

        internal IReadOnlyList<HolderObject> Listed { get; set; } = [];

        /// <summary>Those of them whose beginning was given; null: which is no header.</summary>
        internal List<(HolderObject Found, RecordLogHeader? Header)> Files { get; } = [];

        internal bool HasMissed { get; set; }

        internal DiskException? Failure { get; set; }
    }

    /// <summary>Whether a copy lies at a holder that listed it and then failed to give it, since copies were last looked for.</summary>
    internal bool IsFailing(LogCopy copy) => copy.Holder is { } holder && _failing.ContainsKey(holder.Id);

    /// <summary>Takes out the copies at holders that failed, so that the rest is read as if these were absent. False: there were none.</summary>
    internal bool LeaveOutFailing(List<LogCopy> copies) => copies.RemoveAll(IsFailing) > 0;

    /// <summary>The lines that files in the state folder are of.</summary>
    internal static HashSet<LogLine> OwnLines(IEnumerable<LogCopy> copies) => [.. copies.Where(static copy => copy.LocalPath is not null).Select(static copy => copy.Line)];

    /// <summary>The copies of each number, the lowest number first; of one number the longest first, and the state folder's before equals.</summary>
    /// <remarks>Sorted by references, whose code is there when the process starts, as for <see cref="LogLine"/>: by each field in turn the runtime would first have to make it.</remarks>
    internal static List<List<LogCopy>> ByNumber(IEnumerable<LogCopy> copies)
    {
        var numbers = new List<List<LogCopy>>();
        foreach (LogCopy copy in copies.OrderBy(static copy => copy, s_byNumber))
        {
            if (numbers.Count == 0 || numbers[^1][0].Header.Number != copy.Header.Number)
            {
                numbers.Add([]);
            }

            numbers[^1].Add(copy);
        }

        return numbers;
    }

    /// <summary>Whether a holder has more of our lines than the state folder, or something else: then the folder is an older state, or a copy, of one that went on.</summary>
    internal async ValueTask<bool> IsBehindAsync(IReadOnlyList<LogCopy> own, CancellationToken cancel)
    {
        var here = new Dictionary<ulong, LogCopy>();
        ulong highest = 0;
        foreach (LogCopy local in own.Where(static copy => copy.LocalPath is not null))
        {
            here[local.Header.Number] = local;
            highest = Math.Max(highest, local.Header.Number);
        }

        foreach (LogCopy there in own.Where(static copy => copy.LocalPath is null))
        {
            LogCopy? local = here.GetValueOrDefault(there.Header.Number);
            try
            {
                if (local is null ? there.Header.Number > highest : !await IsPrefixAsync(there, local, cancel).ConfigureAwait(false))
                {
                    return true;
                }
            }
            catch (DiskException failure)
            {
                Lag[there.Holder!.Id] = failure.Message;
            }
        }

        return false;
    }

    /// <summary>Whether somebody wrote a file of the same line and number elsewhere: two copies of a state folder that both went on.</summary>
    internal async ValueTask<bool> IsPartedAsync(IEnumerable<LogCopy> line, CancellationToken cancel)
    {
        foreach (IGrouping<(LogLine Line, ulong Number), LogCopy> number in line.GroupBy(static copy => (copy.Line, copy.Header.Number)))
        {
            LogCopy longest = number.MaxBy(static copy => copy.Bytes)!;
            foreach (LogCopy copy in number)
            {
                if (copy != longest && !await IsPrefixAsync(copy, longest, cancel).ConfigureAwait(false) && !await IsPrefixAsync(longest, copy, cancel).ConfigureAwait(false))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>The incarnation under which the heads of a copy are entered that parted from another of the same line: the same however both grow.</summary>
    internal async ValueTask<ulong> AliasAsync(LogCopy parted, LogCopy other, CancellationToken cancel)
    {
        byte[] material = new byte[UInt256.Size + LogHeads.TailBytes];
        parted.Header.LogId.Write(material);
        if (parted.Header.LogId == other.Header.LogId)
        {
            byte[] first = new byte[CompareBytes];
            byte[] second = new byte[CompareBytes];
            for (long at = 0; at < parted.Bytes; at += CompareBytes)
            {
                await FillAsync(parted, at, first, cancel).ConfigureAwait(false);
                await FillAsync(other, at, second, cancel).ConfigureAwait(false);
                int common = first.AsSpan().CommonPrefixLength(second);
                if (common < CompareBytes)
                {
                    // The first record that is not shared has a nonce of its own.
                    await FillAsync(parted, at + common, material.AsMemory(UInt256.Size, RecordLog.NonceSize), cancel).ConfigureAwait(false);
                    break;
                }
            }
        }

        byte[] hash = new byte[Blake3.HashSize];
        Blake3.Hash(material, hash);
        return BinaryPrimitives.ReadUInt64LittleEndian(hash) | 1;
    }

    /// <summary>Whether one copy's records are the first of another's. Bytes behind the last record, as a crash or damage leaves them, do not count.</summary>
    /// <remarks>Of a copy that was read what is valid counts; of another its length does, until a difference makes it be read.</remarks>
    internal async ValueTask<bool> IsPrefixAsync(LogCopy shorter, LogCopy longer, CancellationToken cancel)
    {
        if (shorter.Header.LogId != longer.Header.LogId)
        {
            return false;
        }

        if (shorter.Bytes <= (_extents.TryGetValue(longer, out RecordLogExtent known) ? known.ValidBytes : longer.Bytes))
        {
            // Every record has a nonce and a tag of its own: files that parted before end differently.
            byte[] one = await ReadTailAsync(shorter, shorter.Bytes, cancel).ConfigureAwait(false);
            byte[] other = await ReadTailAsync(longer, shorter.Bytes, cancel).ConfigureAwait(false);
            if (one.AsSpan().SequenceEqual(other))
            {
                return true;
            }
        }

        long valid = await ValidBytesAsync(shorter, cancel).ConfigureAwait(false);
        return valid <= await ValidBytesAsync(longer, cancel).ConfigureAwait(false) && await IsSameAsync(shorter, longer, valid, cancel).ConfigureAwait(false);
    }

    internal async ValueTask<long> ValidBytesAsync(LogCopy copy, CancellationToken cancel) =>
        (_extents.TryGetValue(copy, out RecordLogExtent extent) ? extent : await ReadAsync(copy, static _ => { }, cancel).ConfigureAwait(false)).ValidBytes;

    /// <summary>Whether two copies have the same first bytes.</summary>
    internal async ValueTask<bool> IsSameAsync(LogCopy one, LogCopy other, long bytes, CancellationToken cancel)
    {
        byte[] first = new byte[CompareBytes];
        byte[] second = new byte[CompareBytes];
        for (long at = 0; at < bytes; at += CompareBytes)
        {
            int count = (int)Math.Min(CompareBytes, bytes - at);
            await FillAsync(one, at, first.AsMemory(0, count), cancel).ConfigureAwait(false);
            await FillAsync(other, at, second.AsMemory(0, count), cancel).ConfigureAwait(false);
            if (!first.AsSpan(0, count).SequenceEqual(second.AsSpan(0, count)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads the valid prefix of a copy.</summary>
    internal async ValueTask<RecordLogExtent> ReadAsync(LogCopy copy, RecordLogReader.RecordHandler handler, CancellationToken cancel)
    {
        byte[] key = new byte[32];
        KeyOf(copy.Header, key);
        RecordLogExtent extent;
        try
        {
            if (copy.LocalPath is null)
            {
                try
                {
                    extent = await RecordLogReader.ReadAsync(copy.Holder!, copy.ObjectName, copy.Bytes, key, handler, cancel).ConfigureAwait(false);
                }
                catch (DiskException failure)
                {
                    Failed(copy, failure);
                    throw;
                }
            }
            else
            {
                using IDiskFile file = disk.Open(copy.LocalPath, DiskOpen.Read);
                extent = RecordLogReader.Read(file, key, handler);
                HasMissed |= !HasHeader(file, copy);
            }
        }
        finally
        {
            Array.Clear(key);
        }

        _extents[copy] = extent;
        return extent;
    }

    /// <summary>Whether the state folder's copy, which cannot be read whole, has a record where another copy ends; or cannot be read there.</summary>
    internal bool GoesOn(LogCopy copy, RecordLogExtent end)
    {
        Span<byte> key = stackalloc byte[32];
        KeyOf(copy.Header, key);
        try
        {
            using IDiskFile file = disk.Open(copy.LocalPath!, DiskOpen.Read);
            return RecordLogReader.Read(file, key, static _ => { }, end).ValidBytes > end.ValidBytes;
        }
        catch (DiskException)
        {
            return true;
        }
        finally
        {
            key.Clear();
        }
    }

    /// <summary>Reads the records of the file that is being written.</summary>
    internal void ReadOwn(RecordLogWriter writer, RecordLogReader.RecordHandler handler)
    {
        Span<byte> key = stackalloc byte[32];
        KeyOf(writer.Header, key);
        using IDiskFile file = disk.Open(writer.Path, DiskOpen.Read);
        RecordLogReader.Read(file, key, handler);
        key.Clear();
    }

    internal bool CanOpen(RecordLogHeader header) => header.Domain == realm.Id && realm.HasEpoch(header.Epoch);

    /// <param name="isBusy">The file before was synced so often that this one is better written in place.</param>
    internal RecordLogWriter Begin(ulong number, IRandomSource random, bool isBusy = false)
    {
        Span<byte> id = stackalloc byte[UInt256.Size];
        random.Fill(id);
        var header = new RecordLogHeader
        {
            Kind = kind,
            Domain = realm.Id,
            Epoch = realm.CurrentEpoch,
            Device = device,
            Incarnation = Incarnation,
            Number = number,
            LogId = UInt256.Read(id),
        };
        disk.CreateDirectory(folder);
        Span<byte> key = stackalloc byte[32];
        KeyOf(header, key);
        bool isTakenOver = isBusy && disk.FileExists(SparePath);
        if (isTakenOver)
        {
            disk.Rename(SparePath, PathOf(number));
        }

        return new RecordLogWriter(disk, PathOf(number), header, key, random, isAhead: kind == RecordLogKind.Journal, isTakenOver);
    }

    internal RecordLogWriter Continue(LogCopy copy, RecordLogExtent extent, IRandomSource random)
    {
        Span<byte> key = stackalloc byte[32];
        KeyOf(copy.Header, key);
        return RecordLogWriter.Continue(disk, copy.LocalPath!, copy.Header, key, random, extent, isAhead: kind == RecordLogKind.Journal);
    }

    /// <summary>Appends to every holder's copy what the writer has synced since. Durable there on return, but for the holders in <see cref="Lag"/>.</summary>
    /// <param name="isSynced">False: durable here is enough for now, and the holders' disks follow in their own time; the next call with true makes up for it.</param>
    internal async ValueTask PublishAsync(RecordLogWriter writer, IReadOnlyList<IFragmentHolder> holders, bool isSynced, CancellationToken cancel)
    {
        string name = ObjectOf(writer.Header);
        await SideBySide.EachAsync(holders, holder => PublishToAsync(writer, holder, name, isSynced, cancel)).ConfigureAwait(false);
    }

    private async Task PublishToAsync(RecordLogWriter writer, IFragmentHolder holder, string name, bool isSynced, CancellationToken cancel)
    {
        byte[]? buffer = null;
        try
        {
            if (!_published.TryGetValue((holder.Id, name), out long at))
            {
                if (await CommonBytesAsync(writer, holder, name, cancel).ConfigureAwait(false) is not { } common)
                {
                    IsForked = true;
                    Lag[holder.Id] = $"{name} was written by another copy of this device's state; it is left as it is";
                    return;
                }

                at = common;
            }

            while (at < writer.SyncedBytes)
            {
                buffer ??= ArrayPool<byte>.Shared.Rent((int)Math.Min(PublishBytes, writer.SyncedBytes - at));
                int read = writer.ReadSynced(at, buffer);
                await holder.AppendObjectAsync(name, at, buffer.AsMemory(0, read), isSynced, cancel).ConfigureAwait(false);
                at += read;
                _ = isSynced ? _unsynced.TryRemove((holder.Id, name), out bool _) : _unsynced.TryAdd((holder.Id, name), true);
            }

            if (isSynced && _unsynced.TryRemove((holder.Id, name), out bool _))
            {
                await holder.AppendObjectAsync(name, at, default, isSynced: true, cancel).ConfigureAwait(false);
            }

            _published[(holder.Id, name)] = at;
            _atHolders[(holder.Id, name)] = (writer.Header, at);
            Lag.TryRemove(holder.Id, out string? _);
        }
        catch (DiskException failure)
        {
            _published.TryRemove((holder.Id, name), out long _); // its copy is compared again before anything more is appended
            Lag[holder.Id] = failure.Message;
        }
        finally
        {
            if (buffer is not null)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    /// <summary>How many bytes of ours a holder's copy has, 0 if it is to be put anew; null if somebody else wrote it.</summary>
    private async ValueTask<long?> CommonBytesAsync(RecordLogWriter writer, IFragmentHolder holder, string name, CancellationToken cancel)
    {
        HolderObject found = (await holder.ListObjectsAsync(name, cancel).ConfigureAwait(false)).FirstOrDefault(each => each.Name == name);
        if (found.Name is null)
        {
            return 0;
        }

        // All of it, once a process: damage in the middle of a copy would make everything behind it worthless.
        var copy = new LogCopy(writer.Header, name, found.Length, null, holder, name);
        var ours = new LogCopy(writer.Header, writer.Path, writer.SyncedBytes, writer.Path, null, name);
        if (found.Length >= RecordLogHeader.Size && found.Length <= ours.Bytes && await IsSameAsync(copy, ours, found.Length, cancel).ConfigureAwait(false))
        {
            return found.Length;
        }

        byte[] headerBytes = new byte[RecordLogHeader.Size];
        int headerRead = await holder.ReadObjectAsync(name, 0, headerBytes, cancel).ConfigureAwait(false);
        if (LogHeads.TryParse(headerBytes.AsSpan(0, headerRead), name) is not { } header)
        {
            return 0; // noise: there is nothing to lose
        }

        if (header.LogId != writer.Header.LogId)
        {
            return null;
        }

        // A crash, or a full disk, in the middle of an append leaves our records and noise behind them; so does damage.
        long valid = await ValidBytesAsync(copy, cancel).ConfigureAwait(false);
        return valid <= ours.Bytes && await IsSameAsync(copy, ours, valid, cancel).ConfigureAwait(false) ? 0 : null;
    }

    /// <summary>What a holder lacks of a file, as far as it was seen or published; null when it has all.</summary>
    internal string? Missing(HolderId holder, RecordLogHeader header, long bytes)
    {
        string name = ObjectOf(header);
        long there = _atHolders.TryGetValue((holder, name), out (RecordLogHeader Header, long Bytes) held) && held.Header.LogId == header.LogId ? held.Bytes : 0;
        return there >= bytes ? null : $"it has {there} of {bytes} bytes of {name}";
    }

    /// <summary>Compares the holders' copies of a file with ours, byte for byte: one line for each that is damaged. One that is not there yet, or not all of it, lags and is whole.</summary>
    /// <param name="file">The newest of our line, and how much of it is durable; null when the state folder has none.</param>
    internal async ValueTask<List<string>> CheckAsync((RecordLogHeader Header, long Bytes)? file, IReadOnlyList<StoreHolder> holders, CancellationToken cancel)
    {
        var lines = new List<string>();
        if (file is not var (header, bytes) || !disk.FileExists(PathOf(header.Number)))
        {
            return lines; // or a writer beside this reader ended the file's life
        }

        string path = PathOf(header.Number);
        var ours = new LogCopy(header, path, bytes, path, null, ObjectOf(header));
        foreach (StoreHolder holder in holders)
        {
            try
            {
                HolderObject found = (await holder.Holder!.ListObjectsAsync(ours.ObjectName, cancel).ConfigureAwait(false)).FirstOrDefault(each => each.Name == ours.ObjectName);
                var copy = new LogCopy(header, ours.ObjectName, found.Length, null, holder.Holder, ours.ObjectName);
                if (found.Name is not null && !await IsSameAsync(copy, ours, Math.Min(found.Length, bytes), cancel).ConfigureAwait(false))
                {
                    lines.Add($"{ours.ObjectName} at {holder.Place}: found damage, expected a copy of {bytes} bytes");
                }
            }
            catch (DiskException failure)
            {
                lines.Add($"{ours.ObjectName} at {holder.Place}: {failure.Message}");
            }
        }

        return lines;
    }

    /// <summary>Whether a holder has any file of our kind that our keys open.</summary>
    internal bool HasAny(HolderId holder) => _atHolders.Keys.Any(key => key.Holder == holder);

    /// <summary>Deletes our files of lower numbers, here and at those holders that have all of the file that is being written.</summary>
    /// <param name="writer">What it has synced makes the files below needless.</param>
    /// <param name="number">The lowest that stays.</param>
    /// <param name="keepsSpare">One of them here is kept, for the next number to be written into.</param>
    internal async ValueTask DeleteBelowAsync(RecordLogWriter writer, ulong number, IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel, bool keepsSpare = false)
    {
        if (disk.DirectoryExists(folder))
        {
            bool changed = false;
            foreach (DiskEntry entry in disk.List(folder))
            {
                if (ulong.TryParse(entry.Name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong found) && found < number)
                {
                    string path = Paths.Join(folder, entry.Name);
                    if (!keepsSpare || entry.Length < MinSpareBytes || disk.FileExists(SparePath) || !TrySpare(path, entry.Length))
                    {
                        disk.Delete(path);
                    }

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
            if (!_published.TryGetValue((holder.Id, ObjectOf(writer.Header)), out long there) || there < writer.SyncedBytes)
            {
                continue; // what is there is all that it has of what was promised
            }

            try
            {
                // Those of other lines stay: whoever writes them may be there still.
                List<(string ObjectName, RecordLogHeader Header)> ours = [.. _atHolders
                    .Where(held => held.Key.Holder == holder.Id && held.Value.Header.Device == writer.Header.Device && held.Value.Header.Incarnation == writer.Header.Incarnation)
                    .Select(static held => (held.Key.ObjectName, held.Value.Header))];

                // The last catalog under an earlier epoch tells who lacks the keys of this one why: the statement that began it stands there.
                ulong kept = kind == RecordLogKind.Catalog
                    ? ours.Where(held => held.Header.Epoch != writer.Header.Epoch).Select(static held => held.Header.Number).DefaultIfEmpty().Max()
                    : 0;
                foreach ((string objectName, RecordLogHeader header) in ours)
                {
                    if (header.Number < number && header.Number != kept)
                    {
                        await holder.DeleteObjectAsync(objectName, cancel).ConfigureAwait(false);
                        _atHolders.TryRemove((holder.Id, objectName), out (RecordLogHeader Header, long Bytes) _);
                    }
                }
            }
            catch (DiskException failure)
            {
                Lag[holder.Id] = failure.Message;
            }
        }
    }

    private string SparePath => folder + ".spare";

    // A crash between the steps leaves a file without a header, which nobody reads and the next end of a file's life deletes.
    private bool TrySpare(string path, long bytes)
    {
        try
        {
            using (IDiskFile file = disk.Open(path, DiskOpen.ReadWrite))
            {
                Span<byte> nothing = stackalloc byte[RecordLogHeader.Size];
                nothing.Clear();
                file.Write(0, nothing); // 1. its life has ended: nobody takes it for what it was
                if (bytes > MaxSpareBytes)
                {
                    file.Truncate(MaxSpareBytes);
                }

                file.Sync();
            }

            disk.Rename(path, SparePath); // 2. only now it may be written over
            return true;
        }
        catch (DiskException)
        {
            return false;
        }
    }

    private static bool HasHeader(IDiskFile file, LogCopy copy)
    {
        try
        {
            return RecordLogReader.ReadHeader(file, copy.Where) == copy.Header;
        }
        catch (DamagedFormatException)
        {
            return false;
        }
    }

    private void CountName(LogLine? line, string digits)
    {
        if (digits.Length == NumberDigits && ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong number)
            && (line is null || number <= RecordLog.MaxHeldNumber))
        {
            _names.Add((line, number));
        }
    }

    private void CountObject(string name)
    {
        string[] parts = name[(prefix.Length + 1)..].Split('-');
        if (parts.Length == 3 && uint.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint by)
            && ulong.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong incarnation))
        {
            CountName(new LogLine(by, incarnation), parts[2]);
        }
    }

    private async ValueTask<byte[]> ReadTailAsync(LogCopy copy, long end, CancellationToken cancel)
    {
        if (end == copy.Bytes && copy.Holder is { } holder && heads.TailOf(holder.Id, copy.ObjectName, end) is { } known)
        {
            return known;
        }

        byte[] tail = new byte[Math.Min(LogHeads.TailBytes, end)];
        int read = await ReadPartAsync(copy, end - tail.Length, tail, cancel).ConfigureAwait(false);
        if (read == tail.Length && end == copy.Bytes && copy.Holder is not null)
        {
            heads.NoteTail(copy.Holder.Id, copy.ObjectName, end, tail);
        }

        return tail[..read];
    }

    /// <summary>Reads a range of a copy; what cannot be read is zeros.</summary>
    private async ValueTask FillAsync(LogCopy copy, long offset, Memory<byte> target, CancellationToken cancel)
    {
        int read = 0;
        while (read < target.Length)
        {
            int part = await ReadPartAsync(copy, offset + read, target[read..], cancel).ConfigureAwait(false);
            if (part == 0)
            {
                target.Span[read..].Clear();
                return;
            }

            read += part;
        }
    }

    private async ValueTask<int> ReadPartAsync(LogCopy copy, long offset, Memory<byte> target, CancellationToken cancel)
    {
        if (copy.LocalPath is not null)
        {
            using IDiskFile file = disk.Open(copy.LocalPath, DiskOpen.Read);
            return file.Read(offset, target.Span);
        }

        try
        {
            return await copy.Holder!.ReadObjectAsync(copy.ObjectName, offset, target, cancel).ConfigureAwait(false);
        }
        catch (DiskException failure)
        {
            Failed(copy, failure);
            throw;
        }
    }

    private void Failed(LogCopy copy, DiskException failure)
    {
        _failing[copy.Holder!.Id] = true;
        Lag[copy.Holder.Id] = failure.Message;
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
            HasMissed = true;
            return null;
        }
    }
}
