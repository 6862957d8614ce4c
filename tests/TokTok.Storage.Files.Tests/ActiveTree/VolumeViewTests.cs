using System.Text;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>Snapshots below .snapshots, beside the tree that is written.</summary>
public sealed class VolumeViewTests : IAsyncDisposable
{
    private readonly ManualClock _clock = new();
    private readonly SeededRandom _random = new(7);
    private readonly VolumeTree _volume;
    private readonly VolumeView _view;

    public VolumeViewTests()
    {
        _volume = new VolumeTree(clock: _clock);
        _view = new VolumeView(_volume.Tree, _volume.Volume, TimeZoneInfo.Utc);
    }

    private FileCaller Caller => _volume.Caller;

    public async ValueTask DisposeAsync()
    {
        await _view.DisposeAsync();
        _volume.Dispose();
    }

    [Fact]
    public async Task What_was_deleted_by_mistake_is_found_below_snapshots_and_copied_back_by_reference()
    {
        byte[] bytes = new byte[3 << 20];
        new Random(1).NextBytes(bytes);
        Write("letter", bytes);
        await SnapshotAsync("monday");
        Assert.Equal(FileError.None, _view.Unlink(Caller, _view.RootId, "letter"u8));
        Assert.Equal(FileError.ENOENT, _view.Lookup(_view.RootId, "letter"u8, out _));

        ulong kept = Find(".snapshots", NameOfNewest(), "letter");
        Assert.Equal(FileError.None, _view.Open(Caller, kept, OpenOptions.Read, out ulong from));
        byte[] read = new byte[bytes.Length];
        Assert.Equal(FileError.None, _view.Read(from, 0, read, out int count));
        Assert.Equal((bytes.Length, true), (count, read.AsSpan().SequenceEqual(bytes)));

        Assert.Equal(FileError.None, _view.Create(Caller, _view.RootId, "again"u8, 0x1a4, OpenOptions.Read | OpenOptions.Write, out InodeAttributes made, out ulong to));
        long before = _volume.Tree.DirtyBytes;
        Assert.Equal(FileError.None, _view.CopyRange(from, 0, to, 0, long.MaxValue, out long copied));
        Assert.Equal(bytes.Length, copied);
        Assert.InRange(_volume.Tree.DirtyBytes - before, 0, 64 << 10);
        Assert.Equal(FileError.None, _view.Read(to, 0, read, out count));
        Assert.True(read.AsSpan().SequenceEqual(bytes));
        Assert.Equal(FileError.None, _view.Release(from));
        Assert.Equal(FileError.None, _view.Release(to));
        Assert.NotEqual(kept, made.FileId);
    }

    [Fact]
    public async Task The_folder_is_hidden_and_lists_times_and_labels()
    {
        Write("f", "one"u8);
        await SnapshotAsync("monday");
        _clock.Advance(TimeSpan.FromSeconds(1));
        Write("f", "two"u8);
        await SnapshotAsync();
        _clock.Advance(TimeSpan.FromMilliseconds(100));
        await SnapshotAsync("monday");
        Assert.Equal([".", "..", "f"], List(_view.RootId));
        SnapshotRecord[] all = [.. await _volume.Volume.ListSnapshotsAsync(CancellationToken.None)];
        string first = Name(all[0].TimeNs);
        string second = Name(all[1].TimeNs);
        string third = second + "_" + all[2].Id.ToString()[..8];
        Assert.NotEqual(first, second);
        Assert.Equal([".", "..", first, second, third, "latest", "monday"], List(Find(".snapshots")));
        Assert.Equal(third, LinkOf("latest"));
        Assert.Equal(third, LinkOf("monday"));
        Assert.Equal(first, LinkOf(all[0].Id.ToString()[..6]));
        Assert.Equal(second, LinkOf("2"));
        Assert.Equal(FileError.ENOENT, _view.Lookup(Find(".snapshots"), "tuesday"u8, out _));
        Assert.Equal("one", ReadAll(Find(".snapshots", first, "f")));
        Assert.Equal("two", ReadAll(Find(".snapshots", third, "f")));

        // One more is there as soon as it is made.
        _clock.Advance(TimeSpan.FromSeconds(1));
        await SnapshotAsync();
        Assert.Equal(8, List(Find(".snapshots")).Count);
    }

    [Fact]
    public async Task Nothing_changes_a_snapshot_nor_the_name_of_their_folder()
    {
        Assert.Equal(FileError.None, _view.MakeDirectory(Caller, _view.RootId, "d"u8, 0x1ed, out _));
        Write("f", "kept"u8);
        await SnapshotAsync();
        ulong root = Find(".snapshots", NameOfNewest());
        ulong file = Find(".snapshots", NameOfNewest(), "f");
        foreach (ulong directory in (ulong[])[Find(".snapshots"), root])
        {
            Assert.Equal(FileError.EROFS, _view.Create(Caller, directory, "x"u8, 0x1a4, OpenOptions.Write, out _, out _));
            Assert.Equal(FileError.EROFS, _view.CreateTemporary(Caller, directory, 0x1a4, OpenOptions.Write, out _, out _));
            Assert.Equal(FileError.EROFS, _view.MakeDirectory(Caller, directory, "x"u8, 0x1ed, out _));
            Assert.Equal(FileError.EROFS, _view.MakeSymlink(Caller, directory, "x"u8, "y"u8, out _));
            Assert.Equal(FileError.EROFS, _view.MakeSpecial(Caller, directory, "x"u8, EntryType.Fifo, 0x1a4, 0, 0, out _));
            Assert.Equal(FileError.EROFS, _view.Unlink(Caller, directory, "f"u8));
            Assert.Equal(FileError.EROFS, _view.RemoveDirectory(Caller, directory, "d"u8));
            Assert.Equal(FileError.EROFS, _view.Rename(Caller, directory, "f"u8, _view.RootId, "g"u8, RenameMode.Replace));
            Assert.Equal(FileError.EROFS, _view.Rename(Caller, _view.RootId, "f"u8, directory, "g"u8, RenameMode.Replace));
            Assert.Equal(FileError.EROFS, _view.Link(Caller, Find("f"), directory, "g"u8, out _));
            Assert.Equal(FileError.EROFS, _view.SetAttributes(Caller, directory, new AttributeChange { Mode = 0 }, out _));
        }

        Assert.Equal(FileError.EROFS, _view.Link(Caller, file, _view.RootId, "g"u8, out _));
        Assert.Equal(FileError.EROFS, _view.Open(Caller, file, OpenOptions.Write, out _));
        Assert.Equal(FileError.EROFS, _view.Open(Caller, file, OpenOptions.Read | OpenOptions.Truncate, out _));
        Assert.Equal(FileError.EROFS, _view.SetXattr(Caller, file, "user.a"u8, "b"u8, XattrMode.Any));
        Assert.Equal(FileError.None, _view.Open(Caller, file, OpenOptions.Read, out ulong handle));
        Assert.Equal(FileError.EBADF, _view.Write(handle, 0, "x"u8, WriteOptions.None, out _));
        Assert.Equal(FileError.EBADF, _view.Allocate(handle, AllocateMode.Extend, 0, 10));
        Assert.Equal(FileError.EBADF, _view.CopyRange(handle, 0, handle, 100, 1, out _));
        Assert.Equal(FileError.None, _view.Release(handle));
        Assert.Equal(FileError.EBADF, _view.Release(handle));

        Assert.Equal(FileError.EEXIST, _view.MakeDirectory(Caller, _view.RootId, ".snapshots"u8, 0x1ed, out _));
        Assert.Equal(FileError.EEXIST, _view.Create(Caller, _view.RootId, ".snapshots"u8, 0x1a4, OpenOptions.Write, out _, out _));
        Assert.Equal(FileError.EPERM, _view.RemoveDirectory(Caller, _view.RootId, ".snapshots"u8));
        Assert.Equal(FileError.EPERM, _view.Rename(Caller, _view.RootId, ".snapshots"u8, _view.RootId, "g"u8, RenameMode.Replace));
        Assert.Equal(FileError.EPERM, _view.Rename(Caller, _view.RootId, "d"u8, _view.RootId, ".snapshots"u8, RenameMode.Replace));
        Assert.Equal(FileError.None, _view.MakeDirectory(Caller, Find("d"), ".snapshots"u8, 0x1ed, out _));
        Assert.Equal([".", "..", ".snapshots"], List(Find("d")));
    }

    [Fact]
    public async Task A_snapshots_files_have_ids_of_their_own_that_stay_and_its_parents_lead_back()
    {
        Assert.Equal(FileError.None, _view.MakeDirectory(Caller, _view.RootId, "d"u8, 0x1ed, out InodeAttributes present));
        Write("f", "x"u8);
        await SnapshotAsync();
        string name = NameOfNewest();
        ulong directory = Find(".snapshots", name, "d");
        Assert.NotEqual(present.FileId, directory);
        Assert.True(_view.IsForEver(directory));
        Assert.False(_view.IsForEver(present.FileId));
        Assert.False(_view.IsForEver(Find(".snapshots")));
        Assert.Equal(Find(".snapshots", name), Find(".snapshots", name, "d", ".."));
        Assert.Equal(Find(".snapshots"), Find(".snapshots", name, ".."));
        Assert.Equal(_view.RootId, Find(".snapshots", ".."));
        Assert.Equal(FileError.None, _view.GetAttributes(directory, out InodeAttributes attributes));
        Assert.Equal((directory, EntryType.Directory, 0x1edu), (attributes.FileId, attributes.Type, attributes.Mode));
        while (_view.GetAttributes(directory, out _) == FileError.None)
        {
            _view.Forget(directory, 1);
        }

        Assert.Equal(directory, Find(".snapshots", name, "d"));
        var other = new VolumeView(_volume.Tree, _volume.Volume, TimeZoneInfo.Utc);
        Assert.Equal(FileError.None, other.Lookup(Find(".snapshots"), Encoding.UTF8.GetBytes(name), out InodeAttributes root));
        Assert.Equal(FileError.None, other.Lookup(root.FileId, "d"u8, out InodeAttributes again));
        Assert.Equal(directory, again.FileId);

        // A listing with attributes counts what it hands over, as looking up does.
        List(root.FileId, withAttributes: true);
        Assert.Equal(FileError.None, _view.GetAttributes(directory, out _));
    }

    [Fact]
    public async Task A_volume_rolled_back_keeps_what_was_there()
    {
        Write("f", "monday"u8);
        SnapshotRecord monday = (await SnapshotAsync())!;
        Assert.Null(await SnapshotAsync(onlyIfChanged: true));
        Write("f", "tuesday"u8);
        await _volume.Tree.DisposeAsync();
        SnapshotRecord? kept = await _volume.Volume.RollBackAsync(monday, new SnapshotTexts { Labels = ["before"] }, _random, _clock, CancellationToken.None);
        Assert.Equal(["before"], kept!.Labels);

        await using ActiveTree tree = ActiveTree.Open(_volume.Store, _volume.Volume, _clock, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero });
        await using var view = new VolumeView(tree, _volume.Volume, TimeZoneInfo.Utc);
        Assert.Equal("monday", ReadAll(Find(view, "f"), view));
        Assert.Equal("tuesday", ReadAll(Find(view, ".snapshots", LinkOf("before", view), "f"), view));
    }

    private ValueTask<SnapshotRecord?> SnapshotAsync(string? label = null, bool onlyIfChanged = false) =>
        _volume.Tree.SnapshotAsync(new SnapshotTexts { Labels = label is null ? [] : [label] }, _random, CancellationToken.None, onlyIfChanged);

    private string NameOfNewest() => Name(_volume.Volume.ListSnapshotsAsync(CancellationToken.None).AsTask().Result[^1].TimeNs);

    private static string Name(long timeNs) => SnapshotNames.TimeText(timeNs, TimeZoneInfo.Utc)[..19].Replace('T', '_').Replace(':', '-');

    private string LinkOf(string name, VolumeView? view = null)
    {
        byte[] target = new byte[100];
        Assert.Equal(FileError.None, (view ?? _view).ReadLink(Find(view ?? _view, ".snapshots", name), target, out int bytes));
        return Encoding.UTF8.GetString(target, 0, bytes);
    }

    private void Write(string name, ReadOnlySpan<byte> bytes)
    {
        Assert.Equal(FileError.None, _view.Create(Caller, _view.RootId, Encoding.UTF8.GetBytes(name), 0x1a4, OpenOptions.Write | OpenOptions.Truncate, out _, out ulong handle));
        Assert.Equal(FileError.None, _view.Write(handle, 0, bytes, WriteOptions.None, out _));
        Assert.Equal(FileError.None, _view.Release(handle));
    }

    private string ReadAll(ulong id, VolumeView? view = null)
    {
        byte[] bytes = new byte[100];
        Assert.Equal(FileError.None, (view ?? _view).Open(Caller, id, OpenOptions.Read, out ulong handle));
        Assert.Equal(FileError.None, (view ?? _view).Read(handle, 0, bytes, out int count));
        Assert.Equal(FileError.None, (view ?? _view).Release(handle));
        return Encoding.UTF8.GetString(bytes, 0, count);
    }

    private ulong Find(params string[] path) => Find(_view, path);

    private static ulong Find(VolumeView view, params string[] path)
    {
        ulong at = view.RootId;
        foreach (string name in path)
        {
            Assert.Equal(FileError.None, view.Lookup(at, Encoding.UTF8.GetBytes(name), out InodeAttributes attributes));
            at = attributes.FileId;
        }

        return at;
    }

    private List<string> List(ulong directory, bool withAttributes = false)
    {
        Assert.Equal(FileError.None, _view.OpenDirectory(directory, out ulong handle));
        var sink = new OneByOne();
        for (int before = -1; before < sink.Names.Count;)
        {
            before = sink.Names.Count;
            sink.Room = 1;
            Assert.Equal(FileError.None, _view.ReadDirectory(handle, sink.Cookie, withAttributes, sink));
        }

        Assert.Equal(FileError.None, _view.Release(handle));
        return sink.Names;
    }

    private sealed class OneByOne : IDirectorySink
    {
        internal List<string> Names { get; } = [];

        internal ulong Cookie { get; private set; }

        internal int Room { get; set; }

        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
        {
            if (Room-- <= 0)
            {
                return false;
            }

            Names.Add(Encoding.UTF8.GetString(name));
            Cookie = cookie;
            return true;
        }
    }
}
