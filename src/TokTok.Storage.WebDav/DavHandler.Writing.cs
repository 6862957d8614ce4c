using System.Buffers;
using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <content>PUT, MKCOL, DELETE, COPY and MOVE.</content>
internal sealed partial class DavHandler
{
    /// <summary>
    /// An upload goes into a file without a name. Once it is whole, and only then, it takes the name: what is cut off leaves what was there before, and nothing else.
    /// </summary>
    /// <remarks>
    /// Over an existing name: (1) the file gets a name of its own, (2) which is renamed over the old one, in one step. A crash between leaves the old file, and the new one as .tdfs-dav-….
    /// The new file takes over mode, owner and attributes; other names of the old file (hard links) keep the old bytes.
    /// </remarks>
    private async Task PutAsync(DavExchange exchange)
    {
        if (exchange.Headers.ContentRange.Count > 0)
        {
            throw new DavException(400, "A part of a file cannot be put; send the whole file.");
        }

        if (exchange.Path.IsCollection)
        {
            throw new DavException(409, "A collection cannot be put; MKCOL makes one.");
        }

        if (exchange.Http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = null;
        }

        (DavResource resource, ulong fileId, ulong handle) = await _threads.WriteAsync(() => BeginPut(exchange)).ConfigureAwait(false);
        try
        {
            long bytes = await ReceiveAsync(exchange, handle).ConfigureAwait(false);
            if (long.TryParse(exchange.Headers["X-Expected-Entity-Length"], NumberStyles.None, CultureInfo.InvariantCulture, out long expected) && bytes != expected)
            {
                throw new DavException(400, $"Found {bytes} bytes, expected the {expected} that X-Expected-Entity-Length says.");
            }

            bool isNew = await _threads.WriteAsync(() => EndPut(exchange, resource, fileId, handle)).ConfigureAwait(false);
            exchange.Response.StatusCode = isNew ? StatusCodes.Status201Created : StatusCodes.Status204NoContent;
        }
        finally
        {
            _ = _volume.Release(handle);
            _volume.Forget(fileId, 1);
            resource.Dispose();
        }
    }

    private (DavResource DavResource, ulong FileId, ulong Handle) BeginPut(DavExchange exchange)
    {
        DavResource resource = Find(exchange.Path);
        try
        {
            CheckPut(exchange, resource);
            if (exchange.Http.Request.ContentLength is long length && _volume.GetStatistics(out VolumeStatistics space) == FileError.None && length > space.FreeBytes)
            {
                throw DavException.Of(FileError.ENOSPC);
            }

            DavException.Check(_volume.CreateTemporary(_caller, resource.DirectoryId, TreeWork.NewFileMode, OpenOptions.Read | OpenOptions.Write, out InodeAttributes made, out ulong handle));
            return (resource, made.FileId, handle);
        }
        catch
        {
            resource.Dispose();
            throw;
        }
    }

    private void CheckPut(DavExchange exchange, DavResource resource)
    {
        if (!resource.HasParent)
        {
            throw new DavException(409, "The collection that it would be in is not there.");
        }

        if (resource.Exists && resource.Attributes.Type != EntryType.File)
        {
            throw new DavException(405, "There is a collection of this name.");
        }

        CheckConditions(exchange, resource);
        CheckLocks(exchange, resource, changesName: !resource.Exists, changesTree: false);
    }

    /// <summary>Writes the body into the file, one piece while the next one comes.</summary>
    private async Task<long> ReceiveAsync(DavExchange exchange, ulong handle)
    {
        byte[] filling = ArrayPool<byte>.Shared.Rent(PieceBytes);
        byte[] written = ArrayPool<byte>.Shared.Rent(PieceBytes);
        Task<FileError> writing = Task.FromResult(FileError.None);
        try
        {
            for (long at = 0; ;)
            {
                int bytes = await exchange.Http.Request.Body.ReadAtLeastAsync(filling.AsMemory(0, PieceBytes), PieceBytes, throwOnEndOfStream: false, exchange.Cut).ConfigureAwait(false);
                DavException.Check(await writing.ConfigureAwait(false));
                if (bytes == 0)
                {
                    return at;
                }

                (filling, written) = (written, filling);
                byte[] piece = written;
                long from = at;
                writing = _threads.WriteAsync(() => _volume.Write(handle, from, piece.AsSpan(0, bytes), WriteOptions.None, out _));
                at += bytes;
            }
        }
        finally
        {
            await ((Task)writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            ArrayPool<byte>.Shared.Return(filling);
            ArrayPool<byte>.Shared.Return(written);
        }
    }

    /// <returns>Whether the name is new.</returns>
    private bool EndPut(DavExchange exchange, DavResource resource, ulong fileId, ulong handle)
    {
        bool isNew;
        lock (_changing)
        {
            resource.Refresh();
            CheckPut(exchange, resource); // once more: the body may have taken its time
            isNew = !resource.Exists;
            TakeOver(exchange, resource, fileId);
            GiveName(fileId, resource);
        }

        if (_options.SyncsUploads)
        {
            DavException.Check(_volume.Sync(handle));
        }

        if (_volume.GetAttributes(fileId, out InodeAttributes file) == FileError.None)
        {
            exchange.Response.Headers.ETag = EntityTag.Of(file); // the bytes are kept as they came (RFC 9110 9.3.4)
            exchange.Response.Headers.LastModified = HttpTime.Format(file.Modified);
        }

        return isNew;
    }

    private void TakeOver(DavExchange exchange, DavResource resource, ulong fileId)
    {
        var change = new AttributeChange();
        if (resource.Exists)
        {
            DavException.Check(_properties.CopyAttributes(_caller, resource.FileId, fileId));
            change = change with { Mode = resource.Attributes.Mode & TreeWork.ModeMask, OwnerId = resource.Attributes.OwnerId, GroupId = resource.Attributes.GroupId };
        }

        // ownCloud's clients, rclone among them, send the time with the bytes.
        if (long.TryParse(exchange.Headers["X-OC-Mtime"], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long seconds))
        {
            change = change with { Modified = TimeChange.To(new FileTime(seconds, 0)) };
            exchange.Response.Headers["X-OC-Mtime"] = "accepted";
        }

        if (change != default)
        {
            DavException.Check(_volume.SetAttributes(_caller, fileId, change, out _));
        }
    }

    /// <summary>Gives a file without a name that of the resource, in the stead of what has it now.</summary>
    private void GiveName(ulong fileId, DavResource resource)
    {
        byte[] name = resource.Exists ? NewName() : resource.Name;
        FileError error = _volume.Link(_caller, fileId, resource.DirectoryId, name, out InodeAttributes linked);
        DavException.Check(error);
        _volume.Forget(linked.FileId, 1);
        if (!resource.Exists)
        {
            return;
        }

        error = _volume.Rename(_caller, resource.DirectoryId, name, resource.DirectoryId, resource.Name, RenameMode.Replace);
        if (error != FileError.None)
        {
            _ = _volume.Unlink(_caller, resource.DirectoryId, name);
            throw DavException.Of(error);
        }
    }

    private async Task MakeCollectionAsync(DavExchange exchange)
    {
        if (exchange.Http.Request.ContentLength > 0 || exchange.Headers.TransferEncoding.Count > 0)
        {
            throw new DavException(StatusCodes.Status415UnsupportedMediaType, "MKCOL takes no body.");
        }

        await _threads.WriteAsync(() =>
        {
            using DavResource resource = Find(exchange.Path, followsLast: false);
            if (resource.Exists)
            {
                throw new DavException(405, "The name is taken.");
            }

            if (!resource.HasParent)
            {
                throw new DavException(409, "The collection that it would be in is not there.");
            }

            lock (_changing)
            {
                CheckConditions(exchange, resource);
                CheckLocks(exchange, resource, changesName: true, changesTree: false);
                DavException.Check(_volume.MakeDirectory(_caller, resource.DirectoryId, resource.Name, TreeWork.NewDirectoryMode, out InodeAttributes made));
                _volume.Forget(made.FileId, 1);
            }
        }).ConfigureAwait(false);
        exchange.Response.StatusCode = StatusCodes.Status201Created;
    }

    private async Task DeleteAsync(DavExchange exchange)
    {
        IReadOnlyList<TreeFailure> failures = await _threads.WriteAsync(() => Delete(exchange)).ConfigureAwait(false);
        await SendFailuresAsync(exchange, failures, StatusCodes.Status204NoContent).ConfigureAwait(false);
    }

    private IReadOnlyList<TreeFailure> Delete(DavExchange exchange)
    {
        using DavResource resource = FindExisting(exchange.Path, followsLast: false);
        if (resource.IsRoot)
        {
            throw new DavException(403, "The volume itself cannot be deleted here.");
        }

        if (resource.IsDirectory && exchange.Depth is not null)
        {
            throw new DavException(400, "A collection is deleted with Depth infinity, or none.");
        }

        lock (_changing)
        {
            CheckConditions(exchange, resource);
            CheckLocks(exchange, resource, changesName: true, changesTree: resource.IsDirectory);
            if (!resource.IsDirectory)
            {
                DavException.Check(_volume.Unlink(_caller, resource.DirectoryId, resource.Name));
                _locks.RemoveTree(resource.Key);
                return [];
            }
        }

        IReadOnlyList<TreeFailure> failures = _trees.Remove(resource.DirectoryId, resource.Name, exchange.Path.Names);
        if (failures.Count == 0)
        {
            _locks.RemoveTree(resource.Key);
        }

        return failures;
    }

    private async Task CopyAsync(DavExchange exchange)
    {
        DavPath destination = exchange.Destination;
        bool isDeep = exchange.Depth switch
        {
            0 => false,
            null => true,
            _ => throw new DavException(400, "Expected Depth 0 or infinity."),
        };
        (bool isNew, IReadOnlyList<TreeFailure> failures) = await _threads.WriteAsync(() => Copy(exchange, destination, isDeep)).ConfigureAwait(false);
        await SendFailuresAsync(exchange, failures, isNew ? StatusCodes.Status201Created : StatusCodes.Status204NoContent).ConfigureAwait(false);
    }

    /// <summary>The copy is made under a name of its own and then changes places with what is at the destination: if it fails, that is still there.</summary>
    private (bool IsNew, IReadOnlyList<TreeFailure> Failures) Copy(DavExchange exchange, DavPath destination, bool isDeep)
    {
        using DavResource source = FindExisting(exchange.Path);
        using DavResource target = Find(destination, followsLast: false);
        lock (_changing)
        {
            CheckConditions(exchange, source);
            CheckTarget(exchange, source, target);
        }

        byte[] staged = NewName();
        IReadOnlyList<TreeFailure> failures = _trees.Copy(source.Attributes, target.DirectoryId, staged, isDeep, destination.Names);
        bool isNew = false;
        try
        {
            if (failures.Count == 0)
            {
                lock (_changing)
                {
                    target.Refresh();
                    CheckTarget(exchange, source, target);
                    isNew = !target.Exists;
                    DavException.Check(Move(target.DirectoryId, staged, source.IsDirectory, target));
                    _locks.RemoveTree(target.Key, keepsTop: true);
                }
            }
        }
        finally
        {
            // What was at the destination, or a copy that did not come about.
            if (!isNew)
            {
                _ = _trees.Remove(target.DirectoryId, staged, destination.Names);
            }
        }

        return (isNew, failures);
    }

    private async Task MoveAsync(DavExchange exchange)
    {
        DavPath destination = exchange.Destination;
        (bool isNew, IReadOnlyList<TreeFailure> failures) = await _threads.WriteAsync(() => Move(exchange, destination)).ConfigureAwait(false);
        await SendFailuresAsync(exchange, failures, isNew ? StatusCodes.Status201Created : StatusCodes.Status204NoContent).ConfigureAwait(false);
    }

    private (bool IsNew, IReadOnlyList<TreeFailure> Failures) Move(DavExchange exchange, DavPath destination)
    {
        using DavResource source = FindExisting(exchange.Path, followsLast: false);
        using DavResource target = Find(destination, followsLast: false);
        if (source.IsRoot)
        {
            throw new DavException(403, "The volume itself cannot be moved.");
        }

        if (source.IsDirectory && exchange.Depth is not null)
        {
            throw new DavException(400, "A collection is moved with Depth infinity, or none.");
        }

        bool changesPlaces;
        lock (_changing)
        {
            CheckConditions(exchange, source);
            CheckLocks(exchange, source, changesName: true, changesTree: source.IsDirectory);
            CheckTarget(exchange, source, target);
            changesPlaces = target.Exists && (source.IsDirectory || target.IsDirectory);
            if (target.Exists && target.FileId == source.FileId)
            {
                // Two names of one file: rename(2) does nothing then.
                DavException.Check(_volume.Unlink(_caller, source.DirectoryId, source.Name));
            }
            else
            {
                DavException.Check(Move(source.DirectoryId, source.Name, source.IsDirectory, target));
            }

            _locks.RemoveTree(source.Key);
            _locks.RemoveTree(target.Key, keepsTop: true);
        }

        return (!target.Exists, changesPlaces ? _trees.Remove(source.DirectoryId, source.Name, exchange.Path.Names) : []);
    }

    /// <summary>Renames in one step whatever is at either end; a directory that was at the target is then at the source.</summary>
    private FileError Move(ulong directoryId, byte[] name, bool isDirectory, DavResource target) => _volume.Rename(
        _caller,
        directoryId,
        name,
        target.DirectoryId,
        target.Name,
        !target.Exists ? RenameMode.KeepExisting : isDirectory || target.IsDirectory ? RenameMode.Exchange : RenameMode.Replace);

    private void CheckTarget(DavExchange exchange, DavResource source, DavResource target)
    {
        if (!target.HasParent)
        {
            throw new DavException(409, "The collection that it would be in is not there.");
        }

        if (target.IsRoot || source.Key == target.Key || IsWithin(target.Key, source.Key) || IsWithin(source.Key, target.Key))
        {
            throw new DavException(403, "The source and the destination are one, or one is in the other.");
        }

        if (target.Exists && !exchange.Overwrites)
        {
            throw new DavException(StatusCodes.Status412PreconditionFailed, "The destination exists, and Overwrite is F.");
        }

        CheckLocks(exchange, target, changesName: !target.Exists, changesTree: target.Exists);
    }

    private static bool IsWithin(string key, string above) => key.StartsWith(above + "/", StringComparison.Ordinal);

    private static async Task SendFailuresAsync(DavExchange exchange, IReadOnlyList<TreeFailure> failures, int status)
    {
        if (failures.Count == 0)
        {
            exchange.Response.StatusCode = status;
            return;
        }

        using var xml = new Utf8Xml();
        xml.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">"u8);
        foreach (TreeFailure failure in failures)
        {
            xml.Raw("<D:response><D:href>"u8).Text(exchange.Base + failure.Href).Raw("</D:href><D:status>"u8).Raw(StatusLine(failure.Status)).Raw("</D:status></D:response>"u8);
        }

        xml.Raw("</D:multistatus>\n"u8);
        await exchange.SendXmlAsync(DavException.MultiStatus, xml).ConfigureAwait(false);
    }
}
