using System.Buffers;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>Restores one file of any type but directories at a time. One worker.</summary>
internal sealed class FileRestorer(RestoreRun run) : IDisposable
{
    private const uint OwnerOnly = 0x180; // 0600

    /// <summary>01200: the mode of a file between its creation under its own name and the end of its one write and its metadata. Nobody else gives a file that mode, and
    /// who is not root cannot read one of it, so that neither a later restore nor anybody else takes what a killed one left for the file.</summary>
    private const uint HalfMode = 0x280;

    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
    private byte[] _present = [];

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        if (_present.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_present);
            _present = [];
        }
    }

    private enum Outcome
    {
        Failed,

        /// <summary>The name was free when it was looked at, or nothing spoke against it, and is not.</summary>
        Taken,
        Made,
    }

    /// <summary>True when the file is there afterwards.</summary>
    internal async ValueTask<bool> RestoreAsync(RestoreJob job, CancellationToken cancel)
    {
        // In a directory that this restore made nobody looks first: only where names fall together, or somebody else is at work there, is one taken.
        Outcome outcome = await TryRestoreAsync(job, looksFirst: !job.Frame.IsNew, cancel).ConfigureAwait(false);
        if (outcome == Outcome.Taken && job.Frame.IsNew)
        {
            outcome = await TryRestoreAsync(job, looksFirst: true, cancel).ConfigureAwait(false);
        }

        if (outcome == Outcome.Taken)
        {
            run.Report(RestoreTroubleKind.Exists, job.Frame, job.Name, Errno.Text(Errno.EEXIST));
        }

        return outcome == Outcome.Made;
    }

    private async ValueTask<Outcome> TryRestoreAsync(RestoreJob job, bool looksFirst, CancellationToken cancel)
    {
        int directory = job.Handle!.Fd;
        bool isFree = true;
        if (looksFirst)
        {
            int looked = PosixCalls.Stat(directory, job.Name, out FileStat present);
            isFree = looked == -Errno.ENOENT;
            if (looked >= 0 && await LeaveAsync(job, present, cancel).ConfigureAwait(false) is { } left)
            {
                return left;
            }
        }

        IReadOnlyList<Xattr> attributes = [];
        try
        {
            if (!job.Entry.Attributes.IsNone)
            {
                attributes = await AttributeList.LoadAsync(run.Tables.Blocks, job.Entry.Attributes, cancel).ConfigureAwait(false);
            }
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            run.Report(RestoreTroubleKind.Damaged, job.Frame, job.Name, damage.Message);
        }

        if (isFree && job.Entry.Type == EntryType.File && run.CanMarkHalves)
        {
            try
            {
                if (await ReadAtOnceAsync(job.Entry.Content, cancel).ConfigureAwait(false) is { } whole)
                {
                    return CountIfMade(await WriteFileAsync(job, job.Name, whole, attributes, cancel).ConfigureAwait(false));
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                run.Report(RestoreTroubleKind.Damaged, job.Frame, job.Name, damage.Message);
                return Outcome.Failed;
            }
        }

        byte[] temporary = job.Frame.TemporaryName(job.Entry.FileId);
        bool isMade = job.Entry.Type == EntryType.File
            ? await WriteFileAsync(job, temporary, whole: null, attributes, cancel).ConfigureAwait(false) == Outcome.Made
            : MakeOther(job, temporary, attributes);
        if (!isMade)
        {
            return Outcome.Failed;
        }

        int renamed = isFree ? PosixCalls.RenameToFree(directory, temporary, job.Name) : PosixCalls.Rename(directory, temporary, job.Name);
        if (renamed < 0)
        {
            _ = PosixCalls.Remove(directory, temporary, isDirectory: false);
            RestoreRun.ThrowIfFatal(renamed, job.Frame, job.Name);
            if (renamed == -Errno.EEXIST)
            {
                return Outcome.Taken;
            }

            run.Report(RestoreTroubleKind.NotMade, job.Frame, job.Name, Errno.Text(-renamed));
            return Outcome.Failed;
        }

        return CountIfMade(Outcome.Made);
    }

    private Outcome CountIfMade(Outcome outcome)
    {
        _ = outcome == Outcome.Made ? Interlocked.Increment(ref run.Progress.FilesValue) : 0;
        return outcome;
    }

    /// <summary>What becomes of a name that is taken where it is not replaced; null: it is.</summary>
    private async ValueTask<Outcome?> LeaveAsync(RestoreJob job, FileStat present, CancellationToken cancel)
    {
        if (present.Type == PosixType.Directory)
        {
            run.Report(RestoreTroubleKind.CannotGiveWay, job.Frame, job.Name, "a directory stands where a file belongs");
            return Outcome.Failed;
        }

        ExistingFiles existing = run.Options.Existing;
        bool isHalf = present.Type == PosixType.File && present.Permissions == HalfMode && present.Uid == PosixCalls.EffectiveUser;
        bool mayStay = run.Options.Resumes || existing == ExistingFiles.OverwriteIfDifferent;
        if ((existing == ExistingFiles.Skip && !isHalf) || (mayStay && await IsSameAsync(job, present, cancel).ConfigureAwait(false)))
        {
            _ = Interlocked.Increment(ref run.Progress.KeptValue);
            return CountIfMade(Outcome.Made);
        }

        if (existing == ExistingFiles.Fail && !isHalf)
        {
            run.Report(RestoreTroubleKind.Exists, job.Frame, job.Name, run.Options.Resumes ? "is there, and differs" : "is there already");
            return Outcome.Failed;
        }

        return null;
    }

    /// <summary>Owner, attributes, times and mode of what is open, or of a name that cannot be opened. What is refused is reported.</summary>
    internal static void SetMetadata(
        RestoreRun run, RestoreFrame frame, ReadOnlySpan<byte> shownName, Entry entry, int fd, ReadOnlySpan<byte> name, bool isOpen, IReadOnlyList<Xattr> attributes)
    {
        int error = isOpen ? PosixCalls.Stat(fd, out FileStat stat) : PosixCalls.Stat(fd, name, out stat);
        SetMetadata(run, frame, shownName, entry, fd, name, isOpen, attributes, error < 0 ? null : stat);
    }

    /// <param name="found">What it has now.</param>
    private static void SetMetadata(
        RestoreRun run, RestoreFrame frame, ReadOnlySpan<byte> shownName, Entry entry, int fd, ReadOnlySpan<byte> name, bool isOpen, IReadOnlyList<Xattr> attributes, FileStat? found)
    {
        uint uid = run.UserOf(entry);
        uint gid = run.GroupOf(entry);
        uint mode = entry.Mode;
        int error;
        if (found is { } stat && (stat.Uid != uid || stat.Gid != gid))
        {
            error = isOpen ? PosixCalls.SetOwner(fd, uid, gid) : PosixCalls.SetOwner(fd, name, uid, gid);
            if (error < 0)
            {
                // Another's program must not run with the restoring user's rights.
                mode &= 0x3FF;
                run.Report(RestoreTroubleKind.Metadata, frame, shownName, $"owner {uid}:{gid}: {Errno.Text(-error)}");
            }
        }

        foreach (Xattr attribute in attributes)
        {
            byte[] key = new byte[attribute.Name.Length + 1];
            attribute.Name.Span.CopyTo(key);
            error = isOpen ? PosixCalls.SetXattr(fd, key, attribute.Value.Span) : PosixCalls.SetXattr(fd, name, key, attribute.Value.Span);
            if (error < 0)
            {
                run.Report(RestoreTroubleKind.Metadata, frame, shownName, $"attribute {PathText.Show(attribute.Name.Span)}: {Errno.Text(-error)}");
            }
        }

        error = isOpen ? PosixCalls.SetTimes(fd, entry.Modified) : PosixCalls.SetTimes(fd, name, entry.Modified);
        if (error < 0)
        {
            run.Report(RestoreTroubleKind.Metadata, frame, shownName, $"time: {Errno.Text(-error)}");
        }

        if (entry.Type != EntryType.Symlink)
        {
            error = isOpen ? PosixCalls.SetMode(fd, mode) : PosixCalls.SetMode(fd, name, mode);
            if (error < 0)
            {
                run.Report(RestoreTroubleKind.Metadata, frame, shownName, $"mode: {Errno.Text(-error)}");
            }
        }
    }

    private static PosixType TypeOf(EntryType type) => type switch
    {
        EntryType.File => PosixType.File,
        EntryType.Directory => PosixType.Directory,
        EntryType.Symlink => PosixType.Symlink,
        EntryType.Fifo => PosixType.Fifo,
        EntryType.CharacterDevice => PosixType.CharacterDevice,
        EntryType.BlockDevice => PosixType.BlockDevice,
        _ => PosixType.Socket,
    };

    private async ValueTask<bool> IsSameAsync(RestoreJob job, FileStat present, CancellationToken cancel)
    {
        if (present.Type != TypeOf(job.Entry.Type) || present.Modified != job.Entry.Modified)
        {
            return false;
        }

        if (job.Entry.Type == EntryType.Symlink)
        {
            byte[] target = new byte[EntryLimits.MaxSymlinkBytes + 1];
            int bytes = PosixCalls.ReadLink(job.Handle!.Fd, job.Name, target);
            return bytes >= 0 && target.AsSpan(0, bytes).SequenceEqual(job.Entry.Target.Span);
        }

        if (job.Entry.Type != EntryType.File)
        {
            return true;
        }

        if (present.SizeBytes != job.Entry.Content.Size)
        {
            return false;
        }

        if (!run.Options.ComparesContents)
        {
            return true;
        }

        int fd = PosixCalls.OpenFile(job.Handle!.Fd, job.Name, keepAccessTime: true);
        if (fd < 0)
        {
            return false;
        }

        try
        {
            return await HasContentAsync(fd, job.Entry.Content, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return false;
        }
        finally
        {
            PosixCalls.Close(fd);
        }
    }

    /// <summary>The bytes of a file that one write puts there: they lie in its entry, or are one block. Null: it is another kind of file.</summary>
    private async ValueTask<ReadOnlyMemory<byte>?> ReadAtOnceAsync(FileContent content, CancellationToken cancel)
    {
        if (content.Kind == ContentKind.Inline)
        {
            return content.Inline;
        }

        if (content.Kind != ContentKind.Extents || !ExtentsBlock.IsOneBlock(content.Run, out Score score, out int bytes) || bytes != content.Size)
        {
            return null;
        }

        await BlockReading.ReadExactAsync(run.Tables.Blocks, score, BlockType.Data, _buffer.AsMemory(0, bytes), cancel).ConfigureAwait(false);
        return _buffer.AsMemory(0, bytes);
    }

    /// <param name="whole">The bytes, where one write puts them there; then <paramref name="name"/> is the file's own.</param>
    private async ValueTask<Outcome> WriteFileAsync(RestoreJob job, byte[] name, ReadOnlyMemory<byte>? whole, IReadOnlyList<Xattr> attributes, CancellationToken cancel)
    {
        int directory = job.Handle!.Fd;
        int fd = PosixCalls.CreateFile(directory, name, whole is null ? OwnerOnly : HalfMode);
        if (fd == -Errno.EEXIST && whole is not null)
        {
            return Outcome.Taken;
        }

        if (fd == -Errno.EEXIST)
        {
            // What an earlier restore left when it was cut off.
            _ = PosixCalls.Remove(directory, name, isDirectory: false);
            fd = PosixCalls.CreateFile(directory, name);
        }

        if (fd < 0)
        {
            RestoreRun.ThrowIfFatal(fd, job.Frame, job.Name);
            run.Report(RestoreTroubleKind.NotMade, job.Frame, job.Name, Errno.Text(-fd));
            return Outcome.Failed;
        }

        bool isDone = false;
        try
        {
            int error = whole is { } bytes ? WriteWhole(fd, bytes.Span) : await WriteContentAsync(fd, job.Entry.Content, cancel).ConfigureAwait(false);
            RestoreRun.ThrowIfFatal(error, job.Frame, job.Name);
            if (error < 0)
            {
                run.Report(RestoreTroubleKind.NotMade, job.Frame, job.Name, Errno.Text(-error));
                return Outcome.Failed;
            }

            // Every block was checked against its score and every write says that it took all of it; the rest of the proof is the size, and closing without an error.
            error = PosixCalls.Stat(fd, out FileStat made);
            if (error < 0 || made.SizeBytes != job.Entry.Content.Size)
            {
                string found = error < 0 ? Errno.Text(-error) : $"it has {made.SizeBytes} bytes, {job.Entry.Content.Size} were written";
                run.Report(RestoreTroubleKind.NotVerified, job.Frame, job.Name, found);
                return Outcome.Failed;
            }

            if (whole is not null && made.Permissions != HalfMode)
            {
                run.CanMarkHalves = false;
            }

            if (run.Options.Verifies)
            {
                error = PosixCalls.Sync(fd);
                RestoreRun.ThrowIfFatal(error, job.Frame, job.Name);
                if (error < 0 || !await HasContentAsync(fd, job.Entry.Content, cancel).ConfigureAwait(false))
                {
                    run.Report(RestoreTroubleKind.NotVerified, job.Frame, job.Name, error < 0 ? Errno.Text(-error) : "read back, it is not what was written");
                    return Outcome.Failed;
                }
            }

            SetMetadata(run, job.Frame, job.Name, job.Entry, fd, [], isOpen: true, attributes, made);
            error = PosixCalls.CloseWritten(fd);
            fd = -1;
            RestoreRun.ThrowIfFatal(error, job.Frame, job.Name);
            if (error < 0)
            {
                run.Report(RestoreTroubleKind.NotMade, job.Frame, job.Name, Errno.Text(-error));
                return Outcome.Failed;
            }

            isDone = true;
            return Outcome.Made;
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            run.Report(RestoreTroubleKind.Damaged, job.Frame, job.Name, damage.Message);
            return Outcome.Failed;
        }
        finally
        {
            if (fd >= 0)
            {
                PosixCalls.Close(fd);
            }

            if (!isDone)
            {
                _ = PosixCalls.Remove(directory, name, isDirectory: false);
            }
        }
    }

    /// <summary>0, or minus errno.</summary>
    private int WriteWhole(int fd, ReadOnlySpan<byte> bytes)
    {
        _ = Interlocked.Add(ref run.Progress.BytesValue, bytes.Length);
        return bytes.IsEmpty ? 0 : Math.Min(0, PosixCalls.Write(fd, 0, bytes));
    }

    /// <summary>0, or minus errno of a write.</summary>
    private async ValueTask<int> WriteContentAsync(int fd, FileContent content, CancellationToken cancel)
    {
        if (content.Kind == ContentKind.Inline)
        {
            return WriteWhole(fd, content.Inline.Span);
        }

        using var reader = new FileContentReader(run.Tables.Blocks, content);
        var helped = new List<Task<int>>();
        long written = 0;
        int failure = 0;
        try
        {
            await foreach (Extent extent in reader.ExtentsAsync(0, cancel).ConfigureAwait(false))
            {
                if (extent.IsHole)
                {
                    continue;
                }

                // Where a block goes does not depend on the others: spare hands write some of them, in any order.
                int bytes = (int)extent.Length;
                int error = 0;
                if (bytes == extent.BlockBytes && content.Size >= SpareHands.FromBytes && run.Hands.TryTake())
                {
                    helped.Add(Task.Run(() => WriteByHandAsync(fd, extent, cancel), CancellationToken.None));
                }
                else
                {
                    await reader.ReadPieceAsync(extent, 0, _buffer.AsMemory(0, bytes), cancel).ConfigureAwait(false);
                    error = PosixCalls.Write(fd, extent.Offset, _buffer.AsSpan(0, bytes));
                    _ = Interlocked.Add(ref run.Progress.BytesValue, bytes);
                }

                for (int at = helped.Count - 1; at >= 0 && error >= 0; at--)
                {
                    if (helped[at].IsCompleted)
                    {
                        error = await helped[at].ConfigureAwait(false);
                        helped.RemoveAt(at);
                    }
                }

                if (error < 0)
                {
                    return error;
                }

                written = extent.Offset + bytes;
            }

            foreach (Task<int> each in helped)
            {
                failure = Math.Min(failure, await each.ConfigureAwait(false));
            }
        }
        finally
        {
            // Nobody may write to the descriptor once it is closed: its number will be another file's.
            foreach (Task each in helped)
            {
                await each.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        return failure < 0 ? failure : written == content.Size ? 0 : PosixCalls.SetLength(fd, content.Size);
    }

    /// <summary>0, or minus errno of the write.</summary>
    private async Task<int> WriteByHandAsync(int fd, Extent extent, CancellationToken cancel)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(extent.BlockBytes);
        try
        {
            Memory<byte> block = buffer.AsMemory(0, extent.BlockBytes);
            await BlockReading.ReadExactAsync(run.Tables.Blocks, extent.Score, BlockType.Data, block, cancel).ConfigureAwait(false);
            int error = PosixCalls.Write(fd, extent.Offset, block.Span);
            _ = Interlocked.Add(ref run.Progress.BytesValue, extent.BlockBytes);
            return Math.Min(error, 0);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
            run.Hands.GiveBack();
        }
    }

    private async ValueTask<bool> HasContentAsync(int fd, FileContent content, CancellationToken cancel)
    {
        if (_present.Length == 0)
        {
            _present = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
        }

        using var reader = new FileContentReader(run.Tables.Blocks, content);
        for (long offset = 0; ;)
        {
            int bytes = await reader.ReadAsync(offset, _buffer.AsMemory(0, BlockLimits.MaxBlockBytes), cancel).ConfigureAwait(false);
            int found = PosixCalls.Read(fd, offset, _present.AsSpan(0, BlockLimits.MaxBlockBytes));
            if (found != bytes || !_buffer.AsSpan(0, bytes).SequenceEqual(_present.AsSpan(0, bytes)))
            {
                return false;
            }

            if (bytes < BlockLimits.MaxBlockBytes)
            {
                return true;
            }

            offset += bytes;
        }
    }

    private bool MakeOther(RestoreJob job, byte[] temporary, IReadOnlyList<Xattr> attributes)
    {
        int directory = job.Handle!.Fd;
        Entry entry = job.Entry;
        _ = PosixCalls.Remove(directory, temporary, isDirectory: false);
        int error = entry.Type == EntryType.Symlink
            ? PosixCalls.MakeLink(entry.Target.Span, directory, temporary)
            : PosixCalls.MakeNode(directory, temporary, ((uint)TypeOf(entry.Type) << 12) | 0x180, PosixCalls.MakeDevice(entry.DeviceMajor, entry.DeviceMinor));
        if (error < 0)
        {
            RestoreRun.ThrowIfFatal(error, job.Frame, job.Name);
            run.Report(RestoreTroubleKind.NotMade, job.Frame, job.Name, $"{entry.Type}: {Errno.Text(-error)}");
            return false;
        }

        SetMetadata(run, job.Frame, job.Name, entry, directory, temporary, isOpen: false, attributes);
        return true;
    }
}
