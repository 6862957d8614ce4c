using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Audit;

/// <summary>What one account gave and took.</summary>
/// <remarks>Format: docs/format.md 17.4. Byte-hours: bytes kept times hours.</remarks>
public sealed record LedgerEntry
{
    private const int SecondsInHour = 3600;
    private const long MostSeconds = 24 * 3600;

    public required Bytes32 Account { get; init; }

    public required long SinceSeconds { get; init; }

    public ulong KeptForUs { get; init; }

    public ulong KeptForIt { get; init; }

    /// <summary>Bytes to its nodes, and from them, that we asked for.</summary>
    public ulong SentToIt { get; init; }

    public ulong CameFromIt { get; init; }

    /// <summary>Bytes that it brought to our node, and took from there.</summary>
    public ulong BroughtByIt { get; init; }

    public ulong TakenByIt { get; init; }

    public ulong AuditsPassed { get; init; }

    public ulong AuditsFailed { get; init; }

    public long UsUntilSeconds { get; init; }

    public long ItUntilSeconds { get; init; }

    /// <summary>Byte-hours that we kept for it beyond those that it kept for us.</summary>
    public Int128 Balance => (Int128)KeptForIt - KeptForUs;

    /// <summary>It keeps so much for us, and so much was moved since the last look.</summary>
    public LedgerEntry WithTheirs(long keptBytes, long sentBytes, long cameBytes, int passed, int failed, long nowSeconds) => this with
    {
        KeptForUs = KeptForUs + Hours(keptBytes, UsUntilSeconds, nowSeconds),
        UsUntilSeconds = nowSeconds,
        SentToIt = SentToIt + (ulong)sentBytes,
        CameFromIt = CameFromIt + (ulong)cameBytes,
        AuditsPassed = AuditsPassed + (ulong)passed,
        AuditsFailed = AuditsFailed + (ulong)failed,
    };

    /// <summary>We keep so much for it, and so much was moved since the last look.</summary>
    /// <param name="isFirst">The node has just begun: the time before was not spent keeping.</param>
    public LedgerEntry WithOurs(long keptBytes, long broughtBytes, long takenBytes, bool isFirst, long nowSeconds) => this with
    {
        KeptForIt = KeptForIt + (isFirst ? 0 : Hours(keptBytes, ItUntilSeconds, nowSeconds)),
        ItUntilSeconds = nowSeconds,
        BroughtByIt = BroughtByIt + (ulong)broughtBytes,
        TakenByIt = TakenByIt + (ulong)takenBytes,
    };

    internal void Write(FieldWriter writer)
    {
        Account.Write(writer.Take(Bytes32.Size));
        writer.I64(SinceSeconds);
        foreach (ulong sum in (ulong[])[KeptForUs, KeptForIt, SentToIt, CameFromIt, BroughtByIt, TakenByIt, AuditsPassed, AuditsFailed])
        {
            writer.U64(sum);
        }

        writer.I64(UsUntilSeconds);
        writer.I64(ItUntilSeconds);
    }

    internal static LedgerEntry Read(ref FieldReader reader) => new()
    {
        Account = Bytes32.Read(reader.Bytes(Bytes32.Size)),
        SinceSeconds = reader.I64(),
        KeptForUs = reader.U64(),
        KeptForIt = reader.U64(),
        SentToIt = reader.U64(),
        CameFromIt = reader.U64(),
        BroughtByIt = reader.U64(),
        TakenByIt = reader.U64(),
        AuditsPassed = reader.U64(),
        AuditsFailed = reader.U64(),
        UsUntilSeconds = reader.I64(),
        ItUntilSeconds = reader.I64(),
    };

    private static ulong Hours(long bytes, long until, long now) => until == 0 ? 0 : (ulong)((Int128)bytes * Math.Clamp(now - until, 0, MostSeconds) / SecondsInHour);
}

/// <summary>Give and take with every account that was met, signed by the device that counts.</summary>
/// <remarks>Format: docs/format.md 17.4. Keys stay the caller's.</remarks>
public sealed class Ledger(IDisk disk, string stateFolder, SecretBytes cacheKey, DeviceKeys device, IRandomSource random, TimeProvider clock)
{
    public const string Name = "ledger";

    internal const int MaxEntries = 1024;

    /// <summary>How often a node counts.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(10);

    private readonly EncryptedFile _file = new(disk, stateFolder, Name, "TDFSLED1", "tdfs 2026-11 ledger v1", cacheKey, random, clock);

    private static ReadOnlySpan<byte> Context => "TDFS ledger v1"u8;

    public IReadOnlyList<LedgerEntry> Read() => Parse(_file.Read());

    /// <summary>Changes the entries of some accounts; one that was not met yet begins now.</summary>
    public async ValueTask ChangeAsync(IReadOnlyDictionary<Bytes32, Func<LedgerEntry, LedgerEntry>> changes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(changes);
        if (changes.Count == 0)
        {
            return;
        }

        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        await _file.ChangeAsync(
            bytes =>
            {
                List<LedgerEntry> all = [.. Parse(bytes)];
                foreach ((Bytes32 account, Func<LedgerEntry, LedgerEntry> change) in changes)
                {
                    int at = all.FindIndex(entry => entry.Account == account);
                    LedgerEntry after = change(at < 0 ? new LedgerEntry { Account = account, SinceSeconds = now } : all[at]);
                    if (at >= 0)
                    {
                        all[at] = after;
                    }
                    else if (all.Count < MaxEntries)
                    {
                        all.Add(after);
                    }
                }

                return Write(all);
            },
            cancel).ConfigureAwait(false);
    }

    internal FieldWriter Write(IReadOnlyList<LedgerEntry> entries)
    {
        var writer = new FieldWriter(4096);
        writer.U32((uint)entries.Count);
        foreach (LedgerEntry entry in entries)
        {
            entry.Write(writer);
        }

        byte[] signed = [.. Context, .. writer.Written];
        device.Sign(signed, writer.Take(Ed25519.SignatureSize));
        return writer;
    }

    private LedgerEntry[] Parse(byte[]? bytes)
    {
        if (bytes is null || bytes.Length < sizeof(uint) + Ed25519.SignatureSize)
        {
            return [];
        }

        ReadOnlySpan<byte> contents = bytes.AsSpan(0, bytes.Length - Ed25519.SignatureSize);
        byte[] signed = [.. Context, .. contents];
        if (!Ed25519.Verify(device.PublicKey, signed, bytes.AsSpan(contents.Length)))
        {
            return [];
        }

        try
        {
            var reader = new FieldReader(contents, Name);
            var entries = new LedgerEntry[reader.Count(MaxEntries, "the count")];
            for (int i = 0; i < entries.Length; i++)
            {
                entries[i] = LedgerEntry.Read(ref reader);
            }

            reader.End();
            return entries;
        }
        catch (DamagedFormatException)
        {
            return [];
        }
    }
}
