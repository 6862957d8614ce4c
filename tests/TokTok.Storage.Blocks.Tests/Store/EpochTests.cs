using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Devices of one account over the same holders, one of which is revoked: what is written from then on is unreadable to it, the others read everything, and nothing is deleted because keys have not come yet.</summary>
public sealed class EpochTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));
    private static readonly VolumeId s_other = new(new Bytes16(0, 8));
    private static readonly VolumeId s_third = new(new Bytes16(0, 9));

    /// <summary>A machine with a keyring of its own on the disk: only what is in that is known when its store is opened.</summary>
    private sealed class Machine
    {
        private Machine(StoreFixture fixture)
        {
            Fixture = fixture;
            Fixture.Options = Fixture.Options with { TrashDays = 2, SealAtFlushBytes = 1 };
        }

        internal StoreFixture Fixture { get; }

        internal string State => Fixture.Options.StateFolder;

        internal List<string> Notes => Fixture.Notes;

        internal static Machine First(int holders = 1, int seed = 1)
        {
            var machine = new Machine(new StoreFixture(holders, seed));
            machine.Write(machine.Fixture.Keys.Realm);
            return machine;
        }

        internal Machine Enrol(uint number)
        {
            var machine = new Machine(new StoreFixture(0, 100 + (int)number) { Disk = Fixture.Disk });
            machine.Fixture.HolderPaths.AddRange(Fixture.HolderPaths);
            DeviceKeys keys = DeviceKeys.Create(machine.Fixture.Random);
            machine.Fixture.Keys = Fixture.Keys with
            {
                Device = number,
                DeviceKeys = keys,
                Certificate = DeviceCertificate.Issue(Fixture.Keys.Certificate, Fixture.Keys.DeviceKeys, keys.PublicKey, keys.AgreementPublicKey, number, $"device{number}", 0),
            };
            machine.Fixture.Options = machine.Fixture.Options with { StateFolder = $"/state{number}" };
            Fixture.Disk.CreateDirectory(machine.State);
            using KeyDomain realm = Realm();
            machine.Write(realm);
            return machine;
        }

        internal KeyDomain Realm() => KeyDomain.Read(Fixture.Disk.ReadAll(State + "/keyring"));

        internal void Write(KeyDomain domain)
        {
            SimulatedDisk disk = Fixture.Disk;
            using SecretBytes bytes = domain.Serialize();
            string next = State + "/keyring.new";
            if (disk.FileExists(next))
            {
                disk.Delete(next);
            }

            using (IDiskFile file = disk.Open(next, DiskOpen.CreateNew))
            {
                file.Write(0, bytes.Span);
                file.Sync();
            }

            disk.Rename(next, State + "/keyring");
            disk.SyncDirectory(State);
        }

        internal async Task<BlockStore> OpenAsync(StoreAccess access = StoreAccess.Write)
        {
            KeyDomain realm = Realm();
            Fixture.Keys = Fixture.Keys with { Realm = realm, Domains = [realm], Keep = Write };
            return await Fixture.OpenAsync(access);
        }

        internal async Task MeetAsync()
        {
            await using BlockStore store = await OpenAsync();
            await store.PublishAsync(CancellationToken.None);
        }

        internal async Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)> WriteAsync(int first, VolumeId volume, Head? after = null)
        {
            await using BlockStore store = await OpenAsync();
            return await WriteAsync(store, first, volume, after);
        }

        internal static async Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)> WriteAsync(BlockStore store, int first, VolumeId volume, Head? after = null)
        {
            List<(Score Score, byte[] Bytes)> blocks = await StoreFixture.WriteAsync(store, first, 20);
            return (blocks, await StoreFixture.CommitAsync(store, volume, blocks.Select(static item => item.Score), after));
        }

        internal async Task RevokeAsync(uint device)
        {
            await using BlockStore store = await OpenAsync();
            await store.SayAsync(device, DeviceState.Revoked, CancellationToken.None);
            await store.BeginEpochsAsync(CancellationToken.None);
        }
    }

    private static Machine[] Three(int holders = 1)
    {
        Machine one = Machine.First(holders);
        return [one, one.Enrol(2), one.Enrol(3)];
    }

    private static async Task MeetAllAsync(params Machine[] machines)
    {
        for (int round = 0; round < 2; round++)
        {
            foreach (Machine machine in machines)
            {
                await machine.MeetAsync();
            }
        }
    }

    private static async Task AssertReadsAsync(Machine machine, params List<(Score Score, byte[] Bytes)>[] blocks)
    {
        foreach (StoreAccess access in (StoreAccess[])[StoreAccess.Read, StoreAccess.Write])
        {
            await using BlockStore store = await machine.OpenAsync(access);
            foreach (List<(Score Score, byte[] Bytes)> each in blocks)
            {
                await StoreFixture.AssertAllAsync(store, each);
            }
        }
    }

    /// <summary>What a thief can do with a keyring: every log and arena at the holders, tried with every key that is in it.</summary>
    private static async Task<(HashSet<string> Logs, HashSet<ArenaId> Arenas)> OpenedByAsync(Machine machine)
    {
        using KeyDomain realm = machine.Realm();
        HashSet<string> logs = [];
        SimulatedDisk disk = machine.Fixture.Disk;
        foreach (string path in disk.Files().Where(static path => path.StartsWith("/holder", StringComparison.Ordinal) && (path.Contains("/catalog/", StringComparison.Ordinal) || path.Contains("/journal/", StringComparison.Ordinal))))
        {
            if (realm.HasEpoch(RecordLogHeader.Read(disk.ReadAll(path), path).Epoch))
            {
                logs.Add(path);
            }
        }

        HashSet<ArenaId> arenas = [];
        await using BlockStore other = await machine.OpenAsync(StoreAccess.Read);
        foreach (ArenaRecord arena in other.Catalog.Arenas().Where(arena => realm.HasEpoch(arena.Epoch)))
        {
            arenas.Add(arena.Id);
        }

        return (logs, arenas);
    }

    [Fact]
    public async Task A_revoked_device_opens_nothing_that_is_written_from_then_on_and_a_third_reads_everything()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        (List<(Score Score, byte[] Bytes)> before, Head head) = await one.WriteAsync(0, s_volume);
        (List<(Score Score, byte[] Bytes)> thiefs, _) = await two.WriteAsync(1000, s_other);
        await MeetAllAsync(machines);
        await one.RevokeAsync(2);
        uint epoch = (1u << 23) | 1;
        using (KeyDomain realm = one.Realm())
        {
            Assert.Equal([1u, epoch], realm.Epochs);
        }

        (List<(Score Score, byte[] Bytes)> after, Head next) = await one.WriteAsync(2000, s_volume, head);

        // All that device 1 writes now is under keys that device 2 does not have.
        SimulatedDisk disk = one.Fixture.Disk;
        foreach (string path in disk.Files().Where(static path => path.Contains("/00000001-", StringComparison.Ordinal)))
        {
            RecordLogHeader header = RecordLogHeader.Read(disk.ReadAll(path), path);
            bool isNewest = !disk.Files().Any(other => other.Contains("/00000001-", StringComparison.Ordinal) && other.Contains(header.Kind == RecordLogKind.Catalog ? "/catalog/" : "/journal/", StringComparison.Ordinal)
                && path.Contains(header.Kind == RecordLogKind.Catalog ? "/catalog/" : "/journal/", StringComparison.Ordinal) && RecordLogHeader.Read(disk.ReadAll(other), other).Number > header.Number);
            Assert.Equal(isNewest ? epoch : 1u, header.Epoch);
        }

        await using (BlockStore store = await one.OpenAsync(StoreAccess.Read))
        {
            Assert.Contains(store.Catalog.Arenas(), arena => arena.Epoch == epoch);
            HashSet<ArenaId> old = [.. store.Catalog.Arenas().Where(static arena => arena.Epoch == 1).Select(static arena => arena.Id)];
            Assert.Subset(old, (await OpenedByAsync(two)).Arenas);
        }

        // The thief has the holders still, and what it could read before; no object there is for it.
        await using (BlockStore stolen = await two.OpenAsync(StoreAccess.Read))
        {
            await StoreFixture.AssertAllAsync(stolen, before);
            await StoreFixture.AssertAllAsync(stolen, thiefs);
            Assert.DoesNotContain(stolen.Heads, found => found == next);
            foreach ((Score score, byte[] _) in after)
            {
                Assert.False((await stolen.OpenBlocks(stolen.Realm, 0).ReadAsync(score, BlockType.Data, new byte[BlockLimits.MaxBlockBytes], CancellationToken.None)).IsFound);
            }

            Assert.Equal([1u], stolen.DomainOf(stolen.Realm).Epochs);
        }

        Assert.DoesNotContain(disk.Files(), path => path.EndsWith(EpochKeys.DigitsOf(two.Fixture.Keys.DeviceKeys.AgreementPublicKey), StringComparison.Ordinal));

        // The third takes the keys as it opens, reader or writer, and goes on under them.
        await AssertReadsAsync(three, before, thiefs, after);
        using (KeyDomain realm = three.Realm())
        {
            Assert.Equal([1u, epoch], realm.Epochs);
        }

        (List<(Score Score, byte[] Bytes)> its, _) = await three.WriteAsync(3000, s_third);
        await using (BlockStore store = await one.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, its);
            Assert.All(store.Catalog.Arenas().Where(static arena => arena.Owner == 3 && arena.SealSequence > 0), arena => Assert.True(arena.Epoch == epoch || arena.Epoch == 1));
        }

        Assert.DoesNotContain(three.Notes.Concat(one.Notes), static note => note.Contains("damaged", StringComparison.Ordinal) || note.Contains("left alone", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_words_read_all_epochs()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        (List<(Score Score, byte[] Bytes)> before, _) = await one.WriteAsync(0, s_volume);
        await MeetAllAsync(machines);
        await one.RevokeAsync(2);
        (List<(Score Score, byte[] Bytes)> after, _) = await one.WriteAsync(2000, s_other);
        (List<(Score Score, byte[] Bytes)> its, _) = await three.WriteAsync(3000, s_third);
        var fresh = new StoreFixture(0, 77) { Disk = one.Fixture.Disk };
        fresh.HolderPaths.AddRange(one.Fixture.HolderPaths);
        fresh.Disk.CreateDirectory("/fresh");
        fresh.Options = one.Fixture.Options with { StateFolder = "/fresh" };
        var notes = new List<string>();
        using var holder = TokTok.Storage.Blocks.Fragments.FolderHolder.Open(fresh.Disk, fresh.HolderPaths[0], fresh.Random, mayWrite: false);
        FoundAccount? found = await AccountFinder.FindAsync(one.Fixture.Account, [holder], notes.Add, CancellationToken.None);
        Assert.NotNull(found);
        Assert.Empty(notes);
        KeyDomain realm = Assert.Single(found.Domains);
        Assert.Equal([1u, (1u << 23) | 1], realm.Epochs);
        DeviceKeys keys = DeviceKeys.Create(fresh.Random);
        fresh.Keys = one.Fixture.Keys with { Device = 9, DeviceKeys = keys, Certificate = DeviceCertificate.Issue(one.Fixture.Account, keys, 9, "fresh", 0), Realm = realm, Domains = [realm], Keep = null };
        await using BlockStore store = await fresh.OpenAsync();
        await StoreFixture.AssertAllAsync(store, before);
        await StoreFixture.AssertAllAsync(store, after);
        await StoreFixture.AssertAllAsync(store, its);
        Assert.Equal(3, store.Heads.Count);
    }

    [Fact]
    public async Task Two_devices_that_revoke_two_others_without_meeting_come_to_one_epoch_that_neither_of_those_has()
    {
        Machine one = Machine.First(2);
        Machine[] machines = [one, .. new uint[] { 2, 3, 4 }.Select(one.Enrol)];
        (Machine two, Machine three, Machine four) = (machines[1], machines[2], machines[3]);
        await MeetAllAsync(machines);
        string[] holders = [.. one.Fixture.HolderPaths];
        one.Fixture.HolderPaths.RemoveAt(1);
        two.Fixture.HolderPaths.RemoveAt(0);
        one.Fixture.Options = one.Fixture.Options with { Survive = 0 };
        two.Fixture.Options = two.Fixture.Options with { Survive = 0 };
        await one.RevokeAsync(3);
        await two.RevokeAsync(4);
        (List<(Score Score, byte[] Bytes)> ones, _) = await one.WriteAsync(1000, s_volume);
        (List<(Score Score, byte[] Bytes)> twos, _) = await two.WriteAsync(2000, s_other);
        foreach (Machine machine in (Machine[])[one, two])
        {
            machine.Fixture.HolderPaths.Clear();
            machine.Fixture.HolderPaths.AddRange(holders);
        }

        await MeetAllAsync(one, two);
        await AssertReadsAsync(one, ones, twos);
        await AssertReadsAsync(two, ones, twos);
        (List<(Score Score, byte[] Bytes)> joint, _) = await two.WriteAsync(5000, s_third);
        await AssertReadsAsync(one, ones, twos, joint);
        await using BlockStore first = await one.OpenAsync();
        uint current = first.DomainOf(first.Realm).CurrentEpoch;
        await first.DisposeAsync();
        await using BlockStore second = await two.OpenAsync();
        Assert.Equal(current, second.DomainOf(second.Realm).CurrentEpoch);
        foreach (Machine stolen in (Machine[])[three, four])
        {
            using KeyDomain before = stolen.Realm();
            Assert.False(before.HasEpoch(current));
            await using BlockStore store = await stolen.OpenAsync(StoreAccess.Read); // takes whatever was left for it
            Assert.False(store.DomainOf(store.Realm).HasEpoch(current));
        }

        Assert.Equal([3u, 4u], first.Catalog.Epochs().Single(record => record.Epoch == current).Revoked);
    }

    [Fact]
    public async Task Nothing_is_deleted_while_a_device_writes_under_keys_that_have_not_come()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        await MeetAllAsync(machines);
        await one.RevokeAsync(2);
        Dictionary<string, byte[]> left = TakeAway();
        Assert.NotEmpty(left);

        // Device 3 has not got the keys and writes on under the older ones. Device 1 counts on what it sealed, in a head that it cannot see; the last catalog that it can open knows nothing of all that.
        (List<(Score Score, byte[] Bytes)> mine, Head head) = await three.WriteAsync(0, s_volume);
        await using (BlockStore store = await one.OpenAsync())
        {
            await StoreFixture.WriteAsync(store, 0, 20);
            Assert.Equal(0, store.PendingCount); // hits
            await StoreFixture.CommitAsync(store, s_other, mine.Select(static item => item.Score), null);
        }

        foreach ((string path, byte[] bytes) in TakeAway())
        {
            left[path] = bytes;
        }

        three.Notes.Clear();
        await using (BlockStore store = await three.OpenAsync())
        {
            await StoreFixture.CommitAsync(store, s_volume, [], head);
        }

        Assert.Contains(three.Notes, static note => note.StartsWith("device 1 (test) writes under keys this device does not have yet; they come with the next meeting of a holder that has them", StringComparison.Ordinal));
        bool isTold = false;
        for (int day = 0; day < 5; day++)
        {
            three.Fixture.Clock.Advance(TimeSpan.FromDays(1));
            await using BlockStore store = await three.OpenAsync();
            ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
            Assert.Equal(0, report.FreedBytes);
            Assert.Equal(0, await store.AdoptUnknownAsync(CancellationToken.None));
            isTold |= report.WaitingBytes > 0 && report.Reasons.Any(static reason => reason.StartsWith("device 1 (test) writes under keys this device does not have yet", StringComparison.Ordinal));
        }

        Assert.True(isTold, "nothing waited in the trash for the device that cannot be followed");
        foreach ((string path, byte[] bytes) in left)
        {
            one.Fixture.Disk.Plant(path, bytes);
        }

        // They came: it reads what device 1 wrote, and its own arenas come back from the trash for it.
        await three.MeetAsync();
        await using (BlockStore store = await three.OpenAsync())
        {
            Assert.Contains(store.Heads, static found => found.Volume == s_other);
            await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
            await StoreFixture.AssertAllAsync(store, mine);
        }

        await AssertReadsAsync(one, mine);

        Dictionary<string, byte[]> TakeAway()
        {
            SimulatedDisk disk = one.Fixture.Disk;
            var taken = disk.Files().Where(static path => path.Contains("/objects/epochs/", StringComparison.Ordinal)).ToDictionary(static path => path, disk.ReadAll);
            foreach (string path in taken.Keys)
            {
                disk.Remove(path);
            }

            return taken;
        }
    }

    [Fact]
    public async Task A_thief_makes_nobody_take_keys_and_gets_none_by_enrolling_another()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        await MeetAllAsync(machines);
        await one.RevokeAsync(2);

        // Device 2 enrols device 5, which publishes; and leaves keys of its own making for device 3, in its own name and in that of 5.
        Machine five = two.Enrol(5);
        await five.MeetAsync();
        using (KeyDomain realm = two.Realm())
        {
            foreach (Machine thief in (Machine[])[two, five])
            {
                using KeyDomain bad = realm.Copy();
                uint number = bad.AddEpoch(thief.Fixture.Keys.Device, (300u << 23) | 1, new SeededRandom(5));
                byte[] bytes = EpochKeys.Write(
                    one.Fixture.Keys.Tag, bad, number, three.Fixture.Keys.Certificate, one.Fixture.Keys.AnchorKey.Span, thief.Fixture.Keys.Certificate, thief.Fixture.Keys.DeviceKeys, new SeededRandom(6));
                one.Fixture.Disk.Plant($"/holder0/objects/{EpochKeys.NameOf(one.Fixture.Keys.Tag, bad.Id, number, three.Fixture.Keys.DeviceKeys.AgreementPublicKey)}", bytes);
            }
        }

        (List<(Score Score, byte[] Bytes)> after, _) = await one.WriteAsync(2000, s_volume);
        await AssertReadsAsync(three, after);
        using (KeyDomain realm = three.Realm())
        {
            Assert.Equal([1u, (1u << 23) | 1], realm.Epochs);
        }

        Assert.Contains(three.Notes, static note => note.Contains("expected a device that is not revoked, nor enrolled by one that is; it is not taken", StringComparison.Ordinal));
        await MeetAllAsync(one, three);
        await five.MeetAsync();
        using KeyDomain its = five.Realm();
        Assert.False(its.HasEpoch((1u << 23) | 1)); // what others left is not for it
    }

    [Fact]
    public async Task The_device_that_enrolled_all_others_is_revoked_and_they_go_on_together()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        await MeetAllAsync(machines);
        await two.RevokeAsync(1);
        (List<(Score Score, byte[] Bytes)> twos, _) = await two.WriteAsync(2000, s_volume);
        await AssertReadsAsync(three, twos);
        Machine four = three.Enrol(4); // by one that is trusted, though device 1 enrolled that
        (List<(Score Score, byte[] Bytes)> fours, _) = await four.WriteAsync(4000, s_other);
        await MeetAllAsync(two, three, four);
        await AssertReadsAsync(two, twos, fours);
        await three.RevokeAsync(2);
        (List<(Score Score, byte[] Bytes)> threes, _) = await three.WriteAsync(6000, s_third);
        await AssertReadsAsync(four, twos, fours, threes);
        foreach (Machine stolen in (Machine[])[one, two])
        {
            await using BlockStore store = await stolen.OpenAsync(StoreAccess.Read);
            Assert.False(store.DomainOf(store.Realm).HasEpoch((2u << 23) | 3));
        }
    }

    [Fact]
    public async Task One_that_was_enrolled_by_who_lacked_the_newest_keys_gets_them_from_the_others()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        await MeetAllAsync(machines);
        Machine four = three.Enrol(4);
        await four.MeetAsync();
        await one.RevokeAsync(2); // has not heard of device 4
        (List<(Score Score, byte[] Bytes)> after, _) = await one.WriteAsync(2000, s_volume);
        await one.MeetAsync();
        await AssertReadsAsync(four, after);

        // One that begins now, with older keys, is told before it takes an older state for the newest.
        Machine late = three.Enrol(5);
        late.Fixture.Options = late.Fixture.Options with { MustExist = true };
        StoreException refused = await Assert.ThrowsAsync<StoreException>(async () => await late.OpenAsync());
        Assert.Equal(StoreProblem.KeysMissing, refused.Problem);
    }

    [Fact]
    public async Task A_keyring_that_is_older_than_the_store_is_renewed_from_the_holders_or_refused()
    {
        Machine[] machines = Three();
        Machine one = machines[0];
        await MeetAllAsync(machines);
        byte[] older = one.Fixture.Disk.ReadAll(one.State + "/keyring");
        await one.RevokeAsync(2);
        (List<(Score Score, byte[] Bytes)> after, _) = await one.WriteAsync(2000, s_volume);
        one.Fixture.Disk.Plant(one.State + "/keyring", older);
        await AssertReadsAsync(one, after);
        one.Fixture.Disk.Plant(one.State + "/keyring", older);
        foreach (string path in one.Fixture.Disk.Files().Where(static path => path.Contains("/objects/epochs/", StringComparison.Ordinal)))
        {
            one.Fixture.Disk.Remove(path);
        }

        string[] before = [.. one.Fixture.Disk.Files()];
        foreach (StoreAccess access in (StoreAccess[])[StoreAccess.Write, StoreAccess.Read])
        {
            StoreException refused = await Assert.ThrowsAsync<StoreException>(async () => await one.OpenAsync(access));
            Assert.Equal(StoreProblem.KeysMissing, refused.Problem);
        }

        Assert.Empty(before.Except(one.Fixture.Disk.Files()));
    }

    [Fact]
    public async Task A_device_that_runs_takes_the_keys_when_it_meets_the_others_and_goes_on_under_them_with_what_it_had_open()
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        await MeetAllAsync(machines);
        foreach (Machine machine in (Machine[])[one, three])
        {
            machine.Fixture.Options = machine.Fixture.Options with { SealAtFlushBytes = 1024 * 1024 };
        }

        uint epoch = (1u << 23) | 1;
        await using (BlockStore running = await three.OpenAsync())
        await using (BlockStore revoking = await one.OpenAsync())
        {
            (List<(Score Score, byte[] Bytes)> open, Head head) = await Machine.WriteAsync(running, 0, s_volume); // in its journal, under the first epoch
            (List<(Score Score, byte[] Bytes)> ones, _) = await Machine.WriteAsync(revoking, 500, s_third);
            await revoking.SayAsync(2, DeviceState.Revoked, CancellationToken.None);
            await revoking.BeginEpochsAsync(CancellationToken.None);
            await revoking.BeginEpochsAsync(CancellationToken.None); // there is one
            Assert.Equal([1u, epoch], revoking.DomainOf(revoking.Realm).Epochs);
            (List<(Score Score, byte[] Bytes)> after, _) = await Machine.WriteAsync(revoking, 2000, s_other);
            await StoreFixture.AssertAllAsync(revoking, ones);

            Assert.True(await running.HasNewsAsync(CancellationToken.None));
            Assert.True(await running.MeetOthersAsync(CancellationToken.None));
            await StoreFixture.AssertAllAsync(running, after);
            await StoreFixture.AssertAllAsync(running, ones);
            await StoreFixture.AssertAllAsync(running, open);
            Assert.Equal(epoch, running.DomainOf(running.Realm).CurrentEpoch);
            (List<(Score Score, byte[] Bytes)> more, _) = await Machine.WriteAsync(running, 4000, s_volume, head);
            await running.SealAllAsync(CancellationToken.None);
            Assert.Equal([1u, epoch], running.Catalog.Arenas().Where(static arena => arena.Owner == 3).Select(static arena => arena.Epoch).Distinct().Order()); // what was open stays under its own
            await StoreFixture.AssertAllAsync(running, open.Concat(more));
            Assert.True(await revoking.MeetOthersAsync(CancellationToken.None));
            await StoreFixture.AssertAllAsync(revoking, more);
            Assert.False(await running.HasNewsAsync(CancellationToken.None) && await running.MeetOthersAsync(CancellationToken.None) && await running.HasNewsAsync(CancellationToken.None));
        }

        using KeyDomain realm = three.Realm();
        Assert.Equal([1u, epoch], realm.Epochs);
        await using BlockStore stolen = await two.OpenAsync(StoreAccess.Read);
        Assert.DoesNotContain(stolen.Heads, static found => found.Volume == s_other);
    }

    [Fact]
    public async Task Writers_go_on_while_an_epoch_is_begun_and_lose_nothing()
    {
        Machine[] machines = Three();
        (Machine one, Machine three) = (machines[0], machines[2]);
        await MeetAllAsync(machines);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await one.OpenAsync())
        {
            Task<List<(Score Score, byte[] Bytes)>> writing = Task.Run(async () =>
            {
                var all = new List<(Score Score, byte[] Bytes)>();
                Head? head = null;
                for (int round = 0; round < 20; round++)
                {
                    all.AddRange(await StoreFixture.WriteAsync(store, 100 * round, 10));
                    head = await StoreFixture.CommitAsync(store, s_volume, all.Select(static item => item.Score), head);
                }

                return all;
            });
            await store.SayAsync(2, DeviceState.Revoked, CancellationToken.None);
            await store.BeginEpochsAsync(CancellationToken.None);
            written = await writing;
            await StoreFixture.AssertAllAsync(store, written);
        }

        await AssertReadsAsync(one, written);
        await AssertReadsAsync(three, written);
    }

    [Fact]
    public async Task A_holder_that_was_away_gets_the_keys_before_what_is_under_them_and_a_full_keyring_disk_begins_nothing()
    {
        Machine one = Machine.First(2);
        Machine three = one.Enrol(3);
        Machine two = one.Enrol(2);
        await MeetAllAsync(one, two, three);
        string[] holders = [.. one.Fixture.HolderPaths];
        one.Fixture.HolderPaths.RemoveAt(1);
        one.Fixture.Options = one.Fixture.Options with { Survive = 0 };

        // The keyring cannot be written: the device is revoked, and what follows says that it reads on.
        await using (BlockStore store = await one.OpenAsync())
        {
            await store.SayAsync(2, DeviceState.Revoked, CancellationToken.None);
            one.Fixture.Disk.OnOperation = static operation => operation.Path.Contains("keyring", StringComparison.Ordinal) ? DiskFailure.Full : null;
            await Assert.ThrowsAsync<DiskException>(async () => await store.BeginEpochsAsync(CancellationToken.None));
            Assert.False(store.AreKeysFit);
            await Machine.WriteAsync(store, 100, s_volume);
        }

        await using (BlockStore store = await one.OpenAsync())
        {
            Assert.Contains(one.Notes, static note => note.Contains("what is written now is readable to the devices that were revoked", StringComparison.Ordinal));
        }

        one.Fixture.Disk.OnOperation = null;
        (List<(Score Score, byte[] Bytes)> after, _) = await one.WriteAsync(2000, s_other);
        one.Fixture.HolderPaths.Add(holders[1]);
        await one.MeetAsync();
        three.Fixture.HolderPaths.RemoveAt(0); // sees the second holder alone
        three.Fixture.Options = three.Fixture.Options with { Survive = 0 };
        await three.MeetAsync();
        using KeyDomain realm = three.Realm();
        Assert.Equal(2, realm.Epochs.Count);
        three.Fixture.HolderPaths.Insert(0, holders[0]);
        await AssertReadsAsync(three, after);
    }

    /// <summary>The power is cut at every operation of a revocation: whatever is left, the next opening of any device ends with keys that the revoked one has not, and everything that was acknowledged is read by the others.</summary>
    [Fact]
    public async Task A_crash_at_every_step_of_a_revocation_leaves_everything_readable_and_the_next_opening_ends_it()
    {
        bool isLong = Environment.GetEnvironmentVariable("TDFS_LONG") == "1";
        long operations = await RunAsync(long.MaxValue);
        Assert.InRange(operations, 20, 5000);
        for (long crashAt = 1; crashAt <= operations; crashAt += isLong ? 1 : Math.Max(1, operations / 80))
        {
            try
            {
                await RunAsync(crashAt);
            }
            catch (Exception failure)
            {
                throw new InvalidOperationException($"crash at operation {crashAt} of {operations}: {failure.Message}", failure);
            }
        }
    }

    private static async Task<long> RunAsync(long crashAt)
    {
        Machine[] machines = Three();
        (Machine one, Machine two, Machine three) = (machines[0], machines[1], machines[2]);
        (List<(Score Score, byte[] Bytes)> before, Head head) = await one.WriteAsync(0, s_volume);
        await MeetAllAsync(machines);
        BlockStore store = await one.OpenAsync();
        long first = one.Fixture.Disk.OperationCount;
        one.Fixture.Disk.CrashAfter(Math.Min(crashAt, 1L << 40));
        bool isSaid = false;
        List<(Score Score, byte[] Bytes)>? after = null;
        try
        {
            await store.SayAsync(2, DeviceState.Revoked, CancellationToken.None);
            isSaid = true;
            await store.BeginEpochsAsync(CancellationToken.None);
            (after, _) = await Machine.WriteAsync(store, 2000, s_volume, head);
            await store.DisposeAsync();
        }
        catch (Exception failure) when (one.Fixture.Disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
        {
            try
            {
                await store.DisposeAsync();
            }
            catch (Exception gone) when (gone is SimulatedCrashException or DiskException)
            {
                // it is still gone
            }
        }

        long operations = one.Fixture.Disk.OperationCount - first;
        SimulatedDisk disk = one.Fixture.Disk.Recover((int)(crashAt % 1000));
        foreach (Machine machine in machines)
        {
            machine.Fixture.Disk = disk;
        }

        // The third opens first, then the first, then both again.
        foreach (Machine machine in (Machine[])[three, one, three, one])
        {
            await using BlockStore again = await machine.OpenAsync();
            await StoreFixture.AssertAllAsync(again, before);
            if (after is not null)
            {
                await StoreFixture.AssertAllAsync(again, after);
            }

            Assert.Empty((await new Scrubber(again).CheckAsync(true, null, CancellationToken.None)).Damaged);
            await again.PublishAsync(CancellationToken.None);
        }

        await using (BlockStore again = await one.OpenAsync())
        {
            Assert.True(!isSaid || again.Statements.ContainsKey(2), "an acknowledged statement is gone");
            Assert.True(again.AreKeysFit);
            Assert.Equal(again.Statements.ContainsKey(2), again.DomainOf(again.Realm).CurrentEpoch != 1);
        }

        (List<(Score Score, byte[] Bytes)> last, _) = await one.WriteAsync(7000, s_third);
        await AssertReadsAsync(three, before, last);
        await using BlockStore stolen = await two.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(stolen, before);
        bool isRevoked = stolen.Statements.ContainsKey(2);
        Assert.True(!isSaid || isRevoked);
        if (isRevoked)
        {
            foreach ((Score score, byte[] _) in last)
            {
                Assert.False((await stolen.OpenBlocks(stolen.Realm, 0).ReadAsync(score, BlockType.Data, new byte[BlockLimits.MaxBlockBytes], CancellationToken.None)).IsFound);
            }
        }

        return operations;
    }
}
