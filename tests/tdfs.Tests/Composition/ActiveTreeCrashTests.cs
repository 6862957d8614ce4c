using System.Globalization;
using System.Text;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>An active tree over a store on a simulated disk whose power goes at any moment.</summary>
/// <remarks>What stands there afterwards is the tree as it was behind some operation, whole, and no earlier one than the last that a sync acknowledged.</remarks>
public sealed class ActiveTreeCrashTests
{
    private const OpenOptions Both = OpenOptions.Read | OpenOptions.Write;
    private static readonly FileCaller s_caller = new(1000, 1000);

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task What_was_synced_is_there_after_the_power_went_and_nothing_is_there_by_half(int seed)
    {
        var machine = new Machine(seed);
        var random = new Random(seed);
        for (int cut = 0; cut < 6; cut++)
        {
            List<string> states = [await machine.LookAsync()];
            int acknowledged = 0;
            machine.Disk.CrashAfter(random.Next(1, 250));
            try
            {
                await using BlockStore store = await machine.OpenAsync();
                using Volume volume = await Volume.OpenOrCreateAsync(store, "v", machine.Random, default);
                ActiveTree tree = ActiveTree.Open(store, volume, machine.Clock, s_options);
                for (int step = 0; step < 400 && !machine.Disk.HasCrashed; step++)
                {
                    Step(tree, random, () => states.Add(Describe(tree)));
                    if (random.Next(4) == 0 && Sync(tree, random, () => states.Add(Describe(tree))) == FileError.None)
                    {
                        acknowledged = states.Count - 1;
                    }
                }

                await tree.DisposeAsync();
                acknowledged = states.Count - 1;
            }
            catch (Exception failure) when (machine.Disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
            {
                // the power went
            }

            machine.Disk = machine.Disk.Recover((seed * 100) + cut);
            string found = await machine.LookAsync();
            int at = states.LastIndexOf(found);
            Assert.True(at >= acknowledged, $"seed {seed}, cut {cut}: found state {at} of {states.Count}, expected {acknowledged} or a later one\nfound\n{found}\nacknowledged\n{states[acknowledged]}");
        }
    }

    [Fact]
    public async Task What_was_synced_is_there_from_the_holders_alone()
    {
        var machine = new Machine(77);
        var random = new Random(77);
        string last;
        await using (BlockStore store = await machine.OpenAsync())
        {
            using Volume volume = await Volume.OpenOrCreateAsync(store, "v", machine.Random, default);
            ActiveTree tree = ActiveTree.Open(store, volume, machine.Clock, s_options with { DirtyBytes = 100 << 20, SpillBytes = 1 << 20 });
            for (int round = 0; round < 20; round++)
            {
                for (int step = 0; step < 10; step++)
                {
                    Step(tree, random, static () => { });
                }

                Assert.Equal(FileError.None, tree.SyncAll());
            }

            Assert.True(tree.LoggedCount > 10);
            last = Describe(tree);
        }

        machine.State = "/elsewhere";
        machine.Disk.CreateDirectory(machine.State);
        Assert.Equal(last, await machine.LookAsync());
        Assert.Equal(last, await machine.LookAsync());
    }

    [Fact]
    public async Task A_journal_does_not_grow_from_one_crash_to_the_next()
    {
        const int LifeBytes = 40 * 8192;
        var machine = new Machine(78);
        byte[] page = new byte[8192];
        for (int life = 1; life <= 8; life++)
        {
            BlockStore store = await machine.OpenAsync();
            await ActiveTree.TakeInIntentsAsync(store, machine.Clock, default);
            long found = machine.Disk.Files().Where(static path => path.StartsWith("state/journal/", StringComparison.Ordinal)).Sum(path => (long)machine.Disk.ReadAll(path).Length);
            Assert.True(found < 2 * LifeBytes, $"the journal has {found} bytes when life {life} begins");
            using Volume volume = await Volume.OpenOrCreateAsync(store, "v", machine.Random, default);
            ActiveTree tree = ActiveTree.Open(store, volume, machine.Clock, s_options with { DirtyBytes = 100 << 20, SpillBytes = 50 << 20 });
            Assert.Equal(FileError.None, tree.Create(s_caller, tree.RootId, Encoding.UTF8.GetBytes($"{life}"), 0x1a4, Both, out _, out ulong handle));
            for (int write = 0; write < LifeBytes / page.Length; write++)
            {
                machine.Random.Fill(page);
                Assert.Equal(FileError.None, tree.Write(handle, 0, page, default, out _));
                Assert.Equal(FileError.None, tree.Sync(handle));
            }

            Assert.True(tree.LoggedCount > 30);
            machine.Disk.CrashAfter(0);
            machine.Disk = machine.Disk.Recover(life);
        }
    }

    public static TheoryData<int> Seeds() => [.. Enumerable.Range(1, 5)];

    private static readonly ActiveTreeOptions s_options = new() { CommitInterval = TimeSpan.Zero, DirtyBytes = 200_000, SpillBytes = 60_000 };

    private static FileError Sync(ActiveTree tree, Random random, Action changed)
    {
        if (random.Next(2) == 0)
        {
            return tree.SyncDirectory(tree.RootId);
        }

        FileError error = tree.Create(s_caller, tree.RootId, "a"u8, 0x1a4, Both, out InodeAttributes made, out ulong handle);
        if (error == FileError.None)
        {
            changed();
            error = tree.Sync(handle);
            tree.Release(handle);
            tree.Forget(made.FileId, 1);
        }

        return error;
    }

    /// <param name="changed">Called behind every operation: each is a state that may be found.</param>
    private static void Step(ActiveTree tree, Random random, Action changed)
    {
        ulong directory = tree.RootId;
        InodeAttributes below = default;
        if (random.Next(3) == 0 && tree.Lookup(tree.RootId, Name(random), out below) == FileError.None)
        {
            directory = below.Type == EntryType.Directory ? below.FileId : tree.RootId;
        }

        switch (random.Next(10))
        {
            case 0:
                if (tree.MakeDirectory(s_caller, directory, Name(random), 0x1ed, out InodeAttributes made) == FileError.None)
                {
                    tree.Forget(made.FileId, 1);
                }

                break;
            case 1:
                _ = tree.Unlink(s_caller, directory, Name(random));
                break;
            case 2:
                _ = tree.RemoveDirectory(s_caller, directory, Name(random));
                break;
            case 3:
            case 4:
                _ = tree.Rename(s_caller, tree.RootId, Name(random), directory, Name(random), (RenameMode)random.Next(3));
                break;
            case 5:
                if (tree.Lookup(tree.RootId, Name(random), out InodeAttributes file) == FileError.None)
                {
                    if (tree.Link(s_caller, file.FileId, directory, Name(random), out _) == FileError.None)
                    {
                        tree.Forget(file.FileId, 1);
                    }

                    changed();
                    _ = tree.SetXattr(s_caller, file.FileId, "user.x"u8, Encoding.UTF8.GetBytes($"{random.Next(100)}"), XattrMode.Any);
                    changed();
                    _ = tree.SetAttributes(s_caller, file.FileId, new AttributeChange { Mode = 0x1a4u | (uint)random.Next(8) }, out _);
                    tree.Forget(file.FileId, 1);
                }

                break;
            default:
                if (tree.Create(s_caller, directory, Name(random), 0x1a4, Both, out InodeAttributes written, out ulong handle) == FileError.None)
                {
                    changed();
                    Change(tree, handle, written.FileId, random);
                    Assert.Equal(FileError.None, tree.Release(handle));
                    tree.Forget(written.FileId, 1);
                }

                break;
        }

        changed();
        if (below.FileId != 0)
        {
            tree.Forget(below.FileId, 1);
        }
    }

    /// <summary>One change of content, so that every state is one that the test has seen.</summary>
    private static void Change(ActiveTree tree, ulong handle, ulong id, Random random)
    {
        byte[] bytes = new byte[random.Next(1, 12_000)];
        random.NextBytes(bytes);
        int kind = random.Next(5);
        FileError error = kind switch
        {
            0 => tree.Allocate(handle, AllocateMode.PunchHole, random.Next(40_000), bytes.Length),
            1 => tree.SetAttributes(s_caller, id, new AttributeChange { Size = random.Next(60_000) }, out _),
            _ => tree.Write(handle, random.Next(50_000), bytes, WriteOptions.None, out _),
        };
        Assert.True(error is FileError.None or FileError.EIO, $"{error}"); // EIO: the power went under a commit that it had to wait for
    }

    private static byte[] Name(Random random) => [(byte)('a' + random.Next(6))];

    private static string Describe(ActiveTree tree)
    {
        var text = new StringBuilder();
        Describe(tree, tree.RootId, "", text);
        return text.ToString();
    }

    private static void Describe(ActiveTree tree, ulong id, string path, StringBuilder text)
    {
        Assert.Equal(FileError.None, tree.GetAttributes(id, out InodeAttributes found));
        byte[] value = new byte[100];
        FileError xattr = tree.GetXattr(id, "user.x"u8, value, out int bytes);
        text.Append(CultureInfo.InvariantCulture, $"{path} {id:x} {found.Type} {found.Mode:x} {found.LinkCount} {found.Size} {found.Modified} {xattr}{Encoding.UTF8.GetString(value, 0, bytes)} ");
        if (found.Type == EntryType.File)
        {
            Assert.Equal(FileError.None, tree.Open(s_caller, id, OpenOptions.Read, out ulong handle));
            byte[] content = new byte[found.Size];
            Assert.Equal(FileError.None, tree.Read(handle, 0, content, out int read));
            Assert.Equal(content.Length, read);
            text.Append(Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(content).AsSpan(0, 8)));
            Assert.Equal(FileError.None, tree.Release(handle));
        }

        text.Append('\n');
        if (found.Type == EntryType.Directory)
        {
            var names = new Names();
            Assert.Equal(FileError.None, tree.OpenDirectory(id, out ulong handle));
            Assert.Equal(FileError.None, tree.ReadDirectory(handle, 0, withAttributes: true, names));
            Assert.Equal(FileError.None, tree.Release(handle));
            foreach ((string name, ulong child) in names.Found)
            {
                Describe(tree, child, $"{path}/{name}", text);
                tree.Forget(child, 1);
            }
        }
    }

    private sealed class Names : IDirectorySink
    {
        internal List<(string Name, ulong Id)> Found { get; } = [];

        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
        {
            if (cookie > 2)
            {
                Found.Add((Encoding.UTF8.GetString(name), attributes.FileId));
            }

            return true;
        }
    }

    /// <summary>A machine with a store that may be switched off.</summary>
    private sealed class Machine
    {
        private readonly StoreKeys _keys;

        internal Machine(int seed)
        {
            Random = new SeededRandom(seed);
            KeyDomain realm = KeyDomain.Create(DomainKind.Realm, Random);
            AccountKeys account = AccountKeys.FromEntropy(Random.Bytes(32));
            DeviceKeys device = DeviceKeys.Create(Random);
            _keys = new StoreKeys
            {
                Device = 1,
                DeviceKeys = device,
                Certificate = DeviceCertificate.Issue(account, device, 1, "test", 0),
                Realm = realm,
                Domains = [realm],
                Tag = account.Tag,
                AnchorKey = account.AnchorKey,
                AccountPublicKey = account.PublicKey.ToArray(),
                RecoveryPublicKey = account.RecoveryPublicKey.ToArray(),
            };
            Disk.CreateDirectory("/state");
            FolderHolder.Create(Disk, "/holder", Random).Dispose();
        }

        internal SimulatedDisk Disk { get; set; } = new();

        internal string State { get; set; } = "/state";

        internal SeededRandom Random { get; }

        internal ManualClock Clock { get; } = new();

        internal async Task<BlockStore> OpenAsync()
        {
            var options = new StoreOptions { StateFolder = State, ArenaBytes = 256 * 1024, SealAtFlushBytes = 256 * 1024, CompressionLevel = 1 };
            ConfiguredHolder[] holders = [new("here", "/holder", FolderHolder.Open(Disk, "/holder", Random), null)];
            return await BlockStore.OpenAsync(Disk, options, _keys, holders, static () => new MemoryIndex(), Clock, Random, StoreAccess.Write, "the test", null, default);
        }

        /// <summary>The tree as it is found now.</summary>
        internal async Task<string> LookAsync()
        {
            await using BlockStore store = await OpenAsync();
            using Volume volume = await Volume.OpenOrCreateAsync(store, "v", Random, default);
            await using ActiveTree tree = ActiveTree.Open(store, volume, Clock, s_options);
            return Describe(tree);
        }
    }
}
