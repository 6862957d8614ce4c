using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Peers;

/// <summary>A code that was given out for one new device.</summary>
public sealed record EnrolmentOffer
{
    public required ReadOnlyMemory<byte> Secret { get; init; }

    /// <summary>What the new device will be called by.</summary>
    public required uint Device { get; init; }

    public required long MadeAtSeconds { get; init; }

    public required long ExpiresAtSeconds { get; init; }

    /// <summary>0: not yet.</summary>
    public long UsedAtSeconds { get; init; }

    /// <summary>The device key that used it.</summary>
    public Bytes32 UsedBy { get; init; }

    /// <summary>As it called itself.</summary>
    public string UsedByName { get; init; } = "";

    /// <summary>What the new device is told of holders.</summary>
    public required IReadOnlyList<EnrolmentHolder> Holders { get; init; }

}

/// <summary>The codes that this device gave out, on disk, encrypted under its cache key.</summary>
/// <remarks>
/// Format: docs/format.md 17.5. Several processes change it, each under <c>enrolments.lock</c>; a node that runs reads it again every two seconds.
/// Durable when a change returns; a crash before the rename leaves the list as it was. What expired or was used is kept for 30 days, so that it can be said which, and no number is given twice.
/// </remarks>
public sealed class EnrolmentFile(IDisk disk, string stateFolder, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const string Name = "enrolments";
    public const int MaxOffers = 16;

    private const int MaxMessageBytes = 16 * 1024 * 1024;
    private const int HeaderSize = 8 + sizeof(uint);
    private const long RememberedSeconds = 30 * 24 * 3600;
    private const string Context = "tdfs 2026-11 enrolment list v1";

    private static readonly TimeSpan s_turn = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly string _path = stateFolder + "/" + Name;

    private static ReadOnlySpan<byte> Magic => "TDFSENL1"u8;

    /// <summary>What is remembered; empty where nothing is.</summary>
    /// <exception cref="DamagedFormatException">The file is damaged, or another device's.</exception>
    public IReadOnlyList<EnrolmentOffer> Read()
    {
        byte[] file;
        try
        {
            using IDiskFile open = disk.Open(_path, DiskOpen.Read);
            if (open.Length > HeaderSize + MaxMessageBytes + Blake3.HashSize)
            {
                throw new DamagedFormatException($"{_path}: {open.Length} bytes, at most {HeaderSize + MaxMessageBytes + Blake3.HashSize} expected");
            }

            file = new byte[open.Length];
            file = file[..open.Read(0, file)];
        }
        catch (DiskException missing) when (missing.Failure == DiskFailure.NotFound)
        {
            return [];
        }

        var reader = new FieldReader(file, _path);
        reader.Magic(Magic);
        ReadOnlySpan<byte> message = reader.Bytes(reader.Count(MaxMessageBytes, "the message's length"));
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, reader.Position), checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("the checksum does not match");
        }

        reader.End();
        using SecretBytes key = Key();
        if (!Dare.TryPlainBytes(message.Length, out int plainBytes))
        {
            throw reader.Damaged($"no message has {message.Length} bytes");
        }

        byte[] plain = new byte[plainBytes];
        return Dare.TryDecrypt(key.Span, message, plain, out _) ? Parse(plain) : throw reader.Damaged("it does not open with this keyring; it is another device's list");
    }

    /// <summary>Reads, changes and writes, with no other process in between. What the change throws leaves the list as it was.</summary>
    public async ValueTask<IReadOnlyList<EnrolmentOffer>> ChangeAsync(Func<IReadOnlyList<EnrolmentOffer>, IReadOnlyList<EnrolmentOffer>> change, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(change);
        long began = clock.GetTimestamp();
        IDisposable? held;
        while ((held = disk.TryLock(_path + ".lock")) is null)
        {
            if (clock.GetElapsedTime(began) > s_patience)
            {
                throw new DiskException(DiskFailure.Denied, "lock", _path, "another process has been changing it for 10 seconds");
            }

            await Task.Delay(s_turn, clock, cancel).ConfigureAwait(false);
        }

        using (held)
        {
            IReadOnlyList<EnrolmentOffer> before = Read();
            IReadOnlyList<EnrolmentOffer> after = change(before);
            if (!ReferenceEquals(before, after))
            {
                Write(after);
            }

            return after;
        }
    }

    /// <summary>The list with another offer, without what nobody will ask about any more.</summary>
    /// <exception cref="InvalidOperationException">There are too many.</exception>
    public static IReadOnlyList<EnrolmentOffer> With(IReadOnlyList<EnrolmentOffer> offers, EnrolmentOffer offer, long nowSeconds)
    {
        ArgumentNullException.ThrowIfNull(offers);
        EnrolmentOffer[] kept = [.. offers.Where(each => nowSeconds - Math.Max(each.ExpiresAtSeconds, each.UsedAtSeconds) < RememberedSeconds)];
        return kept.Length >= MaxOffers ? throw new InvalidOperationException($"{MaxOffers} codes for devices are remembered already") : [.. kept, offer];
    }

    private void Write(IReadOnlyList<EnrolmentOffer> offers)
    {
        var contents = new FieldWriter(1024);
        contents.U16((ushort)offers.Count);
        foreach (EnrolmentOffer offer in offers)
        {
            contents.Bytes(offer.Secret.Span);
            contents.U32(offer.Device);
            contents.I64(offer.MadeAtSeconds);
            contents.I64(offer.ExpiresAtSeconds);
            contents.I64(offer.UsedAtSeconds);
            offer.UsedBy.Write(contents.Take(Bytes32.Size));
            contents.ShortText(offer.UsedByName);
            contents.U16((ushort)offer.Holders.Count);
            foreach (EnrolmentHolder holder in offer.Holders)
            {
                holder.Id.Write(contents.Take(HolderId.Size));
                contents.ShortText(holder.Place);
                contents.ShortText(holder.Address);
            }
        }

        int messageBytes = Dare.CipherBytes(contents.Length);
        var file = new FieldWriter(HeaderSize + messageBytes + Blake3.HashSize);
        file.Bytes(Magic);
        file.U32((uint)messageBytes);
        using (SecretBytes key = Key())
        {
            Dare.Encrypt(key.Span, random, contents.Written, file.Take(messageBytes));
        }

        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.Written, checksum);
        file.Bytes(checksum);
        WholeFile.Write(disk, stateFolder, _path, file.Written);
    }

    private static List<EnrolmentOffer> Parse(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "list of enrolments");
        int count = reader.U16();
        if (count > MaxOffers)
        {
            throw reader.Damaged($"{count} of them, at most {MaxOffers} expected");
        }

        var offers = new List<EnrolmentOffer>();
        for (int i = 0; i < count; i++)
        {
            byte[] secret = reader.Bytes(InvitationCode.SecretSize).ToArray();
            uint device = reader.U32();
            long made = reader.I64(), expires = reader.I64(), used = reader.I64();
            Bytes32 usedBy = Bytes32.Read(reader.Bytes(Bytes32.Size));
            string name = reader.ShortText("a name");
            int holderCount = reader.U16();
            if (made < 0 || expires < 0 || used < 0 || holderCount > Enrolment.MaxHolders)
            {
                throw reader.Damaged($"times {made}, {expires} and {used} with {holderCount} holders; none before 1970 and at most {Enrolment.MaxHolders} expected");
            }

            var holders = new List<EnrolmentHolder>();
            for (int at = 0; at < holderCount; at++)
            {
                holders.Add(new EnrolmentHolder(HolderId.Read(reader.Bytes(HolderId.Size)), reader.ShortText("a place"), reader.ShortText("an address")));
            }

            offers.Add(new EnrolmentOffer
            {
                Secret = secret, Device = device, MadeAtSeconds = made, ExpiresAtSeconds = expires, UsedAtSeconds = used, UsedBy = usedBy, UsedByName = name, Holders = holders,
            });
        }

        reader.End();
        return offers;
    }

    private SecretBytes Key()
    {
        var key = new SecretBytes(Dare.KeySize);
        Blake3.DeriveKey(Context, cacheKey.Span, key.Writable);
        return key;
    }
}
