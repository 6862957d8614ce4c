using System.Security.Cryptography;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests;

/// <summary>Bytes that nobody vouches for, given to every structure of Blocks: an error that says what is wrong, never a crash, a hang or a large allocation.</summary>
/// <remarks>Where a checksum or a tag would stop a reader early, it is put right again: an attacker who holds the keys can, and so can a mistake of ours.</remarks>
public sealed class HostileBytesTests
{
    private static readonly ArenaId s_id = ArenaId.Read(Enumerable.Range(1, ArenaId.Size).Select(static i => (byte)i).ToArray());

    public static TheoryData<int> Seeds => [21, 22, 23];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Arena_headers(int seed)
    {
        byte[] bytes = new byte[ArenaHeader.Size];
        Header(3, 4096, default).Write(bytes);
        HostileBytes.AssertHandled(seed, bytes, static bytes => _ = ArenaHeader.Read(bytes, "x"), Reseal);
        HostileBytes.AssertHandled(seed, bytes, static bytes => _ = ArenaHeader.Read(bytes, "x"));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Arena_directories(int seed)
    {
        var random = new SeededRandom(seed);
        byte[] entries = new byte[3 * ArenaDirectory.EntrySize];
        ClumpEntry[] clumps = [.. Enumerable.Range(0, 3).Select(i => new ClumpEntry(Score.Read(random.Bytes(Score.Size)), BlockType.Data, ArenaHeader.Size + (i * 1000), 1000, 900)).OrderBy(static clump => clump.Score)];
        for (int i = 0; i < clumps.Length; i++)
        {
            ArenaDirectory.WriteEntry(entries.AsSpan(i * ArenaDirectory.EntrySize), clumps[i]);
        }

        // The header names the directory's hash: whoever wrote the bytes wrote that, too.
        HostileBytes.AssertHandled(seed, entries, static bytes => _ = ArenaDirectory.Read(bytes, Header(3, 8192, HashOf(bytes))));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Fragment_records(int seed)
    {
        var random = new SeededRandom(seed);
        HeldFragment[] fragments = [new(0, FragmentName.Read(random.Bytes(FragmentName.Size))), new(2, FragmentName.Read(random.Bytes(FragmentName.Size)))];
        var file = FragmentFile.Of(s_id, 2, 1, 64 * 1024, fragments);
        byte[] record = file.Write([random.Bytes(file.HashBytes), random.Bytes(file.HashBytes)]);
        HostileBytes.AssertHandled(seed, record, static bytes => _ = FragmentFile.Parse(bytes, s_id, "x"), rounds: 1000);
        HostileBytes.AssertHandled(seed, record, static bytes => _ = FragmentFile.RecordBytesFrom(bytes, "x"), rounds: 1000);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Heads_and_catalog_records(int seed)
    {
        using DeviceKeys device = DeviceKeys.Create(new SeededRandom(seed));
        var head = new Head
        {
            Volume = new VolumeId(new Bytes16(0, 9)),
            VolumeName = "photos",
            Domain = new DomainId(new Bytes16(0, 4)),
            Device = 1,
            Incarnation = 3,
            Sequence = 5,
            Previous = default,
            TimeNs = 1_790_000_000_000_000_000,
            Root = default,
        };
        SignedHead signed = HeadCodec.Sign(head, device);
        HostileBytes.AssertHandled(seed, signed.Bytes.Span, static bytes => _ = HeadCodec.Read(bytes));
        foreach (byte[] record in Records(signed, seed))
        {
            HostileBytes.AssertHandled(seed, record, static bytes =>
            {
                if (bytes.Length > 0)
                {
                    var catalog = new Catalog();
                    catalog.Apply(bytes);
                    catalog.Apply(Day()); // what comes after must not trip over it

                }
            });
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Record_log_headers(int seed)
    {
        var header = new RecordLogHeader { Kind = RecordLogKind.Catalog, Domain = new DomainId(new Bytes16(0, 4)), Epoch = 1, Device = 1, Incarnation = 9, Number = 7, LogId = HashOf([1]) };
        byte[] bytes = new byte[RecordLogHeader.Size];
        header.Write(bytes);
        HostileBytes.AssertHandled(seed, bytes, static bytes => _ = RecordLogHeader.Read(bytes, "x"), Reseal);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Anchors_and_wrapped_keys(int seed)
    {
        var random = new SeededRandom(seed);
        byte[] key = random.Bytes(32);
        using AccountKeys account = AccountKeys.FromEntropy(random.Bytes(Words.EntropySize));
        using DeviceKeys device = DeviceKeys.Create(random);
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, 1, "desk", 1_790_000_000);
        byte[] wrapped = random.Bytes(120);
        byte[] keys = Anchor.WriteKeys(account.Tag, 1, wrapped, key, certificate, device, random);
        HostileBytes.AssertHandled(seed, keys, bytes => _ = Anchor.ReadKeys(bytes, key, account.PublicKey, "x"));
        HostileBytes.AssertHandled(seed, keys, bytes => _ = Anchor.ReadKeys(bytes, key, account.PublicKey, "x"), bytes => Encrypt(bytes, key));
        HostileBytes.AssertHandled(seed, CertificateBytes(certificate), static bytes => _ = DeviceCertificate.Read(bytes));
        var anchor = new Anchor
        {
            Tag = account.Tag,
            Number = 3,
            AccountPublicKey = account.PublicKey.ToArray(),
            Device = 1,
            TimeNs = 1_790_000_000_000_000_000,
            Certificates = [CertificateBytes(certificate)],
            WrappedDomains = [wrapped],
            Holders = [new AnchorHolder(HolderId.Read(new byte[HolderId.Size]), "here", "/somewhere")],
            Heads = [],
            Logs = [new AnchorLog(RecordLogKind.Catalog, 1, 9, 7, HashOf([1]), 500)],
        };
        byte[] whole = anchor.Write(key, device, random);
        HostileBytes.AssertHandled(seed, whole, bytes => _ = Anchor.Read(bytes, key, "x"));
        HostileBytes.AssertHandled(seed, whole, bytes => _ = Anchor.Read(bytes, key, "x"), bytes => Encrypt(bytes, key));
    }

    /// <summary>Gives an anchor whose ciphertext was changed the tag that belongs to it.</summary>
    private static void Encrypt(byte[] bytes, byte[] key)
    {
        const int CoveredSize = 8 + AccountTag.Size + sizeof(ulong);
        const int NonceSize = 12;
        const int TagSize = 16;
        int bodyBytes = bytes.Length - CoveredSize - NonceSize - TagSize;
        if (bodyBytes <= 0)
        {
            return;
        }

        using var cipher = new AesGcm(key, TagSize);
        ReadOnlySpan<byte> nonce = bytes.AsSpan(CoveredSize, NonceSize);
        Span<byte> body = bytes.AsSpan(CoveredSize + NonceSize, bodyBytes);
        byte[] plain = new byte[bodyBytes];
        cipher.Encrypt(nonce, body, plain, bytes.AsSpan(bytes.Length - TagSize)); // counter mode: once more is back again
        cipher.Encrypt(nonce, plain, body, bytes.AsSpan(bytes.Length - TagSize), bytes.AsSpan(0, CoveredSize));
    }

    private static byte[] CertificateBytes(DeviceCertificate certificate) => certificate.Bytes.ToArray();

    private static byte[] Day() => Record(static writer => Catalog.WriteDay(writer, 4, 20_001));

    private static IEnumerable<byte[]> Records(SignedHead head, int seed)
    {
        var random = new SeededRandom(seed);
        FragmentPlace[] places = [.. Enumerable.Range(0, 3).Select(i => new FragmentPlace(FragmentName.Read(random.Bytes(FragmentName.Size)), (ushort)i))];
        var arena = new ArenaRecord
        {
            Ordinal = 3,
            Id = s_id,
            State = ArenaState.Sealed,
            Survive = 1,
            Layout = new ArenaLayout(2, 1, 64 * 1024),
            Domain = new DomainId(new Bytes16(0, 4)),
            Epoch = 1,
            Owner = 1,
            ClumpCount = 3,
            DirectoryOffset = 8192,
            SealedAtSeconds = 1_790_000_000,
            SealSequence = 9,
            Fragments = places,
        };
        yield return Record(arena.Write);
        yield return Record(writer => Catalog.WriteHolder(writer, new HolderRecord(0, HolderId.Read(new byte[HolderId.Size]), false, "here")));
        yield return Record(writer => Catalog.WriteAnnounce(writer, 5, [s_id]));
        yield return Record(writer => Catalog.WriteHead(writer, head));
        yield return Record(writer => Catalog.WriteForget(writer, [3, 4]));
        yield return Record(writer =>
        {
            writer.U8((byte)CatalogRecordKind.Begin);
            writer.U64(5);
            writer.U32(6);
            writer.U32(7);
            writer.U32(8);
        });
        yield return Record(writer => Catalog.WriteDay(writer, 3, 20_000));
    }

    private static byte[] Record(Action<FieldWriter> write)
    {
        var writer = new FieldWriter(1024);
        write(writer);
        return writer.ToArray();
    }

    private static ArenaHeader Header(int clumps, int directoryOffset, UInt256 checksum) => new()
    {
        Id = s_id,
        Layout = new ArenaLayout(2, 1, 64 * 1024),
        Survive = 1,
        Domain = new DomainId(new Bytes16(0, 4)),
        Epoch = 1,
        Owner = 1,
        ClumpCount = clumps,
        DirectoryOffset = directoryOffset,
        SealedAtSeconds = 1_790_000_000,
        DirectoryChecksum = checksum,
    };

    private static UInt256 HashOf(byte[] bytes)
    {
        byte[] hash = new byte[Blake3.HashSize];
        Blake3.Hash(bytes, hash);
        return UInt256.Read(hash);
    }

    /// <summary>The last 32 bytes are the hash of those before.</summary>
    private static void Reseal(byte[] bytes)
    {
        if (bytes.Length >= Blake3.HashSize)
        {
            Blake3.Hash(bytes.AsSpan(0, bytes.Length - Blake3.HashSize), bytes.AsSpan(bytes.Length - Blake3.HashSize));
        }
    }
}
