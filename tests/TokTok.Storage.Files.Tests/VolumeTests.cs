using System.Collections.Concurrent;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class VolumeTests
{
    [Fact]
    public async Task The_walker_marks_exactly_what_was_written_for_the_newest_root()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = Volume.Create(store, "host:/home", store.Realm, SystemRandom.Instance);
        SnapshotRecord snapshot = await MakeAsync(store, volume, 1_000_000_000L, 2000);
        await volume.AddSnapshotAsync(snapshot, null, null, default);
        var marker = new Marks();
        await new TreeWalker().MarkAsync(volume.Head!, store.Blocks, marker, default);
        Assert.Equal(store.Blocks.Known.Order(), marker.Seen.Keys.Order());

        // Whatever a mark does not reach must be missed by a reader, so dropping one block must show.
        var again = new Marks();
        (Score node, BlockType type) = store.Blocks.Known.First(known => known.Type == BlockType.TableNode);
        Assert.True(store.Blocks.Drop(node, type));
        await Assert.ThrowsAsync<DamagedBlockException>(async () => await new TreeWalker().MarkAsync(volume.Head!, store.Blocks, again, default));
    }

    [Fact]
    public async Task Snapshots_are_added_found_marked_and_removed()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        for (int at = 1; at <= 3; at++)
        {
            await volume.AddSnapshotAsync(await MakeAsync(store, volume, at * 86_400_000_000_000L, 3) with { Labels = [$"label {at}"] }, null, null, default);
        }

        using Volume reopened = (await Volume.TryOpenAsync(store, "v", default))!;
        IReadOnlyList<SnapshotRecord> all = await reopened.ListSnapshotsAsync(default);
        Assert.Equal(["label 1", "label 2", "label 3"], all.Select(one => one.Labels[0]));
        Assert.Equal(all[2], SnapshotNames.Find(all, "latest", TimeZoneInfo.Utc));
        Assert.Equal(all[1], SnapshotNames.Find(all, "label 2", TimeZoneInfo.Utc));
        Assert.Equal(all[1], SnapshotNames.Find(all, "1970-01-03", TimeZoneInfo.Utc));
        Assert.Equal(all[0], SnapshotNames.Find(all, all[0].Id.ToString()[..12], TimeZoneInfo.Utc));
        Assert.Equal(all[2], SnapshotNames.Find(all, "1970-01", TimeZoneInfo.Utc)); // of several the newest
        Assert.Throws<SnapshotNameException>(() => SnapshotNames.Find(all, "nonsense", TimeZoneInfo.Utc));
        await reopened.MarkAsync(all[1], true, default);
        await reopened.RemoveSnapshotsAsync([all[0]], default);

        // The first object knows nothing of that commit, and follows it.
        await volume.RelabelAsync(all[1], ["renamed"], default);
        IReadOnlyList<SnapshotRecord> left = await volume.ListSnapshotsAsync(default);
        Assert.Equal(2, left.Count);
        Assert.True(left[0].IsMarked);
        Assert.Equal("renamed", left[0].Labels[0]);
    }

    /// <summary>Lists show local time, so a time that was read there is matched there; one with a Z is UTC.</summary>
    [Fact]
    public async Task A_time_without_a_zone_is_the_one_that_lists_show()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        TimeZoneInfo east = TimeZoneInfo.CreateCustomTimeZone("east", TimeSpan.FromHours(9), "east", "east");
        await volume.AddSnapshotAsync(await MakeAsync(store, volume, 20 * 3_600_000_000_000L, 3), null, null, default); // 20:00 UTC is 05:00 of the next day in the east
        await volume.AddSnapshotAsync(await MakeAsync(store, volume, (30 * 3_600_000_000_000L) + 123_456_789, 3), null, null, default);
        IReadOnlyList<SnapshotRecord> all = await volume.ListSnapshotsAsync(default);
        Assert.Equal(all[0], SnapshotNames.Find(all, "1970-01-02 05:00", east));
        Assert.Equal(all[0], SnapshotNames.Find(all, "1970-01-01T20Z", east));
        Assert.Equal(all[0], SnapshotNames.Find(all, "1970-01-01", TimeZoneInfo.Utc));
        Assert.Equal(all[1], SnapshotNames.Find(all, "1970-01-02", east));
        Assert.Equal(all[1], SnapshotNames.Find(all, "1970-01-02T06:00:00.123456789Z", east)); // as JSON has it
        Assert.Equal("No snapshot at that time (local): 1970-01-01.", Assert.Throws<SnapshotNameException>(() => SnapshotNames.Find(all, "1970-01-01", east)).Message);
    }

    [Fact]
    public async Task The_active_tree_goes_with_the_snapshot_that_it_came_from()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        SnapshotRecord[] snapshots = [await MakeAsync(store, volume, 1, 3), await MakeAsync(store, volume, 2, 4), await MakeAsync(store, volume, 3, 5)];
        foreach (SnapshotRecord snapshot in snapshots)
        {
            await volume.AddSnapshotAsync(snapshot, null, null, default);
        }

        var before = new Marks();
        await new TreeWalker().MarkAsync(volume.Head!, store.Blocks, before, default);
        await volume.RemoveSnapshotsAsync([snapshots[0]], default);
        Assert.Equal(snapshots[2].Root.Encode(), volume.Root.Active!.Encode());
        await volume.RemoveSnapshotsAsync([snapshots[2]], default);
        Assert.Equal(snapshots[1].Root.Encode(), volume.Root.Active!.Encode());
        Assert.Equal(snapshots[1].Links, volume.Root.Links);
        var after = new Marks();
        await new TreeWalker().MarkAsync(volume.Head!, store.Blocks, after, default);
        Assert.True(2 * after.Seen.Count < before.Seen.Count, $"{after.Seen.Count} of {before.Seen.Count} blocks are still wanted");
        await volume.RemoveSnapshotsAsync([snapshots[1]], default);
        Assert.Null(volume.Root.Active);
        Assert.True(volume.Root.Links.IsEmpty);
    }

    [Fact]
    public async Task A_commit_between_reading_and_committing_is_followed_not_lost()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        await volume.AddSnapshotAsync(await MakeAsync(store, volume, 1, 3), null, null, default);
        using Volume other = (await Volume.TryOpenAsync(store, "v", default))!;
        SnapshotRecord second = await MakeAsync(store, volume, 2, 3);
        SnapshotRecord third = await MakeAsync(store, volume, 3, 3);
        store.BeforeCommit = () =>
        {
            store.BeforeCommit = null;
            other.AddSnapshotAsync(second, null, null, default).AsTask().GetAwaiter().GetResult();
        };
        await volume.AddSnapshotAsync(third, null, null, default);
        Assert.Equal(3, (await volume.ListSnapshotsAsync(default)).Count);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Keep_rules_do_not_age_and_keep_the_newest_of_each_bucket(int seed)
    {
        var random = new Random(seed);
        KeepCandidate[] all = [.. Enumerable.Range(1, 300).Select(at => new KeepCandidate(new SnapshotId((ulong)at), random.NextInt64(0, 1_000_000_000_000_000_000), random.Next(20) == 0, random.Next(10) > 0))];
        var rules = new KeepRules { Last = 3, Daily = 7, Monthly = 12, Yearly = 100 };
        IReadOnlyList<KeepDecision> decisions = rules.Apply(all);
        Assert.All(decisions, one => Assert.NotEmpty(one.Reason));
        Assert.All(decisions.Where(one => one.Snapshot.IsMarked), one => Assert.True(one.IsKept));

        // Applying the rules to what they kept forgets nothing more, whenever that happens.
        KeepCandidate[] kept = [.. decisions.Where(one => one.IsKept).Select(one => one.Snapshot)];
        Assert.All(rules.Apply(kept), one => Assert.True(one.IsKept, one.Reason));
        int years = all.Where(one => one.IsFinished).Select(one => KeepRules.TimeOf(one.TimeNs).Year).Distinct().Count();
        Assert.Equal(years, kept.Where(one => one.IsFinished).Select(one => KeepRules.TimeOf(one.TimeNs).Year).Distinct().Count());
        Assert.All(new KeepRules().Apply(all), one => Assert.True(one.IsKept));
    }

    [Fact]
    public async Task Paths_resolve_walks_are_in_order_and_links_lead_to_their_record()
    {
        var store = new MemoryVolumeStore();
        using Volume volume = Volume.Create(store, "v", store.Realm, SystemRandom.Instance);
        SnapshotRecord snapshot = await MakeAsync(store, volume, 1, 50);
        TreeReader reader = TreeReader.Of(volume, snapshot);
        TreeItem item = (await reader.ResolveAsync(snapshot.Root, "/deep//name 00007"u8.ToArray(), default))!.Value;
        Assert.Equal("deep/name 00007", item.Display);
        Assert.Null(await reader.ResolveAsync(snapshot.Root, "deep/none"u8.ToArray(), default));
        Assert.Null(await reader.ResolveAsync(snapshot.Root, "big/below a file"u8.ToArray(), default));
        TreeItem link = (await reader.ResolveAsync(snapshot.Root, "link"u8.ToArray(), default))!.Value;
        Assert.True(link.IsLink);
        Assert.Equal(2U, link.Entry.LinkCount);
        List<string> walked = [];
        await foreach (TreeItem one in reader.WalkAsync(snapshot.Root))
        {
            walked.Add(one.Display);
        }

        Assert.Equal("big", walked[0]);
        Assert.Equal("deep", walked[1]);
        Assert.Equal("deep/name 00000", walked[2]);
        Assert.Equal((ulong)walked.Count, snapshot.Root.Totals.Entries);
    }

    [Fact]
    public void Entries_keep_every_field_and_hostile_ones_are_damage()
    {
        var entry = new Entry
        {
            Type = EntryType.CharacterDevice,
            FileId = (1UL << 40) | 77,
            Mode = 0xfff,
            OwnerId = uint.MaxValue,
            GroupId = 5,
            OwnerName = "root",
            GroupName = "täglich",
            LinkCount = 3,
            Modified = new FileTime(-62_135_596_800, 999_999_999),
            DeviceMajor = 8,
            DeviceMinor = 1_048_575,
            Attributes = new StoredAttributes { Inline = new byte[] { 0x00 } },
        };
        byte[] bytes = entry.Encode();
        Entry back = Entry.Decode(bytes);
        Assert.Equal(bytes, back.Encode());
        Assert.Equal(entry.Modified, back.Modified);
        Assert.Equal("täglich", back.GroupName);
        Assert.Equal(1_048_575U, back.DeviceMinor);
        byte[] file = new Entry { Type = EntryType.File, FileId = 2, Mode = 0x1a4, Content = FileContent.OfInline(CuttingRule.Fixed, "hi"u8.ToArray()) }.Encode();
        Assert.Equal(Repository.HexLines(Repository.FormatExample("13.1")), Repository.HexLines(file));
        byte[] root = new VolumeRoot { Id = new VolumeId(new Bytes16(0, 1)), Active = new Entry { Type = EntryType.Directory, FileId = 1 } }.Encode();
        var random = new Random(9);
        for (int trial = 0; trial < 30_000; trial++)
        {
            byte[] bad = SortedTableTests.Mutate(random, trial % 3 == 0 ? bytes : trial % 3 == 1 ? file : root);
            try
            {
                // What still reads has one encoding only: its own.
                if (trial % 3 == 2)
                {
                    Assert.Equal(bad, VolumeRoot.Decode(bad).Encode());
                }
                else
                {
                    Assert.Equal(bad, Entry.Decode(bad).Encode());
                }
            }
            catch (DamagedFormatException)
            {
            }
        }
    }

    [Fact]
    public async Task The_format_page_shows_what_files_are_made_of()
    {
        Score score = Score.Read(Enumerable.Repeat((byte)0x11, Score.Size).ToArray());
        var writer = new FormatWriter();
        FileContent.OfTree(CuttingRule.ContentDefined, 1, new ExtentsBlockRef(5_000_000, score, 1234)).Write(writer);
        AssertShows("13.2", writer);

        writer.Clear();
        writer.Byte(ExtentsBlock.Version);
        writer.Byte(0);
        writer.Varint(3);
        ExtentsBlock.WriteExtent(writer, new Extent(0, 5, score, 0, 5));
        ExtentsBlock.WriteExtent(writer, new Extent(5, 4096, default, 0, 0));
        ExtentsBlock.WriteExtent(writer, new Extent(4101, 2, score, 1, 5));
        AssertShows("13.3", writer);
        Assert.Equal(4103, ExtentsBlock.Parse(writer.ToArray(), 0).Length);

        writer.Clear();
        var blocks = new MemoryVolumeStore().Blocks;
        AttributeList.Write(writer, await AttributeList.StoreAsync(blocks, [new Xattr("user.a"u8.ToArray(), new byte[] { 1 })], default));
        AssertShows("13.4", writer);
        var nothing = new StoredAttributes { Inline = new byte[] { 0 } };
        await Assert.ThrowsAsync<DamagedFormatException>(async () => await AttributeList.LoadAsync(blocks, nothing, default));

        ulong fileId = (1UL << 40) | 1;
        writer.Clear();
        writer.Bytes(LinkTable.Key(fileId));
        writer.Bytes(new Entry { Type = EntryType.File, FileId = fileId, Mode = 0x1a4, LinkCount = 2 }.Encode());
        writer.Bytes(Entry.LinkTo(EntryType.File, fileId).Encode());
        AssertShows("13.5", writer);

        static void AssertShows(string section, FormatWriter written) =>
            Assert.Equal(Repository.HexLines(Repository.FormatExample(section)), Repository.HexLines(written.Written.Span));
    }

    [Theory]
    [InlineData("0101400200000000000000", "flags")] // 64: nobody knows it
    [InlineData("0102020200000000000000", "torn")] // a torn directory
    [InlineData("010120020000000000000000", "survive")] // a file that says what is to survive
    [InlineData("01010302", "flags")] // a link with another flag
    [InlineData("01020102", "flags")] // a link that is a directory
    [InlineData("02010002", "version")]
    [InlineData("01080002", "type")]
    public void What_does_not_belong_in_an_entry_is_damage(string hex, string field)
    {
        DamagedFormatException damage = Assert.Throws<DamagedFormatException>(() => Entry.Decode(Convert.FromHexString(hex)));
        Assert.StartsWith($"entry: {field} ", damage.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_format_page_shows_a_volume_root_and_a_snapshot()
    {
        var root = new VolumeRoot { Id = new VolumeId(new Bytes16(0, 1)), Name = "v", Device = 1, Incarnation = 2 };
        Assert.Equal(Repository.HexLines(Repository.FormatExample("14.1")), Repository.HexLines(root.Encode()));
        Assert.Equal(Repository.HexLines(root.Encode()), Repository.HexLines(VolumeRoot.Decode(root.Encode()).Encode()));
        var snapshot = new SnapshotRecord
        {
            Id = new SnapshotId(1),
            TimeNs = 0,
            Number = 3,
            Host = "h",
            Program = "p",
            Labels = ["l"],
            Sources = ["/s"u8.ToArray()],
            Root = new Entry { Type = EntryType.Directory, FileId = 1, Mode = 0x1ed },
        };
        Assert.Equal(Repository.HexLines(Repository.FormatExample("14.2")), Repository.HexLines(snapshot.Encode()));

        // Limits that no writer reaches, and every reader keeps.
        var unnumbered = new TableItem(snapshot.Key(), (snapshot with { Number = 0 }).Encode());
        Assert.Contains("number", Assert.Throws<DamagedFormatException>(() => SnapshotRecord.Decode(unnumbered)).Message, StringComparison.Ordinal);
        byte[] folded = (root with { FoldTable = 1 }).Encode();
        Assert.Contains("fold table", Assert.Throws<DamagedFormatException>(() => VolumeRoot.Decode(folded)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Lines_that_parted_show_all_snapshots_and_the_next_edit_joins_them()
    {
        var store = new MemoryVolumeStore();
        using Volume first = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        await first.AddSnapshotAsync(await MakeAsync(store, first, 1000, 3), null, null, default);
        Head common = first.Head!;
        await first.AddSnapshotAsync(await MakeAsync(store, first, 2000, 3), null, null, default);
        Head here = first.Head!;

        // Another copy of the state knows the first head only.
        store.Incarnation = 2;
        Head there = store.NextHead(common.Volume, "v", common.Domain, [common]);
        VolumeRoot root = await Volume.ReadRootAsync(store.Blocks, common, default);
        SnapshotRecord own = (await MakeAsync(store, first, 3000, 2)) with { Number = 2 };
        root = (root with
        {
            NextSnapshot = 3,
            Snapshots = await first.Tables.UpdateAsync(root.Snapshots, [TableChange.Put(own.Key(), own.Encode())], default),
        }).Under(there);
        there = there with { Root = (await store.Blocks.WriteAsync(BlockType.VolumeRoot, root.Encode(), default)).Score };
        store.AddHead(there);
        Assert.Equal(2, store.Heads.Count);
        Assert.False(here.Supersedes(there) || there.Supersedes(here));

        using Volume both = (await Volume.TryOpenAsync(store, "v", default))!;
        Assert.True(both.IsForked);
        Assert.Equal(there, both.Head);
        Assert.Equal([1000, 2000, 3000], (await both.ListSnapshotsAsync(default)).Select(static each => each.TimeNs));
        await both.AddSnapshotAsync(await MakeAsync(store, both, 4000, 1), null, null, default);
        Assert.False(both.IsForked);
        Assert.Single(store.Heads);
        IReadOnlyList<SnapshotRecord> all = await both.ListSnapshotsAsync(default);
        Assert.Equal([1000, 2000, 3000, 4000], all.Select(static each => each.TimeNs));
        Assert.Equal([1UL, 3UL, 2UL, 4UL], all.Select(static each => each.Number));
        Assert.Equal(both.Head, (both.Root.ToHead(common.Domain, both.Head!.Root)));
    }

    private static async Task<SnapshotRecord> MakeAsync(MemoryVolumeStore store, Volume volume, long timeNs, int names)
    {
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), new ContentOptions { MeanChunkBytes = 4096 });
        var ids = new FileIds(volume.Root, 1);
        var random = new Random((int)(timeNs % 1000) + names);
        byte[] big = new byte[3 << 20];
        random.NextBytes(big);
        FileContent content = (await writer.WriteAsync(new Source(big), CuttingRule.ContentDefined, default)).Content;
        StoredAttributes attributes = await AttributeList.StoreAsync(
            store.Blocks, [new Xattr("user.a"u8.ToArray(), new byte[10_000]), new Xattr("user.b"u8.ToArray(), big.AsMemory(0, 3000))], default);
        var deep = new DirectoryBuilder(volume.Tables);
        for (int at = 0; at < names; at++)
        {
            byte[] bytes = new byte[random.Next(1500)];
            random.NextBytes(bytes);
            FileContent small = (await writer.WriteAsync(new Source(bytes), CuttingRule.ContentDefined, default)).Content;
            await deep.AddAsync(Encoding.UTF8.GetBytes($"name {at:d5}"), new Entry { Type = EntryType.File, FileId = ids.Next(), Content = small }, 0, default);
        }

        var root = new DirectoryBuilder(volume.Tables);
        ulong linked = ids.Next();
        await root.AddAsync("big"u8.ToArray(), new Entry { Type = EntryType.File, FileId = ids.Next(), Content = content, Attributes = attributes }, 0, default);
        await root.AddAsync("deep"u8.ToArray(), await deep.FinishAsync(new Entry { Type = EntryType.Directory, FileId = ids.Next() }, default), 0, default);
        await root.AddAsync("link"u8.ToArray(), Entry.LinkTo(EntryType.File, linked), 2, default);
        await root.AddAsync("other link"u8.ToArray(), Entry.LinkTo(EntryType.File, linked), 2, default);
        var record = new Entry { Type = EntryType.File, FileId = linked, LinkCount = 2, Content = FileContent.OfInline(CuttingRule.ContentDefined, "hi"u8.ToArray()) };
        return new SnapshotRecord
        {
            Id = SnapshotId.New(SystemRandom.Instance),
            TimeNs = timeNs,
            Host = "host",
            Sources = ["/home"u8.ToArray()],
            Root = await root.FinishAsync(new Entry { Type = EntryType.Directory, FileId = ids.Next() }, default),
            Links = await volume.Tables.UpdateAsync(TableRoot.Empty, [TableChange.Put(LinkTable.Key(linked), record.Encode())], default),
        };
    }

    private sealed class Marks : IBlockMarker
    {
        public ConcurrentDictionary<(Score, BlockType), bool> Seen { get; } = new();

        public bool Mark(Score score, BlockType type) => Seen.TryAdd((score, type), true);
    }

    private sealed class Source(byte[] bytes) : IFileSource
    {
        public long Length => bytes.Length;

        public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
        {
            int read = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
            bytes.AsSpan((int)Math.Min(offset, bytes.Length), read).CopyTo(target.Span);
            return ValueTask.FromResult(read);
        }
    }
}
