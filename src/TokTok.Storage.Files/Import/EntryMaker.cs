using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>Reads the extended attributes of what is open or named. One thread.</summary>
internal sealed class XattrReader
{
    private readonly byte[] _list = new byte[64 * 1024];
    private readonly byte[] _value = new byte[AttributeList.MaxValueBytes];

    /// <param name="error">Minus errno, or 0. A filesystem without attributes has none, which is no error.</param>
    internal IReadOnlyList<Xattr> Read(int fd, out int error)
    {
        int bytes = PosixCalls.ListXattrs(fd, _list);
        error = bytes is < 0 and not -Errno.EOPNOTSUPP and not -Errno.ENOSYS ? bytes : 0;
        return bytes <= 0 ? [] : Collect(fd, default, isOpen: true, bytes, ref error);
    }

    internal IReadOnlyList<Xattr> Read(int directory, ReadOnlySpan<byte> name, out int error)
    {
        // Without /proc there is no way to a link's attributes, and hardly anything ever has any.
        int bytes = PosixCalls.ListXattrs(directory, name, _list);
        error = bytes is < 0 and not -Errno.EOPNOTSUPP and not -Errno.ENOSYS and not -Errno.ENOENT ? bytes : 0;
        return bytes <= 0 ? [] : Collect(directory, name, isOpen: false, bytes, ref error);
    }

    private List<Xattr> Collect(int fd, ReadOnlySpan<byte> file, bool isOpen, int listBytes, ref int error)
    {
        var found = new List<Xattr>();
        for (int at = 0; at < listBytes;)
        {
            ReadOnlySpan<byte> name = _list.AsSpan(at, _list.AsSpan(at, listBytes - at).IndexOf((byte)0) + 1);
            at += name.Length;
            int bytes = isOpen ? PosixCalls.GetXattr(fd, name, _value) : PosixCalls.GetXattr(fd, file, name, _value);
            if (bytes >= 0)
            {
                found.Add(new Xattr(name[..^1].ToArray(), _value.AsSpan(0, bytes).ToArray()));
            }
            else if (bytes != -Errno.ENODATA)
            {
                error = bytes;
            }
        }

        return found;
    }
}

/// <summary>An open file as the content writer reads it. Reads stop at the size that was seen before: a file that grew is noticed afterwards.</summary>
internal sealed class OpenFile : IFileSource
{
    private bool _hasHoles;
    private CancellationToken _stop;

    internal int Fd { get; private set; } = -1;

    internal long ReadBytes { get; private set; }

    public long Length { get; private set; }

    internal void Set(int fd, in FileStat stat, CancellationToken stop)
    {
        _stop = stop;
        Fd = fd;
        Length = stat.SizeBytes;
        ReadBytes = 0;
        _hasHoles = stat.HasHoles;
    }

    public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
    {
        _stop.ThrowIfCancellationRequested(); // between two reads: a block on its way into the store goes in whole
        int wanted = (int)Math.Min(target.Length, Math.Max(0, Length - offset));
        if (wanted == 0)
        {
            return ValueTask.FromResult(0);
        }

        int read = PosixCalls.Read(Fd, offset, target.Span[..wanted]);
        if (read < 0)
        {
            throw new PosixException(-read, "read", "");
        }

        ReadBytes += read;
        return ValueTask.FromResult(read);
    }

    public bool TryFindData(long from, out long start, out long end)
    {
        start = from;
        end = Length;
        if (!_hasHoles || from >= Length)
        {
            return from < Length;
        }

        long data = PosixCalls.NextData(Fd, from);
        if (data == -Errno.ENXIO)
        {
            return false;
        }

        if (data >= 0)
        {
            long hole = PosixCalls.NextHole(Fd, data);
            start = data;
            end = hole > data ? hole : Length;
        }

        return true;
    }
}

/// <summary>Makes entries of what must be read: contents, link targets, attributes. One worker at a time.</summary>
internal sealed class EntryMaker(ImportOptions options, ImportRun run, FileContentWriter contents)
{
    private readonly XattrReader _xattrs = new();
    private readonly OpenFile _file = new();
    private readonly byte[] _target = new byte[EntryLimits.MaxSymlinkBytes + 1];

    internal static EntryType TypeOf(PosixType type) => type switch
    {
        PosixType.File => EntryType.File,
        PosixType.Directory => EntryType.Directory,
        PosixType.Symlink => EntryType.Symlink,
        PosixType.Fifo => EntryType.Fifo,
        PosixType.CharacterDevice => EntryType.CharacterDevice,
        PosixType.BlockDevice => EntryType.BlockDevice,
        PosixType.Socket => EntryType.Socket,
        _ => throw new NotSupportedException($"A file of type {(byte)type}, which Linux does not have."),
    };

    /// <param name="stop">Ends a file in its middle: the slot is then skipped, and what is stored of it is known when it is read again.</param>
    internal async ValueTask MakeAsync(ImportSlot slot, CancellationToken stop, CancellationToken cancel)
    {
        try
        {
            await FillAsync(slot, stop, cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested && !cancel.IsCancellationRequested)
        {
            slot.Entry = null;
            slot.IsSkipped = true;
        }
        finally
        {
            slot.Handle!.Release();
            slot.Handle = null;
        }
    }

    private async ValueTask FillAsync(ImportSlot slot, CancellationToken stop, CancellationToken cancel)
    {
        if (slot.IsToBeChecked)
        {
            Entry old = slot.LinkRecord ?? Entry.Decode(slot.OldEntry);
            if (await KeptBlocks.AreAllAsync(old, run.Blocks.At(run.SurviveOf(slot)), cancel).ConfigureAwait(false))
            {
                return;
            }

            // The store has it weaker than it is wanted now, or no longer whole: it is read again.
            slot.IsUnchanged = false;
            slot.FileId = old.FileId;
            slot.Entry = null;
        }

        Entry? entry = slot.Stat.Type == PosixType.File
            ? await ReadFileAsync(slot, stop, cancel).ConfigureAwait(false)
            : await ReadOtherAsync(slot, cancel).ConfigureAwait(false);
        if (entry is null)
        {
            return;
        }

        if (slot.IsFirstLink)
        {
            slot.LinkRecord = entry;
            slot.LinkBytes = entry.Encode();
            entry = Entry.LinkTo(entry.Type, entry.FileId);
        }

        slot.Entry = entry.Encode();
    }

    private async ValueTask<Entry?> ReadFileAsync(ImportSlot slot, CancellationToken stop, CancellationToken cancel)
    {
        CuttingRule rule = RuleOf(slot);
        for (int attempt = 1; ; attempt++)
        {
            options.BeforeOpen?.Invoke(slot.Name);
            bool keepsAccessTime = PosixCalls.EffectiveUser == 0 || PosixCalls.EffectiveUser == slot.Stat.Uid;
            int fd = PosixCalls.OpenFile(slot.Handle!.Fd, slot.Name, keepsAccessTime);
            if (fd < 0)
            {
                Fail(slot, fd);
                return null;
            }

            try
            {
                _file.Set(fd, slot.Stat, stop);
                IReadOnlyList<Xattr> attributes = _xattrs.Read(fd, out int error);
                WrittenContent written;
                try
                {
                    written = slot.Stat.SizeBytes == 0
                        ? new WrittenContent(FileContent.Empty, 0, 0, 0, 0, 0)
                        : await contents.WriteAsync(_file, rule, run.SurviveOf(slot), cancel, slot.Before).ConfigureAwait(false);
                }
                catch (PosixException read)
                {
                    Fail(slot, -read.Errno);
                    return null;
                }

                _ = Interlocked.Add(ref run.Progress.ReadBytesValue, _file.ReadBytes);
                _ = Interlocked.Add(ref run.Progress.NewBytesValue, written.NewBytes + (written.Content.Kind == ContentKind.Inline ? written.DataBytes : 0));
                _ = Interlocked.Add(ref run.Progress.StoredBytesValue, written.StoredBytes);
                slot.HoleBytes = Math.Max(0, written.Content.Size - written.DataBytes);
                options.AfterRead?.Invoke(slot.Name, attempt);
                int after = PosixCalls.Stat(fd, out FileStat now);
                if (after < 0 || now.Type != PosixType.File)
                {
                    Fail(slot, after < 0 ? after : -Errno.ENOENT);
                    return null;
                }

                bool isSame = now.IsSameAs(slot.Stat) && error == 0;
                if (!isSame && attempt == 1)
                {
                    slot.Stat = now;
                    continue;
                }

                if (error < 0)
                {
                    run.Report(ImportTroubleKind.Unreadable, slot.Frame, slot.Name, -error);
                }

                if (!now.IsSameAs(slot.Stat))
                {
                    run.Report(ImportTroubleKind.Torn, slot.Frame, slot.Name, 0);
                    slot.IsTrusted = false;
                    slot.Stat = now;
                    return await FinishAsync(slot, attributes, written.Content, isTorn: true, cancel).ConfigureAwait(false);
                }

                _ = Interlocked.Increment(ref run.Progress.ReadFilesValue);
                slot.IsTrusted = error == 0 && run.IsSettled(now);
                return await FinishAsync(slot, attributes, written.Content, isTorn: false, cancel).ConfigureAwait(false);
            }
            finally
            {
                PosixCalls.Close(fd);
            }
        }
    }

    private async ValueTask<Entry?> ReadOtherAsync(ImportSlot slot, CancellationToken cancel)
    {
        options.BeforeOpen?.Invoke(slot.Name);
        IReadOnlyList<Xattr> attributes = _xattrs.Read(slot.Handle!.Fd, slot.Name, out int error);
        ReadOnlyMemory<byte> target = default;
        if (slot.Stat.Type == PosixType.Symlink)
        {
            int bytes = PosixCalls.ReadLink(slot.Handle.Fd, slot.Name, _target);
            if (bytes is < 0 or > EntryLimits.MaxSymlinkBytes)
            {
                Fail(slot, bytes < 0 ? bytes : -Errno.ENAMETOOLONG);
                return null;
            }

            target = _target.AsMemory(0, bytes).ToArray();
        }

        if (error < 0)
        {
            run.Report(ImportTroubleKind.Unreadable, slot.Frame, slot.Name, -error);
        }

        slot.IsTrusted = error == 0 && run.IsSettled(slot.Stat);
        Entry entry = await FinishAsync(slot, attributes, FileContent.Empty, isTorn: false, cancel).ConfigureAwait(false);
        bool isDevice = slot.Stat.Type is PosixType.CharacterDevice or PosixType.BlockDevice;
        (uint major, uint minor) = isDevice ? PosixCalls.SplitDevice(slot.Stat.SpecialDevice) : (0, 0);
        return entry with { Target = target, DeviceMajor = major, DeviceMinor = minor };
    }

    private async ValueTask<Entry> FinishAsync(
        ImportSlot slot, IReadOnlyList<Xattr> attributes, FileContent content, bool isTorn, CancellationToken cancel)
    {
        slot.SizeBytes = content.Size;
        StoredAttributes stored = attributes.Count == 0
            ? StoredAttributes.None
            : await AttributeList.StoreAsync(run.Blocks.At(run.SurviveOf(slot)), attributes, cancel).ConfigureAwait(false);
        return run.NewEntry(TypeOf(slot.Stat.Type), slot.FileId, slot.Stat) with { Attributes = stored, Content = content, IsTorn = isTorn };
    }

    /// <summary>A file that the mount has taken to fixed pieces stays so.</summary>
    private CuttingRule RuleOf(ImportSlot slot)
    {
        byte[] old = slot.OldLink.Length > 0 ? slot.OldLink : slot.OldEntry;
        return old.Length > 0 && Entry.Decode(old) is { IsLink: false, Type: EntryType.File } entry ? entry.Content.Rule : run.DefaultRule;
    }

    private void Fail(ImportSlot slot, int error)
    {
        bool isGone = error is -Errno.ENOENT or -Errno.ELOOP or -Errno.ESTALE;
        run.Report(isGone ? ImportTroubleKind.Vanished : ImportTroubleKind.Unreadable, slot.Frame, slot.Name, -error);
    }
}
