using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Files;
using TokTok.Storage.Mount.Fuse;
using static TokTok.Storage.Mount.Tests.Fuse.Requests;

namespace TokTok.Storage.Mount.Tests.Fuse;

public sealed class FuseDispatcherTests
{
    private const ulong Root = FuseReplies.RootNode;

    [Fact]
    public async Task Init_takes_what_the_kernel_offers_and_no_more()
    {
        await using var ask = new Requests();
        var kernel = new FuseInitIn { Major = 7, Minor = 45, Flags = (FuseInitFlags)0x73ff_fffb };
        FuseInitOut agreed = ask.Get<FuseInitOut>(FuseOpcode.Init, 0, [.. Of(kernel), .. new byte[48]]);
        Assert.Equal((7u, 45u, 1u << 20, 256), (agreed.Major, agreed.Minor, agreed.MaxWrite, (int)agreed.MaxPages));
        Assert.True(agreed.Flags.HasFlag(FuseInitFlags.ReadDirPlusAuto | FuseInitFlags.MaxPages | FuseInitFlags.HandleKillPrivilegesV2 | FuseInitFlags.PosixAccessControlLists | FuseInitFlags.DoNotMask));
        Assert.False(agreed.Flags.HasFlag(FuseInitFlags.WritebackCache));
        kernel.Flags = FuseInitFlags.AsyncRead;
        kernel.Minor = 31;
        agreed = ask.Get<FuseInitOut>(FuseOpcode.Init, 0, Of(kernel));
        Assert.Equal((31u, FuseInitFlags.AsyncRead), (agreed.Minor, agreed.Flags));
        Assert.Equal(2, ask.Begun.Count);
        Assert.All(ask.Begun, Assert.Null);
        kernel.Minor = 8;
        Assert.Equal(-71, ask.ErrorOf(FuseOpcode.Init, 0, Of(kernel)));
        Assert.Contains("found a kernel that speaks FUSE 7.8", ask.Begun[^1]);
    }

    [Fact]
    public async Task With_a_writeback_cache_the_kernel_reads_what_it_writes_and_keeps_times_and_seeks_to_itself()
    {
        await using var ask = new Requests(writebackCache: true);
        (FuseEntryOut file, _) = ask.Create("f");
        Assert.True(ask.Get<FuseInitOut>(FuseOpcode.Init, 0, Of(new FuseInitIn { Major = 7, Minor = 45, Flags = (FuseInitFlags)0x73ff_fffb })).Flags.HasFlag(FuseInitFlags.WritebackCache));
        _ = ask.Bytes(FuseOpcode.SetAttr, file.NodeId, Of(new FuseSetAttrIn { Valid = FuseSetAttr.Modified | FuseSetAttr.Changed, ModifiedSeconds = 5, ChangedSeconds = 6 }));
        ulong handle = ask.Get<FuseOpenOut>(FuseOpcode.Open, file.NodeId, Of(new FuseOpenIn { Flags = 1 })).Handle; // to write only
        _ = ask.Bytes(FuseOpcode.Write, file.NodeId, [.. Of(new FuseTransferIn { Handle = handle, Size = 3, TransferFlags = 1 }), .. "abc"u8]);
        FuseAttr attributes = ask.Get<FuseAttrOut>(FuseOpcode.GetAttr, file.NodeId, new byte[16]).Attr;
        Assert.Equal((3UL, 5UL, 6UL), (attributes.Size, attributes.ModifiedSeconds, attributes.ChangedSeconds));
        Assert.Equal("abc"u8, ask.Bytes(FuseOpcode.Read, file.NodeId, Of(new FuseTransferIn { Handle = handle, Size = 100 })));
        Assert.Equal(-38, ask.ErrorOf(FuseOpcode.Lseek, file.NodeId, Of(new FuseLseekIn { Handle = handle, Whence = 3 })));
        _ = ask.Bytes(FuseOpcode.Write, file.NodeId, [.. Of(new FuseTransferIn { Handle = handle, Size = 3 }), .. "def"u8]);
        Assert.NotEqual(5UL, ask.Get<FuseAttrOut>(FuseOpcode.GetAttr, file.NodeId, new byte[16]).Attr.ModifiedSeconds);
    }

    [Fact]
    public async Task A_file_is_given_to_the_kernel_only_while_no_handle_writes_and_cuts_are_told()
    {
        var writers = new FuseWriters();
        await using var ask = new Requests(writers: writers);
        (FuseEntryOut file, ulong created) = ask.Create("f");
        ulong node = file.NodeId;
        Assert.Equal(node, ask.Dispatcher.NodeToChange);
        Assert.False(MayGive());
        ulong reads = Open(0);
        Assert.Equal(0UL, ask.Dispatcher.NodeToChange);
        ulong writes = Open(1);
        Assert.Equal(node, ask.Dispatcher.NodeToChange);
        Release(created, 2);
        Assert.False(MayGive());
        Release(writes, 1);
        Assert.True(MayGive());
        ulong both = Open(2);
        Assert.False(MayGive());
        Release(both, 2);
        Release(reads, 0);
        Assert.True(MayGive());
        Assert.Equal(0UL, ask.Dispatcher.NodeToChange);

        Release(Open(0x200), 0); // emptied by one who only reads it
        _ = ask.Bytes(FuseOpcode.SetAttr, node, Of(new FuseSetAttrIn { Valid = FuseSetAttr.Mode, Mode = 0x1ff }));
        Assert.Equal(0UL, ask.Dispatcher.NodeToChange);
        _ = ask.Bytes(FuseOpcode.SetAttr, node, Of(new FuseSetAttrIn { Valid = FuseSetAttr.Size, Size = 5 }));
        Assert.Equal(node, ask.Dispatcher.NodeToChange);
        Assert.True(MayGive());

        ulong Open(uint flags) => ask.Get<FuseOpenOut>(FuseOpcode.Open, node, Of(new FuseOpenIn { Flags = flags })).Handle;

        void Release(ulong handle, uint flags) => _ = ask.Bytes(FuseOpcode.Release, node, Of(new FuseReleaseIn { Handle = handle, Flags = flags }));

        bool MayGive()
        {
            bool may = writers.TryBegin(node);
            if (may)
            {
                writers.End();
            }

            return may;
        }
    }

    [Fact]
    public async Task A_newer_major_version_is_asked_to_speak_ours()
    {
        await using var ask = new Requests();
        Assert.Equal(7u, ask.Get<FuseInitOut>(FuseOpcode.Init, 0, Of(new FuseInitIn { Major = 8 })).Major);
        Assert.Empty(ask.Begun);
    }

    [Fact]
    public async Task A_name_that_is_not_there_is_an_entry_of_node_0_that_may_be_remembered()
    {
        await using var ask = new Requests();
        FuseEntryOut none = ask.Get<FuseEntryOut>(FuseOpcode.Lookup, Root, Names("nothing"));
        Assert.Equal((0UL, 60UL), (none.NodeId, none.EntryValidSeconds));
        Assert.Equal(-(int)FileError.ESTALE, ask.ErrorOf(FuseOpcode.Lookup, 12345, Names("nothing")));
    }

    [Fact]
    public async Task A_file_is_made_for_the_caller_written_read_and_found()
    {
        await using var ask = new Requests();
        (FuseEntryOut made, ulong handle) = ask.Create("f");
        Assert.Equal((1000u, 1001u, 0x81a4u, 1u), (made.Attr.OwnerId, made.Attr.GroupId, made.Attr.Mode, made.Attr.LinkCount));
        ask.Write(handle, 3, "abc"u8.ToArray());
        Assert.Equal("\0\0\0abc", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.Read, made.NodeId, Of(new FuseTransferIn { Handle = handle, Size = 100 }))));
        FuseEntryOut found = ask.Get<FuseEntryOut>(FuseOpcode.Lookup, Root, Names("f"));
        Assert.Equal((made.NodeId, 6UL), (found.NodeId, found.Attr.Size));
        FuseAttrOut cut = ask.Get<FuseAttrOut>(FuseOpcode.SetAttr, made.NodeId, Of(new FuseSetAttrIn { Valid = FuseSetAttr.Size | FuseSetAttr.Modified, Size = 4, ModifiedSeconds = unchecked((ulong)-5), ModifiedNanoseconds = 7 }));
        Assert.Equal((4UL, -5L, 7u), (cut.Attr.Size, unchecked((long)cut.Attr.ModifiedSeconds), cut.Attr.ModifiedNanoseconds));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Unlink, Root, Names("f")));
        ask.Write(handle, 0, "still"u8.ToArray());
        Assert.Equal("still", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.Read, made.NodeId, Of(new FuseTransferIn { Handle = handle, Size = 100 }))));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Fsync, made.NodeId, Of(new FuseFsyncIn { Handle = handle })));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Release, made.NodeId, Of(new FuseReleaseIn { Handle = handle })));
        Assert.Null(ask.Ask(FuseOpcode.Forget, made.NodeId, Of(2UL)));
        Assert.Equal(-(int)FileError.ESTALE, ask.ErrorOf(FuseOpcode.GetAttr, made.NodeId, new byte[16]));
    }

    [Fact]
    public async Task Names_are_moved_exchanged_and_linked()
    {
        await using var ask = new Requests();
        FuseEntryOut directory = ask.Get<FuseEntryOut>(FuseOpcode.MkDir, Root, Of(new FuseMkDirIn { Mode = 0x1ed }, "d"));
        (FuseEntryOut file, _) = ask.Create("a");
        Assert.Equal(2u, ask.Get<FuseEntryOut>(FuseOpcode.Link, directory.NodeId, Of(file.NodeId, "b")).Attr.LinkCount);
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Rename, Root, Of(directory.NodeId, "a", "c")));
        Assert.Equal(-(int)FileError.EEXIST, ask.ErrorOf(FuseOpcode.Rename2, directory.NodeId, Of(new FuseRename2In { NewDirectory = Root, Flags = 1 }, "c", "d")));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Rename2, directory.NodeId, Of(new FuseRename2In { NewDirectory = directory.NodeId, Flags = 2 }, "c", "b")));
        Assert.Equal(-(int)FileError.EINVAL, ask.ErrorOf(FuseOpcode.Rename2, directory.NodeId, Of(new FuseRename2In { NewDirectory = Root, Flags = 4 }, "c", "d")));
        Assert.Equal(-(int)FileError.ENOTEMPTY, ask.ErrorOf(FuseOpcode.RmDir, Root, Names("d")));
        FuseEntryOut link = ask.Get<FuseEntryOut>(FuseOpcode.Symlink, Root, Names("s", "to/where"));
        Assert.Equal("to/where", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.ReadLink, link.NodeId, [])));
        FuseEntryOut device = ask.Get<FuseEntryOut>(FuseOpcode.MkNod, Root, Of(new FuseMkNodIn { Mode = 0x2180, Device = FuseReplies.EncodeDevice(1, 300) }, "n"));
        Assert.Equal((0x2180u, FuseReplies.EncodeDevice(1, 300)), (device.Attr.Mode, device.Attr.Device));
    }

    [Fact]
    public async Task A_listing_with_attributes_counts_every_name_but_the_dots()
    {
        await using var ask = new Requests();
        for (int i = 0; i < 50; i++)
        {
            (FuseEntryOut made, ulong open) = ask.Create($"name{i:000}");
            _ = ask.Ask(FuseOpcode.Release, made.NodeId, Of(new FuseReleaseIn { Handle = open }));
            _ = ask.Ask(FuseOpcode.Forget, made.NodeId, Of(1UL));
        }

        await ask.Tree.CommitAsync(CancellationToken.None);
        int before = ask.Tree.InodeCount;
        ulong handle = ask.Get<FuseOpenOut>(FuseOpcode.OpenDir, Root, Of(new FuseOpenIn())).Handle;
        List<string> names = [];
        List<FuseForgetOne> given = [];
        for (ulong cookie = 0; ;)
        {
            byte[] page = ask.Bytes(FuseOpcode.ReadDirPlus, Root, Of(new FuseTransferIn { Handle = handle, Offset = cookie, Size = 1000 }));
            if (page.Length == 0)
            {
                break;
            }

            Assert.True(page.Length <= 1000);
            for (int at = 0; at < page.Length;)
            {
                FuseEntryOut entry = MemoryMarshal.Read<FuseEntryOut>(page.AsSpan(at));
                FuseDirent dirent = MemoryMarshal.Read<FuseDirent>(page.AsSpan(at + 128));
                string name = Encoding.UTF8.GetString(page, at + 152, (int)dirent.NameLength);
                names.Add(name);
                cookie = dirent.Cookie;
                Assert.Equal(name.StartsWith('.'), entry.NodeId == 0);
                if (entry.NodeId != 0)
                {
                    given.Add(new FuseForgetOne { NodeId = entry.NodeId, Count = 1 });
                    Assert.Equal((dirent.Ino, 8u), (entry.Attr.Ino, dirent.Type));
                }

                at += (152 + (int)dirent.NameLength + 7) & ~7;
            }
        }

        string[] expected = [".", "..", .. Enumerable.Range(0, 50).Select(static i => $"name{i:000}")];
        Assert.Equal(expected, names);
        Assert.Equal(before + 50, ask.Tree.InodeCount);
        Assert.Null(ask.Ask(FuseOpcode.BatchForget, 0, [.. Of(new FuseBatchForgetIn { Count = 50 }), .. MemoryMarshal.AsBytes(given.ToArray().AsSpan())]));
        Assert.Equal(before, ask.Tree.InodeCount);
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.ReleaseDir, Root, Of(new FuseReleaseIn { Handle = handle })));
    }

    [Fact]
    public async Task Attributes_of_users_are_set_sized_read_listed_and_removed()
    {
        await using var ask = new Requests();
        (FuseEntryOut file, _) = ask.Create("f");
        byte[] set = [.. Of(new FuseSetXattrIn { Size = 5 }, "user.x"), .. "value"u8];
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.SetXattr, file.NodeId, set));
        Assert.Equal(5u, ask.Get<FuseSizeOut>(FuseOpcode.GetXattr, file.NodeId, Of(new FuseGetXattrIn(), "user.x")).Size);
        Assert.Equal("value", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.GetXattr, file.NodeId, Of(new FuseGetXattrIn { Size = 5 }, "user.x"))));
        Assert.Equal(-(int)FileError.ERANGE, ask.ErrorOf(FuseOpcode.GetXattr, file.NodeId, Of(new FuseGetXattrIn { Size = 4 }, "user.x")));
        Assert.Equal("user.x\0", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.ListXattr, file.NodeId, Of(new FuseGetXattrIn { Size = 100 }))));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.SetXattr, file.NodeId, [.. Of(new FuseSetXattrIn { Size = 1 }, "trusted.y"), 0]));
        Assert.Equal("user.x\0", Encoding.UTF8.GetString(ask.Bytes(FuseOpcode.ListXattr, file.NodeId, Of(new FuseGetXattrIn { Size = 100 })))); // the caller is not root
        Assert.Equal(7u, ask.Get<FuseSizeOut>(FuseOpcode.ListXattr, file.NodeId, Of(new FuseGetXattrIn())).Size);
        Assert.Equal(-(int)FileError.ERANGE, ask.ErrorOf(FuseOpcode.ListXattr, file.NodeId, Of(new FuseGetXattrIn { Size = 6 })));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.RemoveXattr, file.NodeId, Names("user.x")));
        Assert.Equal(-(int)FileError.ENODATA, ask.ErrorOf(FuseOpcode.GetXattr, file.NodeId, Of(new FuseGetXattrIn(), "user.x")));
    }

    [Fact]
    public async Task Holes_are_made_found_and_ranges_copied()
    {
        await using var ask = new Requests();
        (FuseEntryOut file, ulong from) = ask.Create("f");
        (FuseEntryOut copied, ulong to) = ask.Create("g");
        ask.Write(from, 0, new byte[65536].Select(static _ => (byte)7).ToArray());
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Fallocate, file.NodeId, Of(new FuseFallocateIn { Handle = from, Offset = 16384, Length = 16384, Mode = 3 })));
        Assert.Equal(16384UL, ask.Get<ulong>(FuseOpcode.Lseek, file.NodeId, Of(new FuseLseekIn { Handle = from, Whence = 4 })));
        Assert.Equal(-(int)FileError.ENXIO, ask.ErrorOf(FuseOpcode.Lseek, file.NodeId, Of(new FuseLseekIn { Handle = from, Offset = 65536, Whence = 3 })));
        Assert.Equal(-(int)FileError.EOPNOTSUPP, ask.ErrorOf(FuseOpcode.Fallocate, file.NodeId, Of(new FuseFallocateIn { Handle = from, Length = 1, Mode = 0x20 })));
        var copy = new FuseCopyFileRangeIn { FromHandle = from, ToHandle = to, ToNodeId = copied.NodeId, Length = ulong.MaxValue };
        Assert.Equal(65536u, ask.Get<FuseSizeOut>(FuseOpcode.CopyFileRange, file.NodeId, Of(copy)).Size);
        Assert.Equal(65536UL, ask.Get<ulong>(FuseOpcode.CopyFileRange64, file.NodeId, Of(copy)));
        Assert.Equal(
            ask.Bytes(FuseOpcode.Read, 0, Of(new FuseTransferIn { Handle = from, Size = 1 << 20 })),
            ask.Bytes(FuseOpcode.Read, 0, Of(new FuseTransferIn { Handle = to, Size = 1 << 20 })));
    }

    [Fact]
    public async Task A_seek_from_before_the_file_finds_nothing()
    {
        await using var ask = new Requests();
        (FuseEntryOut file, ulong handle) = ask.Create("f");
        Assert.Equal(-(int)FileError.ENXIO, ask.ErrorOf(FuseOpcode.Lseek, file.NodeId, Of(new FuseLseekIn { Handle = handle, Offset = ulong.MaxValue, Whence = 3 })));
    }

    [Fact]
    public async Task Allocating_and_copying_into_a_set_user_id_file_takes_the_privilege_away()
    {
        await using var ask = new Requests();
        (_, ulong from) = ask.Create("f");
        ask.Write(from, 0, new byte[100]);
        (FuseEntryOut file, ulong to) = ask.Create("g");
        Arm();
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Fallocate, file.NodeId, Of(new FuseFallocateIn { Handle = to, Length = 10 })));
        Assert.Equal(0x81ffu, Mode());
        Arm();
        Assert.Equal(100u, ask.Get<FuseSizeOut>(FuseOpcode.CopyFileRange, 0, Of(new FuseCopyFileRangeIn { FromHandle = from, ToHandle = to, ToNodeId = file.NodeId, Length = 100 })).Size);
        Assert.Equal(0x81ffu, Mode());

        void Arm()
        {
            _ = ask.Bytes(FuseOpcode.SetAttr, file.NodeId, Of(new FuseSetAttrIn { Valid = FuseSetAttr.Mode, Mode = 0x8dff }));
            Assert.Equal(0x8dffu, Mode());
        }

        uint Mode() => ask.Get<FuseAttrOut>(FuseOpcode.GetAttr, file.NodeId, new byte[16]).Attr.Mode;
    }

    [Fact]
    public async Task A_file_without_a_name_gets_one_by_link()
    {
        await using var ask = new Requests();
        byte[] reply = ask.Bytes(FuseOpcode.TmpFile, Root, Of(new FuseCreateIn { Flags = 2, Mode = 0x8180 }, "/"));
        FuseEntryOut made = MemoryMarshal.Read<FuseEntryOut>(reply);
        Assert.Equal(0u, made.Attr.LinkCount);
        Assert.Equal(1u, ask.Get<FuseEntryOut>(FuseOpcode.Link, Root, Of(made.NodeId, "named")).Attr.LinkCount);
        Assert.Equal(made.NodeId, ask.Get<FuseEntryOut>(FuseOpcode.Lookup, Root, Names("named")).NodeId);
    }

    [Fact]
    public async Task What_is_not_known_is_ENOSYS_and_statfs_has_its_size()
    {
        await using var ask = new Requests();
        Assert.Equal(-38, ask.ErrorOf((FuseOpcode)52, Root, []));
        Assert.Equal(-38, ask.ErrorOf((FuseOpcode)4096, Root, []));
        Assert.Equal(-25, ask.ErrorOf(FuseOpcode.Ioctl, Root, []));
        Assert.Equal(255u, ask.Get<FuseStatFsOut>(FuseOpcode.StatFs, Root, []).NameLength);
        Assert.Null(ask.Ask(FuseOpcode.Interrupt, 0, Of(5UL)));
        Assert.Equal(0, ask.ErrorOf(FuseOpcode.Destroy, 0, []));
    }

    public static TheoryData<int> Opcodes => [.. Enumerable.Range(0, 64)];

    [Theory]
    [MemberData(nameof(Opcodes))]
    public async Task A_request_that_is_cut_short_anywhere_ends_in_an_errno(int opcode)
    {
        await using var ask = new Requests();
        (FuseEntryOut file, _) = ask.Create("f");
        byte[] body = Enumerable.Repeat((byte)0xff, 200).ToArray();
        for (int length = 0; length <= body.Length; length++)
        {
            // Nothing in the body ends a name, and every number is as large as can be.
            (int Error, byte[] Body)? reply = ask.Ask((FuseOpcode)opcode, file.NodeId, body[..length]);
            Assert.True(reply is null || reply.Value.Error is <= 0 and > -4096);
        }

        byte[] request = Request((FuseOpcode)opcode, file.NodeId, body, 77);
        byte[] room = new byte[FuseDispatcher.MaxReplyBytes];
        for (int length = 0; length < request.Length; length++)
        {
            int bytes = ask.Dispatcher.Answer(request.AsSpan(0, length), room);
            Assert.Equal(length < FuseInHeader.Size ? 0 : FuseOutHeader.Size, bytes);
            Assert.True(bytes == 0 || MemoryMarshal.Read<FuseOutHeader>(room).Error == -(int)FileError.EINVAL);
        }
    }

    [Fact]
    public async Task A_request_that_is_answered_from_memory_allocates_nothing()
    {
        await using var ask = new Requests();
        (FuseEntryOut file, ulong handle) = ask.Create("f");
        ask.Write(handle, 0, new byte[65536]);
        byte[] room = new byte[FuseDispatcher.MaxReplyBytes];
        byte[][] requests =
        [
            Request(FuseOpcode.GetAttr, file.NodeId, new byte[16], 1),
            Request(FuseOpcode.Lookup, Root, Names("f"), 2),
            Request(FuseOpcode.Forget, file.NodeId, Of(1UL), 3),
            Request(FuseOpcode.Read, file.NodeId, Of(new FuseTransferIn { Handle = handle, Size = 65536 }), 4),
            Request(FuseOpcode.StatFs, Root, [], 5),
        ];
        foreach (byte[] request in requests)
        {
            // What is not yet compiled for good may allocate: 100 rounds are enough for it.
            long allocated = -1;
            for (int round = 0; round < 100 && allocated != 0; round++)
            {
                long before = GC.GetAllocatedBytesForCurrentThread();
                _ = ask.Dispatcher.Answer(request, room);
                allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            }

            Assert.True(allocated == 0, $"{allocated} bytes allocated by {MemoryMarshal.Read<FuseInHeader>(request).Opcode}");
        }
    }

    [Fact]
    public void Syncs_copies_and_large_transfers_may_take_long()
    {
        byte[] Transfer(uint size, int bytes) => [.. Requests.Of(new FuseTransferIn { Size = size }), .. new byte[bytes]];
        bool MayTakeLong(FuseOpcode opcode, byte[] body) => FuseDispatcher.MayTakeLong(Requests.Request(opcode, 1, body, 1));
        Assert.True(MayTakeLong(FuseOpcode.SyncFs, []));
        Assert.False(MayTakeLong(FuseOpcode.Fsync, []));
        Assert.True(FuseDispatcher.IsSync(Requests.Request(FuseOpcode.Fsync, 1, [], 1)));
        Assert.True(FuseDispatcher.IsSync(Requests.Request(FuseOpcode.FsyncDir, 1, [], 1)));
        Assert.False(FuseDispatcher.IsSync(Requests.Request(FuseOpcode.SyncFs, 1, [], 1)));
        Assert.False(FuseDispatcher.IsSync([1, 2, 3]));
        Assert.True(MayTakeLong(FuseOpcode.CopyFileRange, []));
        Assert.True(MayTakeLong(FuseOpcode.Read, Transfer(1 << 20, 0)));
        Assert.True(MayTakeLong(FuseOpcode.Write, Transfer(1 << 20, 1 << 20)));
        Assert.False(MayTakeLong(FuseOpcode.Read, Transfer(4096, 0)));
        Assert.False(MayTakeLong(FuseOpcode.Write, Transfer(4096, 4096)));
        Assert.False(MayTakeLong(FuseOpcode.Read, [])); // cut short: it will be refused
        Assert.False(MayTakeLong(FuseOpcode.GetAttr, []));
        Assert.False(FuseDispatcher.MayTakeLong(new byte[5]));
    }

    [Fact]
    public void What_changes_bytes_at_most_comes_in_rows()
    {
        FuseOpcode[] found = [.. Enum.GetValues<FuseOpcode>().Where(static opcode => FuseDispatcher.ComesInRows(Requests.Request(opcode, 1, [], 1)))];
        Assert.Equal(19, found.Length);
        Assert.Empty(found.Intersect([FuseOpcode.Create, FuseOpcode.SetAttr, FuseOpcode.Unlink, FuseOpcode.Rename2, FuseOpcode.SetXattr, FuseOpcode.Fallocate, FuseOpcode.Fsync, FuseOpcode.Destroy]));
        Assert.False(FuseDispatcher.ComesInRows([1, 2, 3]));
    }
}
