using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <content>What is asked about arenas and their fragments.</content>
public sealed partial class HolderService
{
    private async ValueTask<ReadOnlyMemory<byte>> InspectAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(2 + (Protocol.MaxInspected * ArenaId.Size)).ConfigureAwait(false);
        ArenaId[] ids = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "inspect");
            int count = reader.U16();
            if (count is < 1 or > Protocol.MaxInspected)
            {
                throw reader.Damaged($"{count} arenas, 1 to {Protocol.MaxInspected} expected");
            }

            var all = new ArenaId[count];
            for (int i = 0; i < count; i++)
            {
                all[i] = ArenaId.Read(reader.Bytes(ArenaId.Size));
            }

            reader.End();
            return all;
        });
        request.CheckAllowed(ids);
        return await OnDiskAsync(request, async () =>
        {
            var writer = new FieldWriter(1024);
            foreach (ArenaId id in ids)
            {
                try
                {
                    ArenaRecords.Write(writer, await holder.InspectAsync(id, request.Cancel).ConfigureAwait(false));
                }
                catch (DamagedFormatException damage)
                {
                    ArenaRecords.WriteDamage(writer, house.Clean(damage.Message));
                }
            }

            return (ReadOnlyMemory<byte>)writer.WrittenMemory;
        }).ConfigureAwait(false);
    }

    private async ValueTask<ReadOnlyMemory<byte>> ListAsync(HolderRequest request, HostedHolder holder)
    {
        ArenaId after = await ArenaOfAsync(Protocol.Operation.List, request).ConfigureAwait(false);
        return await OnDiskAsync(request, async () =>
        {
            IReadOnlyList<ArenaId> ids = holder.Behind(after, Protocol.MaxListedAtOnce);
            var writer = new FieldWriter(64 * 1024);
            writer.U16((ushort)ids.Count);
            foreach (ArenaId id in ids)
            {
                id.Write(writer.Take(ArenaId.Size));
                try
                {
                    ArenaRecords.Write(writer, await holder.InspectAsync(id, request.Cancel).ConfigureAwait(false));
                }
                catch (DamagedFormatException damage)
                {
                    ArenaRecords.WriteDamage(writer, house.Clean(damage.Message));
                }
            }

            return (ReadOnlyMemory<byte>)writer.WrittenMemory;
        }).ConfigureAwait(false);
    }

    private async ValueTask<ReadOnlyMemory<byte>> PutBeginAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(PutTable.MaxBytes).ConfigureAwait(false);
        PutTable table = HolderRequest.Parsed(() => PutTable.Read(body.Span));
        if (request.Entry is { } entry)
        {
            await CheckPutAsync(request, holder, entry, table).ConfigureAwait(false);
        }

        bool isKept = !table.Replaces && await OnDiskAsync(request, async () =>
        {
            HeldArena? held = await holder.InspectAsync(table.Id, request.Cancel).ConfigureAwait(false);
            bool hasAll = held is { IsRecordDamaged: false, IsInTrash: false } && held.DataFragments == table.DataFragments && held.ParityFragments == table.ParityFragments
                && held.SliceBytes == table.SliceBytes && !table.Fragments.Except(held.Fragments).Any();
            if (hasAll)
            {
                await holder.ChangeAsync(table.Id, inner => inner.SettleAsync(table.Id, request.Cancel), request.Cancel).ConfigureAwait(false);
            }

            return hasAll;
        }).ConfigureAwait(false);
        Upload? upload = isKept ? null : await OnDiskAsync(request, () => ValueTask.FromResult(_uploads.Begin(request.Account, table, holder.Room, request.QuotaBytes))).ConfigureAwait(false);
        var writer = new FieldWriter(8 + Bytes16.Size);
        writer.U8((byte)(isKept ? 1 : 0));
        writer.Reserved(3);
        writer.U32((uint)(upload?.Received ?? 0));
        (upload?.Id ?? default).Write(writer.Take(Bytes16.Size));
        return writer.WrittenMemory;
    }

    /// <summary>A friend brings what belongs there, and nothing that the account has given up.</summary>
    private async ValueTask CheckPutAsync(HolderRequest request, HostedHolder holder, RepairEntry entry, PutTable table)
    {
        if (!entry.Allows(table))
        {
            throw NotLetIn();
        }

        if (holder.IsReleased(table.Id) || await OnDiskAsync(request, async () => await holder.InspectAsync(table.Id, request.Cancel).ConfigureAwait(false) is { IsInTrash: true }).ConfigureAwait(false))
        {
            throw new RefusalException(Protocol.Status.Conflict, "its account has given this arena up");
        }
    }

    private async ValueTask<ReadOnlyMemory<byte>> PutBytesAsync(HolderRequest request, HostedHolder holder)
    {
        byte[] head = new byte[Bytes16.Size + sizeof(uint)];
        for (int filled = 0; filled < head.Length;)
        {
            int part = await request.ReadAsync(head.AsMemory(filled), request.Cancel).ConfigureAwait(false);
            filled += part > 0 ? part : throw new RefusalException(Protocol.Status.Malformed, "put-bytes: ends early");
        }

        Upload upload = _uploads.Find(request.Account, Bytes16.Read(head)) ?? throw new RefusalException(Protocol.Status.Conflict, "no such upload");
        using Upload.Turn turn = await upload.EnterAsync(request.Cancel).ConfigureAwait(false);
        if (System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(Bytes16.Size)) != upload.Received)
        {
            throw new RefusalException(Protocol.Status.Conflict, $"{upload.Received} bytes have come");
        }

        while (upload.Received < upload.Buffer.Length
            && await request.ReadAsync(upload.Buffer.AsMemory(upload.Received, Math.Min(PieceBytes, upload.Buffer.Length - upload.Received)), turn.Cancel).ConfigureAwait(false) is > 0 and int part)
        {
            upload.Add(part);
        }

        if (upload.Received == upload.Buffer.Length)
        {
            try
            {
                if (await request.ReadAsync(new byte[1], turn.Cancel).ConfigureAwait(false) > 0)
                {
                    throw new RefusalException(Protocol.Status.Malformed, "put-bytes: more bytes than the table says");
                }

                await OnDiskAsync(request, () => holder.PutAsync(upload.Table, upload.Check(), CancellationToken.None)).ConfigureAwait(false);
            }
            finally
            {
                _uploads.Drop(upload);
            }
        }

        byte[] answer = new byte[sizeof(uint)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(answer, (uint)upload.Received);
        return answer;
    }

    private async ValueTask<ReadOnlyMemory<byte>> ReadAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(ArenaId.Size + 4 + (3 * sizeof(uint))).ConfigureAwait(false);
        (ArenaId id, int index, int slice, int offset, int count) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "read");
            ArenaId arena = ArenaId.Read(reader.Bytes(ArenaId.Size));
            int fragment = reader.U16();
            reader.Reserved(2);
            int sliceBytes = reader.Count(Protocol.MaxSliceTotalBytes, "the slice");
            uint from = reader.U32();
            uint bytes = reader.U32();
            reader.End();
            return FragmentWindows.IsRange(sliceBytes, from, bytes)
                ? (arena, fragment, sliceBytes, (int)from, (int)bytes)
                : throw reader.Damaged($"found {bytes} bytes at {from} of {sliceBytes}, expected whole groups of the slice, at most {Protocol.MaxReadBytes} bytes");
        });
        request.CheckAllowed(id);
        int proven = FragmentWindows.BytesOf(slice, offset, count, proven: true);
        Memory<byte> answer = request.Borrow(FragmentWindows.HeadBytes + proven);
        Memory<byte> bytes = answer[^count..]; // from there each piece moves to its place behind its proof
        (int read, byte[]? hashes) = await OnDiskAsync(request, () => holder.ReadAsync(id, index, slice, offset, bytes, request.Cancel)).ConfigureAwait(false);
        int following = read < 0 ? 0 : FragmentWindows.BytesOf(slice, offset, read, hashes is not null);
        answer.Span[..FragmentWindows.HeadBytes].Clear();
        answer.Span[0] = read < 0 ? FragmentWindows.Absent : hashes is null ? FragmentWindows.Bare : FragmentWindows.Proven;
        System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(answer.Span[4..], following);
        FragmentWindows.Write(answer.Span.Slice(FragmentWindows.HeadBytes, following), slice, offset, bytes.Span[..Math.Max(0, read)], hashes);
        return answer[..(FragmentWindows.HeadBytes + following)];
    }

    private async ValueTask<ReadOnlyMemory<byte>> HashesAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(ArenaId.Size + 2 + FragmentName.Size).ConfigureAwait(false);
        (ArenaId id, int index, FragmentName name) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "hashes");
            var all = (ArenaId.Read(reader.Bytes(ArenaId.Size)), (int)reader.U16(), FragmentName.Read(reader.Bytes(FragmentName.Size)));
            reader.End();
            return all;
        });
        request.CheckAllowed(id);
        byte[]? hashes = await OnDiskAsync(request, () => holder.HashesAsync(id, index, name, request.Cancel)).ConfigureAwait(false);
        return hashes is null ? new byte[1] : (byte[])[1, .. hashes];
    }

    private async ValueTask<ReadOnlyMemory<byte>> SalvageAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(ArenaId.Size + sizeof(uint) + 4 + (Protocol.MaxFragments * 2)).ConfigureAwait(false);
        (ArenaId id, int slice, int index, int[] held) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "salvage");
            ArenaId arena = ArenaId.Read(reader.Bytes(ArenaId.Size));
            int sliceBytes = reader.Count(Protocol.MaxSliceTotalBytes, "the slice");
            int fragment = reader.U16();
            int count = reader.U16();
            if (count > Protocol.MaxFragments || sliceBytes < Protocol.SliceUnit || sliceBytes % Protocol.SliceUnit != 0)
            {
                throw reader.Damaged($"found {count} indexes and a slice of {sliceBytes} bytes");
            }

            int[] indexes = new int[count];
            for (int i = 0; i < count; i++)
            {
                indexes[i] = reader.U16();
            }

            reader.End();
            return (arena, sliceBytes, fragment, indexes);
        });
        byte[] bytes = new byte[slice];
        int read = await OnDiskAsync(request, () => holder.SalvageAsync(id, slice, held, index, bytes, request.Cancel)).ConfigureAwait(false);
        var writer = new FieldWriter(8 + Math.Max(0, read));
        writer.U8((byte)(read < 0 ? 0 : 1));
        writer.Reserved(3);
        writer.U32((uint)Math.Max(0, read));
        writer.Bytes(bytes.AsSpan(0, Math.Max(0, read)));
        return writer.WrittenMemory;
    }

    private async ValueTask<ReadOnlyMemory<byte>> RewriteAsync(HolderRequest request, HostedHolder holder)
    {
        const int MaxBytes = ArenaId.Size + 4 + (Protocol.MaxGroups * sizeof(uint)) + (Protocol.MaxGroups * Blake3.GroupSize);
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxBytes).ConfigureAwait(false);
        (ArenaId id, int index, int[] groups, int at) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "rewrite");
            ArenaId arena = ArenaId.Read(reader.Bytes(ArenaId.Size));
            int fragment = reader.U16();
            int count = reader.U16();
            if (count is < 1 or > Protocol.MaxGroups)
            {
                throw reader.Damaged($"{count} groups, 1 to {Protocol.MaxGroups} expected");
            }

            int[] all = new int[count];
            for (int i = 0; i < count; i++)
            {
                all[i] = reader.Count(Protocol.MaxGroups - 1, "a group");
            }

            return (arena, fragment, all, reader.Position);
        });
        await OnDiskAsync(request, () => holder.ChangeAsync(
            id,
            async inner =>
            {
                // What the holder itself takes for a mistake of its caller is one of the sender's here.
                HeldArena? held = await inner.InspectAsync(id, request.Cancel).ConfigureAwait(false);
                long expected = held is null ? 0 : groups.Sum(group => Math.Clamp(held.SliceBytes - ((long)group * Blake3.GroupSize), 0, Blake3.GroupSize));
                if (held is null || expected != body.Length - at || groups.Any(group => (long)group * Blake3.GroupSize >= held.SliceBytes) || !held.Fragments.Any(each => each.Index == index))
                {
                    throw new RefusalException(Protocol.Status.Malformed, $"rewrite: {body.Length - at} bytes of {groups.Length} groups do not fit the fragment");
                }

                await inner.RewriteGroupsAsync(id, index, groups, body[at..], request.Cancel).ConfigureAwait(false);
            },
            request.Cancel)).ConfigureAwait(false);
        return default;
    }

    private async ValueTask<ReadOnlyMemory<byte>> MendAsync(HolderRequest request, HostedHolder holder)
    {
        const int MaxHashBytes = Protocol.MaxGroups * Blake3.HashSize;
        ReadOnlyMemory<byte> body = await request.BodyAsync(ArenaId.Size + 2 + (Protocol.MaxFragments * (6 + MaxHashBytes))).ConfigureAwait(false);
        (ArenaId id, FragmentHashes[] hashes) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "mend");
            ArenaId arena = ArenaId.Read(reader.Bytes(ArenaId.Size));
            int count = reader.U16();
            if (count > Protocol.MaxFragments)
            {
                throw reader.Damaged($"{count} fragments, at most {Protocol.MaxFragments} expected");
            }

            var all = new FragmentHashes[count];
            for (int i = 0; i < count; i++)
            {
                int fragment = reader.U16();
                all[i] = new FragmentHashes(fragment, reader.Bytes(reader.Count(MaxHashBytes, "the group hashes' length")).ToArray());
            }

            reader.End();
            return (arena, all);
        });
        await OnDiskAsync(request, () => holder.ChangeAsync(id, inner => inner.MendAsync(id, hashes, request.Cancel), request.Cancel)).ConfigureAwait(false);
        return default;
    }

    private static async ValueTask<ArenaId> ArenaOfAsync(string operation, HolderRequest request)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(ArenaId.Size).ConfigureAwait(false);
        return HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, operation);
            ArenaId arena = ArenaId.Read(reader.Bytes(ArenaId.Size));
            reader.End();
            return arena;
        });
    }

    private async ValueTask<ReadOnlyMemory<byte>> MoveAsync(string operation, HolderRequest request, HostedHolder holder)
    {
        ArenaId id = await ArenaOfAsync(operation, request).ConfigureAwait(false);
        await OnDiskAsync(request, () => operation switch
        {
            Protocol.Operation.Settle => holder.ChangeAsync(id, inner => inner.SettleAsync(id, request.Cancel), request.Cancel),
            Protocol.Operation.Trash => holder.ChangeAsync(id, inner => inner.TrashAsync(id, request.Cancel), request.Cancel),
            Protocol.Operation.Restore => holder.RestoreAsync(id, request.Cancel),
            Protocol.Operation.Purge => holder.ReleaseAsync(id, fromTrash: true, request.ThrowIfRevoked, request.Cancel),
            _ => holder.ReleaseAsync(id, fromTrash: false, request.ThrowIfRevoked, request.Cancel),
        }).ConfigureAwait(false);
        return default;
    }

    private async ValueTask<ReadOnlyMemory<byte>> CancelReleasesAsync(HolderRequest request, HostedHolder holder)
    {
        await request.EmptyAsync().ConfigureAwait(false);
        int count = await OnDiskAsync(request, () => holder.CancelReleasesAsync(request.Cancel)).ConfigureAwait(false);
        byte[] answer = new byte[sizeof(uint)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(answer, (uint)count);
        return answer;
    }
}
