using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Golden;

/// <summary>Makes tests/golden/v1. It ran once; the store it made is kept as it is and never made again.</summary>
/// <remarks>
/// Composes the classes that the command composes, where no verb makes such a store yet: two devices, two key domains, two epochs.
/// Everything random comes from one seed, every time from one clock; the order in which arenas seal is the scheduler's, so two runs may differ in their bytes.
/// The manifest is written from what was put in, not from what can be read back.
/// </remarks>
internal sealed class GoldenStoreMaker(string folder)
{
    internal const string Passphrase = "golden passphrase";
    private const int NoiseBytes = 60_000;

    private readonly SeededRandom _random = new(20261121);
    private readonly ManualClock _clock = new(new DateTimeOffset(2026, 11, 21, 9, 0, 0, TimeSpan.Zero));
    private readonly List<string> _lines = [];

    internal async Task RunAsync(CancellationToken cancel)
    {
        Directory.CreateDirectory(folder);
        byte[] entropy = _random.Bytes(Words.EntropySize);
        using AccountKeys account = AccountKeys.FromEntropy(entropy);
        byte[] words = new byte[Words.MaxTextBytes];
        int wordsBytes = Words.Write(entropy, words);
        await File.WriteAllTextAsync(Path.Join(folder, "words.txt"), System.Text.Encoding.ASCII.GetString(words, 0, wordsBytes) + "\n", cancel);
        await File.WriteAllTextAsync(Path.Join(folder, "passphrase.txt"), Passphrase + "\n", cancel);
        Directory.CreateDirectory(Path.Join(folder, "holders"));
        for (int at = 1; at <= 3; at++)
        {
            FolderHolder.Create(PosixDisk.Instance, Holder(folder, at), _random).Dispose();
        }

        long issued = _clock.GetUtcNow().ToUnixTimeSeconds();
        using Keyring first = Keyring.Create(account, 1, "golden one", issued, _random);
        using Keyring second = Keyring.Create(account, 2, "golden two", issued, _random);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        KeyDomain session = KeyDomain.Create(DomainKind.Session, _random);
        first.Add(realm);
        first.Add(session);
        using (SecretBytes copy = realm.Serialize())
        {
            second.Add(KeyDomain.Read(copy.Span));
        }

        // Device 2, epoch 1: a small volume, sealed.
        string elsewhere = Path.Join(folder, "second-state");
        await using (BlockStore store = await OpenAsync(elsewhere, second, cancel))
        {
            using Volume work = Volume.Create(store, "work", store.Realm, _random);
            await AddAsync(store, work, WorkTree(), 0, "from device two", cancel);
            await store.SealAllAsync(cancel);
        }

        Directory.Delete(elsewhere, recursive: true);
        _clock.Advance(TimeSpan.FromHours(1));
        realm.AddEpoch(_random);

        // Device 1, epoch 2: what is large is sealed before the head is committed, so the journal stays small.
        string state = Path.Join(folder, "state");
        await using (BlockStore store = await OpenAsync(state, first, cancel))
        {
            using Volume home = Volume.Create(store, "host:/home", store.Realm, _random);
            using Volume talk = Volume.Create(store, "talk", session.Id, _random);
            await AddAsync(store, home, HomeTree(), 2, "first", cancel, sealFirst: true, and: async () => await AddAsync(store, talk, TalkTree(), 0, "a session", cancel, sealFirst: true));
            _clock.Advance(TimeSpan.FromDays(1));
            Node later = HomeTree();
            later.Children.RemoveAll(static node => node.Name.AsSpan().SequenceEqual("inline"u8));
            later.Children.Add(File_("new in the second", _random.Bytes(3000)));
            later.Children.First(static node => node.Name.AsSpan().SequenceEqual("text"u8)).Data[100] ^= 1;
            await AddAsync(store, home, later, 2, "second", cancel);
        }

        System.IO.File.Delete(Path.Join(state, "lock"));
        System.IO.File.Delete(Path.Join(state, "writer"));
        await System.IO.File.WriteAllBytesAsync(Path.Join(state, "keyring"), first.Write(Encoding.UTF8.GetBytes(Passphrase), Argon2Cost.Moderate, _random), cancel);
        await System.IO.File.WriteAllLinesAsync(Path.Join(folder, "expected.txt"), GoldenManifest.Sorted(_lines), cancel);
    }

    internal static string Holder(string folder, int number) => Path.Join(folder, "holders", $"h{number}");

    /// <summary>The holders of a golden store, each in its own place; those that are gone have a problem.</summary>
    internal static List<ConfiguredHolder> Holders(string folder, IRandomSource random)
    {
        var holders = new List<ConfiguredHolder>();
        for (int at = 1; at <= 3; at++)
        {
            string path = Holder(folder, at);
            holders.Add(Directory.Exists(path)
                ? new ConfiguredHolder($"place {at}", $"holders/h{at}", FolderHolder.Open(PosixDisk.Instance, path, random), null)
                : new ConfiguredHolder($"place {at}", $"holders/h{at}", null, "gone"));
        }

        return holders;
    }

    internal static StoreKeys KeysOf(Keyring keyring) => new()
    {
        Device = keyring.DeviceNumber,
        DeviceKeys = keyring.Device,
        Certificate = keyring.Certificate,
        Realm = keyring.Domains.First(static domain => domain.Kind == DomainKind.Realm),
        Domains = [.. keyring.Domains],
        Tag = keyring.Tag,
        AnchorKey = keyring.AnchorKey,
        AccountPublicKey = keyring.AccountPublicKey.ToArray(),
        RecoveryPublicKey = keyring.RecoveryPublicKey.ToArray(),
    };

    private async Task<BlockStore> OpenAsync(string state, Keyring keyring, CancellationToken cancel)
    {
        Directory.CreateDirectory(state);
        var options = new StoreOptions { StateFolder = state, CompressionLevel = 3 };
        return await BlockStore.OpenAsync(
            PosixDisk.Instance, options, KeysOf(keyring), Holders(folder, _random), null, _clock, _random, StoreAccess.Write, "the golden store's maker", null, cancel);
    }

    private async Task AddAsync(BlockStore store, Volume volume, Node root, int survive, string label, CancellationToken cancel, bool sealFirst = false, Func<Task>? and = null)
    {
        var ids = new FileIds(volume.Root, store.Device);
        var links = new SortedDictionary<ulong, Entry>();
        var kept = new Dictionary<string, (ulong Id, Entry Record)>(StringComparer.Ordinal);
        CountLinks(root, kept);
        ulong number = volume.Root.NextSnapshot;
        Entry entry = await ComposeAsync(store, volume, volume.Blocks, root, "", number, ids, kept, links, cancel);
        TableRoot table = await volume.Tables.UpdateAsync(
            TableRoot.Empty, [.. links.Select(static link => TableChange.Put(LinkTable.Key(link.Key), link.Value.Encode()))], cancel);
        _lines.Add(GoldenManifest.Line(volume.Name, number, [], entry, GoldenManifest.OfOther(entry), root.Attributes));
        if (sealFirst)
        {
            await store.SealAllAsync(cancel);
        }

        if (and is not null)
        {
            await and();
        }

        var snapshot = new SnapshotRecord
        {
            Id = SnapshotId.New(_random),
            TimeNs = (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100,
            Host = "golden host",
            Labels = [label],
            Sources = ["/somewhere"u8.ToArray()],
            Program = "the golden store's maker",
            IsMarked = number == 1,
            Root = entry,
            Links = table,
        };
        await volume.AddSnapshotAsync(snapshot, ids, null, cancel, survive);
        _clock.Advance(TimeSpan.FromMinutes(1));
    }

    private static void CountLinks(Node node, Dictionary<string, (ulong Id, Entry Record)> kept)
    {
        foreach (Node child in node.Children)
        {
            if (child.Link is { } link)
            {
                uint count = kept.TryGetValue(link, out (ulong Id, Entry Record) known) ? known.Record.LinkCount + 1 : 1;
                kept[link] = (0, new Entry { Type = child.Type, FileId = 0, LinkCount = count });
            }

            CountLinks(child, kept);
        }
    }

    /// <summary>Writes a node with everything below it, and its manifest lines but its own.</summary>
    private async Task<Entry> ComposeAsync(
        BlockStore store,
        Volume volume,
        IBlockStore blocks,
        Node node,
        string path,
        ulong number,
        FileIds ids,
        Dictionary<string, (ulong Id, Entry Record)> kept,
        SortedDictionary<ulong, Entry> links,
        CancellationToken cancel)
    {
        IBlockStore own = node.Survive is { } wanted ? blocks.At(wanted) : blocks;
        StoredAttributes attributes = await AttributeList.StoreAsync(own, node.Attributes, cancel);
        var entry = new Entry
        {
            Type = node.Type,
            FileId = ids.Next(),
            Mode = node.Mode,
            OwnerId = node.OwnerId,
            GroupId = node.GroupId,
            OwnerName = node.OwnerName,
            GroupName = node.GroupName,
            Modified = node.Modified,
            Attributes = attributes,
            Target = node.Target,
            DeviceMajor = node.DeviceMajor,
            DeviceMinor = node.DeviceMinor,
            Survive = node.Survive,
            IsTorn = node.IsTorn,
        };
        if (node.Type == EntryType.File)
        {
            using var writer = new FileContentWriter(own, store.ChunkerSeed(volume.Domain), new ContentOptions { MeanChunkBytes = 4096 });
            return entry with { Content = (await writer.WriteAsync(new Source(node.Data, node.Holes), node.Rule, cancel)).Content };
        }

        if (node.Type != EntryType.Directory)
        {
            return entry;
        }

        var builder = new DirectoryBuilder(new SortedTable(own));
        node.Children.Sort(static (left, right) => left.Name.AsSpan().SequenceCompareTo(right.Name));
        foreach (Node child in node.Children)
        {
            string latin = path.Length == 0 ? Encoding.Latin1.GetString(child.Name) : path + "/" + Encoding.Latin1.GetString(child.Name);
            Entry made;
            Entry stored;
            if (child.Link is { } link && kept[link].Id != 0)
            {
                made = kept[link].Record;
                stored = Entry.LinkTo(made.Type, made.FileId);
            }
            else
            {
                made = await ComposeAsync(store, volume, own, child, latin, number, ids, kept, links, cancel);
                stored = made;
                if (child.Link is { } group)
                {
                    made = made with { LinkCount = kept[group].Record.LinkCount };
                    kept[group] = (made.FileId, made);
                    links.Add(made.FileId, made);
                    stored = Entry.LinkTo(made.Type, made.FileId);
                }
            }

            await builder.AddAsync(child.Name, stored, made.Type == EntryType.File ? (ulong)made.Content.Size : 0, cancel);
            string what = made.Type == EntryType.File ? GoldenManifest.OfFile(child.Data.Length, child.Data, made.LinkCount, child.Holes) : GoldenManifest.OfOther(made);
            _lines.Add(GoldenManifest.Line(volume.Name, number, Encoding.Latin1.GetBytes(latin), made, what, child.Attributes));
        }

        return await builder.FinishAsync(entry, cancel);
    }

    private Node HomeTree()
    {
        // The same in both snapshots, but for what the caller changes.
        var random = new SeededRandom(7);
        byte[] sparse = new byte[1_400_000];
        random.Bytes(20_000).CopyTo(sparse, 300_000);
        "the end"u8.CopyTo(sparse.AsSpan(1_300_000));
        byte[] image = new byte[96 * 1024];
        random.Bytes(16 * 1024).CopyTo(image, 16 * 1024);
        Text(40_000, 3).CopyTo(image, 40_000);
        byte[] linked = Text(5_000, 9);
        var many = Folder("many names");
        for (int at = 0; at < 700; at++)
        {
            many.Children.Add(File_($"name {at:d4} of a folder with more than one block", Encoding.UTF8.GetBytes($"file {at}")) with { Modified = new FileTime(1_700_000_000 + (at * 37), (uint)at) });
        }

        Node deep = File_("at the bottom", "deep"u8.ToArray());
        for (int at = 0; at < 30; at++)
        {
            deep = Folder($"level {30 - at}", deep);
        }

        Node precious = Folder("precious", File_("kept at three places", random.Bytes(30_000)), File_("text too", Text(20_000, 5))) with { Survive = 2 };
        return Folder(
            "",
            File_("inline", "a few bytes"u8.ToArray()),
            File_("empty", []),
            File_("text", Text(120_000, 1)),
            File_("noise", random.Bytes(NoiseBytes)),
            File_("image", image) with { Rule = CuttingRule.Fixed },
            File_("sparse", sparse) with { Holes = [(0, 262_144), (327_680, 917_504)] },
            File_("only a hole", new byte[500_000]) with { Holes = [(0, 500_000)] },
            File_("zeros that are data", new byte[70_000]),
            File_("torn", Text(2_000, 4)) with { IsTorn = true },
            File_("one of three", linked) with { Link = "x" },
            Folder("elsewhere", File_("two of three", linked) with { Link = "x" }, File_("three of three", linked) with { Link = "x" }),
            File_("pipe with two names", []) with { Type = EntryType.Fifo, Link = "p" },
            File_("pipe's other name", []) with { Type = EntryType.Fifo, Link = "p" },
            File_("setuid", "#!"u8.ToArray()) with { Mode = 0x9ed, OwnerId = 0, GroupId = 0, OwnerName = "root", GroupName = "root" },
            File_("nobody's", "x"u8.ToArray()) with { OwnerId = uint.MaxValue, GroupId = 65_534, OwnerName = "", GroupName = "täglich" },
            File_("before 1970", "old"u8.ToArray()) with { Modified = new FileTime(-1_000_000, 5) },
            File_("far off", "new"u8.ToArray()) with { Modified = new FileTime(32_503_680_000, 999_999_999) },
            File_("new\nline", "n"u8.ToArray()),
            File_("100 % \t", "p"u8.ToArray()),
            File_("", "l"u8.ToArray()) with { Name = [0xff, 0xfe, 0x80, (byte)'x'] },
            File_("日本", "j"u8.ToArray()),
            File_(new string('n', 255), "long"u8.ToArray()),
            File_("with attributes", "a"u8.ToArray()) with { Attributes = [new Xattr("user.empty"u8.ToArray(), default), new Xattr("user.note"u8.ToArray(), "short"u8.ToArray())] },
            File_("with many attributes", "b"u8.ToArray()) with
            {
                Attributes = [.. Enumerable.Range(0, 40).Select(static at => new Xattr(Encoding.ASCII.GetBytes($"user.a{at:d2}"), Encoding.ASCII.GetBytes($"value number {at} of an attribute list that is a block")))],
            },
            File_("with a large attribute", "c"u8.ToArray()) with { Attributes = [new Xattr("security.capability"u8.ToArray(), new byte[] { 1, 0, 0, 2 }), new Xattr("user.large"u8.ToArray(), Text(20_000, 6))] },
            File_("link", []) with { Type = EntryType.Symlink, Mode = 0x1ff, Target = "text"u8.ToArray() },
            File_("dangling", []) with { Type = EntryType.Symlink, Mode = 0x1ff, Target = new byte[] { (byte)'/', 0xc3, 0x28, (byte)' ', (byte)'?' } },
            File_("console", []) with { Type = EntryType.CharacterDevice, Mode = 0x190, DeviceMajor = 5, DeviceMinor = 1 },
            File_("disk", []) with { Type = EntryType.BlockDevice, Mode = 0x1b0, DeviceMajor = 259, DeviceMinor = 1_048_575 },
            File_("socket", []) with { Type = EntryType.Socket },
            Folder("nothing in it"),
            many,
            deep,
            precious) with { Attributes = [new Xattr("user.root"u8.ToArray(), "of the volume"u8.ToArray())], Mode = 0x3ed };
    }

    private static Node WorkTree() => Folder("", File_("report", Text(50_000, 2)), File_("table", Text(9_000, 8)) with { Rule = CuttingRule.Fixed }, Folder("sub", File_("a", "a"u8.ToArray())));

    private Node TalkTree() => Folder("", File_("message 1", "hello"u8.ToArray()), File_("picture", _random.Bytes(25_000)), File_("text", Text(120_000, 1)));

    private static byte[] Text(int bytes, int seed)
    {
        var random = new SeededRandom(seed);
        var text = new StringBuilder();
        while (text.Length < bytes)
        {
            text.Append("line ").Append(random.Next(1000)).Append(" of a text that compresses well enough\n");
        }

        return Encoding.ASCII.GetBytes(text.ToString(0, bytes));
    }

    private static Node File_(string name, byte[] data) => new() { Name = Encoding.UTF8.GetBytes(name), Type = EntryType.File, Data = data };

    private static Node Folder(string name, params Node[] children) =>
        new() { Name = Encoding.UTF8.GetBytes(name), Type = EntryType.Directory, Mode = 0x1ed, Children = [.. children] };

    private sealed record Node
    {
        public required byte[] Name { get; init; }

        public required EntryType Type { get; init; }

        public byte[] Data { get; init; } = [];

        public List<(long Offset, long Length)> Holes { get; init; } = [];

        public CuttingRule Rule { get; init; }

        public uint Mode { get; init; } = 0x1a4;

        public uint OwnerId { get; init; } = 1000;

        public uint GroupId { get; init; } = 1000;

        public string OwnerName { get; init; } = "ada";

        public string GroupName { get; init; } = "people";

        public FileTime Modified { get; init; } = new(1_790_000_000, 123_456_789);

        public IReadOnlyList<Xattr> Attributes { get; init; } = [];

        public byte[] Target { get; init; } = [];

        public uint DeviceMajor { get; init; }

        public uint DeviceMinor { get; init; }

        public int? Survive { get; init; }

        public bool IsTorn { get; init; }

        /// <summary>Names with one word here are one file.</summary>
        public string? Link { get; init; }

        public List<Node> Children { get; init; } = [];
    }

    private sealed class Source(byte[] bytes, List<(long Offset, long Length)> holes) : IFileSource
    {
        public long Length => bytes.Length;

        public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
        {
            int read = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
            bytes.AsSpan((int)Math.Min(offset, bytes.Length), read).CopyTo(target.Span);
            return ValueTask.FromResult(read);
        }

        public bool TryFindData(long from, out long start, out long end)
        {
            start = from;
            foreach ((long offset, long length) in holes)
            {
                if (start >= offset && start < offset + length)
                {
                    start = offset + length;
                }
            }

            long found = start;
            end = holes.Where(hole => hole.Offset > found).Select(static hole => hole.Offset).DefaultIfEmpty(bytes.Length).Min();
            return start < bytes.Length;
        }
    }
}
