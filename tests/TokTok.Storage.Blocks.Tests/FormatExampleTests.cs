using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests;

/// <summary>The worked examples of docs/format.md 4 to 11 are what the code writes, so that page and code cannot drift apart.</summary>
public sealed class FormatExampleTests
{
    private static readonly ArenaId s_arena = ArenaId.Read(Counting(32));

    [Fact]
    public void A_record_log_and_its_first_record()
    {
        using KeyDomain realm = Realm();
        var disk = new SimulatedDisk();
        disk.CreateDirectory("/log");
        byte[] key = new byte[32];
        realm.LogKey(1, Counting(32), key);
        var header = new RecordLogHeader
        {
            Kind = RecordLogKind.Catalog,
            Domain = realm.Id,
            Epoch = 1,
            Device = 1,
            Incarnation = 0x0807060504030201,
            Number = 2,
            LogId = UInt256.Read(Counting(32)),
        };
        using (var writer = new RecordLogWriter(disk, "/log/2", header, key, new CountingRandom()))
        {
            var body = new FieldWriter(16);
            Catalog.WriteDay(body, 3, 20_778);
            writer.Append(body.Written);
            writer.Sync();
        }

        AssertShows("4", disk.ReadAll("/log/2"));
    }

    [Fact]
    public void A_clump()
    {
        using KeyDomain realm = Realm();
        byte[] plain = "hello"u8.ToArray();
        Score score = Clump.ScoreOf(realm, BlockType.Data, plain);
        byte[] clump = new byte[128];
        int bytes = Clump.Write(realm, 1, score, BlockType.Data, plain, 3, new Compressor(), new CountingRandom(), new byte[64], clump);
        byte[] shown = new byte[Score.Size + bytes];
        score.Write(shown);
        clump.AsSpan(0, bytes).CopyTo(shown.AsSpan(Score.Size));
        AssertShows("5", shown);
    }

    [Fact]
    public void An_arena_header_and_a_directory_entry()
    {
        byte[] bytes = new byte[ArenaHeader.Size + ArenaDirectory.EntrySize];
        ArenaDirectory.WriteEntry(bytes.AsSpan(ArenaHeader.Size), new ClumpEntry(Score.Read(Counting(32)), BlockType.Data, 160, 45, 5));
        byte[] checksum = new byte[32];
        Core.Hashing.Blake3.Hash(bytes.AsSpan(ArenaHeader.Size), checksum);
        new ArenaHeader
        {
            Id = s_arena,
            Layout = new ArenaLayout(2, 1, 131_072),
            Survive = 1,
            Domain = DomainId.Read(Counting(16)),
            Epoch = 1,
            Owner = 1,
            Incarnation = 0x0807060504030201,
            ClumpCount = 1,
            DirectoryOffset = 205,
            SealedAtSeconds = 1_795_000_000,
            DirectoryChecksum = UInt256.Read(checksum),
        }.Write(bytes);
        AssertShows("6", bytes);
    }

    [Fact]
    public void A_fragment_files_record()
    {
        byte[] fragment = [.. Enumerable.Range(0, 20_480).Select(static at => (byte)(at % 251))];
        byte[] hashes = new byte[2 * 32], root = new byte[32];
        Core.Hashing.Blake3Tree.HashWithGroups(fragment, hashes, root);
        FragmentFile file = FragmentFile.Of(s_arena, 2, 1, fragment.Length, [new HeldFragment(2, FragmentName.Read(root))]);
        byte[] record = file.Write([hashes]);
        int used = file.HashOffsetOf(1);
        AssertShows("7", record.AsSpan(0, used));
        Assert.Equal((4096, 4096L, 28_672L), (record.Length, file.OffsetOf(0), file.FileBytes));
        Assert.False(record.AsSpan(used).ContainsAnyExcept((byte)0));
        FragmentFile back = FragmentFile.Parse(record, s_arena, "the page");
        Assert.Equal(hashes, back.HashesOf(record, 0, file.Fragments[0].Name));
    }

    [Fact]
    public void Journal_records()
    {
        byte[] clump = Repository.FormatExample("5");
        var writer = new FieldWriter(256);
        Journal.WriteClump(
            writer,
            new JournalClump(DomainId.Read(Counting(16)), 1, 1, BlockType.Data, 5, 20_778, Score.Read(clump.AsSpan(0, Score.Size)), clump.AsMemory(Score.Size)));
        AssertShows("8", [.. writer.Written, Journal.CarriedKind]);
    }

    [Fact]
    public void A_batch_of_intents()
    {
        const int HeaderSize = 42;
        byte[] example = Repository.FormatExample("8.1");
        var writer = new FieldWriter(256);
        var intent = new Intent(new VolumeId(new Bytes16(0, 1)), 1, 2, 1, 0, true, example.AsMemory(HeaderSize));
        Journal.WriteIntent(writer, intent);
        AssertShows("8.1", writer.ToArray());
        Assert.Equal(intent with { Body = default }, Journal.ReadIntent(writer.Written, "the page") with { Body = default });
    }

    [Fact]
    public void Catalog_records()
    {
        var writer = new FieldWriter(1024);
        Catalog.WriteHolder(writer, new HolderRecord(0, HolderId.Read(Counting(16)), false, "here"));
        Catalog.WriteAnnounce(writer, 5, [s_arena]);
        new ArenaRecord
        {
            Ordinal = 5,
            Id = s_arena,
            State = ArenaState.Sealed,
            Survive = 1,
            Layout = new ArenaLayout(1, 1, 262_144),
            Domain = DomainId.Read(Counting(16)),
            Epoch = 1,
            Owner = 1,
            ClumpCount = 1,
            DirectoryOffset = 205,
            SealedAtSeconds = 1_795_000_000,
            SealSequence = 9,
            Fragments = [new FragmentPlace(FragmentName.Read(Counting(32)), 0), new FragmentPlace(FragmentName.Read(Counting(32)), FragmentPlace.Nowhere)],
        }.Write(writer);
        Catalog.WriteForget(writer, [3, 4]);
        Catalog.WriteDay(writer, 3, 20_778);
        Catalog.WriteSeen(writer, RecordLogKind.Journal, 1, 0x0807060504030201, 2, 163, 0);
        AssertShows("9", writer.ToArray());
    }

    [Fact]
    public void An_epoch_and_a_vouch()
    {
        using AccountKeys account = AccountKeys.FromEntropy(Counting(32));
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, 1, "laptop", 1_795_000_000);
        var writer = new FieldWriter(64);
        EpochRecord record = EpochRecord.Sign(DomainId.Read(Counting(16)), 8_388_609, [2], certificate, device);
        record.Write(writer);
        int length = writer.Length;
        DeviceVouch vouch = DeviceVouch.Sign(Bytes32.Read(Counting(32)), certificate, device);
        vouch.Write(writer);
        AssertShows("9", writer.ToArray(), 2);
        var catalog = new Catalog();
        catalog.Apply(writer.Written[..length]);
        catalog.Apply(writer.Written[length..]);
        EpochRecord read = Assert.Single(catalog.Epochs());
        Assert.Equal((record.Domain, record.Epoch), (read.Domain, read.Epoch));
        Assert.Equal(record.Revoked, read.Revoked);
        Assert.True(read.IsSignedBy(certificate));
        Assert.False((read with { Revoked = [2, 3] }).IsSignedBy(certificate));
        DeviceVouch word = Assert.Single(catalog.Vouches());
        Assert.True(word.IsSignedBy(certificate));
        Assert.False((word with { Device = default }).IsSignedBy(certificate));
    }

    [Fact]
    public void A_head()
    {
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        var head = new Head
        {
            Volume = new VolumeId(new Bytes16(0, 1)),
            VolumeName = "v",
            Domain = DomainId.Read(Counting(16)),
            Device = 1,
            Incarnation = 0x0807060504030201,
            Sequence = 2,
            Previous = UInt256.Read(Counting(32)),
            TimeNs = 1_795_000_000_000_000_000,
            Root = Score.Read(Counting(32)),
            Seen = [new HeadSeen(2, 5, 1)],
        };
        AssertShows("10", HeadCodec.Sign(head, device).Bytes.Span);
    }

    [Fact]
    public void An_anchor()
    {
        using AccountKeys account = AccountKeys.FromEntropy(Counting(32));
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, 1, "laptop", 1_795_000_000);
        var anchor = new Anchor
        {
            Tag = account.Tag,
            Number = 3,
            AccountPublicKey = account.PublicKey.ToArray(),
            Device = 1,
            TimeNs = 1_795_000_000_000_000_000,
            Certificates = [certificate.Bytes.ToArray()],
            WrappedDomains = [],
            Holders = [new AnchorHolder(HolderId.Read(Counting(16)), "here", "/disk")],
            Heads = [],
            Logs = [new AnchorLog(RecordLogKind.Catalog, 1, 0x0807060504030201, 2, UInt256.Read(Counting(32)), 163)],
        };
        AssertShows("11", anchor.Write(account.AnchorKey.Span, device, new CountingRandom()));
    }

    [Fact]
    public void Limits_that_no_writer_reaches_are_kept_by_every_reader()
    {
        byte[] head = Repository.FormatExample("10");
        Array.Clear(head, 45, sizeof(ulong));
        Assert.Contains("sequence 0", Assert.Throws<DamagedFormatException>(() => HeadCodec.Read(head)).Message, StringComparison.Ordinal);
        byte[] forget = new byte[1 + (4097 * sizeof(uint))];
        forget[0] = 6;
        Assert.Contains("4096 numbers", Assert.Throws<DamagedFormatException>(() => new Catalog().Apply(forget)).Message, StringComparison.Ordinal);
        Assert.True(Journal.IsCarried([2], "the page"));
        Assert.False(Journal.IsCarried([1, 0], "the page"));
        Assert.Throws<DamagedFormatException>(() => Journal.IsCarried([2, 0], "the page"));
    }

    [Fact]
    public void A_keys_object()
    {
        using AccountKeys account = AccountKeys.FromEntropy(Counting(32));
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        using KeyDomain realm = Realm();
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, 1, "laptop", 1_795_000_000);
        byte[] wrap = KeyWrap.Wrap(realm, account.RecoveryPublicKey, new CountingRandom());
        byte[] keys = Anchor.WriteKeys(account.Tag, 1, wrap, account.AnchorKey.Span, certificate, device, new CountingRandom());
        AssertShows("11", keys, 2);
        (DeviceCertificate read, ReadOnlyMemory<byte> wrapped) = Anchor.ReadKeys(keys, account.AnchorKey.Span, account.PublicKey, "the page");
        Assert.True(read.Bytes.SequenceEqual(certificate.Bytes));
        Assert.True(KeyWrap.TryUnwrap(account.RecoveryPrivateKey.Span, wrapped.Span, out KeyDomain? domain));
        using (domain)
        {
            Assert.Equal(realm.Id, domain.Id);
        }
    }

    [Fact]
    public void An_epoch_for_another_device()
    {
        using AccountKeys account = AccountKeys.FromEntropy(Counting(32));
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, 1, "laptop", 1_795_000_000);
        using DeviceKeys desk = DeviceKeys.Create(new CountingRandom(0x40));
        DeviceCertificate its = DeviceCertificate.Issue(certificate, device, desk.PublicKey, desk.AgreementPublicKey, 2, "desk", 1_795_000_000);
        using KeyDomain realm = Realm();
        Assert.Equal(8_388_609u, realm.AddEpoch(1, 1, new CountingRandom(0x90)));
        byte[] shown = EpochKeys.Write(account.Tag, realm, 8_388_609, its, account.AnchorKey.Span, certificate, device, new CountingRandom());
        AssertShows("11", shown, 3);
        string name = EpochKeys.NameOf(account.Tag, realm.Id, 8_388_609, desk.AgreementPublicKey);
        Assert.True(EpochKeys.TryParse(name, account.Tag, desk.AgreementPublicKey, out DomainId domain, out uint epoch));
        Assert.Equal((realm.Id, 8_388_609u), (domain, epoch));
        EpochKeys read = EpochKeys.Read(shown, epoch, desk.AgreementPublicKey, account.AnchorKey.Span, account.PublicKey, "the page");
        Assert.True(read.Signer.Bytes.SequenceEqual(certificate.Bytes));
        Assert.True(desk.TryUnwrap(read.WrappedDomain.Span, out KeyDomain? unwrapped));
        using (unwrapped)
        {
            Assert.Equal([1u, 8_388_609u], unwrapped.Epochs);
        }

        foreach (int at in (int[])[3, 31, 40, 60, shown.Length - 1])
        {
            byte[] changed = [.. shown];
            changed[at] ^= 1;
            Assert.Throws<DamagedFormatException>(() => EpochKeys.Read(changed, epoch, desk.AgreementPublicKey, account.AnchorKey.Span, account.PublicKey, "the page"));
        }

        Assert.Throws<DamagedFormatException>(() => EpochKeys.Read(shown, epoch, device.AgreementPublicKey, account.AnchorKey.Span, account.PublicKey, "the page"));
        Assert.Throws<DamagedFormatException>(() => EpochKeys.Read(shown, epoch + 1, desk.AgreementPublicKey, account.AnchorKey.Span, account.PublicKey, "the page"));
    }

    private static KeyDomain Realm() => KeyDomain.Read(Repository.FormatExample("3.2"));

    private static byte[] Counting(int count) => [.. Enumerable.Range(0, count).Select(static at => (byte)at)];

    /// <summary>With TDFS_SHOW_EXAMPLES=folder it also writes there what the page has to show.</summary>
    private static void AssertShows(string section, ReadOnlySpan<byte> bytes, int number = 1)
    {
        if (Environment.GetEnvironmentVariable("TDFS_SHOW_EXAMPLES") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Join(folder, $"{section}-{number}"), Repository.HexLines(bytes) + "\n");
        }

        Assert.Equal(Repository.HexLines(Repository.FormatExample(section, number)), Repository.HexLines(bytes));
    }
}
